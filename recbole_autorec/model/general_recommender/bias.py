"""Damped user and item offsets around the mean: the baseline of Koren (2010), section 2.1.

    r(u, i) = mean + b_u + b_i
    J       = sum_observed (r - mean - b_u - b_i)^2  +  user_damping |b_u|^2  +  item_damping |b_i|^2

Units    stars; a damping counts ratings: with n ratings an offset is shrunk by n / (n + damping).
Source   Koren, Factor in the Neighbors, TKDD 2010, doi:10.1145/1644873.1644874.
Solved   exactly: the normal equations are linear, sparse and positive definite. scikit-surprise's BaselineOnly walks
         towards the same solution.
"""

from __future__ import annotations

import numpy as np
import torch
from recbole.utils import ModelType
from scipy import sparse
from scipy.sparse.linalg import cg
from torch import Tensor, nn

from recbole_autorec.model.rating_recommender import RatingRecommender


class Bias(RatingRecommender):
    """User and item offsets in closed form; a user or an item without training rating has offset 0.

    Attributes:
        mean: of the training ratings, in stars.
        user_bias, item_bias: (n_users,) and (n_items,), in stars.
    """

    type = ModelType.TRADITIONAL

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        users, items = (dataset.inter_feat[field].numpy() for field in (self.USER_ID, self.ITEM_ID))
        ratings = dataset.inter_feat[config["RATING_FIELD"]].double().numpy()
        mean = ratings.mean()
        offsets = _offsets(
            users, items, ratings - mean, self.n_users, self.n_items, config["user_damping"], config["item_damping"]
        )
        self.mean, self.user_bias, self.item_bias = (
            nn.Parameter(torch.tensor(value, dtype=torch.float32), requires_grad=False)
            for value in (mean, offsets[: self.n_users], offsets[self.n_users :])
        )

    def predict(self, interaction) -> Tensor:
        """Ratings of the pairs (P,): (P,) stars."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        return self.clipped(self.mean + self.user_bias[users] + self.item_bias[items])

    def full_sort_predict(self, interaction) -> Tensor:
        """Scores of all items for the users (B,): (B * n_items,) stars, unclipped."""
        return (self.mean + self.user_bias[interaction[self.USER_ID], None] + self.item_bias).reshape(-1)


def _offsets(users, items, residuals, n_users: int, n_items: int, user_damping: float, item_damping: float):
    """Minimum of J: (n_users + n_items,) offsets from M residuals, each of user users[m] and item items[m]."""
    ones, entries = np.ones(2 * len(residuals)), np.arange(len(residuals))
    rows, columns = np.concatenate([entries, entries]), np.concatenate([users, n_users + items])
    design = sparse.csr_matrix((ones, (rows, columns)), shape=(len(residuals), n_users + n_items))
    damping = np.repeat([user_damping, item_damping], [n_users, n_items])
    counts = np.bincount(columns, minlength=n_users + n_items)
    damping = np.where(counts == 0, 1.0, damping)  # without ratings the offset is 0, whatever the damping
    normal = design.T @ design + sparse.diags(damping)
    jacobi = sparse.diags(1 / normal.diagonal())
    offsets, failure = cg(normal, design.T @ residuals, M=jacobi, rtol=1e-8, maxiter=10_000)
    assert failure == 0, "conjugate gradients did not converge"
    return offsets
