"""Models that predict ratings in stars: the base class of ours, and a wrapper for RecBole's."""

from __future__ import annotations

import math
from functools import cache

from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import EvaluatorType, InputType, ModelType
from torch import Tensor

from recbole_autorec.model.margins import Margins, in_steps, margins_of
from recbole_autorec.model.offsets import Offsets, Variances, fit_offsets

MEAN, DEVIATION = 3.6, 1.1  # of MovieLens, on which the defaults were tuned


class AsGiven:
    """The scale of the ratings themselves.

    Attributes:
        zero: position of the scale's 0, in stars.
        unit: size of its unit, in stars.
    """

    zero, unit = 0.0, 1.0

    def on(self, stars: Tensor) -> Tensor:
        """Convert stars to this scale, float32."""
        return stars

    def in_stars(self, ratings):
        """Convert numbers on this scale to stars."""
        return ratings * self.unit + self.zero


class RatingScale(AsGiven):
    """The scale that models see: it gives the training ratings MovieLens's mean and standard deviation. Ours."""

    def __init__(self, ratings: Margins):
        self.low, self.step = ratings.low, ratings.step
        self._steps_of_unit = ratings.steps_deviation / DEVIATION or 1.0
        self._zero_in_steps = ratings.steps_mean - MEAN * self._steps_of_unit
        self.unit = self.step * self._steps_of_unit
        self.zero = self.low + self.step * self._zero_in_steps

    def on(self, stars: Tensor) -> Tensor:
        return ((in_steps(stars, self.low, self.step) - self._zero_in_steps) / self._steps_of_unit).float()


class RatingRecommender(GeneralRecommender):
    """A model whose `predict` returns stars.

    Attributes:
        margins: counts and moments of the training ratings.
        rating_range: lowest and highest training rating, in stars.
        scale: the scale that the model computes on; AsGiven without offsets.
        variances: of user offsets, item offsets and the residual, in stars^2; only with offsets.
        user_damping, item_damping: dampings of the offsets, in ratings: as configured, or from the variances.
        clip_prediction: keep predictions in rating_range. Never in a ranking: it would tie the best items.
    """

    input_type = InputType.POINTWISE
    starts_at_offsets = False  # whether training starts from them: they are epoch 0, a candidate for the best epoch
    loss_is_sum = True  # over the batch, so that the losses of several processes' shares add up

    def __init__(self, config: Config, dataset: Dataset):
        super().__init__(config, dataset)
        self.margins = margins_of(dataset, config["RATING_FIELD"])
        self.rating_range = self.margins.low, self.margins.high
        self.scale: AsGiven = AsGiven()
        self.clip_prediction = bool(config["clip_prediction"]) and config["eval_type"] == EvaluatorType.VALUE

    def fit_offsets(self, config: Config, dataset: Dataset) -> Offsets:
        """Fit user and item offsets, damped as configured or as estimated from the training ratings; set the scale."""
        ratings = dataset.inter_feat
        users, items = (ratings[field].numpy() for field in (self.USER_ID, self.ITEM_ID))
        stars = ratings[config["RATING_FIELD"]]
        self.scale = scale = RatingScale(self.margins)
        values = scale.on(stars).double().numpy()
        shape = self.n_users, self.n_items
        offsets = fit_offsets(users, items, values, shape, config["user_damping"], config["item_damping"])
        self.user_damping, self.item_damping = offsets.user_damping, offsets.item_damping
        self.variances = Variances(*(scale.unit**2 * variance for variance in offsets.variances))
        self.starts_at_offsets = self.type != ModelType.TRADITIONAL
        return offsets

    def about(self) -> list[str]:
        """Describe what was estimated from the training ratings, in lines for the log: variances and dampings."""
        if not hasattr(self, "variances"):
            return []
        user, item, rest = map(math.sqrt, self.variances)
        return [
            f"standard deviations in stars: users {user:.2g}, items {item:.2g}, residual {rest:.2g}; dampings in "
            f"ratings: {self.user_damping:.2g} per user, {self.item_damping:.2g} per item"
        ]

    def clipped(self, prediction: Tensor) -> Tensor:
        return prediction.clamp(*self.rating_range) if self.clip_prediction else prediction


@cache
def in_stars(model_class: type) -> type:
    """Wrap RecBole's `model_class`, which learns and predicts a probability, so that it predicts stars. Ours.

    Cross-entropy with a soft target in [0, 1] is minimal at the conditional mean. `calculate_loss` maps the label from
    the range of the training ratings onto [0, 1], and `predict` maps the probability back. Parameters and their names
    are `model_class`'s own.
    """

    class InStars(model_class):
        def __init__(self, config: Config, dataset: Dataset):
            super().__init__(config, dataset)
            ratings = margins_of(dataset, config["RATING_FIELD"])
            self.lowest_rating, self.rating_span = ratings.low, ratings.high - ratings.low
            self.label_field = config["LABEL_FIELD"]

        def calculate_loss(self, interaction: Interaction) -> Tensor:
            label = (interaction[self.label_field] - self.lowest_rating) / self.rating_span
            return super().calculate_loss(Interaction({**interaction.interaction, self.label_field: label}))

        def predict(self, interaction: Interaction) -> Tensor:
            # some models drop the axis of a last batch of one pair
            return super().predict(interaction).reshape(-1) * self.rating_span + self.lowest_rating

    InStars.__name__ = InStars.__qualname__ = model_class.__name__
    return InStars
