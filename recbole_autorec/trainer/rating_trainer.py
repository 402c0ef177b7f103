"""RecBole's Trainer for ratings: it keeps the best epoch, writes safe checkpoints, logs little and measures time."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from recbole.trainer import Trainer
from recbole.utils import EvaluatorType, get_local_time
from torch import Tensor
from tqdm import tqdm

from recbole_autorec.conversion.convert import PARTS
from recbole_autorec.data.dataset import served_data, split_fingerprint
from recbole_autorec.distributed import collectives
from recbole_autorec.errors import AutoRecError, CheckpointError, ConfigError
from recbole_autorec.parameter_roles import RESUMABLE
from recbole_autorec.trainer.checkpoint import (
    load_checkpoint,
    load_optimizer,
    load_weights,
    other_parameter,
    save_checkpoint,
)
from recbole_autorec.trainer.random_state import random_state, set_random_state
from recbole_autorec.trainer.tensorboard import where_it_can_be_written


class RatingTrainer(Trainer):
    """Train and evaluate any model; for models with their own trainer in RecBole, see get_trainer.

    Overridden from RecBole, with the reason: `_train_epoch` (time), `_valid_epoch` (one line per epoch),
    `_save_checkpoint` and `resume_checkpoint` (RecBole pickles its Config, which torch 2.6 refuses to load), `fit`
    and `evaluate` (RecBole tests the last epoch if saved=False), `_check_nan` and `_neg_sample_batch_eval` (their
    errors say what to do). Several processes share the batches and the pairs; see distributed/collectives.py.

    Attributes:
        best_epoch: epoch with the best validation score, counted from 1; 0 is the start of training, None means that
            no epoch has been evaluated.
        epochs_run: number of epochs trained, including those before a resumed checkpoint.
        train_seconds, eval_seconds: time spent in each; train_seconds includes building the model.
        curve: [epoch, training seconds so far, validation score] of each evaluation.
        valid_scores: predictions of the best epoch for the validation part, (n_valid,), in stars; empty for rankings.
        test_scores: predictions of the tested model for the test part, (n_test,), in stars; empty for rankings and
            where a training that was resumed had tested before.
    """

    loss_name = "loss"
    epochs_are = "epochs"
    min_improvement = 0.0  # RecBole stops early only if there was no improvement at all
    only_first_rank_steps = False  # whether the optimiser of the other ranks is never used

    def __init__(self, config, model):
        with where_it_can_be_written():
            super().__init__(config, model)
        self.logger = getLogger(__name__)
        self.saved_model_file = _free_name(
            Path(self.checkpoint_dir) / f"{config['model']}-{config['dataset']}-{config['seed']}-{get_local_time()}"
        )
        self._validates = self._verbose = False  # set by fit
        self.best_epoch: int | None = None
        self.best_valid_score: float
        self.best_valid_result: dict[str, float] | None
        self.epochs_run = 0
        self.train_seconds = self.eval_seconds = 0.0
        self.curve: list[list[float]] = []
        self.valid_scores = self.test_scores = torch.empty(0)
        self._best_state: dict[str, Any] | None = None
        self._followed: dict[str, Any] | None = None  # course of the training that this refit repeats
        self._random_state: dict[str, Tensor] | None = None
        self.eval_collector = collectives.PooledCollector(config)

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """Train as RecBole does; without `valid_data`, the last epoch counts as the best.

        With `saved=False`, the best epoch is kept in memory only; `evaluate` still uses it.
        """
        self._train_data, self._validates = train_data, valid_data is not None
        self._saved = saved = saved and collectives.rank() == 0
        self._verbose = verbose
        self._train_fingerprint = split_fingerprint([train_data._dataset])
        self._served_data = served_data(train_data._dataset) if saved else None  # the same in every checkpoint
        if self._random_state:
            self._check_resumed()
            try:
                set_random_state(self._random_state, train_data.generator)
            except (RuntimeError, TypeError, ValueError) as error:
                raise CheckpointError(f"checkpoint '{self.saved_model_file}' is damaged: random_state.") from error
            if self.start_epoch >= self.epochs:  # RecBole's fit would save it as epoch 0
                how = f"was refit with {self.epochs}" if self.is_refit else f"already has all {self.epochs}"
                self.logger.info(f"checkpoint '{self.saved_model_file}' {how} {self.epochs_are}")
                self.eval_collector.data_collect(train_data)
                return self.best_valid_score, self.best_valid_result
        if collectives.rank() > 0:
            torch.manual_seed(self.config["seed"] + collectives.rank())  # each rank needs its own dropout
        if self._validates and self.best_epoch is None and getattr(self.model, "starts_at_offsets", False):
            self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data)
            self._save_checkpoint(-1)

        def after_validation(epoch_idx: int, valid_score: float) -> None:
            if callback_fn:
                callback_fn(epoch_idx, valid_score)
            if self._is_on_plateau():
                raise _OnPlateau

        try:  # saved=True: _save_checkpoint decides what is written, and keeps the best epoch in memory
            return super().fit(
                train_data, valid_data, verbose=False, saved=True, show_progress=show_progress,
                callback_fn=after_validation,
            )  # fmt: skip
        except _OnPlateau:
            self._add_hparam_to_tensorboard(self.best_valid_score)
            return self.best_valid_score, self.best_valid_result

    def _is_on_plateau(self) -> bool:
        """Return whether more than stopping_step evaluations brought no improvement by a share of min_improvement."""
        if not self.min_improvement:
            return False
        best, since = float("inf"), 0
        for *_, score in self.curve:
            score = -score if self.valid_metric_bigger else score
            is_better = score < best - self.min_improvement * abs(score)
            best, since = (score, 0) if is_better else (best, since + 1)
        return since > self.stopping_step

    @property
    def is_refit(self) -> bool:
        return self._followed is not None

    @property
    def n_parts(self) -> int:
        """Number of parts to train on: 1 is train, 2 adds valid (a refit), 3 adds test (its scores are known then)."""
        if self._followed is None:
            return 1
        return 3 if "test" in self._followed else 2

    def course(self) -> dict[str, Any]:
        """Return how training went, in plain values; a refit returns what it repeats, with the seconds of both."""
        own = {name: getattr(self, name) for name in ("best_epoch", "epochs_run", "eval_seconds", "curve")}
        before = self._followed or {**own, "train_seconds": 0.0, "valid": self.best_valid_result}
        return {**before, "train_seconds": before["train_seconds"] + self.train_seconds}

    def chosen(self) -> dict[str, Any]:
        """Return what validation has chosen, for a refit to `follow`."""
        return {"course": self.course()}

    def follow(self, chosen: dict[str, Any]) -> None:
        """Repeat without validation what another trainer has `chosen`."""
        self._followed = chosen["course"]
        self.epochs = chosen["course"]["best_epoch"]

    def _of_best(self, name: str) -> Tensor:
        """Return a parameter or buffer of the best epoch's model, on every rank."""
        known = (self._best_state or {}).get("state_dict")  # on rank 0 only
        return collectives.broadcast(known and known[name].cpu())

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        start = perf_counter()
        collectives.broadcast_parameters(self.model)
        with self._bar(train_data, epoch_idx, show_progress) as bar:
            loss = self._run_epoch(train_data, epoch_idx, loss_func, bar)
        self.epochs_run = epoch_idx + 1
        self.train_seconds += perf_counter() - start
        if not self._validates:
            self._log_epoch(loss)
        return loss

    def _log_epoch(self, loss: float | tuple[float, ...] | None, valid: str = "", end: str = "") -> None:
        if self._verbose:
            total = sum(loss) if isinstance(loss, tuple) else loss
            what = "offsets alone" if loss is None else f"{self.loss_name} {total:.6g}"
            self.logger.info(
                f"epoch {self.epochs_run:>3}/{self.epochs}  {what}{valid}  train {self.train_seconds:.1f} s{end}"
            )

    def _bar(self, train_data, epoch_idx: int, show_progress: bool, **keywords) -> tqdm:
        return tqdm(
            **{"iterable": train_data, "total": len(train_data), "unit": "batch", **keywords},
            desc=f"epoch {epoch_idx + 1}",
            disable=None if show_progress else True,  # None: show only on a terminal
            leave=False,
        )

    def _run_epoch(self, train_data, epoch_idx: int, loss_func: Callable | None, bar: tqdm):
        """Train one epoch as RecBole does; `bar` iterates over `train_data`."""
        with collectives.gradients_added_up(self.model):
            return collectives.total(super()._train_epoch(bar, epoch_idx, self._shared(loss_func), show_progress=False))

    def _shared(self, loss_func: Callable | None) -> Callable:
        is_sum = getattr(self.model, "loss_is_sum", False)
        return collectives.shared_loss(loss_func or self.model.calculate_loss, is_sum)

    def _check_nan(self, loss):
        if not torch.isfinite(loss):
            raise self._diverged(self.epochs_run + 1, f"the loss is {loss.item()}")

    def _diverged(self, epoch: int, how: str) -> AutoRecError:
        return AutoRecError(f"training diverged in epoch {epoch}: {how}; {self._divergence_hint()}.")

    def _divergence_hint(self) -> str:
        return "lower learning_rate"

    def _before_validation(self, valid_data) -> None:
        """Prepare the model for an evaluation of the validation part; its time counts as evaluation."""

    def _valid_epoch(self, valid_data, show_progress=False):
        start = perf_counter()
        self._before_validation(valid_data)
        score, result = super()._valid_epoch(valid_data, show_progress=False)
        seconds = perf_counter() - start
        self.eval_seconds += seconds
        self.curve.append([self.epochs_run, round(self.train_seconds, 3), float(score)])
        better = score >= self.best_valid_score if self.valid_metric_bigger else score <= self.best_valid_score
        if better:
            self.valid_scores = self.last_scores
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in result.items())
        self._log_epoch(self.train_loss_dict.get(self.epochs_run - 1), f"  valid {metrics}", "  best" if better else "")
        return score, result

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        if not self._validates and epoch + 1 < self.epochs and (self.is_refit or not self._saved):
            return  # an interrupted refit resumes from the checkpoint of what it repeats
        best: dict[str, Any] = {"other_parameter": other_parameter(self.model)}
        if collectives.rank() == 0:  # the others take its parameters
            best["state_dict"] = {name: value.clone() for name, value in self.model.state_dict().items()}
        if self._saved:
            self._write_checkpoint(best, epoch + 1, kwargs.get("saved_model_file", self.saved_model_file))
        self._best_state, self.best_epoch = best, epoch + 1

    def _write_checkpoint(self, best: dict[str, Any], best_epoch: int, path: str) -> None:
        course = {**self.course(), "best_epoch": best_epoch}
        if self._validates:
            course["valid"] = self._last_result
        state = {
            "parameters": self.config.plain_parameters,
            "train_fingerprint": self._train_fingerprint,
            "data": self._served_data,
            "best_valid_score": float(self.best_valid_score),
            "course": course,
            "refit": self.is_refit,
            **best,
            "optimizer": self.optimizer.state_dict() if self.optimizer else {},
            "random_state": random_state(self._train_data.generator),
        }
        if not os.path.exists(path):
            self.logger.info(f"checkpoint {path} contains the training ratings; the export command leaves them out")
        save_checkpoint(path, state)

    def resume_checkpoint(self, resume_file):
        """Continue from a checkpoint: parameters, optimiser state, random state and best score.

        Raises:
            CheckpointError: it is unreadable, or of another model, learner or (checked in `fit`) training data.
            ConfigError: it already has more epochs than requested.
        """
        checkpoint = load_checkpoint(resume_file, self.device)
        theirs, ours = checkpoint["parameters"], self.config.plain_parameters
        may_differ = RESUMABLE - {"refit"} if "test" in checkpoint["course"] else RESUMABLE  # test used that refit
        changed = [key for key in ours if key not in may_differ and theirs.get(key) != ours[key]]
        changed = [key for key in ("model", "dataset") if key in changed][:1] or changed  # the others follow from these
        if changed:
            differences = ", ".join(f"{key}={theirs.get(key)!r} (here {ours[key]!r})" for key in changed)
            raise CheckpointError(
                f"checkpoint '{resume_file}' has {differences}; resume with the parameters it was trained with."
            )
        self.start_epoch = checkpoint["course"]["best_epoch"]
        if checkpoint["refit"]:
            self._followed, self.epochs = checkpoint["course"], self.start_epoch
            key = "refit" if self.n_parts == 2 else "final"
            if not self.config[key]:
                parts = " + ".join(PARTS[: self.n_parts])
                raise CheckpointError(f"checkpoint '{resume_file}' was refit on {parts}; add {key}: True.")
        if self.start_epoch > self.epochs:
            raise ConfigError(
                f"epochs={self.epochs}, but checkpoint '{resume_file}' already has {self.start_epoch}; "
                "give more --epochs."
            )
        load_weights(self.model, checkpoint, resume_file)
        if self.optimizer and (collectives.rank() == 0 or not self.only_first_rank_steps):
            load_optimizer(self.optimizer, checkpoint, resume_file)
        self.saved_model_file = str(resume_file)
        self.best_epoch = self.epochs_run = self.start_epoch
        if not self.is_refit:
            for name in ("train_seconds", "eval_seconds", "curve"):
                setattr(self, name, checkpoint["course"][name])
        self.best_valid_score, self.best_valid_result = checkpoint["best_valid_score"], checkpoint["course"]["valid"]
        self._best_state = {key: checkpoint[key] for key in ("state_dict", "other_parameter")}
        self._random_state = checkpoint["random_state"]
        self._resumed_fingerprint = checkpoint["train_fingerprint"]

    def _check_resumed(self):
        if self._resumed_fingerprint != self._train_fingerprint:
            raise CheckpointError(
                f"checkpoint '{self.saved_model_file}' was trained on other ratings ({self._resumed_fingerprint}, here "
                f"{self._train_fingerprint}): the data have changed."
            )

    @torch.no_grad()
    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """Evaluate as RecBole does; the best epoch comes from memory, or from `model_file`."""
        if load_best_model and eval_data:
            self.load_best(model_file)
        collectives.broadcast_parameters(self.model)
        result = super().evaluate(eval_data, load_best_model=False, show_progress=False)
        self._last_result = collectives.broadcast(
            {name: float(value) for name, value in result.items()} if result else None
        )
        return self._last_result

    def load_best(self, model_file: str | Path | None = None) -> None:
        """Load the best epoch into the model, from memory or from `model_file`."""
        path = model_file or self.saved_model_file
        best = None if model_file else self._best_state
        if collectives.rank() > 0 and best:
            self.model.load_other_parameter(best["other_parameter"])
        else:
            load_weights(self.model, best or load_checkpoint(path, self.device), path)

    @property
    def last_scores(self) -> Tensor:
        """Predictions of the last evaluation of pairs, in the loader's order, (P,), in stars."""
        return self.eval_collector.scores

    def _neg_sample_batch_eval(self, batched_data):
        evaluated = super()._neg_sample_batch_eval(batched_data)
        if self.config["eval_type"] == EvaluatorType.VALUE and not torch.isfinite(evaluated[1]).all():
            raise self._diverged(self.epochs_run, "a prediction is not finite")
        return evaluated


class _OnPlateau(Exception):
    """Ends RecBole's loop over epochs."""


class SolvedTrainer(RatingTrainer):
    """Trainer for models that their constructor fits in closed form; its single epoch is a no-op."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.epochs = self.eval_step = 1

    def _run_epoch(self, train_data, epoch_idx, loss_func, bar):
        return 0.0


def _free_name(stem: Path) -> str:
    """Return an unused path for a checkpoint, distinct from those of other processes and of the same second."""
    paths = (f"{stem}-{os.getpid()}-{number}.pth" for number in count(1))
    return next(path for path in paths if not os.path.exists(path))
