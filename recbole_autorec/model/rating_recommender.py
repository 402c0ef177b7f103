"""Models that predict ratings in stars: a base class for ours, and a star scale for RecBole's."""

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

MEAN, DEVIATION = 3.6, 1.1  # MovieLens's, where the defaults were found


class AsGiven:
    """The scale that ratings are given on.

    Attributes:
        zero: the scale's 0, in stars.
        unit: stars in one of its units.
    """

    zero, unit = 0.0, 1.0

    def on(self, stars: Tensor) -> Tensor:
        """Ratings in stars on this scale, float32."""
        return stars

    def in_stars(self, ratings):
        """Numbers on this scale in stars."""
        return ratings * self.unit + self.zero


class RatingScale(AsGiven):
    """The scale that models see, on which the training ratings have MovieLens's mean and standard deviation. Ours."""

    def __init__(self, ratings: Margins):
        self.low, self.step = ratings.low, ratings.step
        self._steps_of_unit = ratings.steps_deviation / DEVIATION or 1.0
        self._zero_in_steps = ratings.steps_mean - MEAN * self._steps_of_unit
        self.unit = self.step * self._steps_of_unit
        self.zero = self.low + self.step * self._zero_in_steps

    def on(self, stars: Tensor) -> Tensor:
        return ((in_steps(stars, self.low, self.step) - self._zero_in_steps) / self._steps_of_unit).float()


class RatingRecommender(GeneralRecommender):
    """A model whose `predict` gives stars by itself.

    Attributes:
        margins: of the training ratings.
        rating_range: lowest and highest of them, in stars.
        scale: that the model computes on; as given where it has no offsets.
        variances: of users' and items' offsets and of the rest, in stars^2; of models that have offsets.
        user_damping, item_damping: of theirs, in ratings: as configured, or what the variances say.
        clip_prediction: keep predictions in that range. Never in a ranking: it would tie the best items.
    """

    input_type = InputType.POINTWISE
    starts_at_offsets = False  # its training: they are a candidate for the best epoch, number 0
    loss_is_sum = True  # over the batch, so that several processes' losses of its shares add up

    def __init__(self, config: Config, dataset: Dataset):
        super().__init__(config, dataset)
        self.margins = margins_of(dataset, config["RATING_FIELD"])
        self.rating_range = self.margins.low, self.margins.high
        self.scale: AsGiven = AsGiven()
        self.clip_prediction = bool(config["clip_prediction"]) and config["eval_type"] == EvaluatorType.VALUE

    def fit_offsets(self, config: Config, dataset: Dataset) -> Offsets:
        """Offsets of users and items, damped as configured, or as the training ratings ask for; sets the scale."""
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
        """What the training ratings have decided, in lines for people: the variances and dampings."""
        if not hasattr(self, "variances"):
            return []
        user, item, rest = map(math.sqrt, self.variances)
        return [
            f"users differ by {user:.2g} stars, items by {item:.2g}, the rest of a rating by {rest:.2g} (standard "
            f"deviations); offsets are damped by {self.user_damping:.2g} ratings of a user, {self.item_damping:.2g} of "
            "an item"
        ]

    def clipped(self, prediction: Tensor) -> Tensor:
        return prediction.clamp(*self.rating_range) if self.clip_prediction else prediction


@cache
def in_stars(model_class: type) -> type:
    """RecBole's `model_class`, which learns and predicts a probability, in stars. Ours.

    Cross-entropy with a soft target in [0, 1] is least at the conditional mean. The label is mapped onto [0, 1] by
    the training part's range on the way into `calculate_loss`, and the probability back on the way out of `predict`.
    Parameters and their names are `model_class`'s own.
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
            # a last batch of one pair loses its axis in some models
            return super().predict(interaction).reshape(-1) * self.rating_span + self.lowest_rating

    InStars.__name__ = InStars.__qualname__ = model_class.__name__
    return InStars
