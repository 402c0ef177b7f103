"""Weights of the offsets and the interaction in a prediction, fitted on validation ratings. Ours.

    r = m + l + sum_k [ w_k o_k + (v_k + s_k x_user + t_k x_item) h_k ]        k = 1 ... n autoencoders

Parts    o = a + b, the offsets of row and column, and h = W (g(V r + mu) - g(mu)), the interaction, on the model's
         scale; n is 1 except in an ensemble.
x        (1 + ratings)^-1/2 of the user or item, divided by its mean over the training ratings, minus 1: 0 for an
         average rating. The least active users (items), who hold 1 % of the ratings, all count as the most active of
         them: the fit has too few ratings to extrapolate below that.
Why      In training, a rating is part of the input that predicts it; in use, it is not. So h comes out too flat, most
         of all from few ratings. And n autoencoders that largely agree must share the weight.
Found    by least squares on the validation ratings with a prior, so that few ratings change little. The prior is
         centred on a plain mean of n predictions; its standard deviation is TIGHT for l and the sum of w, LOOSE for
         each weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

TIGHT, LOOSE = 0.03, 0.6  # standard deviations of the prior; ratings have 1.1 on the model's scale
FEW = 0.01  # share of the ratings that the least active hold
TERMS = 4  # weights per autoencoder: w, v, s, t


class Parts(NamedTuple):
    """Parts of the predictions of n autoencoders, (..., n) each."""

    offsets: Tensor
    interactions: Tensor


class Calibration(nn.Module):
    """Weigh the parts of predictions.

    Args:
        n: number of autoencoders.
        user_counts, item_counts: number of training ratings of each, (n_users,) and (n_items,).

    Attributes:
        weights: l, then w, v, s, t of each autoencoder, (1 + 4 n,); a plain mean until `fit`.
        least: minimum number of ratings that a "user" and an "item" count as having.
        x_user, x_item: (n_users,) and (n_items,).
    """

    x_user: Tensor
    x_item: Tensor

    def __init__(self, n: int, user_counts: Tensor, item_counts: Tensor):
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(plain_mean(n)).float(), requires_grad=False)
        self.least, self._mean_root = {}, {}
        for kind, counts in (("user", user_counts), ("item", item_counts)):
            ratings = counts.sort().values.double()
            below = int((ratings.cumsum(0) < FEW * ratings.sum()).sum())
            self.least[kind] = int(ratings[below])
            self._mean_root[kind] = ((ratings * self._root(kind, ratings)).sum() / ratings.sum()).item()
            self.register_buffer(f"x_{kind}", self.x(kind, counts), persistent=False)

    def x(self, kind: str, counts: Tensor) -> Tensor:
        """Return x of users or items with these numbers of ratings."""
        return (self._root(kind, counts) / self._mean_root[kind] - 1).float()

    def _root(self, kind: str, counts: Tensor) -> Tensor:
        return (1 + counts.clamp(min=self.least[kind]).double()) ** -0.5

    def forward(self, parts: Parts, x_user: Tensor, x_item: Tensor, solved: Tensor | None = None) -> Tensor:
        """Return r - m of pairs (...,) from their parts and the x of their users and items.

        `solved` (n,): whether the interaction was fitted to the given ratings; it then gets its offsets' weight w.
        """
        w, v, s, t = self.weights[1:].view(-1, TERMS).t()
        weight_of_h = v + s * x_user[..., None] + t * x_item[..., None]
        if solved is not None:
            weight_of_h = torch.where(solved, w, weight_of_h)
        return self.weights[0] + (w * parts.offsets + weight_of_h * parts.interactions).sum(-1)

    @staticmethod
    def products(parts: Parts, x_user: Tensor, x_item: Tensor, rest: Tensor) -> Tensor:
        """Return the sums of products of pairs (P,) that `fit` needs; `rest` is r - m: (2 + 4 n, 2 + 4 n), float64."""
        offsets, h = (part.double() for part in parts)
        of_each = torch.stack([offsets, h, h * x_user[:, None], h * x_item[:, None]], dim=2)
        columns = [torch.ones(len(rest), 1, device=rest.device), of_each.flatten(1), rest.double()[:, None]]
        table = torch.cat(columns, dim=1)
        return table.t() @ table

    @torch.no_grad()
    def fit(self, products: Tensor, n: int) -> None:
        """Fit the weights of the first n autoencoders to validation ratings; set those of the others to 0."""
        start, found = plain_mean(n), np.zeros(len(self.weights))
        kept, summed = [*range(len(start)), len(found)], np.arange(len(start)) % TERMS == 1
        found[: len(start)] = least_squares(products.cpu().numpy()[np.ix_(kept, kept)], start, summed)
        self.weights.copy_(torch.from_numpy(found))


def plain_mean(n: int) -> NDArray[np.float64]:
    """Return the weights of a plain mean of n predictions."""
    return np.array([0.0, *([1 / n, 1 / n, 0.0, 0.0] * n)])


def least_squares(
    products: NDArray[np.float64], start: NDArray[np.float64], summed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the weights (W,) that minimise the squared error plus the prior's penalty on the distance from `start`.

    Args:
        products: sums of products of the parts and, last, the ratings, (W + 1, W + 1); the first part is constant 1.
        summed: weights whose sum the prior holds tight.
    """
    gram, moments, square = products[:-1, :-1], products[:-1, -1], products[-1, -1]
    precision = np.diag(np.full(len(start), LOOSE**-2)) + np.outer(summed, summed) * TIGHT**-2
    precision[0, 0] = TIGHT**-2
    # residual variance before the fit: afterwards few ratings may have none left
    variance = (square - 2 * start @ moments + start @ gram @ start) / gram[0, 0]
    return start + np.linalg.solve(gram + max(variance, 1e-6) * precision, moments - gram @ start)
