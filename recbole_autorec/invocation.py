"""The command line and the package versions, for messages, results and reports."""

from __future__ import annotations

import platform
import shlex
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import recbole_autorec


def program() -> list[str]:
    """Return the words that start this program, as they are typed."""
    path = Path(sys.argv[0])
    as_module = path.parts[-2:] == ("recbole_autorec", "__main__.py")
    if as_module:
        return ["python", "-m", "recbole_autorec"]
    return ["python", path.name] if path.suffix == ".py" else [path.name]


def command_line() -> str:
    """Return program() if it is ours, our installed command otherwise; a verb can follow it."""
    words = program()
    ours = words[-1] in ("recbole_autorec", "run_recbole_autorec.py") or Path(words[0]).stem == "recbole-autorec"
    return " ".join(words) if ours else "recbole-autorec"


def command() -> str:
    """Return the current command line, ready to be repeated; empty in a notebook, which has none."""
    return "" if _in_notebook() else shlex.join([*program(), *sys.argv[1:]])


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def versions() -> dict[str, str]:
    """Return package -> version, with Python's and our own first."""
    found = {"recbole_autorec": recbole_autorec.__version__, "python": platform.python_version()}
    for name in ("recbole", "torch", "numpy", "pandas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    with suppress(Exception):  # PyPI's metadata leave out the build, as in 2.14.1+cu130
        found["torch"] = import_module("torch").__version__
    return found
