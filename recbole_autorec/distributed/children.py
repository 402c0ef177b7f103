"""Child processes: their environment, how they ended, and killing them when this process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil


GRACE = 10.0  # seconds for processes to end by themselves


@contextmanager
def environment(**changes: str | None) -> Iterator[None]:
    """Set environment variables for processes started in this context; None unsets one."""
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
    """Return a PYTHONPATH that lets another process import what we can import."""
    return os.pathsep.join(map(os.path.abspath, sys.path))


def death(exit_code: int | None) -> str:
    """Say how a process ended, in half a sentence."""
    if exit_code is None or exit_code >= 0:
        return f"ended with exit code {exit_code}"
    killed = f"was killed by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"{killed}; did the machine run out of memory?" if -exit_code == signal.SIGKILL else killed


def interrupt(processes: Collection[Any], first: float = 0.0) -> None:
    """Interrupt the processes that do not end within `first` seconds, and kill those that take GRACE more to clean up.

    Ctrl-C in a terminal reaches them directly; being interrupted a second time would stop their cleanup.
    """
    deadline = time.monotonic() + first
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
    deadline = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()


def why_not_importable(model: object) -> str | None:
    """Say why another process cannot import a model's class by name, in a sentence; None if it can."""
    if not isinstance(model, type) or (model.__module__ != "__main__" and "<locals>" not in model.__qualname__):
        return None
    return "the class is defined in the running script or in a function; move it to a module."


@contextmanager
def self_contained() -> Iterator[None]:
    """Let children started in this context import what we can, except the main script: it may lack a main guard."""
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
sys.stdin.read()  # returns when the parent process ends, even if it is killed
for process in watched:
    with contextlib.suppress(psutil.Error):
        process.kill()
"""


@contextmanager
def ending_with_us(processes: Collection[psutil.Process]) -> Iterator[None]:
    """Kill the processes when the context or this process ends, even if this process is killed."""
    if not processes:
        yield
        return
    command = [sys.executable, "-c", _WATCH, *(str(process.pid) for process in processes)]
    watch = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    with watch:
        assert watch.stdout is not None
        watch.stdout.readline()  # it has found them
        yield
