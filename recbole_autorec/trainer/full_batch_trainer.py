"""The paper's learners, L-BFGS and RProp, which need the gradient of the whole objective; RecBole lacks both."""

from __future__ import annotations

from collections.abc import Callable

import torch

from recbole_autorec.config.checks import FULL_BATCH_LEARNERS
from recbole_autorec.distributed import collectives
from recbole_autorec.trainer.autorec_trainer import AutoRecTrainer, MiniBatchTrainer
from recbole_autorec.trainer.scaled_lbfgs import ScaledLBFGS


class FullBatchTrainer(AutoRecTrainer):
    """Train an autoencoder on the full batch: an epoch is a step of many L-BFGS iterations, or several RProp steps.

    The loader's batches are chunks, so that the gradient of one chunk is in memory at a time. Only rank 0 takes steps;
    it requests the shares of the other ranks for each pass.

    Overridden from RecBole: `_build_optimizer` and the epoch.
    """

    only_first_rank_steps = True

    def __init__(self, config, model):
        super().__init__(config, model)
        self.min_improvement = config["min_improvement"]

    def _build_optimizer(self, **kwargs):
        learnt = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if self.learner == "rprop":
            return torch.optim.Rprop(learnt, lr=self.learning_rate)
        sizes = self.config["lbfgs_max_iter"], self.config["lbfgs_history_size"]
        return ScaledLBFGS(learnt, *sizes, self.model.curvatures())

    def _bar(self, train_data, epoch_idx, show_progress, **keywords):
        passes = self.config["lbfgs_max_iter" if self.learner == "lbfgs" else "rprop_steps"]
        return super()._bar(train_data, epoch_idx, show_progress, iterable=None, total=passes, unit="pass")

    def _run_epoch(self, train_data, epoch_idx, loss_func, bar):
        """Return the lowest J of the epoch."""
        self.model.train()
        loss_func, lowest = self._shared(loss_func), float("inf")

        def objective() -> float:
            nonlocal lowest
            collectives.broadcast(None)  # requests another pass
            total = self._sum_over_chunks(train_data, loss_func)
            lowest = min(lowest, total)
            bar.update()
            bar.set_postfix_str(f"J {total:.0f}")
            return total

        if collectives.rank() > 0:
            while (answer := collectives.broadcast(None)) is None:  # another pass; then the lowest J
                self._sum_over_chunks(train_data, loss_func)
            return answer
        if self.learner == "lbfgs":  # its line search shortens steps that are too long, so J may be infinite there
            reached = self.optimizer.step(objective)
            self._check_nan(torch.tensor(reached))
            lowest = min(lowest, reached)  # at a minimum it evaluates nothing
        else:
            for _ in range(self.config["rprop_steps"]):
                self._check_nan(torch.tensor(objective()))
                self.optimizer.step()
        return collectives.broadcast(lowest)

    def _sum_over_chunks(self, train_data, loss_func: Callable) -> float:
        """Return J and leave its gradient in the parameters."""
        collectives.broadcast_parameters(self.model)
        self.optimizer.zero_grad()
        total = 0.0
        for interaction in train_data:
            with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
                loss = loss_func(interaction.to(self.device))
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
