"""Write files whole or not at all; create and lock folders."""

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

# The last four characters in the first brackets are the full-width = + - @.
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20](?!(?<=[+-])(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z)")
_LEFTOVER = re.compile(r"\.(\d+)\.tmp$")  # a temporary file of write_whole, with its process id


def write_whole(path: Path, write: Callable[[IO[bytes]], Any], error_class: type[AutoRecError], hint: str) -> Any:
    """Let `write` fill a temporary file, then move it to `path`, untouched until then; return what `write` returns.

    Raises:
        error_class: the disk is full or the folder is not writable; `hint` says what to do.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if not os.access(path, os.W_OK) and os.path.exists(path):  # os.replace ignores this
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        clear_leftovers(path.parent, glob.escape(path.name))
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # x: do not follow a planted link
            result = write(file)
        os.replace(temporary, path)
        return result
    except (OSError, RuntimeError) as error:
        # torch turns a full disk, and Ctrl-C, into a RuntimeError; any other one comes from `write`
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
    """Delete temporary files of `names`, a glob pattern, that dead processes left at least `age` seconds ago."""
    for left in folder.glob(f"{names}.*.tmp"):
        found = _LEFTOVER.search(left.name)
        with suppress(OSError, OverflowError):  # not permitted, or not a process id
            if found and not psutil.pid_exists(int(found[1])) and time.time() - left.stat().st_mtime >= age:
                left.unlink()


def write_text(path: Path, text: str, hint: str) -> None:
    """Write `text` in UTF-8, whole or not at all."""
    write_whole(path, lambda file: file.write(text.encode()), AutoRecError, hint)


def write_json(path: Path, content: Any, hint: str) -> None:
    """Write `content` as JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n", hint)


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Prefix an apostrophe to text that a spreadsheet would take for a formula, for .csv files; numbers stay."""
    safe = table.copy(deep=False)
    for place, kind in enumerate(table.dtypes):
        if pd.api.types.is_numeric_dtype(kind):
            continue
        texts = table.iloc[:, place].to_numpy(dtype=object).tolist()
        different = {text for text in texts if isinstance(text, str)}  # ids repeat
        unsafe = {text for text in different if _FORMULA.match(text)}
        if unsafe:
            safe.isetitem(place, [f"'{text}" if isinstance(text, str) and text in unsafe else text for text in texts])
    return safe


def add_to_digest(digest: Any, path: Path) -> None:
    """Feed a file's content to a digest of hashlib's."""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)


def make_folder(folder: str | Path) -> Path:
    """Return the folder as a path; create it if it does not exist.

    Raises:
        ConfigError: it cannot be created or is not writable.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        there = "a broken link" if os.path.islink(path) else "a file" if os.path.isfile(path) else None
        why = f"{there} of that name exists" if there else error.strerror
        raise ConfigError(f"folder '{path}' cannot be created: {why}; give another one.") from error
    if not os.access(path, os.W_OK):
        raise ConfigError(f"folder '{path}' is not writable; give another one.")
    return path


@contextmanager
def locked(folder: str | Path, work: str) -> Iterator[Path]:
    """Create or open a folder and lock it while the context lasts.

    Raises:
        ConfigError: another process works there, or the folder is not writable.
    """
    path = make_folder(folder)
    file = path / ".lock"
    if file.is_symlink():  # FileLock would truncate its target
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
    """Create a folder for long work, or reopen the one where it began, and lock it while the context lasts.

    Args:
        folder: folder of the work.
        name: name of the JSON file that holds the identity.
        identity: what must not change until the work ends; its "format" tells which keys it has.
        what: kind of work, for messages.
        refusal: takes the identity found in the folder, or None; returns why the folder cannot be used, or None.
        hint: what to do when the disk is full.

    Raises:
        ConfigError: `refusal` gave a reason, the folder holds something else, or another process works in it.
    """
    file, known = folder / name, None
    if file.is_file():
        with suppress(ValueError):
            known = json.loads(file.read_text())
        if not isinstance(known, dict) or known.keys() != identity.keys() or known["format"] != identity["format"]:
            raise ConfigError(f"'{file}' is damaged or from another release; give another --output.")
    elif folder.is_dir() and any(
        inside.name != ".lock" and not _LEFTOVER.search(inside.name) for inside in folder.iterdir()
    ):
        raise ConfigError(f"--output '{folder}' is not empty and holds no {what}; give another --output.")
    reason = refusal(known)
    if reason:
        raise ConfigError(reason)
    with locked(folder, what):
        for left in folder.rglob("*.tmp"):
            if _LEFTOVER.search(left.name):  # left by a dead process: we hold the lock
                with suppress(OSError):
                    left.unlink()
        write_json(file, identity, hint)  # first: it marks the folder as ours
        yield
