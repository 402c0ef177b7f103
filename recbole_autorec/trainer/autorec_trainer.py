"""AutoRec in RecBole's Trainer: calibrated before each validation, and trained on mini-batches of rows."""

from __future__ import annotations

import torch
from recbole.utils import EvaluatorType

from recbole_autorec.distributed import collectives
from recbole_autorec.trainer.rating_trainer import RatingTrainer


class AutoRecTrainer(RatingTrainer):
    """Calibrate AutoRec before each validation."""

    loss_name = "J"

    def _before_validation(self, valid_data):
        if self.model.calibrates and self.config["eval_type"] == EvaluatorType.VALUE:
            self._calibrate(valid_data)

    @torch.no_grad()
    def _calibrate(self, valid_data) -> None:
        collectives.broadcast_parameters(self.model)
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


class MiniBatchTrainer(AutoRecTrainer):
    """Train an autoencoder on mini-batches of rows.

    Overridden from RecBole: `_build_optimizer` (it does not fuse Adam).
    """

    def _build_optimizer(self, **kwargs):
        optimizer = super()._build_optimizer(**kwargs)
        if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
            for group in optimizer.param_groups:
                group["fused"] = True  # one pass over the weights per batch instead of a dozen
        return optimizer

    def _divergence_hint(self):
        return "raise reg_weight, lower learning_rate, or use learner lbfgs"
