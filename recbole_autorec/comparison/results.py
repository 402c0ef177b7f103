"""The results of a comparison: its table, and which differences are significant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_autorec.comparison.plan import BLEND, Plan, Row
from recbole_autorec.comparison.runner import Task
from recbole_autorec.comparison.statistics import bootstrap_scores, half_width, paired_p_value


@dataclass
class Results:
    """A comparison's plan and what its trainings have written so far.

    Attributes:
        plan: the comparison that was requested.
        dataset: name of the dataset.
        folder: output folder, with a file for each training.
        tasks: all trainings in the order they run, then the blend of each repeat.
    """

    plan: Plan
    dataset: str
    folder: Path
    tasks: list[Task]
    _bootstrapped: tuple[Any, dict[str, np.ndarray]] = field(default=(None, {}), repr=False)

    def result(self, task: Task) -> dict[str, Any] | None:
        """Return the result of a training; None if it failed or has not finished."""
        found = task.result()
        return None if found is None or "error" in found else found

    def results(self, label: str) -> list[dict[str, Any]]:
        """Return a row's results, one for each successful repeat.

        Args:
            label: label of the row, such as "IAutoRec".

        Returns:
            What run_recbole_autorec returns, each.
        """
        found = (self.result(task) for task in self.tasks if task.row.label == label)
        return [result for result in found if result is not None]

    def error(self, label: str) -> str | None:
        """Return why a row's first failed repeat failed; None if none did.

        Args:
            label: label of the row.
        """
        found = (task.result() for task in self.tasks if task.row.label == label)
        return next((result["error"] for result in found if result is not None and "error" in result), None)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The plan's rows, then the blend if there is one."""
        return (*self.plan.rows, *([BLEND] if self.plan.blend else []))

    @property
    def metrics(self) -> list[str]:
        """Metrics in the table; the first one sorts it."""
        return [self.plan.metric] if self.plan.ranks else sorted(("rmse", "mae"), key=lambda m: m != self.plan.metric)

    @property
    def complete_repeats(self) -> list[int]:
        """Repeats that all rows without an error have finished."""
        labels = [row.label for row in self.rows if self.error(row.label) is None]
        done = {(t.row.label, t.repeat) for t in self.tasks if t.row.label in labels and self.result(t) is not None}
        return [n for n in range(1, self.plan.repeats + 1) if labels and all((label, n) in done for label in labels)]

    @property
    def table(self) -> pd.DataFrame:
        """A row for each model, the best first and failed ones last.

        Columns: model; each metric's mean over repeats, and `<metric>_interval`, half of its 95 % interval; for the
        first metric, with prefixes `best_` and `reference_`, the difference to that row, low and high of its 95 %
        interval, p, and whether it is significant; best_epoch, train_seconds, seconds_per_epoch, eval_seconds,
        peak_memory_mb (means), n_parameters, repeats, error.
        """
        rows = []
        for row in self.rows:
            results = self.results(row.label)
            line: dict[str, Any] = {"label": row.label, "model": getattr(row.model, "__name__", row.model)}
            for metric in self.metrics if results else ():
                values = np.array([result["test"][metric] for result in results])
                line |= {metric: values.mean(), f"{metric}_interval": half_width(values)}
            for key in ("best_epoch", "train_seconds", "eval_seconds", "peak_memory_mb") if results else ():
                line[key] = np.mean([np.nan if result[key] is None else result[key] for result in results])
            if results:
                if row is not BLEND:
                    line["seconds_per_epoch"] = np.mean([r["train_seconds"] / _epochs_trained(r) for r in results])
                line["n_parameters"] = results[0]["n_parameters"]
            rows.append({**line, "repeats": len(results), "error": self.error(row.label)})
        frame = pd.DataFrame(rows).set_index("label")
        first = self.metrics[0]
        if first not in frame:
            return frame
        frame = frame.sort_values(first, ascending=not self.plan.ranks, kind="stable", na_position="last")
        # failed rows go last: their means are over fewer splits
        frame = frame.sort_values("error", key=lambda error: error.notna(), kind="stable")
        best = next((label for label in frame.index if label != BLEND.label), frame.index[0])  # a model if any
        for name, reference in (("best", best), ("reference", self.plan.reference)):
            if reference is not None and self.results(reference):
                frame = frame.join(self._differences(reference).add_prefix(f"{name}_"))
        return frame

    def _differences(self, reference: str) -> pd.DataFrame:
        """Compare each row with `reference` on shared repeats: difference, bootstrap interval, p, significance."""
        metric, lines = self.metrics[0], {}
        bootstrap = self._bootstrap()
        results = ((task, self.result(task)) for task in self.tasks)
        of = {(task.row.label, task.repeat): result for task, result in results if result is not None}
        for label in (row.label for row in self.rows if row.label != reference):
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
                            "significant": all(known) if known else None}  # fmt: skip
        columns = ["difference", "low", "high", "p", "significant"]
        return pd.DataFrame.from_dict(lines, orient="index", columns=columns)

    @property
    def resamples(self) -> bool:
        """Whether to bootstrap the test ratings; with only one in a test part, all resamples would be equal."""
        n_tests = [result["n_test"] for row in self.rows for result in self.results(row.label)]
        return not self.plan.ranks and min(n_tests, default=0) > 1

    def _bootstrap(self) -> dict[str, np.ndarray]:
        """Return label -> score on each resample, (RESAMPLES,), for all rows without an error."""
        repeats = self.complete_repeats
        if not self.resamples or not repeats:
            return {}
        labels = [row.label for row in self.rows if self.error(row.label) is None]
        key = (tuple(labels), tuple(repeats))
        if self._bootstrapped[0] != key:
            tests = [np.stack([errors[label] for label in labels], axis=1) for errors in map(self.test_errors, repeats)]
            root = self.metrics[0] == "rmse"
            scores = bootstrap_scores([errors**2 if root else abs(errors) for errors in tests], root)
            self._bootstrapped = key, dict(zip(labels, scores.T, strict=True))
        return self._bootstrapped[1]

    def test_errors(self, repeat: int) -> dict[str, np.ndarray]:
        """Return label -> prediction minus rating for each test rating of one repeat, (n_test,), in stars."""
        tasks = [task for task in self.tasks if task.repeat == repeat and self.result(task) is not None]
        ratings = tasks[0].split()["ratings"].astype(np.float64) if tasks else None
        return {task.row.label: task.predictions() - ratings for task in tasks}

    def splits(self) -> dict[int, str]:
        """Return repeat -> fingerprint of its split, the same for every row."""
        found = {task.repeat: self.result(task) for task in reversed(self.tasks)}
        return {n: result["split_fingerprint"] for n, result in sorted(found.items()) if result is not None}


def _epochs_trained(result: Mapping[str, Any]) -> int:
    refit = result["all_parameters"]["refit"]
    return result["epochs_run"] + (result["best_epoch"] if refit else 0)


def _test_share(result: Mapping[str, Any]) -> float:
    """Return the number of test ratings per training rating."""
    refit = result["all_parameters"]["refit"]
    return result["n_test"] / (result["n_train"] + (result["n_valid"] if refit else 0))
