"""Rating prediction by an autoencoder that sees and pays for observed ratings only.

    h(r) = f(W g(V r + mu) + b)
    J    = sum_observed (r - h(r))^2  +  reg_weight / 2 * (|V|^2 + |W|^2)      biases are not penalised

or, with damped offsets of rows and columns (ours),

    h(r) = m + a + W (g(V r + mu) - g(mu)) + b                                 a: the row's offset
    J    = sum_observed (r - h(r))^2  +  reg_weight / 2 * (|V|^2 + |W|^2)  +  row_damping |a|^2  +  column_damping |b|^2

Shapes   B rows in the batch; D row length (users for item rows, items for user rows); K hidden units;
         M observed ratings in the batch.
Units    ratings and predictions in stars, or on whatever scale the ratings have; J in its square.
Missing  an entry counts iff it is stored. The value 0 is a legal rating and says nothing about presence.
Source   Sedhain et al., AutoRec, WWW 2015 Companion, doi:10.1145/2740908.2742726.
Differs  reg_weight here is 4 x the authors' `lamda`, whose loss halves the squared error. Bounded decoder
         activations are stretched onto the range of the training ratings. `activity_scales` and offsets are ours.
         With offsets, codes are relative to the code of an empty row, because the hidden units would otherwise add
         an undamped offset; a row or column without ratings is predicted from the other's offset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from recbole_autorec.model.rating_matrix import RatingMatrix, decode_observed, encode

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "elu": nn.functional.elu,
}
OUTPUT_RANGE = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}  # activations that cannot reach every rating
OUTPUT_CURVATURE = 0.1  # of W, b and a relative to V, with offsets, for L-BFGS; docs/performance.md has the search


class Damping(NamedTuple):
    """Penalties of the offsets: the number of average ratings added to each row and each column."""

    row: float
    column: float


class MaskedAutoencoder(nn.Module):
    """AutoRec on sparse rows.

    Args:
        n_columns: D.
        hidden_size: units of each hidden layer, K last; one layer is the paper, several the deep variant.
        encoder_activation: g, after every hidden layer; a key of ACTIVATIONS.
        decoder_activation: f, after the output; a key of ACTIVATIONS.
        reg_weight: (encoder, decoder) penalties; in the paper both are lambda. The decoder's applies to the output
            weights, the encoder's to all others.
        init_std: standard deviation of the initial V and W; hidden_layers use torch's default, biases start at 0.
        dropout_prob: probability that an input rating is hidden from the encoder during training; it still counts
            in the loss, and the remaining input is scaled up by 1 / (1 - dropout_prob).
        rating_range: lowest and highest training rating; a bounded f is stretched onto it.
        rated_columns: (D,) bool, columns with a rating; the weights of the others are 0. None means all.
        n_rows: number of rows, each with an offset; 0 is the paper's model, without offsets.
        damping: (row, column) of the offsets, if any; f must then be the identity.

    Attributes:
        encoder_weight: V transposed, (D, K_1).
        encoder_bias: mu, (K_1,).
        hidden_layers: dense layers K_1 -> ... -> K of the deep variant; empty in the paper's model.
        decoder_weight: W, (D, K).
        decoder_bias: b, (D,).
        row_bias: a, (n_rows,); only with offsets.
        mean: m, fixed in training; only with offsets.

    Examples:
        >>> import torch
        >>> from recbole_autorec.model.rating_matrix import RatingMatrix
        >>> rows, columns, stars = torch.tensor([0, 0, 1]), torch.tensor([0, 2, 2]), torch.tensor([5.0, 3.0, 1.0])
        >>> ratings = RatingMatrix.from_entries(rows, columns, stars, shape=(2, 3))
        >>> model = MaskedAutoencoder(
        ...     n_columns=3, hidden_size=[4], encoder_activation="sigmoid", decoder_activation="identity",
        ...     reg_weight=(0.1, 0.1), init_std=0.01, dropout_prob=0.0, rating_range=(1.0, 5.0),
        ...     rated_columns=torch.tensor([True, False, True]),
        ... )
        >>> model.objective(ratings, ratings).backward()
        >>> model.encoder_weight.grad[1].abs().sum()  # nobody has rated this column
        tensor(0.)
    """

    def __init__(
        self,
        n_columns: int,
        hidden_size: Sequence[int],
        encoder_activation: str,
        decoder_activation: str,
        reg_weight: tuple[float, float],
        init_std: float,
        dropout_prob: float,
        rating_range: tuple[float, float],
        rated_columns: Tensor | None = None,
        n_rows: int = 0,
        damping: tuple[float, float] = (0.0, 0.0),
    ):
        super().__init__()
        self.encoder_activation = ACTIVATIONS[encoder_activation]
        self.decoder_activation = ACTIVATIONS[decoder_activation]
        self.reg_weight = reg_weight
        self.dropout_prob = dropout_prob
        self.damping = Damping(*damping)
        self.has_offsets = n_rows > 0
        low, high = OUTPUT_RANGE.get(decoder_activation, rating_range)
        self.stretch = (rating_range[1] - rating_range[0]) / (high - low)
        self.shift = rating_range[0] - low * self.stretch

        self.encoder_weight = nn.Parameter(torch.zeros(n_columns, hidden_size[0]))
        self.encoder_bias = nn.Parameter(torch.zeros(hidden_size[0]))
        self.hidden_layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(hidden_size))
        self.decoder_weight = nn.Parameter(torch.zeros(n_columns, hidden_size[-1]))
        self.decoder_bias = nn.Parameter(torch.zeros(n_columns))
        if self.has_offsets:
            self.row_bias = nn.Parameter(torch.zeros(n_rows))
            self.mean = nn.Parameter(torch.zeros(()), requires_grad=False)
        rated = torch.ones(n_columns, dtype=torch.bool) if rated_columns is None else rated_columns.cpu()
        # with offsets W starts at 0, so that training starts from the offsets alone
        for weight in [self.encoder_weight] if self.has_offsets else [self.encoder_weight, self.decoder_weight]:
            weight.data[rated] = init_std * torch.randn(int(rated.sum()), weight.shape[1])

    @torch.no_grad()
    def start_at(self, mean: float, rows: Tensor, columns: Tensor) -> None:
        """Set the offsets m, a (n_rows,) and b (D,)."""
        for parameter, value in ((self.mean, mean), (self.row_bias, rows), (self.decoder_bias, columns)):
            parameter.copy_(torch.as_tensor(value))

    def encode(self, ratings: RatingMatrix) -> Tensor:
        """Encode sparse rows (B, D): (B, K); g(V r + mu), minus g(mu) with offsets."""
        if self.training and self.dropout_prob:
            ratings = ratings.with_values(nn.functional.dropout(ratings.values, self.dropout_prob))
        hidden = self._activated(encode(ratings, self.encoder_weight) + self.encoder_bias)
        return hidden - self._activated(self.encoder_bias) if self.has_offsets else hidden

    def _activated(self, score: Tensor) -> Tensor:
        """Compute hidden units (..., K) from the first layer's scores (..., K_1)."""
        hidden = self.encoder_activation(score)
        for layer in self.hidden_layers:
            hidden = self.encoder_activation(layer(hidden))
        return hidden

    def output(self, score: Tensor) -> Tensor:
        """Apply f to W h + b of any shape: stars."""
        return self.decoder_activation(score) * self.stretch + self.shift

    def levels(self, rows: Tensor) -> Tensor | None:
        """Return m + a of the rows (B,): (B,). None without offsets."""
        return self.mean + self.row_bias[rows] if self.has_offsets else None

    def decode(self, hidden: Tensor, levels: Tensor | None, observed: RatingMatrix) -> Tensor:
        """Predict the observed entries of rows with codes (B, K) and levels (B,): (M,) stars."""
        return self.output(decode_observed(hidden, self.decoder_weight, levels, self.decoder_bias, observed))

    def decode_pairs(self, hidden: Tensor, levels: Tensor | None, rows: Tensor, columns: Tensor) -> Tensor:
        """Predict pairs of rows and columns (P,) from codes (N, K) and levels (N,): (P,) stars. Pairs may repeat."""
        shape = len(hidden), len(self.decoder_bias)
        # a sparse matrix takes a tenth of the time of gathering codes and weights, but must hold each pair once
        keys, places = torch.unique(rows * shape[1] + columns, return_inverse=True)
        pairs = RatingMatrix.from_sorted(keys // shape[1], keys % shape[1], hidden.new_empty(len(keys)), shape)
        return self.decode(hidden, levels, pairs)[places]

    def decode_all(self, hidden: Tensor, levels: Tensor | None, columns: Tensor) -> Tensor:
        """Predict rows with codes (B, K) and levels (B,) at all of the columns (C,): (B, C) stars."""
        score = hidden @ self.decoder_weight[columns].t() + self.decoder_bias[columns]
        return self.output(score if levels is None else score + levels[:, None])

    def squared_error(self, inputs: RatingMatrix, targets: RatingMatrix, levels: Tensor | None = None) -> Tensor:
        """Sum (r - h(r))^2 over the observed entries, in stars^2: scalar. Unobserved entries cost nothing."""
        return (self.decode(self.encode(inputs), levels, targets) - targets.values).square().sum()

    def penalty(self) -> Tensor:
        """Return reg_weight / 2 * (|V|^2 + |W|^2) plus the offsets' penalty: scalar. Biases are otherwise free."""
        encoder, decoder = self.reg_weight
        total = decoder / 2 * _squared_norm(self.decoder_weight) + encoder / 2 * _squared_norm(self.encoder_weight)
        for name, weight in self.hidden_layers.named_parameters():
            if name.endswith("weight"):
                total = total + encoder / 2 * _squared_norm(weight)
        if self.has_offsets:
            total = total + self.damping.row * self.row_bias.square().sum()
            total = total + self.damping.column * self.decoder_bias.square().sum()
        return total

    def objective(
        self, inputs: RatingMatrix, targets: RatingMatrix, levels: Tensor | None = None, share: float = 1.0
    ) -> Tensor:
        """Return J of a batch of rows with `share` of the penalty, so that an epoch's batches add up to J."""
        return self.squared_error(inputs, targets, levels) + share * self.penalty()

    @torch.no_grad()
    def curvatures(self, inputs: RatingMatrix, targets: RatingMatrix) -> dict[nn.Parameter, Tensor]:
        """Return rough second derivatives of J over rows (B, D), by rows of V, W, b and a. Ours.

        They are 1 + n over its mean, with n the sum of squared inputs of a column for V, and the number of ratings of a
        column or row for the others. With offsets, codes start near 0, so the others get OUTPUT_CURVATURE of it.
        """
        ones = torch.ones_like(targets.values)
        output = OUTPUT_CURVATURE if self.has_offsets else 1.0
        by_column = output * _one_plus_relative(targets.column_sums(ones))
        found = {
            self.encoder_weight: _one_plus_relative(inputs.column_sums(inputs.values.square()))[:, None],
            self.decoder_weight: by_column[:, None],
            self.decoder_bias: by_column,
        }
        if self.has_offsets:
            found[self.row_bias] = output * _one_plus_relative(targets.row_sums(ones))
        return found


def _one_plus_relative(sums: Tensor) -> Tensor:
    """Return 1 + n / mean(n) for n > 0, `sums` (N,): (N,)."""
    return 1 + sums / sums[sums > 0].mean()


class _SquaredNorm(Function):
    # torch's own gradient of square().sum() makes five passes over memory: half of the time with mini-batches
    @staticmethod
    def forward(ctx, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return torch.linalg.vector_norm(weight, dim=1).square().sum()  # by rows: float32 loses digits in one long sum

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return ctx.saved_tensors[0] * (2 * grad)


def _squared_norm(weight: Tensor) -> Tensor:
    return _SquaredNorm.apply(weight)


def activity_scales(counts: Tensor, power: float, known: Tensor | None = None) -> Tensor:
    """Return the factors n^-power * mean(n^power) of rows or columns with n ratings, `counts` (N,): (N,). Ours.

    The mean is over the counts > 0 of `known` if given, else of `counts`. Power 0 is the paper. Scaling rows: long rows
    saturate the sigmoid and short ones barely move it; power 1 averages. Scaling columns (for item rows): one rating
    of a user who rates everything says less.
    """
    known = counts if known is None else known
    mean = known[known > 0].double().pow(power).mean()
    return torch.where(counts > 0, mean / counts.double().clamp(min=1).pow(power), 0.0).float()
