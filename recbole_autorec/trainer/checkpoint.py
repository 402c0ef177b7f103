"""Checkpoints are data, never code: tensors and plain values, written whole or not at all."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_autorec.errors import CheckpointError
from recbole_autorec.files import write_whole

FORMAT = "recbole_autorec"
VERSION = 3
KEYS = {"parameters", "train_fingerprint", "epoch", "best_valid_score", "best_valid_result", "data", "state_dict",
        "other_parameter", "optimizer", "random_state"}  # fmt: skip


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write `state`; an older file at `path` stays as it is until the new one is complete.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written.
    """
    content = {"format": FORMAT, "version": VERSION, **state}
    write_whole(
        Path(path),
        lambda file: torch.save(content, file),
        CheckpointError,
        "a checkpoint written before is untouched. Free some space, or give another --checkpoint_dir.",
    )


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what save_checkpoint wrote. Loading a stranger's file is safe: it cannot run code.

    Raises:
        CheckpointError: no such file, damaged, not ours, or of another version.
    """
    try:
        with warnings.catch_warnings():  # torch wonders aloud about a foreign pickle; the error below says it
            warnings.simplefilter("ignore")
            with zipfile.ZipFile(path) as archive:  # torch itself leaves the check sums unread
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"{damaged} is damaged")
            state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint '{path}': no such file.") from error
    except IsADirectoryError as error:
        raise CheckpointError(f"checkpoint '{path}' is a folder; give the .pth file in it.") from error
    except Exception as error:  # torch's reader fails on a damaged file in a dozen ways
        raise CheckpointError(
            f"checkpoint '{path}' cannot be read: it is damaged or no checkpoint of recbole_autorec."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint '{path}' was not written by recbole_autorec.")
    if state.get("version") != VERSION:
        raise CheckpointError(
            f"checkpoint '{path}' has format version {state.get('version')}; this release reads version {VERSION}. "
            "Train again, or use the release that wrote it."
        )
    missing = sorted(KEYS - set(state))
    if missing:
        raise CheckpointError(f"checkpoint '{path}' lacks {', '.join(missing)}; it is damaged.")
    return state


def other_parameter(model: AbstractRecommender) -> dict[str, Any]:
    """What a model of RecBole keeps beside its parameters, so far as it is plain; its constructor makes the rest."""
    return {
        key: value.clone() if torch.is_tensor(value) else value
        for key, value in model.other_parameter().items()
        if value is None or torch.is_tensor(value)
    }


def load_weights(model: AbstractRecommender, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Put a checkpoint's parameters into a model.

    Raises:
        CheckpointError: they are of another shape.
    """
    try:
        model.load_state_dict(checkpoint["state_dict"])
        others = checkpoint["other_parameter"]
        if others.keys() - model.other_parameter() or any(
            value is not None and not torch.is_tensor(value) for value in others.values()
        ):  # RecBole sets whatever attribute is named
            raise TypeError("other_parameter")
        model.load_other_parameter(others)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"checkpoint '{path}' does not fit this model: another dataset or hidden_size."
        ) from error
