"""Check for required packages; a message for a missing one says how to install it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from recbole_autorec.errors import ConfigError

ALL = "pip install recbole-autorec, or in a checkout pip install ."


def check_recbole() -> None:
    """Check that RecBole is installed in a version that our classes can extend.

    Raises:
        ConfigError: it is missing, or another version.
    """
    try:
        found = import_module("recbole").__version__
    except ModuleNotFoundError:
        raise ConfigError(f"RecBole is not installed: {ALL}") from None
    if not re.match(r"1\.2(\.|$)", found):
        raise ConfigError(f"RecBole {found} is installed; RecBole 1.2 is needed: pip install 'recbole>=1.2,<1.3'")


def check_extra(extra: str, needed: Mapping[str, str], what: str) -> None:
    """Check that an extra of setup.cfg is installed.

    Args:
        extra: its name.
        needed: package -> oldest version that works; "" for any.
        what: the feature that needs them, for the message.

    Raises:
        ConfigError: a package is missing or too old.
    """
    faults = []
    for package, oldest in needed.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            faults.append(package)
            continue
        if oldest and _numbers(found) < _numbers(oldest):
            faults.append(f"{package} {oldest} or later (found {found})")
    if faults:
        raise ConfigError(
            f"{what} needs {', '.join(faults)}: pip install 'recbole-autorec[{extra}]', or in a checkout "
            f"pip install -e '.[{extra}]'"
        )


# Optional packages that some of RecBole's models, or our readers, import -> their names for pip.
OPTIONAL = {"faiss": "faiss-cpu", "community": "python-louvain"} | {
    name: name
    for name in (
        "dgl", "kmeans_pytorch", "lightgbm", "networkx", "pyarrow", "torch_geometric", "torch_scatter", "wandb",
        "xgboost",
    )
}  # fmt: skip


def missing(error: ModuleNotFoundError) -> str | None:
    """Say how to install a package that is missing; None if what is missing is a module of this project."""
    name = error.name
    if not name or "." in name or name == "recbole_autorec":
        return None
    return f"the package {name!r} is not installed: " + (f"pip install {OPTIONAL[name]}" if name in OPTIONAL else ALL)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:2]]
