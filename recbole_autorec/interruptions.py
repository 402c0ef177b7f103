"""Ctrl-C and SIGTERM: neither gets lost, and both end work cleanly."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C."""


def interrupted(number: int, frame: object = None) -> None:
    """Raise the exception of a signal, as its handler or later."""
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Make SIGTERM end work like Ctrl-C, unless the caller handles SIGTERM itself. Neither gets lost."""
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
    """Repeat an interruption shortly after Python dropped it in a __del__."""
    if isinstance(dropped.exc_value, KeyboardInterrupt):
        number = signal.SIGTERM if isinstance(dropped.exc_value, Terminated) else signal.SIGINT
        # a signal also ends a sleep or a read; interrupt_main does not, but Windows has nothing else
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
    """Append Ctrl-C to the list instead of raising it, since code that swallows exceptions could lose it.

    The same goes for SIGTERM where it would be raised.
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


@contextmanager
def delayed_interruptions() -> Iterator[None]:
    """Raise Ctrl-C, and SIGTERM where it would be raised, at the end of the context only."""
    with noted_interruptions() as noted:
        try:
            yield
        finally:
            if noted:
                interrupted(noted[0])


@contextmanager
def blocked_interruptions() -> Iterator[None]:
    """Block Ctrl-C and SIGTERM; a process started in the context begins with both blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def sigterm_unwinds() -> Iterator[Callable[[], None]]:
    """Make SIGTERM raise SystemExit, exit code 143, so that cleanup runs. Yield a function that resets the handler."""
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
        if noted:  # Ray changes the exit code
            sys.exit(128 + noted[0])
        raise
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
