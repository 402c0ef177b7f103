"""Checkpoints hold tensors and plain values, never code, and are written whole or not at all."""

from __future__ import annotations

import math
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_autorec.errors import AutoRecError, CheckpointError, in_one_line
from recbole_autorec.files import write_whole
from recbole_autorec.trainer.migration import CARRIED_OVER, OLD_RELEASE, OLD_VERSION, from_version_2
from recbole_autorec.trainer.scaled_lbfgs import ScaledLBFGS

FORMAT = "recbole_autorec"
VERSION = 3
GREAT = 1e16  # larger than any rating or count
ROOM = 1 << 27  # bytes that building a model may use beyond the size of its file


def _is_plain(value: Any) -> bool:
    """Whether it is None, a bool, a number, text, or a list or dict of these."""
    if isinstance(value, dict):
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    return all(map(_is_plain, value)) if type(value) is list else type(value) in (type(None), bool, int, float, str)


def _is_tensor(value: Any, *kinds: torch.dtype) -> bool:
    """Whether it is a dense, finite tensor within its storage, and of one of `kinds` if any are given."""
    if not torch.is_tensor(value) or value.layout != torch.strided or (kinds and value.dtype not in kinds):
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes() and bool(value.isfinite().all())


def _are_tensors(value: Any) -> bool:
    return isinstance(value, dict) and all(type(name) is str and _is_tensor(each) for name, each in value.items())


def _is_amount(value: Any) -> bool:
    return type(value) is float and 0 <= value < math.inf


def _are_scores(value: Any) -> bool:
    return isinstance(value, dict) and all(type(k) is str and type(v) is float for k, v in value.items())


def _is_course(value: Any) -> bool:
    """Whether it is what RatingTrainer.course() returns; `test` holds the test scores if that part was trained on."""
    if not isinstance(value, dict) or value.keys() - {"test"} != COURSE.keys():
        return False
    return all(is_right(value[name]) for name, is_right in COURSE.items()) and _are_scores(value.get("test", {}))


def _is_state_of_optimizer(value: Any) -> bool:
    """Whether it is a nesting of plain values and tensors."""
    if isinstance(value, dict):
        return all(type(key) in (str, int) and _is_state_of_optimizer(item) for key, item in value.items())
    if type(value) in (list, tuple):
        return all(map(_is_state_of_optimizer, value))
    return _is_plain(value) or _is_tensor(value)


def _are_names(data: Any, *more: str) -> bool:
    """Whether it has valid ids, titles and fields, and no other keys than `more`."""
    if not isinstance(data, dict) or data.keys() != {"users", "items", "titles", "fields", *more}:
        return False
    ids, titles = (data["users"], data["items"]), data["titles"]
    texts = [*ids, data["fields"], *([titles] if titles is not None else [])]
    if not all(type(names) is list and all(type(name) is str for name in names) for names in texts):
        return False
    return all(0 < len(set(names)) == len(names) for names in ids) and (titles is None or len(titles) == len(ids[1]))


def _are_margins(data: Any) -> bool:
    """Whether it is what without_ratings of data/dataset.py returns."""
    if not _are_names(data, "margins") or not isinstance(data["margins"], dict):
        return False
    margins = dict(data["margins"])
    counts = [margins.pop(name, None) for name in ("user_counts", "item_counts")]
    for count, names in zip(counts, (data["users"], data["items"]), strict=True):
        if not _is_tensor(count, torch.int64) or count.shape != (len(names),) or count[0] != 0 or count.min() < 0:
            return False
    if margins.keys() != {"low", "high", "mean", "steps_mean", "steps_deviation"}:
        return False
    if not all(type(number) is float and abs(number) < GREAT for number in margins.values()):
        return False
    return (
        counts[0].sum() == counts[1].sum() > 0
        and margins["low"] <= margins["mean"] <= margins["high"]
        and margins["steps_deviation"] >= 0
    )


