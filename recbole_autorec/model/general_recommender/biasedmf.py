"""Matrix factorisation with offsets, trained on ratings in stars.

    r(u, i) = mean + b_u + b_i + p_u . q_i
    J       = 1/2 sum_observed [ (r - r(u, i))^2 + reg_weight (b_u^2 + b_i^2 + |p_u|^2 + |q_i|^2) ]

Shapes   B ratings in the batch; K = embedding_size.
Units    ratings and predictions in stars; J in stars^2.
Source   Koren, Bell, Volinsky, Matrix Factorization Techniques for Recommender Systems, Computer 2009,
         doi:10.1109/MC.2009.263, equation 5; scikit-surprise's SVD has the same J and the same meaning of
         learning_rate, the step for one rating. A batch's loss is a sum, so that small batches of sgd come to the
         same as ratings one by one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_autorec.model.rating_recommender import RatingRecommender


class BiasedMF(RatingRecommender):
    """Biased matrix factorisation; a user or an item without training rating keeps offset and factors 0.

    Attributes:
        mean: of the training ratings, in stars; fixed.
        user_factors, item_factors: (n_users, K) and (n_items, K). user_bias, item_bias: (n_users, 1), (n_items, 1).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.RATING = config["RATING_FIELD"]
        self.reg_weight = config["reg_weight"]
        ratings = dataset.inter_feat
        self.mean = nn.Parameter(ratings[self.RATING].double().mean().float(), requires_grad=False)

        # sparse gradients: a batch costs its ratings, not all users and items
        self.user_factors, self.user_bias, self.item_factors, self.item_bias = (
            nn.Embedding(count, size, sparse=True)
            for count in (self.n_users, self.n_items)
            for size in (config["embedding_size"], 1)
        )
        for field, factors, bias in (
            (self.USER_ID, self.user_factors, self.user_bias),
            (self.ITEM_ID, self.item_factors, self.item_bias),
        ):
            nn.init.zeros_(bias.weight)
            nn.init.normal_(factors.weight, std=config["init_std"])
            factors.weight.data[torch.bincount(ratings[field], minlength=len(factors.weight)) == 0] = 0

    def forward(self, users: Tensor, items: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Predictions of the pairs (B,): (B,) stars, and what went into them: (B, K) and (B, 1), twice."""
        p, q = self.user_factors(users), self.item_factors(items)  # (B, K)
        b_u, b_i = self.user_bias(users), self.item_bias(items)  # (B, 1)
        return self.mean + (b_u + b_i).squeeze(1) + (p * q).sum(1), [p, q, b_u, b_i]

    def calculate_loss(self, interaction) -> Tensor:
        """J of the batch's ratings, in stars^2."""
        prediction, used = self.forward(interaction[self.USER_ID], interaction[self.ITEM_ID])
        penalty = sum(parameter.square().sum() for parameter in used)
        return ((interaction[self.RATING] - prediction).square().sum() + self.reg_weight * penalty) / 2

    def predict(self, interaction) -> Tensor:
        """Ratings of the pairs (P,): (P,) stars."""
        return self.clipped(self.forward(interaction[self.USER_ID], interaction[self.ITEM_ID])[0])

    def full_sort_predict(self, interaction) -> Tensor:
        """Scores of all items for the users (B,): (B * n_items,) stars, unclipped."""
        users = interaction[self.USER_ID]
        scores = self.user_factors(users) @ self.item_factors.weight.t()  # (B, n_items)
        return (self.mean + self.user_bias(users) + self.item_bias.weight.t() + scores).reshape(-1)
