"""Keep RecBole's Trainer running where it cannot write its TensorBoard log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging import Logger, getLogger
from typing import Any

from recbole.trainer import trainer as recboles
from recbole.utils import ensure_dir, get_tensorboard

logger = getLogger(__name__)
_before = threading.excepthook


def _in_a_thread(failure: threading.ExceptHookArgs) -> None:
    """Hide OSErrors of TensorBoard's thread: it prints them to the terminal, but the next write raises them anyway."""
    theirs = type(failure.thread).__module__.startswith("tensorboard.")
    if not (theirs and isinstance(failure.exc_value, OSError)):
        _before(failure)


threading.excepthook = _in_a_thread


class TensorBoard:
    """RecBole's TensorBoard log; if it cannot be written, training continues without it."""

    def __init__(self, named_after: Logger):
        self._writer: Any = None
        with self._warning():
            self._writer = get_tensorboard(named_after)

    def add_scalar(self, *arguments: Any, **keywords: Any) -> None:
        self._write("add_scalar", *arguments, **keywords)

    def add_hparams(self, *arguments: Any, **keywords: Any) -> None:
        self._write("add_hparams", *arguments, **keywords)

    def _write(self, method: str, *arguments: Any, **keywords: Any) -> None:
        if self._writer is not None:
            with self._warning():
                getattr(self._writer, method)(*arguments, **keywords)

    @contextmanager
    def _warning(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            logger.warning(f"no TensorBoard log: {error.filename or 'log_tensorboard'}: {error.strerror}")


@contextmanager
def where_it_can_be_written() -> Iterator[None]:
    """Let Trainer.__init__ go on if it cannot make log_tensorboard/ (its line 115) or the checkpoint folder (131)."""

    def try_to_make(folder: str) -> None:
        with suppress(OSError):  # saving a checkpoint there reports it
            ensure_dir(folder)

    before = recboles.get_tensorboard, recboles.ensure_dir
    recboles.get_tensorboard, recboles.ensure_dir = TensorBoard, try_to_make
    try:
        yield
    finally:
        recboles.get_tensorboard, recboles.ensure_dir = before
