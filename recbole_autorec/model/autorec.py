"""AutoRec as a RecBole model; IAutoRec and UAutoRec say which side is the rows.

Source   Sedhain et al., AutoRec, WWW 2015 Companion, doi:10.1145/2740908.2742726.
Cold     a user or an item with no training rating gets cold_start_rating (the paper: 3), either one suffices.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_autorec.data.rating_matrix import RatingMatrix, rating_matrix
from recbole_autorec.model.masked_autoencoder import ACTIVATIONS, MaskedAutoencoder, activity_scales
from recbole_autorec.model.rating_recommender import RatingRecommender


class AutoRec(RatingRecommender):
    """Rating prediction by an autoencoder over the rows of the training ratings.

    Attributes:
        ratings: training ratings, (N, D) sparse, in stars. N rows and D columns count RecBole's padding id 0.
        row_scales, column_scales: factors of the input by row_scaling and column_scaling, (N,) and (D,).
        inputs: the same entries, so scaled: what the encoder sees.
        autoencoder: the model proper; see MaskedAutoencoder.
        cold_start_rating: prediction for a pair whose user or item has no training rating, in stars.
    """

    rows: ClassVar[str]  # "item" or "user"

    def __init__(self, config: Config, dataset: Dataset):
        super().__init__(config, dataset)
        self.row_field, self.column_field = (
            (self.ITEM_ID, self.USER_ID) if self.rows == "item" else (self.USER_ID, self.ITEM_ID)
        )
        self.ratings = rating_matrix(dataset, config["RATING_FIELD"], self.rows).to(self.device)
        self.row_scaling = config["row_scaling"]
        self.row_scales = activity_scales(self.ratings.row_counts, self.row_scaling)
        self.column_scales = activity_scales(self.ratings.column_counts, config["column_scaling"])
        self.inputs = self._scaled(self.ratings, self.row_scales)
        self.rated_rows = self.ratings.row_counts.nonzero().squeeze(1)
        self.row_is_rated = self.ratings.row_counts > 0  # (N,)
        self.column_is_rated = self.ratings.column_counts > 0  # (D,)

        cold_start_rating = config["cold_start_rating"]
        self.cold_start_rating = sum(self.rating_range) / 2 if cold_start_rating is None else cold_start_rating

        reg_weight = config["reg_weight"]
        if reg_weight is None:
            per_side = len(self.ratings) / math.sqrt(len(self.rated_rows) * int(self.column_is_rated.sum()))
            reg_weight = [per_side * scale for scale in _pair(config["reg_scale"])]
        self.autoencoder = MaskedAutoencoder(
            n_columns=self.ratings.shape[1],
            hidden_size=config["hidden_size"],
            encoder_activation=config["encoder_activation"],
            decoder_activation=config["decoder_activation"],
            reg_weight=_pair(reg_weight),
            init_std=config["init_std"],
            dropout_prob=config["dropout_prob"],
            rating_range=self.rating_range,
        )
        if config["init_bias"] == "mean":
            self.autoencoder.start_at(self._column_means())
        self._selection = self.rated_rows, self.inputs, self.ratings
        self._codes: Tensor | None = None
        self._codes_of: list[tuple[int, int]] = []
        self._spread_of: Tensor | None = None  # the codes that _kept_spread belongs to

    def _column_means(self) -> Tensor:
        """Mean training rating of each column (D,), in stars; the mean of all where it has none."""
        values, counts = self.ratings.values, self.ratings.column_counts
        return torch.where(counts > 0, self.ratings.column_sums(values) / counts.clamp(min=1), values.mean())

    def forward(self, rows: Tensor) -> Tensor:
        """Codes of the rows (B,): (B, K)."""
        return self.autoencoder.encode(self.inputs.select(rows))

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """J of the batch's rows, in stars^2; the batches of an epoch add up to the paper's J."""
        rows = interaction[self.row_field]
        if not torch.equal(rows, self._selection[0]):
            targets = self.ratings.select(rows)
            self._selection = rows, self._scaled(targets, self.row_scales[rows]), targets
        _, inputs, targets = self._selection
        return self.autoencoder.objective(inputs, targets, share=len(rows) / len(self.rated_rows))

    def _scaled(self, ratings: RatingMatrix, row_scales: Tensor) -> RatingMatrix:
        """Ratings (B, D) as the encoder sees them, by the rows' factors (B,) and the columns'."""
        by_row = row_scales.index_select(0, ratings.rows)
        return ratings.with_values(ratings.values * by_row * self.column_scales.index_select(0, ratings.columns))

    def predict(self, interaction: Interaction) -> Tensor:
        """Ratings of the pairs (P,): (P,) stars."""
        rows, columns = interaction[self.row_field], interaction[self.column_field]
        prediction = self.clipped(self.autoencoder.decode_pairs(self.codes(), rows, columns))
        return torch.where(self.row_is_rated[rows] & self.column_is_rated[columns], prediction, self.cold_start_rating)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of all items for the users (B,): (B * n_items,) stars, unclipped."""
        users = interaction[self.USER_ID]
        if self.rows == "user":
            scores = self.autoencoder.decode_all(self.codes()[users], torch.arange(self.n_items, device=users.device))
            rated = self.row_is_rated[users, None] & self.column_is_rated
        else:
            scores = self.autoencoder.decode_all(self.codes(), users).t()
            rated = self.column_is_rated[users, None] & self.row_is_rated
        return torch.where(rated, scores, self.cold_start_rating).reshape(-1)

    def encode_new_row(self, columns: Tensor, values: Tensor) -> Tensor:
        """The encoder's code of a row that training did not see, from its ratings (n,) at n columns: (K,)."""
        count = torch.tensor([len(values)], device=values.device)
        scale = activity_scales(count, self.row_scaling, self.ratings.row_counts)
        row = RatingMatrix.from_entries(torch.zeros_like(columns), columns, values, (1, self.ratings.shape[1]))
        return self.autoencoder.encode(self._scaled(row, scale))[0]

    def solve_new_row(self, columns: Tensor, values: Tensor) -> Tensor:
        """A better code h (K,) for such a row. Ours.

        The weights were fitted to the training rows, and a new row's level and taste show in its code only in part. So
        its ratings are looked at once more: h is the minimum of
            sum (r - f(W h + b))^2 / s^2  +  (h - h')^T C^-1 (h - h')
        with h' the encoder's code, C the covariance of the training rows' codes, s^2 the mean squared training error.
        """
        model = self.autoencoder
        code = self.encode_new_row(columns, values).double()
        root, error = self._spread()
        weights = model.decoder_weight[columns].double()  # (n, K)
        score = weights @ code + model.decoder_bias[columns].double()
        return (code + root @ self._ridge(weights @ root, score, values.double(), error)).float()

    def solve_new_column(self, rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Output weights w (K,) and bias b of a column that training did not see, by its ratings (n,) in n rows. Ours.

        The minimum of J over them, the codes h of the rows being what they are:
            sum (r - f(w . h + b))^2  +  reg_weight / 2 (|w - w'|^2 + (b - b')^2)
        where w' and b' are the means of all columns: without ratings the new one is like the average.
        """
        rated, model = self.column_is_rated, self.autoencoder
        mean = torch.cat([model.decoder_weight[rated].mean(0), model.decoder_bias[rated].mean()[None]]).double()
        codes = torch.nn.functional.pad(self.codes()[rows].double(), (0, 1), value=1.0)  # (n, K + 1): the bias's is 1
        column = mean + self._ridge(codes, codes @ mean, values.double(), max(model.reg_weight[1] / 2, 1e-6))
        return column[:-1].float(), column[-1].float()

    def _ridge(self, design: Tensor, score: Tensor, values: Tensor, penalty: float) -> Tensor:
        """z (P,) with the least sum (values - f(score + design z))^2 + penalty |z|^2.

        score, values (n,); design (n, P). With f the identity the smaller of the two normal equations is solved;
        otherwise L-BFGS goes there.
        """
        if self.autoencoder.decoder_activation is not ACTIVATIONS["identity"]:
            return self._search(design, score, values, penalty)
        by_row = design.shape[0] <= design.shape[1]
        gram = design @ design.t() if by_row else design.t() @ design
        gram.diagonal().add_(penalty)
        rest, solve = values - score, torch.linalg.solve
        return design.t() @ solve(gram, rest) if by_row else solve(gram, design.t() @ rest)

    @torch.enable_grad()
    def _search(self, design: Tensor, score: Tensor, values: Tensor, penalty: float) -> Tensor:
        z = design.new_zeros(design.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS([z], max_iter=200, line_search_fn="strong_wolfe")

        def objective() -> Tensor:
            optimizer.zero_grad()
            error = self.autoencoder.output(score + design @ z) - values
            loss = error.square().sum() + penalty * z.square().sum()
            loss.backward()
            return loss

        optimizer.step(objective)  # type: ignore[arg-type]
        return z.detach()

    def _spread(self) -> tuple[Tensor, float]:
        """A root of the covariance of the rated rows' codes (K, K), and the mean squared training error in stars^2."""
        codes = self.codes()
        if self._spread_of is not codes:
            centred = (codes[self.rated_rows] - codes[self.rated_rows].mean(0)).double()
            values, vectors = torch.linalg.eigh(centred.t() @ centred / len(centred))
            error = self.autoencoder.decode(codes, self.ratings) - self.ratings.values
            mean_square = max(error.double().square().mean().item(), 1e-6)
            self._kept_spread = vectors * values.clamp(min=0).sqrt(), mean_square
            self._spread_of = codes
        return self._kept_spread

    def codes(self) -> Tensor:
        """Codes of all rows (N, K); kept between calls until a parameter changes or training goes on."""
        if self.training or torch.is_grad_enabled():
            return self.autoencoder.encode(self.inputs)
        versions = [(p.data_ptr(), p._version) for p in self.parameters()]
        if self._codes is None or versions != self._codes_of:
            self._codes, self._codes_of = self.autoencoder.encode(self.inputs), versions
        return self._codes

    def train(self, mode: bool = True):
        """As nn.Module; forgets the kept codes, since a step through `.data` leaves no trace in a version."""
        self._codes = None
        return super().train(mode)


def _pair(value: float | list[float]) -> tuple[float, float]:
    """[encoder, decoder], or one number for both."""
    encoder, decoder = value if isinstance(value, list) else (value, value)
    return encoder, decoder
