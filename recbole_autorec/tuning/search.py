"""A search and its trials: how one is run, and how each is written down when it has ended."""

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
from recbole_autorec.files import write_whole
from recbole_autorec.quick_start import build_dataloaders, build_trainer, quiet_recbole
from recbole_autorec.tuning.space import Space

logger = getLogger(__name__)

HINT = "free some space, then add --resume to the same command: finished trials are safe."

# trial (from 1), parameters, status, valid (metric -> value), best_epoch, epochs_run, seconds; error where it failed
Trial = dict[str, Any]
DONE, STOPPED, FAILED = "done", "stopped", "failed"  # stopped: by ASHA, which saw that others are better


@dataclass(frozen=True)
class Setting:
    """What all trials of a search share: a model on a dataset, with parameters that layers and flags fix."""

    model: str | type | None
    dataset: str | None
    layers: tuple[Layer, ...]
    flags: Mapping[str, str]

    def config(self, *layers: Layer) -> Config:
        """With more layers over those of the setting, and the flags over all."""
        config = Config(self.model, self.dataset, [*self.layers, *layers], None, self.flags)
        return searchable(config, "a search has --engine ray")


def searchable(config: Config, instead: str) -> Config:
    """The config of a trial.

    Raises:
        ConfigError: it validates nothing, or wants several processes.
    """
    if lack := lacks(config, "valid"):
        raise ConfigError(f"{lack} to choose parameters by; give it a share > 0.")
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
    """Train on the training part and score on the validation part. The test part is not looked at.

    Args:
        setting, data, parts: of the search.
        parameters: of this trial.
        report: called with the trial so far after each validation but that of the last epoch.
        folder: keeps checkpoint.pth of the best epoch there.
        resume: a checkpoint to continue from.
        machine: parameters that say where to run, over everything else.

    Returns:
        The trial; whatever goes wrong is its `error`.
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
    except Exception as error:  # whatever RecBole's model does with these parameters: the search goes on
        logger.debug("a trial failed", exc_info=True)
        trial["error"] = in_one_line(error)
    finally:
        gc.collect()  # a model and its trainer refer to each other; L-BFGS remembers twenty models
    return {**trial, "seconds": round(perf_counter() - start, 3)}


@dataclass
class Trials:
    """The trials of a search, in trials.jsonl: a line each, written when it ends.

    A configuration is trained once: asked for again, in this call or in one that resumes, the line answers. That is
    also how a search resumes, since with the same seed it asks for the same configurations. Only one that failed is
    tried again when the search resumes.

    Args:
        file: where the lines are; read if it is there.
        metric: key of `valid` that chooses.
        bigger: whether more of it is better.
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
        *lines, _ = self.file.read_bytes().split(b"\n")  # _: what a killed process was writing
        for number, line in enumerate(lines, start=1):
            try:
                trial = json.loads(line)
                key(trial["parameters"]), trial["status"], trial["trial"]
            except (ValueError, KeyError, TypeError):
                raise ConfigError(
                    f"'{self.file}' line {number} is no trial; mend it or take it out, then resume again."
                ) from None
            if trial["status"] != FAILED:  # one that failed is tried again: there may be more memory now
                self.trials.append(trial)
        text = "".join(json.dumps(trial) + "\n" for trial in self.trials)
        write_whole(self.file, lambda file: file.write(text.encode()), AutoRecError, HINT)

    def known(self, parameters: Mapping[str, Any]) -> Trial | None:
        return self._known.get(key(parameters))

    def add(self, trial: Trial) -> Trial:
        """Write a trial down and number it."""
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
        return loss(trial, self.metric, self.bigger)

    @property
    def best(self) -> Trial | None:
        """The first of the best that were trained to their end, or of all if none was; None if all failed."""
        scored = [trial for trial in self.trials if trial.get("valid")]
        ended = [trial for trial in scored if trial["status"] == DONE] or scored
        return min(ended, key=self.loss, default=None)

    @property
    def table(self) -> pd.DataFrame:
        """A row for each: trial, status, metrics, epochs, seconds, parameters, error."""
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
    """What an engine gets.

    Attributes:
        setting, space, data, parts, trials: what is searched, on which ratings, and what is known.
        algo: exhaustive, random or bayes.
        max_evals: configurations to ask for at most.
        seed: of the search.
        time_budget: seconds; None for no limit.
        ended: called with each trial that has ended.
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


def loss(trial: Trial, metric: str, bigger: bool) -> float:
    """What a search makes as small as it can; infinite for a trial without a score."""
    if not trial.get("valid"):
        return inf
    return -trial["valid"][metric] if bigger else trial["valid"][metric]


def key(parameters: Mapping[str, Any]) -> str:
    """The same text for the same parameters."""
    return json.dumps(parameters, sort_keys=True)
