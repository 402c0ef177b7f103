"""A search and its trials: run a trial, and record each one when it ends."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from logging import getLogger
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from recbole_autorec.config.checks import lacks
from recbole_autorec.config.config import Config, Layer
from recbole_autorec.data.dataset import RatingDataset
from recbole_autorec.distributed.launcher import unshared
from recbole_autorec.errors import AutoRecError, ConfigError, in_one_line
from recbole_autorec.files import write_text
from recbole_autorec.quick_start import build_dataloaders, build_trainer, quiet_recbole
from recbole_autorec.tuning.space import Space

logger = getLogger(__name__)

HINT = "free some space, then add --resume to the same command: finished trials are safe."

# trial (from 1), parameters, status, valid (metric -> value), best_epoch, epochs_run, seconds; error if it failed
Trial = dict[str, Any]
DONE, STOPPED, FAILED = "done", "stopped", "failed"  # stopped: by ASHA, as others were better


@dataclass(frozen=True)
class Setting:
    """What all trials of a search share: model, dataset, and the parameters in layers and flags."""

    model: str | type | None
    dataset: str | None
    layers: tuple[Layer, ...]
    flags: Mapping[str, str]

    def config(self, *layers: Layer) -> Config:
        """Return the config; `layers` override those of the setting, and flags override all layers."""
        config = Config(self.model, self.dataset, [*self.layers, *layers], None, self.flags)
        return searchable(config, "a search has --engine ray")


def searchable(config: Config, instead: str) -> Config:
    """Return `config` if trials can use it.

    Raises:
        ConfigError: it has no validation part, or it requests several processes.
    """
    if lack := lacks(config, "valid"):
        raise ConfigError(f"{lack} to choose parameters on; give it a share > 0.")
    return unshared(config, instead)


def run_trial(
    setting: Setting,
    data: RatingDataset,
    parts: list[RatingDataset],
    parameters: Mapping[str, Any],
    report: Callable[[Trial], object] | None = None,
    folder: Path | None = None,
    resume: Path | None = None,
    machine: Mapping[str, Any] | None = None,
) -> Trial:
    """Train on the training part and score on the validation part, without touching the test part.

    Args:
        setting, data, parts: of the search.
        parameters: searched parameters of this trial.
        report: called with the trial so far after each validation except the last epoch's.
        folder: where to save checkpoint.pth of the best epoch; None saves none.
        resume: checkpoint to continue from.
        machine: parameters of the worker's machine; they override all others.

    Returns:
        The trial; `error` holds the reason if it failed.
    """
    trial: Trial = {"parameters": dict(parameters), "status": FAILED}
    start = perf_counter()
    try:
        with quiet_recbole():
            flags = {name: value for name, value in setting.flags.items() if name not in (machine or {})}
            config = replace(setting, flags=flags).config(("the search", parameters), ("this machine", machine or {}))
            train_data, valid_data, _ = build_dataloaders(config, data, parts)
            trainer = build_trainer(config, parts[0])
            if resume is not None:
                trainer.resume_checkpoint(resume)
            if folder is not None:
                trainer.saved_model_file = str(folder / "checkpoint.pth")

            def so_far() -> Trial:
                return {
                    **trial,
                    "status": STOPPED,
                    "valid": trainer.best_valid_result,
                    "best_epoch": trainer.best_epoch,
                    "epochs_run": trainer.epochs_run,
                    "seconds": round(perf_counter() - start, 3),
                }

            trainer.fit(
                train_data,
                valid_data,
                verbose=False,
                saved=folder is not None,
                callback_fn=lambda *_: report(so_far()) if report and trainer.epochs_run < trainer.epochs else None,
            )
            return {**so_far(), "status": DONE}
    except AutoRecError as error:
        trial["error"] = " ".join(str(error).split())
    except Exception as error:  # RecBole's models may raise anything; the search continues
        logger.debug("a trial failed", exc_info=True)
        trial["error"] = in_one_line(error)
    finally:
        gc.collect()  # model and trainer form a reference cycle; L-BFGS's history is twenty models large
    return {**trial, "seconds": round(perf_counter() - start, 3)}


@dataclass
class Trials:
    """The trials of a search, in trials.jsonl: one line per trial, written when it ends.

    Each configuration is trained once; when it is drawn again, its recorded trial is reused. This is also how a search
    resumes: the same seed draws the same configurations. Only failed trials are trained again on resuming.

    Args:
        file: path of trials.jsonl; read if it exists.
        metric: key of `valid` to rank trials by.
        bigger: whether larger values of the metric are better.
    """

    file: Path
    metric: str
    bigger: bool
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self):
        if self.file.is_file():
            self._read()
        self._known = {key(trial["parameters"]): trial for trial in self.trials}

    def _read(self) -> None:
        *lines, _ = self.file.read_bytes().split(b"\n")  # _: unfinished line of a killed process
        for number, line in enumerate(lines, start=1):
            try:
                trial = json.loads(line)
                key(trial["parameters"]), trial["status"], trial["trial"]
            except (ValueError, KeyError, TypeError):
                raise ConfigError(
                    f"'{self.file}' line {number} is not a trial; fix or delete it, then resume again."
                ) from None
            if trial["status"] != FAILED:  # failed trials are retried: there may be more memory now
                self.trials.append(trial)
        write_text(self.file, "".join(json.dumps(trial) + "\n" for trial in self.trials), HINT)

    def known(self, parameters: Mapping[str, Any]) -> Trial | None:
        return self._known.get(key(parameters))

    def add(self, trial: Trial) -> Trial:
        """Number a trial, append it to the file and return it."""
        trial = {"trial": 1 + max((known["trial"] for known in self.trials), default=0), **trial}
        size = self.file.stat().st_size if self.file.is_file() else 0
        try:
            with self.file.open("ab") as file:
                file.write((json.dumps(trial) + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                os.truncate(self.file, size)
            raise AutoRecError(f"'{self.file}' cannot be written: {error.strerror}; {HINT}") from error
        self.trials.append(trial)
        self._known[key(trial["parameters"])] = trial
        return trial

    def loss(self, trial: Trial) -> float:
        """Return the value that a search minimises; infinite for a trial without a score."""
        if not trial.get("valid"):
            return inf
        return -trial["valid"][self.metric] if self.bigger else trial["valid"][self.metric]

    @property
    def best(self) -> Trial | None:
        """The best finished trial, the first of equals; the best stopped one if none finished; None if all failed."""
        scored = [trial for trial in self.trials if trial.get("valid")]
        ended = [trial for trial in scored if trial["status"] == DONE] or scored
        return min(ended, key=self.loss, default=None)

    @property
    def table(self) -> pd.DataFrame:
        """A row per trial: trial (index), status, metrics, epochs, seconds, parameters, error."""
        rows = [
            {
                "trial": trial["trial"],
                "status": trial["status"],
                **(trial.get("valid") or {}),
                **{name: trial.get(name) for name in ("best_epoch", "epochs_run", "seconds")},
                **trial["parameters"],
                "error": trial.get("error"),
            }
            for trial in self.trials
        ]
        return pd.DataFrame(rows).set_index("trial")


@dataclass
class Search:
    """The input of a search engine.

    Attributes:
        setting, space: the fixed and the searched parameters.
        data, parts: the dataset and its train, valid and test parts.
        trials: trials so far; the engine adds its own.
        algo: exhaustive, random or bayes.
        max_evals: maximum number of configurations to try; in an exhaustive search, at most all.
        seed: seed of the search.
        time_budget: in seconds; None for no limit.
        ended: called with each trial when it ends.
    """

    setting: Setting
    space: Space
    data: RatingDataset
    parts: list[RatingDataset]
    trials: Trials
    algo: str
    max_evals: int
    seed: int
    time_budget: float | None
    ended: Callable[[Trial], object]


def key(parameters: Mapping[str, Any]) -> str:
    """Return the same text for equal parameters."""
    return json.dumps(parameters, sort_keys=True)
