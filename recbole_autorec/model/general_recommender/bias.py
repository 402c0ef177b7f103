"""Damped user and item offsets around a mean, in closed form; model/offsets.py has the objective.

Units    stars; a damping counts ratings: with n ratings an offset shrinks to about n / (n + damping) of itself.
Source   Koren, Factor in the Neighbors, TKDD 2010, doi:10.1145/1644873.1644874, section 2.1.
Solved   exactly; scikit-surprise's BaselineOnly iterates towards the same solution, with m fixed at the mean rating.
"""

from __future__ import annotations

import torch
from recbole.utils import ModelType
from torch import Tensor, nn

from recbole_autorec.model.rating_recommender import RatingRecommender


class Bias(RatingRecommender):
    """User and item offsets; a user or item without training ratings has offset 0.

    Attributes:
        mean: m, in stars.
        user_bias, item_bias: (n_users,) and (n_items,), in stars.
    """

    type = ModelType.TRADITIONAL

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        offsets, unit = self.fit_offsets(config, dataset), self.scale.unit
        self.mean, self.user_bias, self.item_bias = (
            nn.Parameter(torch.tensor(value, dtype=torch.float32), requires_grad=False)
            for value in (self.scale.in_stars(offsets.mean), unit * offsets.user, unit * offsets.item)
        )

    def predict(self, interaction) -> Tensor:
        """Predict the pairs (P,): (P,) stars."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        return self.clipped(self.mean + self.user_bias[users] + self.item_bias[items])

    def full_sort_predict(self, interaction) -> Tensor:
        """Score all items for the users (B,): (B * n_items,) stars, unclipped."""
        return (self.mean + self.user_bias[interaction[self.USER_ID], None] + self.item_bias).reshape(-1)