def _are_ratings(data: Any) -> bool:
    """Whether it is what served_data of data/dataset.py returns, and cannot crash or mislead a model."""
    if not _are_names(data, "user", "item", "rating"):
        return False
    ids = data["users"], data["items"]
    for name, kind in (("user", torch.int32), ("item", torch.int32), ("rating", torch.float32)):
        if not _is_tensor(data[name], kind) or data[name].ndim != 1 or len(data[name]) != len(data["user"]):
            return False
    return len(data["user"]) > 0 and all(
        numbers.min() >= 1 and numbers.max() < len(names)
        for numbers, names in zip((data["user"], data["item"]), ids, strict=True)
    )


COURSE: dict[str, Callable[[Any], bool]] = {
    "best_epoch": lambda v: type(v) is int and v >= 0,
    "epochs_run": lambda v: type(v) is int and v >= 0,
    "train_seconds": _is_amount,
    "eval_seconds": _is_amount,
    "curve": lambda v: (
        type(v) is list
        and all(
            type(p) is list and [type(x) for x in p] == [int, float, float] and all(map(math.isfinite, p)) for p in v
        )
    ),
    "valid": lambda v: v is None or _are_scores(v),
}

# Keys of a checkpoint and a check for each value; see RatingTrainer._write_checkpoint.
SCHEMA: dict[str, Callable[[Any], bool]] = {
    "parameters": lambda v: (
        isinstance(v, dict) and _is_plain(v) and all(type(v.get(k)) is str for k in ("model", "dataset"))
    ),
    "train_fingerprint": lambda v: type(v) is str,
    "best_valid_score": lambda v: type(v) is float and not math.isnan(v),
    "course": _is_course,
    "refit": lambda v: type(v) is bool,
    "data": _are_ratings,
    "state_dict": _are_tensors,
    "other_parameter": lambda v: isinstance(v, dict) and _are_tensors({k: t for k, t in v.items() if t is not None}),
    "optimizer": lambda v: isinstance(v, dict) and _is_state_of_optimizer(v),
    "random_state": lambda v: _are_tensors(v) and v.keys() - {"cuda"} == {"torch", "loader", "numpy"},
}

# The same for a checkpoint that only serves; see Predictor.save.
SERVING_SCHEMA: dict[str, Callable[[Any], bool]] = {
    **{name: SCHEMA[name] for name in ("parameters", "state_dict", "other_parameter")},
    "data": _are_margins,
    "learnt": lambda v: (
        type(v) is list
        and all(
            type(each) is tuple and len(each) == 2 and _is_tensor(each[0], torch.float32) and _is_amount(each[1])
            for each in v
        )
    ),
}


