"""Matrix factorisation with offsets, trained on ratings in stars.

    r(u, i) = mean + b_u + b_i + p_u . q_i
    J       = 1/2 sum_observed [ (r - r(u, i))^2 + reg_weight (|p_u|^2 + |q_i|^2) ]
              + 1/2 [ user_damping |b_u|^2 + item_damping |b_i|^2 ]            summed over users and items

Shapes   B ratings in the batch; K = embedding_size.
Units    predictions in stars; parameters and J on the model's scale (RatingScale).
Differs  offsets start at Bias's closed form instead of 0 and are damped as in Bias, not by reg_weight.
Source   Koren, Bell, Volinsky, Matrix Factorization Techniques for Recommender Systems, Computer 2009,
         doi:10.1109/MC.2009.263, equation 5. scikit-surprise's SVD has the same J and the same learning_rate, the
         step per rating. The loss of a batch is a sum, so that sgd with small batches matches sgd with single ratings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_autorec.model.rating_recommender import RatingRecommender

MOST = 10.0  # maximum damping per rating: learning_rate could not follow more


class BiasedMF(RatingRecommender):
    """Biased matrix factorisation; a user or item without training ratings keeps offset and factors 0.

    Attributes:
        mean: m of Bias; fixed.
        user_factors, item_factors: (n_users, K) and (n_items, K). user_bias, item_bias: (n_users, 1), (n_items, 1).
        user_damping_of, item_damping_of: damping per rating of each user (n_users,) and each item (n_items,).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.RATING = config["RATING_FIELD"]
        self.reg_weight = config["reg_weight"]
        offsets = self.fit_offsets(config, dataset)
        self.mean = nn.Parameter(torch.tensor(offsets.mean, dtype=torch.float32), requires_grad=False)

        # sparse gradients: the cost of a batch depends on its ratings, not on the number of users and items
        self.user_factors, self.user_bias, self.item_factors, self.item_bias = (
            nn.Embedding.from_pretrained(torch.zeros(count, size), freeze=False, sparse=True)
            for count in (self.n_users, self.n_items)
            for size in (config["embedding_size"], 1)
        )
        dampings = []
        for counts, factors, bias, start, damping in (
            (self.margins.user_counts, self.user_factors, self.user_bias, offsets.user, offsets.user_damping),
            (self.margins.item_counts, self.item_factors, self.item_bias, offsets.item, offsets.item_damping),
        ):
            bias.weight.data = torch.from_numpy(start).float()[:, None]
            rated = counts > 0
            factors.weight.data[rated] = config["init_std"] * torch.randn(int(rated.sum()), factors.embedding_dim)
            dampings.append((damping / counts.clamp(min=1)).clamp(max=MOST).float().to(self.device))
        self.user_damping_of, self.item_damping_of = dampings

    def forward(self, users: Tensor, items: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Predict the pairs (B,) on the model's scale; return also p, q (B, K) and b_u, b_i (B,)."""
        p, q = self.user_factors(users), self.item_factors(items)  # (B, K)
        b_u, b_i = self.user_bias(users).squeeze(1), self.item_bias(items).squeeze(1)  # (B,)
        return self.mean + b_u + b_i + (p * q).sum(1), (p, q, b_u, b_i)

    def calculate_loss(self, interaction) -> Tensor:
        """Return J of the batch's ratings."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        prediction, (p, q, b_u, b_i) = self.forward(users, items)
        error = self.scale.on(interaction[self.RATING]) - prediction
        damped = (self.user_damping_of[users] * b_u.square()).sum() + (self.item_damping_of[items] * b_i.square()).sum()
        return (error.square().sum() + self.reg_weight * (p.square().sum() + q.square().sum()) + damped) / 2

    def predict(self, interaction) -> Tensor:
        """Predict the pairs (P,): (P,) stars."""
        return self.clipped(self.scale.in_stars(self.forward(interaction[self.USER_ID], interaction[self.ITEM_ID])[0]))

    def full_sort_predict(self, interaction) -> Tensor:
        """Score all items for the users (B,): (B * n_items,) stars, unclipped."""
        users = interaction[self.USER_ID]
        scores = self.user_factors(users) @ self.item_factors.weight.t()  # (B, n_items)
        return self.scale.in_stars(self.mean + self.user_bias(users) + self.item_bias.weight.t() + scores).reshape(-1)

    def item_codes(self) -> Tensor:
        """Return the item factors, for similarities: (n_items, K)."""
        return self.item_factors.weight
