"""Counts and moments of the training ratings: besides its codes, all that a trained AutoRec needs of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from recbole.data.dataset import Dataset
from torch import Tensor

STEPS = 2**16  # from lowest to highest rating; counted in steps, ratings are the same numbers in any unit


class Margins(NamedTuple):
    """Counts and moments of the training ratings.

    Attributes:
        user_counts, item_counts: number of ratings of each, (n_users,) and (n_items,) int64.
        low, high, mean: lowest, highest and mean rating, in stars.
        steps_mean, steps_deviation: mean and standard deviation, in steps from low; STEPS reach from low to high.
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
        """Size of a step, in stars."""
        return _step(self.low, self.high)


def margins_of(dataset: Dataset, rating_field: str) -> Margins:
    """Compute the margins of a training part; a part without ratings carries them in `margins`."""
    if isinstance(known := vars(dataset).get("margins"), Margins):
        return known
    part, user, item = dataset.inter_feat, dataset.uid_field, dataset.iid_field
    return margins_of_ratings(part[user], part[item], part[rating_field], (dataset.num(user), dataset.num(item)))


def margins_of_ratings(users: Tensor, items: Tensor, stars: Tensor, shape: tuple[int, int]) -> Margins:
    """Compute the margins of M ratings, (M,) each, among shape = (n_users, n_items)."""
    user_counts, item_counts = (torch.bincount(ids, minlength=n) for ids, n in zip((users, items), shape, strict=True))
    low, high, mean = stars.min().item(), stars.max().item(), stars.double().mean().item()
    steps = in_steps(stars, low, _step(low, high))
    steps_mean = steps.mean().item()
    steps_deviation = (steps - steps_mean).square().mean().sqrt().item()
    return Margins(user_counts, item_counts, low, high, mean, steps_mean, steps_deviation)


def _step(low: float, high: float) -> float:
    return (high - low) / STEPS or 1.0


def in_steps(stars: Tensor, low: float, step: float) -> Tensor:
    """Convert stars to whole numbers of steps above `low`, float64."""
    return ((stars.double() - low) / step).round()
