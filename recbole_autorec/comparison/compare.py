"""Compare models on the same splits under the same protocol, in one table."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import recbole_autorec
from recbole_autorec.comparison import tables
from recbole_autorec.comparison.blend import write_blend
from recbole_autorec.comparison.page import report
from recbole_autorec.comparison.plan import BLEND, Plan, make_plan
from recbole_autorec.comparison.results import Results
from recbole_autorec.comparison.runner import HINT, Task, run_all
from recbole_autorec.config.checks import is_whole
from recbole_autorec.config.config import Config
from recbole_autorec.data.dataset import data_digest
from recbole_autorec.errors import ConfigError, counted
from recbole_autorec.files import claimed_folder, make_folder, without_formulas, write_json, write_text
from recbole_autorec.invocation import command, versions
from recbole_autorec.parameter_roles import OF_A_PART
from recbole_autorec.quick_start import load_and_split, quiet_recbole

logger = getLogger(__name__)


class Comparison(Results):
    """Results that can be printed, shown in a notebook and saved to any folder."""

    def __repr__(self) -> str:
        """Name the comparison; its fields would fill pages."""
        return f"Comparison({len(self.rows)} rows, {self.dataset!r}, {str(self.folder)!r})"

    def __str__(self) -> str:
        return tables.terminal(self, self.table)

    def _repr_html_(self) -> str:
        return tables.notebook(self, self.table)

    def save(self, folder: str | Path) -> None:
        """Write table.md, table.tex, table.csv, result.json and report.html.

        Args:
            folder: an existing folder, or one to make.
        """
        path, table = make_folder(folder), self.table
        content = {
            **json.loads((self.folder / "comparison.json").read_text()),
            "split_fingerprints": self.splits(),
            "table": json.loads(table.to_json(orient="index", double_precision=10)),
            "runs": {
                row.label: [task.result() for task in self.tasks if task.row.label == row.label] for row in self.rows
            },
            "versions": versions(),
            "command": command(),
        }
        write_text(path / "table.md", tables.markdown(self, table), HINT)
        write_text(path / "table.tex", tables.latex(self, table), HINT)
        write_text(path / "table.csv", without_formulas(table.reset_index()).to_csv(index=False), HINT)
        write_json(path / "result.json", content, HINT)
        write_text(path / "report.html", report(self, table), HINT)


def compare(
    models: Sequence[str | type] | Mapping[str, Any] | None = None,
    dataset: str | None = None,
    repeats: int | None = None,
    *,
    kfold: int | None = None,
    metric: str | None = None,
    reference: str | None = None,
    blend: bool | None = None,
    file: str | Path | None = None,
    configs: Mapping[str, str | Path | Mapping[str, Any]] | None = None,
    config_file_list: Sequence[str | Path] = (),
    config_dict: Mapping[str, Any] | None = None,
    flags: Mapping[str, str] | None = None,
    output: str | Path | None = None,
    jobs: int = 1,
    show_progress: bool = True,
) -> Comparison:
    """Train each model on the same splits and compare them on the same test ratings.

    Args:
        models: names, "label=name" or classes; or label -> parameters, as in a comparison file. None takes them from
            `file`.
        dataset: name of a folder in `data_path`.
        repeats: number of random splits, 5 unless given; repeat n uses the first seed plus n - 1.
        kfold: number of folds of one partition, instead of `repeats`.
        metric: rmse or mae, in stars; or a ranking metric such as ndcg@10, which ranks all items.
        reference: label of a row to compare the others with, besides the best.
        blend: add a row, the sum of all rows' predictions weighted by validation ratings.
        file: YAML file with models and any of these settings, which the other arguments override.
        configs: label -> YAML file or parameters for that row only.
        config_file_list: YAML files with parameters for every model; see Config.
        config_dict: parameters for every model, by name; see Config.
        flags: parameters for every model, as text from the command line; see Config.
        output: output folder; the default is `results/<dataset>-<time>`. With the folder and settings of an
            earlier call, the comparison continues where that call stopped; models and repeats may be added.
        jobs: number of parallel trainings; each gets an equal share of the CPU cores.
        show_progress: print results, tables and a progress bar to stderr.

    Returns:
        The comparison, saved in `output`.

    Raises:
        AutoRecError: something is wrong before training starts. A model that fails later becomes a row with the reason.

    Examples:
        >>> comparison = compare(["Bias", "GlobalMean"], "ml-100k", repeats=1)
        >>> (comparison.folder / "report.html").is_file()
        True
        >>> [result["test"]["rmse"] < 1 for result in comparison.results("Bias")]
        [True]
    """
    plan = make_plan(
        models, file, configs, config_file_list, config_dict, flags,
        dataset=dataset, repeats=repeats, kfold=kfold, metric=metric, reference=reference, blend=blend,
    )  # fmt: skip
    if not is_whole(jobs, 1):
        raise ConfigError(f"jobs={jobs!r}; expected a whole number >= 1.")
    with quiet_recbole():
        configs = plan.configs()
        identity = _identity(plan, configs)
    name = identity["dataset"]
    folder = Path(output) if output else Path("results") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    # Finish whole repeats first: a table with few repeats is fair, one with few models is not.
    threads = 0 if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
    tasks = [
        Task(plan, row, repeat, {**first, **plan.drawn(first, repeat)}, folder.absolute(), threads, os.getcwd())
        for repeat in range(1, plan.repeats + 1)
        for row in plan.rows
        for first in [configs[row.label].plain_parameters]
    ]
    blends = {task.repeat: replace(task, row=BLEND, parameters={}) for task in tasks if plan.blend}
    comparison = Comparison(plan, name, folder, [*tasks, *blends.values()])
    refusal = partial(_refusal, identity, folder)
    with claimed_folder(folder, "comparison.json", identity, "comparison", refusal, HINT):
        for part in ("runs", "splits"):
            make_folder(folder / part)
        try:
            _run(comparison, tasks, blends, jobs, show_progress)
        except KeyboardInterrupt:
            finished = sum(comparison.result(task) is not None for task in tasks)
            logger.warning(
                f"interrupted after {finished} of {counted(len(tasks), 'training')}; "
                f"the same command with --output {folder} continues it"
            )
            raise
        comparison.save(folder)
    return comparison


def _run(comparison: Comparison, tasks: list[Task], blends: Mapping[int, Task], jobs: int, show_progress: bool) -> None:
    """Run the unfinished trainings, blend each complete repeat and report progress."""
    metrics = comparison.metrics
    todo = [task for task in tasks if comparison.result(task) is None]
    for failed in todo:
        failed.result_file.unlink(missing_ok=True)  # failed trainings are retried
    for repeat, blend in blends.items():  # rows may have been added since
        blend.result_file.unlink(missing_ok=True)
        if not any(task.repeat == repeat for task in todo):
            write_blend(blend, _finished(comparison, tasks, repeat))
    say = partial(tqdm.write, file=sys.stderr) if show_progress else logger.debug
    if len(todo) < len(tasks):
        say(f"{len(tasks) - len(todo)} of {counted(len(tasks), 'training')} found in '{comparison.folder}'")
    seconds: dict[str, list[float]] = {}
    bar = tqdm(
        total=len(tasks), initial=len(tasks) - len(todo), unit="training", disable=None if show_progress else True,
        bar_format="{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
    )  # fmt: skip
    left, width = list(todo), max(len(row.label) for row in comparison.plan.rows)
    with bar, closing(run_all(todo, jobs)) as ended:
        for task, took in ended:
            if task is not None:
                left.remove(task)
                seconds.setdefault(task.row.label, []).append(took)
                found = task.result() or {}
                line = f"repeat {task.repeat}/{comparison.plan.repeats}  {task.row.label:<{width}}  "
                if "error" in found:
                    say(f"{line}failed: {found['error']}")
                else:
                    scores = "  ".join(f"{metric.upper()} {found['test'][metric]:.4f}" for metric in metrics)
                    say(f"{line}{scores}  best epoch {found['best_epoch']:>3}  {took:7.1f} s")
                if not any(other.repeat == task.repeat for other in left):
                    if task.repeat in blends:
                        write_blend(blends[task.repeat], _finished(comparison, tasks, task.repeat))
                    if left:
                        say(f"\n{tables.terminal(comparison, comparison.table)}\n")
                bar.update()
            time_left = tqdm.format_interval(_time_left(left, seconds) / jobs) if seconds and left else ""
            bar.set_postfix_str(time_left and f"about {time_left} left")


def _finished(comparison: Comparison, tasks: list[Task], repeat: int) -> list[Task]:
    return [task for task in tasks if task.repeat == repeat and comparison.result(task) is not None]


def _time_left(left: list[Task], seconds: dict[str, list[float]]) -> float:
    """Estimate the remaining seconds from each row's mean time; a row not run yet counts as the mean of the others."""
    means = {label: float(np.mean(values)) for label, values in seconds.items()}
    typical = float(np.mean(list(means.values())))
    return sum(means.get(task.row.label, typical) for task in left)


