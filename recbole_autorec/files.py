"""Files written whole or not at all."""

from __future__ import annotations

import errno
import glob
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pandas as pd
import psutil
from filelock import FileLock, Timeout

from recbole_autorec.errors import AutoRecError, ConfigError

# The last four of the first brackets are = + - @ as wide as a Chinese letter.
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20](?!(?<=[+-])(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z)")
_LEFTOVER = re.compile(r"\.(\d+)\.tmp$")  # what write_whole had begun, and the process that had


def write_whole(path: Path, write: Callable[[IO[bytes]], object], error_class: type[AutoRecError], hint: str) -> None:
    """Let `write` fill a temporary file, then put it in place of `path`, which stays as it is until then.

    Raises:
        error_class: the disk is full or the folder cannot be written; `hint` says what to do.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if not os.access(path, os.W_OK) and os.path.exists(path):  # os.replace would not mind
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        clear_leftovers(path.parent, glob.escape(path.name))
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # x: a link that somebody put there is not followed
            write(file)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch makes a RuntimeError of a full disk, and of Ctrl-C; any other comes from what was to be written
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error) and error.__context__ is None:
            raise
        chain: list[BaseException] = [error]
        while chain[-1].__context__ is not None:
            chain.append(chain[-1].__context__)
        for interruption in chain:
            if isinstance(interruption, KeyboardInterrupt):
                raise interruption from None
        causes = (getattr(each, "strerror", None) for each in chain)
        cause = next(filter(None, causes), str(error).splitlines()[0])
        raise error_class(f"'{path}' cannot be written: {cause}; {hint}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def clear_leftovers(folder: Path, names: str, age: float = 0.0) -> None:
    """Delete what processes that died had begun to write as `names`, a pattern, and left so many seconds ago."""
    for left in folder.glob(f"{names}.*.tmp"):
        found = _LEFTOVER.search(left.name)
        with suppress(OSError, OverflowError):  # somebody else's, or no number of a process
            if found and not psutil.pid_exists(int(found[1])) and time.time() - left.stat().st_mtime >= age:
                left.unlink()


def write_json(path: Path, content: Any, hint: str) -> None:
    """Write `content` as JSON, whole or not at all."""
    text = json.dumps(content, indent=2) + "\n"
    write_whole(path, lambda file: file.write(text.encode()), AutoRecError, hint)


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """For a .csv file: text that begins like a formula of a spreadsheet gets an apostrophe before it; numbers stay."""
    safe = table.copy(deep=False)
    for place, kind in enumerate(table.dtypes):
        if pd.api.types.is_numeric_dtype(kind):
            continue
        texts = table.iloc[:, place].to_numpy(dtype=object).tolist()
        different = {text for text in texts if isinstance(text, str)}  # ids come again and again
        unsafe = {text for text in different if _FORMULA.match(text)}
        if unsafe:
            safe.isetitem(place, [f"'{text}" if isinstance(text, str) and text in unsafe else text for text in texts])
    return safe


def add_to_digest(digest: Any, path: Path) -> None:
    """Feed a file's content to one of hashlib's."""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)


def make_folder(folder: str | Path) -> Path:
    """The folder, made if it was not there.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        there = "a link that leads nowhere" if os.path.islink(path) else "a file" if os.path.isfile(path) else None
        why = f"{there} of that name is there" if there else error.strerror
        raise ConfigError(f"folder '{path}' cannot be made: {why}; give another one.") from error
    if not os.access(path, os.W_OK):
        raise ConfigError(f"folder '{path}' cannot be written to; give another one.")
    return path


@contextmanager
def locked(folder: str | Path, work: str) -> Iterator[Path]:
    """Make or open a folder; it is ours as long as the context lasts.

    Raises:
        ConfigError: another process works there, or the folder cannot be written to.
    """
    path = make_folder(folder)
    file = path / ".lock"
    if file.is_symlink():  # FileLock would empty what it points to
        raise ConfigError(f"--output '{folder}': '{file}' is a link; delete it, or give another --output.")
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"--output '{folder}': a {work} is running there; wait for it, or give another.") from None
    except OSError as error:
        raise ConfigError(f"--output '{folder}' cannot be locked: {error.strerror}; give another --output.") from error
    try:
        yield path
    finally:
        lock.release()


@contextmanager
def claimed_folder(
    folder: Path, name: str, identity: dict[str, Any], what: str,
    refusal: Callable[[dict[str, Any] | None], str | None], hint: str,
) -> Iterator[None]:  # fmt: skip
    """Make a folder for long work, or open the one that it was begun in; it is ours as long as the context lasts.

    Args:
        folder: of the work.
        name: of its JSON file with the identity.
        identity: what may not change in the midst of the work; its "format" names its keys.
        what: the kind of work.
        refusal: given the identity of the work that the folder holds, None if it holds none: why it cannot be used.
        hint: what to do when the disk is full.

    Raises:
        ConfigError: `refusal`, or the folder holds something else, or another process works in it.
    """
    file, known = folder / name, None
    if file.is_file():
        with suppress(ValueError):
            known = json.loads(file.read_text())
        if not isinstance(known, dict) or known.keys() != identity.keys() or known["format"] != identity["format"]:
            raise ConfigError(f"'{file}' is damaged or of another release; give another --output.")
    elif folder.is_dir() and any(
        inside.name != ".lock" and not _LEFTOVER.search(inside.name) for inside in folder.iterdir()
    ):
        raise ConfigError(f"--output '{folder}' is not empty and holds no {what}; give another --output.")
    reason = refusal(known)
    if reason:
        raise ConfigError(reason)
    with locked(folder, what):
        for left in folder.rglob("*.tmp"):
            if _LEFTOVER.search(left.name):  # of a process that died: ours is the only one
                with suppress(OSError):
                    left.unlink()
        write_json(file, identity, hint)  # first: without it the folder is nobody's
        yield
