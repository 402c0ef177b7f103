"""Models side by side: the same splits, the same protocol, one table."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

import recbole_autorec
from recbole_autorec.checks import is_whole
from recbole_autorec.comparison import tables
from recbole_autorec.comparison.plan import Plan, data_digest, make_plan
from recbole_autorec.comparison.runner import HINT, Task, run_all
from recbole_autorec.comparison.statistics import bootstrap_scores, half_width, paired_p_value
from recbole_autorec.errors import ConfigError
from recbole_autorec.files import make_folder, write_json
from recbole_autorec.quick_start import command, quiet_recbole, versions

logger = getLogger(__name__)


def compare(
    models: Sequence[str | type] | Mapping[str, Any] | None = None,
    dataset: str | None = None,
    repeats: int | None = None,
    *,
    kfold: int | None = None,
    metric: str | None = None,
    reference: str | None = None,
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
        models, dataset, repeats, kfold, metric, reference, file, configs: see make_plan; 5 repeats unless said.
        config_file_list, config_dict, flags: of every model; see Config.
        output: folder for everything that comes out, results/<dataset>-<time> unless given. Given again, with the
            same settings, it goes on where it stopped; more models or repeats may join.
        jobs: trainings at once, each with its share of the processor's cores.
        show_progress: rows, tables and a progress bar as it goes.

    Returns:
        The comparison, saved in `output`.

    Raises:
        AutoRecError: before anything is trained. A model that fails later is a row that says why.
    """
    plan = make_plan(
        models, file, configs, config_file_list, config_dict, flags,
        dataset=dataset, repeats=repeats, kfold=kfold, metric=metric, reference=reference,
    )  # fmt: skip
    if not is_whole(jobs, 1):
        raise ConfigError(f"jobs={jobs!r}; expected a whole number >= 1.")
    with quiet_recbole():
        identity = _identity(plan)
    name = identity["dataset"]
    folder = Path(output) if output else Path("results") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    _open_folder(folder, identity)

    # Whole repeats first: a table of few repeats is fair, one of few models is not.
    threads = 0 if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
    tasks = [
        Task(plan, row, repeat, folder.resolve(), threads, os.getcwd())
        for repeat in range(1, plan.repeats + 1)
        for row in plan.rows
    ]
    comparison = Comparison(plan, name, folder, tasks)
    try:
        _run(comparison, jobs, show_progress)
    except KeyboardInterrupt:
        finished = sum(comparison.result(task) is not None for task in tasks)
        logger.warning(
            f"interrupted after {finished} of {len(tasks)} trainings; the same command with --output {folder} goes on"
        )
        raise
    comparison.save(folder)
    return comparison


