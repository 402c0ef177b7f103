"""Models that predict ratings in stars: a base class for ours, and a star scale for RecBole's."""

from __future__ import annotations

from functools import cache

from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import EvaluatorType, InputType
from torch import Tensor


class RatingRecommender(GeneralRecommender):
    """A model whose `predict` gives stars by itself.

    Attributes:
        rating_range: lowest and highest training rating, in stars.
        clip_prediction: keep predictions in that range. Never in a ranking: it would tie the best items.
    """

    input_type = InputType.POINTWISE
    loss_is_sum = True  # over the batch, so that several processes' losses of its shares add up

    def __init__(self, config: Config, dataset: Dataset):
        super().__init__(config, dataset)
        self.rating_range = rating_range(config, dataset)
        self.clip_prediction = bool(config["clip_prediction"]) and config["eval_type"] == EvaluatorType.VALUE

    def clipped(self, prediction: Tensor) -> Tensor:
        return prediction.clamp(*self.rating_range) if self.clip_prediction else prediction


def rating_range(config: Config, dataset: Dataset) -> tuple[float, float]:
    """Lowest and highest rating of a training part, in stars."""
    values = dataset.inter_feat[config["RATING_FIELD"]]
    return values.min().item(), values.max().item()


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
            low, high = rating_range(config, dataset)
            self.lowest_rating, self.rating_span = low, high - low
            self.label_field = config["LABEL_FIELD"]

        def calculate_loss(self, interaction: Interaction) -> Tensor:
            label = (interaction[self.label_field] - self.lowest_rating) / self.rating_span
            return super().calculate_loss(Interaction({**interaction.interaction, self.label_field: label}))

        def predict(self, interaction: Interaction) -> Tensor:
            # a last batch of one pair loses its axis in some models
            return super().predict(interaction).reshape(-1) * self.rating_span + self.lowest_rating

    InStars.__name__ = InStars.__qualname__ = model_class.__name__
    return InStars
