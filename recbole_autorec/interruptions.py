"""Ctrl-C and SIGTERM: neither is lost, and both end work in order."""

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