@dataclass
class Comparison:
    """What was compared and what came out.

    Attributes:
        plan: what was asked for.
        dataset: its name.
        folder: where the single results are.
        tasks: every training, in the order they are run.
    """

    plan: Plan
    dataset: str
    folder: Path
    tasks: list[Task]
    _bootstrapped: tuple[Any, dict[str, np.ndarray]] = field(default=(None, {}), repr=False)

    def result(self, task: Task) -> dict[str, Any] | None:
        """The result of a training that has finished well; None otherwise."""
        found = task.result()
        return None if found is None or "error" in found else found

    def results(self, label: str) -> list[dict[str, Any]]:
        """Of one row, a result for each repeat that has finished well."""
        found = (self.result(task) for task in self.tasks if task.row.label == label)
        return [result for result in found if result is not None]

    def error(self, label: str) -> str | None:
        """Why a row failed, for the first repeat that did."""
        found = (task.result() for task in self.tasks if task.row.label == label)
        return next((result["error"] for result in found if result is not None and "error" in result), None)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics in the table, the one that orders it first."""
        return [self.plan.metric] if self.plan.ranks else sorted(("rmse", "mae"), key=lambda m: m != self.plan.metric)

    @property
    def complete_repeats(self) -> list[int]:
        """Repeats that every row without an error has."""
        labels = [row.label for row in self.plan.rows if self.error(row.label) is None]
        done = {(t.row.label, t.repeat) for t in self.tasks if t.row.label in labels and self.result(t) is not None}
        return [n for n in range(1, self.plan.repeats + 1) if labels and all((label, n) in done for label in labels)]

    @property
    def table(self) -> pd.DataFrame:
        """A row for each model, the best first; failed ones last, with `error`.

        Columns: model; for each metric its mean over repeats, `<metric>_interval` (half of the 95 % interval),
        and, of the first metric only, for `best` and `reference` the difference to that row, the bootstrap interval
        of it, p over repeats and whether it is real; best_epoch, train_seconds, seconds_per_epoch, eval_seconds,
        peak_memory_mb (means), n_parameters, repeats, error.
        """
        rows = []
        for row in self.plan.rows:
            results = self.results(row.label)
            line: dict[str, Any] = {"label": row.label, "model": _name(row.model)}
            for metric in self.metrics if results else ():
                values = np.array([result["test"][metric] for result in results])
                line |= {metric: values.mean(), f"{metric}_interval": half_width(values)}
            for key in ("best_epoch", "train_seconds", "eval_seconds", "peak_memory_mb") if results else ():
                line[key] = np.mean([result[key] for result in results])
            if results:
                line["seconds_per_epoch"] = np.mean([r["train_seconds"] / _epochs_trained(r) for r in results])
                line["n_parameters"] = results[0]["n_parameters"]
            rows.append({**line, "repeats": len(results), "error": self.error(row.label)})
        frame = pd.DataFrame(rows).set_index("label")
        first = self.metrics[0]
        if first not in frame:
            return frame
        frame = frame.sort_values(first, ascending=not self.plan.bigger_is_better, kind="stable", na_position="last")
        for name, reference in (("best", frame.index[0]), ("reference", self.plan.reference)):
            if reference is not None and self.results(reference):
                frame = frame.join(self._differences(reference).add_prefix(f"{name}_"))
        return frame

    def _differences(self, reference: str) -> pd.DataFrame:
        """Each row against `reference`: difference, low, high, p, real; on the repeats that both have."""
        metric, lines = self.metrics[0], {}
        bootstrap = self._bootstrap()
        results = ((task, self.result(task)) for task in self.tasks)
        of = {(task.row.label, task.repeat): result for task, result in results if result is not None}
        for label in (row.label for row in self.plan.rows if row.label != reference):
            both = [
                (of[label, n]["test"][metric], of[reference, n]["test"][metric], of[reference, n])
                for n in range(1, self.plan.repeats + 1)
                if of.get((label, n)) and of.get((reference, n))
            ]
            if not both:
                continue
            differences = np.array([mine - theirs for mine, theirs, _ in both])
            p = paired_p_value(differences, _test_share(both[0][2]))
            low = high = float("nan")
            if label in bootstrap and reference in bootstrap:
                low, high = np.quantile(bootstrap[label] - bootstrap[reference], [0.025, 0.975])
            known = [p < 0.05] * (not np.isnan(p)) + [low > 0 or high < 0] * (not np.isnan(low))
            lines[label] = {"difference": differences.mean(), "low": low, "high": high, "p": p,
                            "real": all(known) if known else None}  # fmt: skip
        columns = ["difference", "low", "high", "p", "real"]
        return pd.DataFrame.from_dict(lines, orient="index", columns=columns)

    def _bootstrap(self) -> dict[str, np.ndarray]:
        """label -> its score on each resample, (RESAMPLES,), for the rows that have every complete repeat."""
        repeats = self.complete_repeats
        if self.plan.ranks or not repeats:
            return {}
        labels = [row.label for row in self.plan.rows if self.error(row.label) is None]
        key = (tuple(labels), tuple(repeats))
        if self._bootstrapped[0] != key:
            losses = []
            for repeat in repeats:
                errors = self.test_errors(repeat)
                losses.append(np.stack([errors[label] for label in labels], axis=1))
            root = self.metrics[0] == "rmse"
            scores = bootstrap_scores([loss**2 if root else abs(loss) for loss in losses], root)
            self._bootstrapped = key, dict(zip(labels, scores.T, strict=True))
        return self._bootstrapped[1]

    def test_errors(self, repeat: int) -> dict[str, np.ndarray]:
        """label -> prediction minus rating of every test rating of one repeat, (n_test,) stars."""
        tasks = [task for task in self.tasks if task.repeat == repeat and self.result(task) is not None]
        ratings = tasks[0].split()["ratings"].astype(np.float64) if tasks else None
        return {task.row.label: task.predictions() - ratings for task in tasks}

    def splits(self) -> dict[int, str]:
        """repeat -> the fingerprint of its split, the same for every row."""
        found = {task.repeat: self.result(task) for task in reversed(self.tasks)}
        return {n: result["split_fingerprint"] for n, result in sorted(found.items()) if result is not None}

    def save(self, folder: str | Path) -> None:
        """Write table.md, table.tex, table.csv, result.json and report.html."""
        from recbole_autorec.comparison.report import report

        path, table = make_folder(folder), self.table
        content = {
            **json.loads((self.folder / "comparison.json").read_text()),
            "split_fingerprints": self.splits(),
            "table": json.loads(table.to_json(orient="index", double_precision=10)),
            "runs": {
                row.label: [task.result() for task in self.tasks if task.row.label == row.label]
                for row in self.plan.rows
            },
            "versions": versions(),
            "command": command(),
        }
        tables.write_text(path / "table.md", tables.markdown(self, table))
        tables.write_text(path / "table.tex", tables.latex(self, table))
        tables.write_text(path / "table.csv", table.to_csv())
        write_json(path / "result.json", content, HINT)
        tables.write_text(path / "report.html", report(self, table))


def _run(comparison: Comparison, jobs: int, show_progress: bool) -> None:
    """Run what has not finished yet, and say how it goes."""
    tasks, metrics = comparison.tasks, comparison.metrics
    todo = [task for task in tasks if comparison.result(task) is None]
    for failed in todo:
        failed.result_file.unlink(missing_ok=True)  # a failure is tried again
    say = logger.info if show_progress else logger.debug
    if len(todo) < len(tasks):
        say(f"{len(tasks) - len(todo)} of {len(tasks)} trainings are in '{comparison.folder}' already")
    seconds: dict[str, list[float]] = {}
    bar = tqdm(
        total=len(tasks), initial=len(tasks) - len(todo), unit="training", disable=None if show_progress else True,
        bar_format="{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
    )  # fmt: skip
    left, width = list(todo), max(len(row.label) for row in comparison.plan.rows)
    with bar:
        for task, took in run_all(todo, jobs):
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
                if not any(other.repeat == task.repeat for other in left) and left:
                    say(f"\n{tables.terminal(comparison, comparison.table)}\n")
                bar.update()
            bar.set_postfix_str(f"about {_clock(_time_left(left, seconds) / jobs)} left" if seconds and left else "")


def _time_left(left: list[Task], seconds: dict[str, list[float]]) -> float:
    """A row takes as long as it did before; one not yet run as long as the others on average."""
    means = {label: float(np.mean(values)) for label, values in seconds.items()}
    typical = float(np.mean(list(means.values())))
    return sum(means.get(task.row.label, typical) for task in left)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _identity(plan: Plan) -> dict[str, Any]:
    """What may not change between two calls that share a folder."""
    configs = plan.configs()
    first = next(iter(configs.values()))
    if not Path(first["data_path"], f"{first['dataset']}.inter").is_file() and not first["benchmark_filename"]:
        from recbole_autorec.data.dataset import RatingDataset

        RatingDataset(first)  # says what is missing
    return {
        "format": "recbole_autorec comparison 1",
        "dataset": first["dataset"],
        "data": data_digest(first),
        "metric": plan.metric,
        "reference": plan.reference,
        "kfold": plan.repeats if plan.kfold else None,
        "repeats": plan.repeats,
        "version": recbole_autorec.__version__,
        "rows": {
            label: {
                key: value
                for key, value in config.plain_parameters.items()
                if key not in ("data_path", "checkpoint_dir", "state", "show_progress", "device")
            }
            for label, config in configs.items()
        },
    }


def _open_folder(folder: Path, identity: dict[str, Any]) -> None:
    """Make the folder, or check that what it holds belongs to this comparison."""
    file = folder / "comparison.json"
    if file.is_file():
        try:
            known = json.loads(file.read_text())
            assert known["format"] == identity["format"]
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise ConfigError(f"'{file}' is damaged or of another release; give another --output.") from error
        change = _change(known, identity)
        if change:
            raise ConfigError(f"--output '{folder}' holds another comparison: {change}; give another --output.")
    elif folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"--output '{folder}' is not empty and holds no comparison; give another --output.")
    for part in (folder, folder / "runs", folder / "splits"):
        make_folder(part)
    write_json(file, identity, HINT)


def _change(known: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The first difference that would mix what does not belong together; rows and repeats may be added."""
    for key, meaning in (("dataset", "dataset"), ("data", "the data's digest"), ("metric", "metric"),
                         ("kfold", "kfold"), ("version", "the release")):  # fmt: skip
        if known[key] != now[key]:
            return f"{meaning} was {known[key]!r} and is {now[key]!r}"
    if known["repeats"] > now["repeats"]:
        return f"repeats was {known['repeats']} and is {now['repeats']}"
    for label, parameters in known["rows"].items():
        if label not in now["rows"]:
            return f"it has a row {label!r}, which is not asked for"
        for key in sorted(parameters.keys() | now["rows"][label].keys()):
            was, is_ = parameters.get(key), now["rows"][label].get(key)
            if was != is_:
                return f"{label}: {key} was {was!r} and is {is_!r}"
    return None


def _name(model: str | type) -> str:
    return model.__name__ if isinstance(model, type) else model


def _epochs_trained(result: Mapping[str, Any]) -> int:
    refit = result["all_parameters"]["refit"]
    return result["epochs_run"] + (result["best_epoch"] if refit else 0)


def _test_share(result: Mapping[str, Any]) -> float:
    """Test ratings per rating trained on."""
    refit = result["all_parameters"]["refit"]
    return result["n_test"] / (result["n_train"] + (result["n_valid"] if refit else 0))
