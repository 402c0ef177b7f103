"""Train several AutoRecs one after the other, each as an epoch of RecBole's Trainer."""

from __future__ import annotations

import gc

from recbole_autorec.data.dataloader import RowDataLoader
from recbole_autorec.trainer.autorec_trainer import AutoRecTrainer
from recbole_autorec.trainer.full_batch_trainer import row_trainer


class EnsembleTrainer(AutoRecTrainer):
    """Train one member per epoch with its own trainer; calibrate all members so far jointly before validation.

    Overridden from RecBole: `_build_optimizer` (members have their own), `fit` (members need the validation part) and
    the epoch.
    """

    epochs_are = "members"

    def __init__(self, config, model):
        super().__init__(config, model)
        self.epochs = self.stopping_step = len(model.members)
        self.eval_step = 1

    def _build_optimizer(self, **kwargs):
        return None

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        self._valid_data, self._show_progress = valid_data, show_progress
        return super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)

    def chosen(self):
        return {**super().chosen(), "member_epochs": self._of_best("member_epochs")}

    def follow(self, chosen):
        super().follow(chosen)
        for config, epochs in zip(self.model.configs, chosen["member_epochs"].tolist(), strict=True):
            config["epochs"] = epochs

    def _bar(self, train_data, epoch_idx, show_progress, **keywords):
        return super()._bar(train_data, epoch_idx, False, **keywords)  # each member shows its own

    def _run_epoch(self, train_data, epoch_idx, loss_func, bar):
        member, config = self.model.members[epoch_idx], self.model.configs[epoch_idx]
        trainer = row_trainer(config["learner"])(config, member)
        rows = RowDataLoader(config, train_data._dataset, None, shuffle=config["shuffle"])
        trainer.fit(rows, self._valid_data, verbose=False, saved=False, show_progress=self._show_progress)
        trainer.load_best()
        self.model.member_epochs[epoch_idx] = trainer.best_epoch
        self.train_seconds -= trainer.eval_seconds  # they are part of this epoch's seconds
        self.eval_seconds += trainer.eval_seconds
        self._of_member = config["model"], trainer.best_epoch, trainer.best_valid_result
        del trainer
        member.zero_grad(set_to_none=True)
        gc.collect()  # frees this optimiser before the next one is built
        return 0.0

    @property
    def n_trained(self):
        return self.epochs_run

    def _log_epoch(self, loss, valid="", end=""):
        if self._verbose:
            name, epochs, result = self._of_member
            alone = "  ".join(f"{metric} {value:.4f}" for metric, value in (result or {}).items())
            self.logger.info(
                f"member {self.epochs_run}/{self.epochs} {name}, epoch {epochs}{alone and f'  valid {alone}'}"
                f"{valid and f'  together{valid}'}  train {self.train_seconds:.1f} s{end}"
            )
