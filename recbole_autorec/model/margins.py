"""What training ratings say without saying who gave which: all that a trained AutoRec needs of them but its codes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from recbole.data.dataset import Dataset
from torch import Tensor

STEPS = 2**16  # that the range of the ratings is counted in: the same numbers in whatever unit they come


class Margins(NamedTuple):
    """Of training ratings.

    Attributes:
        user_counts, item_counts: ratings of each, (n_users,) and (n_items,) int64.
        low, high, mean: of the ratings, in stars.
        steps_mean, steps_deviation: mean and standard deviation, counted in STEPS from low to high.
    """

    user_counts: Tensor
    item_counts: Tensor
    low: float
    high: float
    mean: float
    steps_mean: float
    steps_deviation: float

    @property
    def step(self) -> float:
        """Stars."""
        return _step(self.low, self.high)


def margins_of(dataset: Dataset, rating_field: str) -> Margins:
    """Of a training part; of one that has no ratings any more, what it was given with."""
    if isinstance(known := vars(dataset).get("margins"), Margins):
        return known
    part, stars = dataset.inter_feat, dataset.inter_feat[rating_field]
    users, items = (
        torch.bincount(part[field], minlength=dataset.num(field)) for field in (dataset.uid_field, dataset.iid_field)
    )
    low, high, mean = stars.min().item(), stars.max().item(), stars.double().mean().item()
    steps = in_steps(stars, low, _step(low, high))
    steps_mean = steps.mean().item()
    return Margins(users, items, low, high, mean, steps_mean, (steps - steps_mean).square().mean().sqrt().item())


def _step(low: float, high: float) -> float:
    return (high - low) / STEPS or 1.0


def in_steps(stars: Tensor, low: float, step: float) -> Tensor:
    """Whole numbers, float64."""
    return ((stars.double() - low) / step).round()
