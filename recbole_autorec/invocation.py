"""The command line and the package versions, for messages, results and reports."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import recbole_autorec


def program() -> list[str]:
    """Return the words that start this program, as they are typed."""
    path = Path(sys.argv[0])
    as_module = path.parts[-2:] == ("recbole_autorec", "__main__.py")
    return ["python", "-m", "recbole_autorec"] if as_module else [path.name]


def command_line() -> str:
    """Return program() if it is ours, our installed command otherwise; a verb can follow it."""
    words = program()
    ours = len(words) > 1 or Path(words[0]).stem in ("run_recbole_autorec", "recbole-autorec")
    return " ".join(words) if ours else "recbole-autorec"


def command() -> str:
    """Return the current command line, ready to be repeated."""
    return shlex.join([*program(), *sys.argv[1:]])


def versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("recbole", "torch", "numpy", "pandas")}
    return {"python": platform.python_version(), "recbole_autorec": recbole_autorec.__version__, **packages}
