"""Weights of the offsets and the interaction in a prediction, fitted on validation ratings. Ours.

    r = m + l + sum_k [ w_k o_k + (v_k + s_k x_user + t_k x_item) h_k ]        k = 1 ... n autoencoders

Parts    o = a + b, the offsets of row and column, and h = W (g(V r + mu) - g(mu)), the interaction, on the model's
         scale; n is 1 but for an ensemble.
x        (1 + ratings)^-1/2 of the user, or item, over its mean over the training ratings, less 1: 0 for a rating as
         they are on average. Who has fewer ratings than the least active, to whom a hundredth of the ratings belong,
         counts as the most active of these: what few have shown is not for fewer.
Why      In training a rating is among those that predict it, in use it is not: h comes out too flat, the more so the
         fewer ratings it is made of. And of n parts that say much the same, each deserves its share.
Found    by least squares on the validation ratings with a prior, so that few of them change little: around the weights
         of the mean of n predictions, with standard deviation TIGHT for l and the sum of w, and LOOSE for each weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

TIGHT, LOOSE = 0.03, 0.6  # standard deviations of the prior; ratings have one of 1.1 on the model's scale
FEW = 0.01  # share of the ratings
TERMS = 4  # weights of each autoencoder: w, v, s, t


class Parts(NamedTuple):
    """Of predictions by n autoencoders, (..., n) each."""

    offsets: Tensor
    interactions: Tensor


class Calibration(nn.Module):
    """Weighs the parts of predictions.

    Args:
        n: autoencoders.
        user_counts, item_counts: training ratings of each, (n_users,) and (n_items,).

    Attributes:
        weights: l, and w, v, s, t of each autoencoder, (1 + 4 n,); those of a plain mean until `fit`.
        least: ratings that a "user" and an "item" count as having at least.
        x_user, x_item: (n_users,) and (n_items,).
    """

    x_user: Tensor
    x_item: Tensor

    def __init__(self, n: int, user_counts: Tensor, item_counts: Tensor):
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(_plain_mean(n)).float(), requires_grad=False)
        self.least, self._mean_root = {}, {}
        for kind, counts in (("user", user_counts), ("item", item_counts)):
            ratings = counts.sort().values.double()
            below = int((ratings.cumsum(0) < FEW * ratings.sum()).sum())
            self.least[kind] = int(ratings[below])
            self._mean_root[kind] = ((ratings * self._root(kind, ratings)).sum() / ratings.sum()).item()
            self.register_buffer(f"x_{kind}", self.x(kind, counts), persistent=False)

    def x(self, kind: str, counts: Tensor) -> Tensor:
        """x of users or of items with so many ratings."""
        return (self._root(kind, counts) / self._mean_root[kind] - 1).float()

    def _root(self, kind: str, counts: Tensor) -> Tensor:
        return (1 + counts.clamp(min=self.least[kind]).double()) ** -0.5

    def forward(self, parts: Parts, x_user: Tensor, x_item: Tensor, solved: Tensor | None = None) -> Tensor:
        """r - m of pairs (...,) whose users and items have those x.

        `solved` (n,): whether an interaction is fitted to the ratings at hand, and has its offsets' weight w.
        """
        w, v, s, t = self.weights[1:].view(-1, TERMS).t()
        weight_of_h = v + s * x_user[..., None] + t * x_item[..., None]
        if solved is not None:
            weight_of_h = torch.where(solved, w, weight_of_h)
        return self.weights[0] + (w * parts.offsets + weight_of_h * parts.interactions).sum(-1)

    @staticmethod
    def products(parts: Parts, x_user: Tensor, x_item: Tensor, rest: Tensor) -> Tensor:
        """What `fit` needs of pairs (P,) rated `rest` = r - m: sums of products, (2 + 4 n, 2 + 4 n), float64."""
        offsets, h = (part.double() for part in parts)
        of_each = torch.stack([offsets, h, h * x_user[:, None], h * x_item[:, None]], dim=2)
        columns = [torch.ones(len(rest), 1, device=rest.device), of_each.flatten(1), rest.double()[:, None]]
        table = torch.cat(columns, dim=1)
        return table.t() @ table

    @torch.no_grad()
    def fit(self, products: Tensor, n: int) -> None:
        """Set the weights by validation ratings, and those of all but the first n autoencoders to 0."""
        start, found = _plain_mean(n), np.zeros(len(self.weights))
        kept, summed = [*range(len(start)), len(found)], np.arange(len(start)) % TERMS == 1
        found[: len(start)] = least_squares(products.cpu().numpy()[np.ix_(kept, kept)], start, summed)
        self.weights.copy_(torch.from_numpy(found))


def _plain_mean(n: int) -> NDArray[np.float64]:
    """Weights of the mean of n predictions."""
    return np.array([0.0, *([1 / n, 1 / n, 0.0, 0.0] * n)])


def least_squares(
    products: NDArray[np.float64], start: NDArray[np.float64], summed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Weights of the least error and the least distance from `start`, (W,).

    Args:
        products: sums of the products of the parts and the ratings, the last, (W + 1, W + 1); the first part is 1.
        summed: which weights the prior knows the sum of.
    """
    gram, moments, square = products[:-1, :-1], products[:-1, -1], products[-1, -1]
    precision = np.diag(np.full(len(start), LOOSE**-2)) + np.outer(summed, summed) * TIGHT**-2
    precision[0, 0] = TIGHT**-2
    # the rest's variance, no less than it is: few ratings can be fitted without any
    variance = (square - 2 * start @ moments + start @ gram @ start) / gram[0, 0]
    return start + np.linalg.solve(gram + max(variance, 1e-6) * precision, moments - gram @ start)
