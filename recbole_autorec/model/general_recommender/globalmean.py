"""The mean training rating for every pair: the baseline that any model must beat."""

from __future__ import annotations

import torch
from recbole.utils import ModelType
from torch import Tensor, nn

from recbole_autorec.model.rating_recommender import RatingRecommender


class GlobalMean(RatingRecommender):
    """Predict one number; there is nothing to train.

    Attributes:
        mean: mean training rating, in stars; a parameter without gradient, so that checkpoints hold it.
    """

    type = ModelType.TRADITIONAL

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.mean = nn.Parameter(torch.tensor(self.margins.mean), requires_grad=False)

    def predict(self, interaction) -> Tensor:
        """Predict the pairs (P,): (P,) stars."""
        return self.mean.expand(len(interaction[self.ITEM_ID]))

    def full_sort_predict(self, interaction) -> Tensor:
        """Score all items for the users (B,): (B * n_items,) stars; all tied."""
        return self.mean.repeat(len(interaction[self.USER_ID]) * self.n_items)
