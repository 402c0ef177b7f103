"""The paper's learners, L-BFGS and RProp, which need the gradient of the whole objective; RecBole lacks both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from recbole_autorec.config.checks import FULL_BATCH_LEARNERS
from recbole_autorec.distributed import collectives
from recbole_autorec.trainer.autorec_trainer import AutoRecTrainer, MiniBatchTrainer


class FullBatchTrainer(AutoRecTrainer):
    """Train an autoencoder on the full batch: an epoch is a step of many L-BFGS iterations, or several RProp steps.

    The loader's batches are chunks, so that the gradient of one chunk is in memory at a time. Only rank 0 takes steps;
    it requests the shares of the other ranks for each pass.

    Overridden from RecBole: `_build_optimizer` and the epoch.
    """

    only_first_rank_steps = True

    def _build_optimizer(self, **kwargs):
        return full_batch_optimizer(self.model.parameters(), self.config)

    def _bar(self, train_data, epoch_idx, show_progress, **keywords):
        passes = self.config["lbfgs_max_iter" if self.learner == "lbfgs" else "rprop_steps"]
        return super()._bar(train_data, epoch_idx, show_progress, iterable=None, total=passes, unit="pass")

    def _run_epoch(self, train_data, epoch_idx, loss_func, bar):
        """Return the lowest J of the epoch."""
        self.model.train()
        loss_func, lowest = self._shared(loss_func), float("inf")

        def objective() -> float:
            nonlocal lowest
            collectives.first_says(None)  # requests another pass
            total = self._sum_over_chunks(train_data, loss_func)
            lowest = min(lowest, total)
            bar.update()
            bar.set_postfix_str(f"J {total:.0f}")
            return total

        if collectives.rank() > 0:
            while (lowest := collectives.first_says(None)) is None:
                self._sum_over_chunks(train_data, loss_func)
            return lowest
        if self.learner == "lbfgs":
            self.optimizer.step(objective)
        else:
            for _ in range(self.config["rprop_steps"]):
                objective()
                self.optimizer.step()
        return collectives.first_says(lowest)

    def _sum_over_chunks(self, train_data, loss_func: Callable) -> float:
        """Return J and leave its gradient in the parameters."""
        collectives.take_parameters(self.model)
        self.optimizer.zero_grad()
        total = 0.0
        for interaction in train_data:
            with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
                loss = loss_func(interaction.to(self.device))
            self._check_nan(loss)
            loss.backward()
            total += loss.item()
        collectives.add_to_first(self.model)
        return collectives.total(total)

    def _divergence_hint(self):
        return (
            "raise reg_weight"
            if self.learner == "lbfgs"
            else "raise reg_weight, lower learning_rate, or use learner lbfgs"
        )


def row_trainer(learner: str) -> type[AutoRecTrainer]:
    """Return the trainer of an autoencoder for a learner."""
    return FullBatchTrainer if learner in FULL_BATCH_LEARNERS else MiniBatchTrainer


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
