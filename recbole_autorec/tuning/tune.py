"""Hyper-parameter search: choose the configuration by validation score alone, then test it once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import yaml
from recbole.utils.argument_list import dataset_arguments, evaluation_arguments, general_arguments
from tqdm import tqdm

import recbole_autorec
from recbole_autorec.config.checks import is_number, is_whole
from recbole_autorec.config.config import Config, file_layer, parsed
from recbole_autorec.config.values import properties_dir, property_path
from recbole_autorec.data.dataset import data_digest
from recbole_autorec.errors import AutoRecError, ConfigError, counted
from recbole_autorec.files import claimed_folder, without_formulas, write_json, write_text
from recbole_autorec.installation import check_extra
from recbole_autorec.parameter_roles import OF_THE_MACHINE
from recbole_autorec.quick_start import load_and_split, quiet_recbole, train_and_test
from recbole_autorec.tuning.page import report
from recbole_autorec.tuning.search import FAILED, HINT, STOPPED, Search, Setting, Trial, Trials
from recbole_autorec.tuning.space import Space, combinations, draws, parameters_of, read_space, space_from

logger = getLogger(__name__)

ENGINES = ("hyperopt", "ray")
ALGOS = ("bayes", "random", "exhaustive")
# engine -> required packages and their lowest versions, as in setup.cfg
NEEDED = {
    "hyperopt": {"hyperopt": "0.3"},
    "ray": {"hyperopt": "0.3", "ray": "2.59", "pyarrow": "", "tensorboardX": "", "requests": "", "pydantic": ""},
}
# These set what is validated and where, so all trials must share them.
FIXED = {"model", "dataset", "features", "refit", "final", "saved", "device", *dataset_arguments, *general_arguments,
         *evaluation_arguments}  # fmt: skip
# These set where a search runs and what it prints; they may change when it resumes.
MACHINE = {*OF_THE_MACHINE, "refit", "final"}


@dataclass
class Tuning:
    """A finished search.

    Attributes:
        folder: output folder with best.yaml, trials.jsonl, trials.csv, tuning.html and result.json.
        best: the chosen parameters.
        trials: one row per trial, in the order in which they ended.
        result: result of the best configuration; see run_recbole_autorec.
    """

    folder: Path
    best: dict[str, Any]
    trials: pd.DataFrame
    result: dict[str, Any]


def tune(
    model: str | type | None = None,
    dataset: str | None = None,
    space: str | Path | Mapping[str, Mapping[str, Any]] | None = None,
    *,
    engine: str = "hyperopt",
    algo: str = "bayes",
    max_evals: int | None = None,
    time_budget: float | None = None,
    config_file_list: Sequence[str | Path] = (),
    config_dict: Mapping[str, Any] | None = None,
    flags: Mapping[str, str] | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    ray_address: str | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    storage_path: str | Path | None = None,
    show_progress: bool = True,
) -> Tuning:
    """Search for the parameters with the best validation score, then test them once.

    Args:
        model: name of the model, or its class.
        dataset: name of a folder in `data_path`.
        space: a file in RecBole's format, or its params_dict; the default is properties/hyper/MODEL.hyper.
        engine: hyperopt runs one trial after the other; ray runs several in parallel, with early stopping by ASHA.
        algo: bayes (tree of Parzen estimators), random, or exhaustive for a space of choices.
        max_evals: number of configurations to try; the default is 50, or all for exhaustive.
        time_budget: seconds after which no trial starts; Ray also aborts running trials and discards them.
        config_file_list: YAML files with parameters of all trials, including the seed; see Config.
        config_dict: parameters of all trials, by name; see Config.
        flags: parameters of all trials, as text from the command line; see Config.
        output: output folder; the default is `results/tune-<model>-<dataset>-<time>`.
        resume: continue the search in `output`.
        ray_address: running cluster, as host:port or auto; None starts Ray on this machine.
        cpus_per_trial: CPU cores of each trial with Ray, 1 unless given.
        gpus_per_trial: GPUs of each trial with Ray, 0 unless given; may be a fraction.
        storage_path: folder that all machines share, from which trials continue if their machine dies.
        show_progress: print trials and a progress bar to stderr.

    Returns:
        The finished search, written to `output`.

    Raises:
        AutoRecError: something is wrong before the first trial, or every trial failed.

    Examples:
        >>> space = {"choice": {"hidden_size": ["[20]", "[40]"]}}
        >>> tuning = tune("IAutoRec", "ml-100k", space, algo="exhaustive", config_dict={"epochs": 1})
        >>> len(tuning.trials), (tuning.folder / "best.yaml").is_file()
        (2, True)
    """
    cards = os.environ.get("CUDA_VISIBLE_DEVICES")  # RecBole's Config will narrow it to one card
    cluster = {"ray_address": ray_address, "cpus_per_trial": cpus_per_trial, "gpus_per_trial": gpus_per_trial,
               "storage_path": storage_path}  # fmt: skip
    _check(engine, algo, max_evals, time_budget, output, resume, cluster)
    cluster["cards"] = cards
    layers = (*map(file_layer, config_file_list), ("config_dict", parsed(config_dict or {})))
    setting = Setting(model, dataset, layers, dict(flags or {}))
    with quiet_recbole():
        config = setting.config()
        searched = _space(space, config)
        _check_space(searched, setting, config, algo)
        data, parts = load_and_split(config)

    name = f"tune-{config['model']}-{config['dataset']}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = Path(output) if output else Path("results") / name
    metric = config["valid_metric"].lower()
    identity = _identity(config, searched, engine, algo)
    refusal = partial(_refusal, identity, folder, resume)
    with claimed_folder(folder, "tuning.json", identity, "search", refusal, HINT):
        trials = Trials(folder / "trials.jsonl", metric, config["valid_metric_bigger"])
        most = combinations(searched) if algo == "exhaustive" else 50
        evals = most if max_evals is None else min(max_evals, most) if algo == "exhaustive" else max_evals
        start = perf_counter()
        with _progress(searched, trials, evals, show_progress) as ended:
            search = Search(setting, searched, data, parts, trials, algo, evals, config["seed"], time_budget, ended)
            try:
                _search(search, engine, cluster, folder.name)
            except (KeyboardInterrupt, SystemExit):  # SystemExit: SIGTERM while Ray runs
                logger.warning(
                    f"interrupted after {counted(len(trials.trials), 'trial')}; "
                    f"the same command with --output {folder} --resume continues it"
                )
                raise
            finally:
                _save(folder, search)
        best = trials.best
        if best is None:
            reasons = dict.fromkeys(trial["error"] for trial in trials.trials)
            raise AutoRecError(
                f"no trial has a result: {'; '.join(list(reasons)[:3]) or 'the time budget ran out'}; see '{folder}'."
            )
        logger.info(f"trial {best['trial']} is the best; training it again to test it")
        try:
            result, _ = train_and_test(setting.config(("the search", best["parameters"])), data, parts)
        except KeyboardInterrupt:
            logger.warning(f"search complete; the same command with --output {folder} --resume trains the best model")
            raise
        result["search"] = {
            "trial": best["trial"], "parameters": best["parameters"], "valid": best["valid"],
            "trials": len(trials.trials), "failed": sum(trial["status"] == FAILED for trial in trials.trials),
            "engine": engine, "algo": algo, "seconds": round(perf_counter() - start, 3),
        }  # fmt: skip
        write_json(folder / "result.json", result, HINT)
        _write_best(folder, search, best, result["valid"])
    return Tuning(folder, best["parameters"], trials.table, result)


def _search(search: Search, engine: str, cluster: Mapping[str, Any], name: str) -> None:
    if engine == "hyperopt":
        from recbole_autorec.tuning.hyper_tuning import HyperTuning

        HyperTuning(search).run()
    else:
        from recbole_autorec.tuning.ray_tune import Cluster, search_with_ray

        given = {key.removeprefix("ray_"): value for key, value in cluster.items() if value is not None}
        search_with_ray(search, Cluster(**given), name)


def _check(engine, algo, max_evals, time_budget, output, resume, cluster) -> None:
    faults = []
    for name, value, fine, expected in (
        ("engine", engine, engine in ENGINES, f"one of {', '.join(ENGINES)}"),
        ("algo", algo, algo in ALGOS, f"one of {', '.join(ALGOS)}"),
        ("max_evals", max_evals, max_evals is None or is_whole(max_evals, 1), "a whole number >= 1"),
        ("time_budget", time_budget, time_budget is None or is_number(time_budget, 1), "a number of seconds >= 1"),
        ("cpus_per_trial", cpus := cluster["cpus_per_trial"], cpus is None or is_number(cpus, 0.001), "a number > 0"),
        ("gpus_per_trial", gpus := cluster["gpus_per_trial"], gpus is None or is_number(gpus, 0), "a number >= 0"),
    ):
        if not fine:
            faults.append(f"{name}={value!r}; expected {expected}.")
    if engine == "hyperopt":
        faults += [
            f"{name}={value!r} requires engine ray; add --engine ray."
            for name, value in cluster.items()
            if value is not None
        ]
    if resume and output is None:
        faults.append("resume without output; name the folder of the search to continue: --output DIR --resume.")
    if faults:
        raise ConfigError("\n".join(faults))
    check_extra("tune", NEEDED[engine], f"engine {engine}")


def _space(given: str | Path | Mapping[str, Any] | None, config: Config) -> Space:
    if isinstance(given, Mapping):
        return space_from(given)
    if given is not None:
        return read_space(property_path(given))
    folder = properties_dir() / "hyper"
    path = folder / f"{config['model']}.hyper"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in folder.glob("*.hyper")))
        raise ConfigError(
            f"model {config['model']} has no default search space ({there} have); give --space FILE with lines such "
            "as 'learning_rate loguniform -7,-4'."
        )
    return read_space(path)


def _check_space(space: Space, setting: Setting, config: Config, algo: str) -> None:
    """Check that each parameter may be searched and its extremes are valid with some values of the others."""
    faults = []
    others = [parameters_of(space, drawn) for drawn in draws(space, seed=0, count=20)]
    for dimension in space:
        if dimension.name in FIXED:
            faults.append(
                f"{dimension.source}: {dimension.name} cannot be searched: all trials must be validated on the "
                "same ratings in the same way; remove it."
            )
        elif dimension.name in setting.flags:
            faults.append(
                f"{dimension.source}: {dimension.name} is searched, but the command line sets it to "
                f"{setting.flags[dimension.name]!r}; remove one of them."
            )
        elif algo == "exhaustive" and dimension.kind != "choice":
            faults.append(
                f"{dimension.source}: {dimension.name} {dimension.kind}; an exhaustive search takes only choices: "
                "give a choice, or use --algo random or bayes."
            )
        else:
            for value in dimension.extremes():
                found = _refused(setting, dimension.source, {dimension.name: value})
                if found and all(_refused(setting, "", {**other, dimension.name: value}) for other in others):
                    faults += [line for line in found if line not in faults]
    if faults:
        raise ConfigError("\n".join(faults))


def _refused(setting: Setting, source: str, parameters: Mapping[str, Any]) -> list[str]:
    try:
        setting.config((source, parameters))
    except ConfigError as error:
        return str(error).splitlines()
    return []


def _identity(config: Config, space: Space, engine: str, algo: str) -> dict[str, Any]:
    """Return what must not change when a search resumes."""
    return {
        "format": "recbole_autorec search 1",
        "version": recbole_autorec.__version__,
        "engine": engine,
        "algo": algo,
        "data": data_digest(config),
        "space": {dimension.name: [dimension.kind, *dimension.values] for dimension in space},
        "parameters": {key: value for key, value in config.plain_parameters.items() if key not in MACHINE},
    }


def _refusal(now: dict[str, Any], folder: Path, resume: bool, known: dict[str, Any] | None) -> str | None:
    if known is None and resume:
        return f"--output '{folder}' holds no search to resume; leave --resume out."
    if known is None or not (folder / "trials.jsonl").is_file():  # no trials to mix with
        return None
    if not resume:
        return f"--output '{folder}' already holds a search; add --resume to continue it, or give another --output."
    for part, was, is_ in (
        *((name, known[name], now[name]) for name in ("version", "engine", "algo")),
        *((name, known["parameters"].get(name), now["parameters"][name]) for name in ("model", "dataset")),
        ("data", known["data"], now["data"]),
        *_differences("space", known["space"], now["space"]),
        *_differences("parameter", known["parameters"], now["parameters"]),
    ):
        if was != is_:
            return (
                f"--output '{folder}' holds another search: {part} was {was!r} and is now {is_!r}; resume with the "
                "same, or give another --output."
            )
    return None


def _differences(what: str, known: Mapping[str, Any], now: Mapping[str, Any]):
    return ((f"{what} {name}", known.get(name), now.get(name)) for name in sorted(known.keys() | now.keys()))


@contextmanager
def _progress(space: Space, trials: Trials, evals: int, show: bool):
    """Report progress; yield a function to call with each trial when it ends."""
    say = partial(tqdm.write, file=sys.stderr) if show else logger.debug
    if trials.trials:
        say(f"{counted(len(trials.trials), 'trial')} found in '{trials.file.parent}'")
    say("\n".join(["searched:", *(f"  {dimension}" for dimension in space)]))
    with tqdm(total=evals, initial=min(len(trials.trials), evals), unit="trial", disable=None if show else True) as bar:

        def ended(trial: Trial) -> None:
            values = ", ".join(f"{name} {value}" for name, value in trial["parameters"].items())
            line = f"trial {trial['trial']:>3}/{evals}  "
            if trial["status"] == FAILED:
                say(f"{line}failed: {trial['error']}  ({values})")
            else:
                score = f"{trials.metric.upper()} {trial['valid'][trials.metric]:.4f}"
                stopped = "stopped at" if trial["status"] == STOPPED else "best"
                epoch = trial["epochs_run"] if trial["status"] == STOPPED else trial["best_epoch"]
                mark = "  best so far" if trials.best is trial else ""
                say(f"{line}{score}  {stopped} epoch {epoch:>3}  {trial['seconds']:7.1f} s  {values}{mark}")
            bar.update()
            if trials.best:
                bar.set_postfix_str(f"best {trials.metric.upper()} {trials.best['valid'][trials.metric]:.4f}")

        yield ended


def _save(folder: Path, search: Search) -> None:
    """Write best.yaml, trials.csv and tuning.html from the trials so far."""
    trials = search.trials
    if not trials.trials:
        return
    if trials.best is not None:
        _write_best(folder, search, trials.best, trials.best["valid"])
    write_text(folder / "trials.csv", without_formulas(trials.table).to_csv(), HINT)
    write_text(folder / "tuning.html", report(trials, search.space, search.setting), HINT)


def _write_best(folder: Path, search: Search, best: Trial, valid: Mapping[str, float]) -> None:
    """Write best.yaml with the parameters of `best` and its validation scores `valid`."""
    trials, config = search.trials, search.setting.config(("the search", best["parameters"]))
    parameters = {"model": config["model"], "dataset": config["dataset"], "seed": config["seed"]}
    searched = {name: config.plain_parameters[name] for name in best["parameters"]}  # defaults may change
    content = {**parameters, **config.changed_parameters(), **searched}
    lines = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    score = f"validation {trials.metric.upper()} {valid[trials.metric]}"
    write_text(folder / "best.yaml", f"# trial {best['trial']} of {len(trials.trials)}: {score}\n{lines}", HINT)
