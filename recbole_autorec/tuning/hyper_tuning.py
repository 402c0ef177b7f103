"""RecBole's HyperTuning with a seed and a record of each trial, and an objective function for RecBole's original.

RecBole's exhaustive search (trainer/hyper_tuning.py) draws with numpy's RandomState, which hyperopt cannot use, and
misses combinations of a large grid. Importing this module replaces it with `every_combination`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from logging import WARNING, getLogger
from pathlib import Path
from typing import Any

import numpy as np
from recbole.trainer import hyper_tuning

from recbole_autorec.config.config import Config
from recbole_autorec.quick_start import build_dataloaders, build_trainer, load_and_split, quiet_recbole
from recbole_autorec.tuning.search import FAILED, Search, run_trial, searchable
from recbole_autorec.tuning.space import combination, hyperopt_space, parameters_of


def every_combination(new_ids, domain, trials, seed, **_):
    """Suggest every combination of the choices once, in order; an algorithm for hyperopt."""
    from hyperopt.base import miscs_update_idxs_vals

    choices = {name: len(indices) for name, indices in hyper_tuning._parameters(domain.expr).items()}
    number, documents = len(trials.trials), list[dict]()
    for new_id in new_ids[: math.prod(choices.values()) - number]:
        misc = {"tid": new_id, "cmd": domain.cmd, "workdir": domain.workdir}
        chosen = combination(choices, number + len(documents))
        values = {name: [index] for name, index in chosen.items()}
        miscs_update_idxs_vals([misc], {name: [new_id] for name in choices}, values)
        documents += trials.new_trial_docs([new_id], [None], [domain.new_result()], [misc])
    return documents


hyper_tuning.exhaustive_search = every_combination


class HyperTuning(hyper_tuning.HyperTuning):
    """Run a Search with RecBole's HyperTuning.

    Overridden: `trial` (RecBole's prints test scores, stops on errors, saves nothing before the end); `run` (no seed).
    """

    def __init__(self, search: Search):
        super().__init__(None, space=hyperopt_space(search.space), algo=search.algo)
        self.search = search

    def trial(self, params: Mapping[str, Any]) -> dict[str, Any]:
        search = self.search
        parameters = parameters_of(search.space, params)
        trial = search.trials.known(parameters)
        if trial is None:
            trial = search.trials.add(run_trial(search.setting, search.data, search.parts, parameters))
            search.ended(trial)
        if trial["status"] == FAILED:
            return {"status": "fail"}
        return {"status": "ok", "loss": search.trials.loss(trial)}

    def run(self) -> None:
        from hyperopt import fmin
        from hyperopt.exceptions import AllTrialsFailed

        getLogger("hyperopt").setLevel(WARNING)
        with suppress(AllTrialsFailed):  # tune reports it
            fmin(
                self.trial,
                self.space,
                algo=self.algo,
                max_evals=self.search.max_evals,
                timeout=self.search.time_budget,
                rstate=np.random.default_rng(self.search.seed),
                show_progressbar=False,
                return_argmin=False,
            )


def objective_function(
    config_dict: Mapping[str, Any] | None = None,
    config_file_list: list[str | Path] | None = None,
    saved: bool = False,
) -> dict[str, Any]:
    """Train on the training part and score on the validation part, for RecBole's HyperTuning.

    Args:
        config_dict: parameters by name; see Config.
        config_file_list: YAML files; see Config.
        saved: save a checkpoint of the best epoch of every trial.

    Returns:
        model, best_valid_score, valid_score_bigger, best_valid_result and test_result. HyperTuning prints the last,
        which is empty: a search must not see test scores. Test the best parameters with run_recbole_autorec.

    Examples:
        >>> found = objective_function({"model": "Bias", "dataset": "ml-100k"})
        >>> found["best_valid_score"] < 1, found["valid_score_bigger"], found["test_result"]
        (True, False, {})
    """
    with quiet_recbole():
        config = searchable(Config(config_file_list=config_file_list, config_dict=config_dict), "a search has Ray")
        data, parts = load_and_split(config)
        train_data, valid_data, _ = build_dataloaders(config, data, parts)
        trainer = build_trainer(config, parts[0])
        score, valid = trainer.fit(train_data, valid_data, verbose=False, saved=saved)
    return {
        "model": config["model"],
        "best_valid_score": float(score),
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": valid,
        "test_result": {},
    }
