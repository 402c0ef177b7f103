"""Processes that we start, and Ctrl-C."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
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


def program() -> list[str]:
    """What was called, as it is typed, in words."""
    path = Path(sys.argv[0])
    as_module = path.parts[-2:] == ("recbole_autorec", "__main__.py")
    return ["python", "-m", "recbole_autorec"] if as_module else [path.name]


def command_line() -> str:
    """program() where it is this project's, its installed command elsewhere: to be followed by a verb."""
    words = program()
    ours = len(words) > 1 or Path(words[0]).stem in ("run_recbole_autorec", "recbole-autorec")
    return " ".join(words) if ours else "recbole-autorec"


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


@contextmanager
def sigterm_unwinds() -> Iterator[Callable[[], None]]:
    """SIGTERM leaves by SystemExit, exit code 143, so that what was started is ended. Yields what says so again."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    noted: list[int] = []

    def leave(number: int, frame: object) -> None:
        noted.append(number)
        sys.exit(128 + number)

    def again() -> None:
        signal.signal(signal.SIGTERM, leave)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield again
    except SystemExit:
        if noted:  # Ray makes another code of it
            sys.exit(128 + noted[0])
        raise
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends work as Ctrl-C does."""


def interrupted(number: int, frame: object = None) -> None:
    """As a signal's handler, or later on."""
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends our work as Ctrl-C does, unless whoever calls us has other plans with it. Neither is lost."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    before = sys.unraisablehook
    if ours:
        signal.signal(signal.SIGTERM, interrupted)
        sys.unraisablehook = partial(_interrupt_again, before)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sys.unraisablehook = before


def _interrupt_again(otherwise: Callable[[Any], object], dropped: Any) -> None:
    """Python drops an exception in a __del__; an interruption that fell into one comes again a little later."""
    if isinstance(dropped.exc_value, KeyboardInterrupt):
        number = signal.SIGTERM if isinstance(dropped.exc_value, Terminated) else signal.SIGINT
        # a signal also ends a sleep or a read, which interrupt_main does not; Windows has it only
        send = (
            partial(signal.pthread_kill, threading.get_ident())
            if hasattr(signal, "pthread_kill")
            else _thread.interrupt_main
        )
        again = threading.Timer(0.05, send, [number])
        again.daemon = True
        again.start()
    else:
        otherwise(dropped)


@contextmanager
def noted_interruptions() -> Iterator[list[int]]:
    """Ctrl-C is noted in the list, not raised: code that drops exceptions, or takes them for others, could lose it.

    So is SIGTERM where it would be raised.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    numbers = [signal.SIGINT, *([signal.SIGTERM] if signal.getsignal(signal.SIGTERM) is interrupted else [])]
    before = {number: signal.signal(number, lambda number, _: noted.append(number)) for number in numbers}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
