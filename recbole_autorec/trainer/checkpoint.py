"""Checkpoints are data, never code: tensors and plain values, written whole or not at all."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from recbole_autorec.errors import CheckpointError

FORMAT = "recbole_autorec"
VERSION = 1
KEYS = {"parameters", "train_fingerprint", "epoch", "cur_step", "best_valid_score", "best_valid_result",
        "state_dict", "optimizer", "random_state"}  # fmt: skip


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write `state`; an older file at `path` stays as it is until the new one is complete.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, "version": VERSION, **state}, file)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        cause = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"checkpoint '{path}' cannot be written: {cause}. The last one written is untouched; "
            "free some space, or give another --checkpoint_dir."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what save_checkpoint wrote. Loading a stranger's file is safe: it cannot run code.

    Raises:
        CheckpointError: no such file, damaged, not ours, or of another version.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():  # torch wonders aloud about a foreign pickle; the error below says it
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint '{path}': no such file.") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, BadZipFile, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"checkpoint '{path}' cannot be read: it is damaged or no checkpoint of recbole_autorec."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint '{path}' was not written by recbole_autorec.")
    if state["version"] != VERSION:
        raise CheckpointError(
            f"checkpoint '{path}' has format version {state['version']}; this release reads version {VERSION}. "
            "Train again, or use the release that wrote it."
        )
    missing = sorted(KEYS - set(state))
    if missing:
        raise CheckpointError(f"checkpoint '{path}' lacks {', '.join(missing)}; it is damaged.")
    return state
