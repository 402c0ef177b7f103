"""The state of a training's random generators: torch, data loader, GPU, and numpy for negative items."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_state(loader: torch.Generator) -> dict[str, Tensor]:
    """Return the state of all generators, for `set_random_state`."""
    _, keys, place, has_normal, normal = np.random.get_state()
    numpy = torch.tensor([*map(float, keys), place, has_normal, normal], dtype=torch.float64)  # keys are below 2**32
    state = {"torch": torch.get_rng_state(), "loader": loader.get_state(), "numpy": numpy}
    return {**state, "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else state


def set_random_state(state: dict[str, Tensor], loader: torch.Generator) -> None:
    """Restore what `random_state` returned.

    Raises:
        RuntimeError, TypeError, ValueError: the state is invalid.
    """
    torch.set_rng_state(state["torch"].cpu())
    loader.set_state(state["loader"].cpu())
    *keys, place, has_normal, normal = state["numpy"].tolist()
    if not 0 <= place <= len(keys) or not all(0 <= key < 2**32 for key in keys):  # numpy would read out of bounds
        raise ValueError("numpy")
    numpy: Any = ("MT19937", np.array(keys, dtype=np.uint32), int(place), int(has_normal), normal)
    np.random.set_state(numpy)
    if "cuda" in state and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"].cpu())