def save_checkpoint(path: str | Path, state: dict[str, Any], flag: str = "--checkpoint_dir") -> None:
    """Write `state`; an older file at `path` is kept until the new one is complete. Errors name `flag`, which sets it.

    Raises:
        CheckpointError: the disk is full or the folder is not writable.
    """
    content = {"format": FORMAT, "version": VERSION, **state}
    write_whole(
        Path(path),
        lambda file: torch.save(content, file),
        CheckpointError,
        f"an earlier checkpoint is intact. Free some space, or give another {flag}.",
    )


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu", serving: bool = False) -> dict[str, Any]:
    """Read what save_checkpoint wrote. Untrusted files are safe to load: they cannot run code.

    Args:
        serving: also accept a checkpoint that only serves: an exported one, or one of format version 2, of which the
            result has the parts CARRIED_OVER.

    Raises:
        CheckpointError: the file is missing, damaged, not ours, of another version, or does not match its schema.
    """
    try:
        with warnings.catch_warnings():  # torch warns about foreign pickles; the error below says so
            warnings.simplefilter("ignore")
            with zipfile.ZipFile(path) as archive:  # torch does not verify checksums
                packed = [entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()]
                if any(packed) or sum(entry.file_size for entry in archive.infolist()) > os.path.getsize(path):
                    raise ValueError("it expands when unpacked")
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"{damaged} is damaged")
            state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        there = ", ".join(sorted(file.name for file in Path(path).parent.glob("*.pth"))[:5])
        raise CheckpointError(f"checkpoint '{path}': no such file{there and f'; its folder has {there}'}.") from error
    except IsADirectoryError as error:
        raise CheckpointError(f"checkpoint '{path}' is a folder; give the .pth file in it.") from error
    except Exception as error:  # torch raises a dozen kinds of error for damaged files
        raise CheckpointError(
            f"checkpoint '{path}' cannot be read: it is damaged or not a checkpoint of recbole_autorec."
        ) from error
    head = {key: state.get(key) for key in ("format", "version")} if isinstance(state, dict) else {}
    if not _is_plain(head) or head.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint '{path}' was not written by recbole_autorec.")
    if head["version"] == OLD_VERSION:
        return _carried_over(state, path, serving)
    if head["version"] != VERSION:
        raise CheckpointError(
            f"checkpoint '{path}' has format version {str(head['version'])[:20]}; this release reads version "
            f"{VERSION}, and predicts with version {OLD_VERSION}. Train again, or use the release that wrote it."
        )
    only_serves = "learnt" in state
    if only_serves and not serving:
        raise CheckpointError(
            f"checkpoint '{path}' was exported for serving only: it has no ratings and no optimiser. Use the "
            "checkpoint it was exported from."
        )
    _check({key: state[key] for key in state if key not in head}, SERVING_SCHEMA if only_serves else SCHEMA, path)
    return state


def _carried_over(old: dict[Any, Any], path: str | Path, serving: bool) -> dict[str, Any]:
    """Convert a checkpoint of format version 2, if it is to serve; its parts are checked before and afterwards."""
    if not serving:
        raise CheckpointError(
            f"checkpoint '{path}' is of release {OLD_RELEASE} (format version {OLD_VERSION}): this release predicts, "
            "evaluates, recommends and exports with it (Predictor.load), but cannot resume it or load it with its "
            f"data, because training has changed. Train again, or use release {OLD_RELEASE}."
        )
    schema = {name: SCHEMA[name] for name in CARRIED_OVER}
    old = {name: old[name] for name in CARRIED_OVER if name in old}
    _check(old, schema, path)
    with no_forgery(path):
        new = from_version_2(old)
    _check(new, schema, path)
    return new


def _check(state: dict[Any, Any], schema: dict[str, Callable[[Any], bool]], path: str | Path) -> None:
    """Raise CheckpointError unless the state has the schema's keys and valid values."""
    missing = sorted(schema.keys() - state.keys())
    if missing:
        raise CheckpointError(f"checkpoint '{path}' lacks {', '.join(missing)}; it is damaged.")
    wrong = sorted(map(str, state.keys() - schema.keys()))
    wrong += [name for name, is_right in schema.items() if not is_right(state[name])]
    if wrong:
        raise CheckpointError(f"checkpoint '{path}' is damaged: invalid {', '.join(wrong)}.")


@contextmanager
def no_forgery(path: str | Path) -> Iterator[None]:
    """Turn any error that forged values cause in RecBole's classes into a CheckpointError."""
    try:
        yield
    except AutoRecError:
        raise
    except Exception as error:
        raise CheckpointError(f"checkpoint '{path}' is damaged: {in_one_line(error)}.") from error


def other_parameter(model: AbstractRecommender) -> dict[str, Any]:
    """Return what a RecBole model keeps besides its parameters, tensors only; its constructor rebuilds the rest."""
    return {
        key: value.clone() if torch.is_tensor(value) else value
        for key, value in model.other_parameter().items()
        if value is None or torch.is_tensor(value)
    }


