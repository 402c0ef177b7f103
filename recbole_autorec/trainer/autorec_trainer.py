"""AutoRec in RecBole's Trainer, with the paper's learners, which need the gradient of the whole objective."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import torch
from recbole.utils import EvaluatorType
from tqdm import tqdm

from recbole_autorec.config.checks import FULL_BATCH_LEARNERS
from recbole_autorec.distributed import collectives
from recbole_autorec.trainer.learners import full_batch_optimizer
from recbole_autorec.trainer.rating_trainer import RatingTrainer


class AutoRecTrainer(RatingTrainer):
    """Calibrate AutoRec before each validation.

    Overridden from RecBole: `_valid_epoch`.
    """

    loss_name = "J"

    def _valid_epoch(self, valid_data, show_progress=False):
        start = perf_counter()
        if self.model.calibrates and self.config["eval_type"] == EvaluatorType.VALUE:
            self._calibrate(valid_data)
        self.eval_seconds += perf_counter() - start
        return super()._valid_epoch(valid_data, show_progress)

    @torch.no_grad()
    def _calibrate(self, valid_data) -> None:
        collectives.take_parameters(self.model)
        self.model.eval()
        products = sum(self.model.products(batch[0].to(self.device)) for batch in valid_data)
        total = torch.tensor(collectives.total(tuple(products.flatten().tolist())), dtype=torch.float64)
        self.model.calibration.fit(total.reshape(products.shape), self.n_trained)

    @property
    def n_trained(self) -> int:
        """Number of autoencoders trained so far."""
        return 1

    def chosen(self):
        return {**super().chosen(), "calibration": self._of_best("calibration.weights")}

    def follow(self, chosen):
        super().follow(chosen)
        self.model.calibration.weights.data.copy_(chosen["calibration"])


class RowAutoRecTrainer(AutoRecTrainer):
    """Train an autoencoder on mini-batches of rows or on the full batch.

    Overridden from RecBole: `_build_optimizer` (RecBole's lacks L-BFGS and RProp and does not fuse Adam), the epoch.
    """

    def _build_optimizer(self, **kwargs):
        if self.learner in FULL_BATCH_LEARNERS:
            return full_batch_optimizer(self.model.parameters(), self.config)
        optimizer = super()._build_optimizer(**kwargs)
        if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
            for group in optimizer.param_groups:
                group["fused"] = True  # one pass over the weights per batch instead of a dozen
        return optimizer

    def _bar(self, train_data, epoch_idx, show_progress, **keywords):
        if self.learner in FULL_BATCH_LEARNERS:
            passes = self.config["lbfgs_max_iter" if self.learner == "lbfgs" else "rprop_steps"]
            keywords = {"iterable": None, "total": passes, "unit": "pass"}
        return super()._bar(train_data, epoch_idx, show_progress, **keywords)

    def _run_epoch(self, train_data, epoch_idx, loss_func, bar):
        if self.learner in FULL_BATCH_LEARNERS:
            return self._full_batch_epoch(train_data, self._shared(loss_func), bar)
        return super()._run_epoch(train_data, epoch_idx, loss_func, bar)

    def _full_batch_epoch(self, train_data, loss_func: Callable, bar: tqdm) -> float:
        """Take one L-BFGS step of many iterations, or several RProp steps, on the sum over chunks; return the lowest J.

        Only rank 0 takes steps; it requests the shares of the other ranks for each pass.
        """
        self.model.train()
        lowest = float("inf")

        def sum_over_chunks() -> float:
            collectives.take_parameters(self.model)
            self.optimizer.zero_grad()
            total = 0.0
            for interaction in train_data:
                with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
                    loss = loss_func(interaction.to(self.device))
                self._check_nan(loss)
                loss.backward()  # gradients accumulate: one chunk is in memory at a time
                total += loss.item()
            collectives.add_to_first(self.model)
            return collectives.total(total)

        def objective() -> float:
            nonlocal lowest
            collectives.first_says(None)  # requests another pass
            total = sum_over_chunks()
            lowest = min(lowest, total)
            bar.update()
            bar.set_postfix_str(f"J {total:.0f}")
            return total

        if collectives.rank() > 0:
            while (lowest := collectives.first_says(None)) is None:
                sum_over_chunks()
            return lowest
        if self.learner == "lbfgs":
            self.optimizer.step(objective)
        else:
            for _ in range(self.config["rprop_steps"]):
                objective()
                self.optimizer.step()
        return collectives.first_says(lowest)

    def _divergence_hint(self):
        return f"raise reg_weight{'' if self.learner == 'lbfgs' else ', lower learning_rate, or use learner lbfgs'}"
