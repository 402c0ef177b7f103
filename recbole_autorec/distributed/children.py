"""Processes that are started here: what they find, how they ended, and that none outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil


@contextmanager
def environment(**changes: str | None) -> Iterator[None]:
    """Environment variables that a process which starts meanwhile has; None takes one away."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def import_path() -> str:
    """PYTHONPATH for a process that shall import what we can import."""
    return os.pathsep.join(map(os.path.abspath, sys.path))


def death(exit_code: int | None) -> str:
    """How a process ended, in half a sentence."""
    if exit_code is None or exit_code >= 0:
        return f"ended with exit code {exit_code}"
    killed = f"was killed by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"{killed}; did the machine run out of memory?" if -exit_code == signal.SIGKILL else killed


def why_not_importable(model: object) -> str | None:
    """Why another process cannot find a model's class by its name, in a sentence; None if it can."""
    if not isinstance(model, type) or (model.__module__ != "__main__" and "<locals>" not in model.__qualname__):
        return None
    return "the class is defined in the script that runs, or in a function; put it in a module."


@contextmanager
def self_contained() -> Iterator[None]:
    """A child started meanwhile imports what we can import, but not the script that runs: it may have no main guard."""
    main = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        with environment(PYTHONPATH=import_path()):  # forkserver forgets sys.path
            yield
    finally:
        main.update(hidden)


_WATCH = """
import contextlib, psutil, sys
watched = [psutil.Process(int(pid)) for pid in sys.argv[1:] if psutil.pid_exists(int(pid))]
print(flush=True)
sys.stdin.read()  # ends when whoever started this ends, however it does
for process in watched:
    with contextlib.suppress(psutil.Error):
        process.kill()
"""


@contextmanager
def ending_with_us(processes: Collection[psutil.Process]) -> Iterator[None]:
    """They are killed when the context ends, or this process, even if it is killed itself."""
    if not processes:
        yield
        return
    command = [sys.executable, "-c", _WATCH, *(str(process.pid) for process in processes)]
    watch = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    with watch:
        assert watch.stdout is not None
        watch.stdout.readline()  # it knows them
        yield
