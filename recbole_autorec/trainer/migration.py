"""Carry checkpoints of format version 2, written by release 0.1.0, over to the present format.

The predictions stay the same, up to the rounding of single precision. What training needs to continue is not carried
over: the learners, the objective and its scale have changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from recbole_autorec.model.calibration import plain_mean
from recbole_autorec.model.margins import margins_of_ratings
from recbole_autorec.model.rating_recommender import RatingScale

OLD_VERSION, OLD_RELEASE = 2, "0.1.0"
CARRIED_OVER = ("parameters", "data", "state_dict", "other_parameter")  # all that predictions need
# With these an AutoRec is what it was: the paper's objective, computed in stars.
AUTOREC = {"offsets": False, "calibration": False, "reg_floor": 0}
BIASED_MF = {"mean", "user_factors.weight", "user_bias.weight", "item_factors.weight", "item_bias.weight"}


def from_version_2(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts CARRIED_OVER of a checkpoint of format version 2 in the present format.

    Args:
        state: these parts, valid by the schema of the present format.
    """
    parameters, weights = dict(state["parameters"]), dict(state["state_dict"])
    if "init_bias" in parameters:  # every AutoRec had it, and no other model
        del parameters["init_bias"]
        parameters |= AUTOREC
        weights["calibration.weights"] = torch.from_numpy(plain_mean(1)).float()
    elif weights.keys() >= BIASED_MF:
        weights |= _biased_mf_on_its_scale(weights, state["data"])
    return {**state, "parameters": parameters, "state_dict": weights}


def _biased_mf_on_its_scale(weights: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert BiasedMF's weights from stars to the model's scale; the items' factors may stay."""
    shape = len(data["users"]), len(data["items"])
    scale = RatingScale(margins_of_ratings(data["user"], data["item"], data["rating"], shape))
    scaled = ("user_factors.weight", "user_bias.weight", "item_bias.weight")
    return {
        "mean": (weights["mean"] - scale.zero) / scale.unit,
        **{name: weights[name] / scale.unit for name in scaled},
    }