def _identity(plan: Plan, configs: Mapping[str, Config]) -> dict[str, Any]:
    """Return what must not change between calls that share an output folder."""
    first = next(iter(configs.values()))
    load_and_split(first)  # reports data errors once, before anything is written
    return {
        "format": "recbole_autorec comparison 3",
        "dataset": first["dataset"],
        "data": data_digest(first),
        "metric": plan.metric,
        "reference": plan.reference,
        "kfold": plan.repeats if plan.kfold else None,
        "repeats": plan.repeats,
        "version": recbole_autorec.__version__,
        "rows": {
            label: {key: value for key, value in config.plain_parameters.items() if key not in OF_A_PART}
            for label, config in configs.items()
        },
    }


def _refusal(now: dict[str, Any], folder: Path, known: dict[str, Any] | None) -> str | None:
    change = known and _change(known, now)
    return f"--output '{folder}' holds another comparison: {change}; give another --output." if change else None


def _change(known: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Describe the first incompatible change; adding rows or repeats is compatible."""
    for key, meaning in (("dataset", "dataset"), ("data", "the data's digest"), ("metric", "metric"),
                         ("kfold", "kfold"), ("version", "version")):  # fmt: skip
        if known[key] != now[key]:
            return f"{meaning} was {known[key]!r} and is now {now[key]!r}"
    if known["repeats"] > now["repeats"]:
        return f"repeats was {known['repeats']} and is now {now['repeats']}"
    for label, parameters in known["rows"].items():
        if label not in now["rows"]:
            return f"it has a row {label!r}, which this call leaves out"
        for key in sorted(parameters.keys() | now["rows"][label].keys()):
            was, is_ = parameters.get(key), now["rows"][label].get(key)
            if was != is_:
                return f"{label}: {key} was {was!r} and is now {is_!r}"
    return None
