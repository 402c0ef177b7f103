"""Files written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from recbole_autorec.errors import AutoRecError, ConfigError


def write_whole(path: Path, write: Callable[[IO[bytes]], object], error_class: type[AutoRecError], hint: str) -> None:
    """Let `write` fill a temporary file, then put it in place of `path`, which stays as it is until then.

    Raises:
        error_class: the disk is full or the folder cannot be written; `hint` says what to do.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        cause = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise error_class(f"'{path}' cannot be written: {cause}; {hint}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any, hint: str) -> None:
    """Write `content` as JSON, whole or not at all."""
    text = json.dumps(content, indent=2) + "\n"
    write_whole(path, lambda file: file.write(text.encode()), AutoRecError, hint)


def make_folder(folder: str | Path) -> Path:
    """The folder, made if it was not there.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"folder '{path}' cannot be made: {error.strerror}.") from error
    if not os.access(path, os.W_OK):
        raise ConfigError(f"folder '{path}' cannot be written to; give another one.")
    return path
