"""The two optimisers of the paper that RecBole lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch


def full_batch_optimizer(params: Iterable[torch.nn.Parameter], config: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Build L-BFGS with a strong Wolfe line search, or RProp; both need the gradient of the whole objective.

    Args:
        params: parameters to optimise.
        config: learner; lbfgs_max_iter and lbfgs_history_size for L-BFGS, learning_rate for RProp.
    """
    if config["learner"] == "rprop":
        return torch.optim.Rprop(params, lr=config["learning_rate"])
    return torch.optim.LBFGS(
        params,
        max_iter=config["lbfgs_max_iter"],
        max_eval=10 * config["lbfgs_max_iter"],
        history_size=config["lbfgs_history_size"],
        line_search_fn="strong_wolfe",
        tolerance_grad=0,  # the validation score decides when to stop
        tolerance_change=0,
    )