class _NoLargerThan(TorchDispatchMode):
    """Refuse to allocate tensors larger than `limit` bytes."""

    def __init__(self, limit: int):
        super().__init__()
        self.limit = limit

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        size = args[0] if args and isinstance(args[0], (list, tuple, torch.Size)) else ()
        if all(isinstance(n, int) for n in size) and 4 * math.prod(size) > self.limit:
            raise MemoryError
        return func(*args, **(kwargs or {}))


def rebuilt(build: Callable[[], AbstractRecommender], checkpoint: dict[str, Any], path: str | Path, size: int):
    """Build a model and load the weights of a checkpoint of `size` bytes at `path`; return it in evaluation mode.

    Raises:
        CheckpointError: the weights do not fit, or the model would be much larger than the file.
    """
    try:
        with _NoLargerThan(size + ROOM):
            model = build()
    except MemoryError as error:
        raise CheckpointError(
            f"checkpoint '{path}' does not fit this model: its parameters require more weights than it has."
        ) from error
    load_weights(model, checkpoint, path)
    return model.eval()


def load_weights(model: AbstractRecommender, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Load a checkpoint's weights into a model.

    Raises:
        CheckpointError: the weights have other names, shapes or types.
    """
    try:
        ours, theirs = model.state_dict(), checkpoint["state_dict"]
        if any(ours[name].dtype != weights.dtype for name, weights in theirs.items() if name in ours):
            raise TypeError("dtype")
        model.load_state_dict(theirs)
        others = checkpoint["other_parameter"]
        if others.keys() - model.other_parameter() or any(
            value is not None and not torch.is_tensor(value) for value in others.values()
        ):  # RecBole sets any attribute named there
            raise TypeError("other_parameter")
        model.load_other_parameter(others)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"checkpoint '{path}' does not fit this model: it has another dataset or hidden_size."
        ) from error


def load_optimizer(optimizer: torch.optim.Optimizer, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Load a checkpoint's state into an optimiser.

    Raises:
        CheckpointError: the state is invalid or belongs to another optimiser.
    """
    saved, ours = checkpoint["optimizer"], optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    total = sum(parameter.numel() for parameter in parameters)
    try:
        if saved["param_groups"] != ours["param_groups"]:
            raise ValueError("param_groups")
        example = _state_after_steps(optimizer)
        for number, state in saved["state"].items():
            lengths = {len(value) for value in state.values() if isinstance(value, list)}
            size = total if isinstance(optimizer, ScaledLBFGS) else parameters[number].numel()
            if state.keys() != example.keys() or len(lengths) > 1:
                raise ValueError("state")
            if not all(_is_like(value, example[key], size) for key, value in state.items()):
                raise ValueError("state")
        optimizer.load_state_dict(saved)
    except Exception as error:  # a forged file can cause any error in torch's optimisers
        raise CheckpointError(f"checkpoint '{path}' does not fit this learner, or is damaged: optimizer.") from error


def _is_like(value: Any, example: Any, size: int) -> bool:
    """Whether `value` is like `example`: a number, a tensor of `size` numbers, or a list of these."""
    if isinstance(example, list):
        return isinstance(value, list) and all(_is_like(each, example[0], size) for each in value)
    if torch.is_tensor(example) and example.numel() > 1:
        return torch.is_tensor(value) and value.numel() == size and value.dtype == example.dtype
    return type(value) in (int, float) or (torch.is_tensor(value) and value.numel() == 1)


def _state_after_steps(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return what an optimiser of this kind stores for one parameter, here of two numbers."""
    parameter = torch.ones(2, requires_grad=True)
    options = signature(type(optimizer)).parameters  # torch adds a default when it loads a state
    twin = type(optimizer)(
        [parameter], **{key: optimizer.defaults[key] for key in options if key in optimizer.defaults}
    )

    def closure() -> torch.Tensor:
        twin.zero_grad()
        loss = (parameter**4).sum()
        loss.backward()
        return loss

    for _ in range(3):  # L-BFGS's lists may be empty after the first
        twin.step(closure)  # type: ignore[arg-type]
    return twin.state[parameter]
