"""The HTML report of a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import qualitative

from recbole_autorec.comparison import tables
from recbole_autorec.comparison.results import Results
from recbole_autorec.report.figures import both_errors_by_activity, both_learning_curves, predicted_and_actual
from recbole_autorec.report.page import Section, empty_figure, how_chosen, in_lines, render


def report(comparison: Results, table: pd.DataFrame) -> str:
    """Return the page as HTML."""
    labels = [label for label in table.index if comparison.results(label)]
    colours = dict(zip(table.index, (qualitative.T10 + qualitative.Set2) * len(table), strict=False))
    some = comparison.results(labels[0])[0] if labels else {}
    return render(
        Path(__file__).with_name("comparison.html"),
        _sections(comparison, table, labels, colours) if labels else (),
        some.get("versions", {}),
        title=f"{comparison.plan.metric.upper()} on {comparison.dataset}",
        subtitle=_subtitle(comparison, some),
        scores=tables.readable(comparison, table),
        explanation=tables.explanation(comparison),
        settings=[(row.label, table["model"][row.label], _settings(comparison, row.label)) for row in comparison.rows],
    )


def _sections(
    comparison: Results, table: pd.DataFrame, labels: list[str], colours: dict[str, str]
) -> Iterator[Section]:
    metric, first = comparison.metrics[0].upper(), {label: comparison.results(label)[0] for label in labels}
    yield (
        "Test scores",
        "Each dot is one repeat; the diamond is the mean with its 95 % interval.",
        [(name, name.upper(), _scores(comparison, table, labels, name, colours)) for name in comparison.metrics],
    )
    yield (
        "Learning curves",
        "Validation score in the first repeat; the star marks the chosen epoch.",
        both_learning_curves(first, metric, colours),
    )
    repeats = comparison.complete_repeats
    if comparison.plan.ranks or not repeats:
        return
    labels = [label for label in labels if comparison.error(label) is None]
    tested = _tested(comparison, repeats, labels)
    yield (
        "Where each model wins",
        "RMSE by the number of training ratings of the item or user; bins hold equal numbers of test ratings.",
        both_errors_by_activity(tested, labels, colours),
    )
    yield (
        "Predicted vs. actual",
        "Mean prediction for each actual rating; a perfect model lies on the dotted line.",
        [("calibration", "Stars", predicted_and_actual(tested, labels, colours))],
    )


def _scores(comparison, table, labels, metric, colours) -> go.Figure:
    figure = empty_figure(metric.upper(), "", showlegend=False)
    for label in reversed(labels):  # best on top
        values = [result["test"][metric] for result in comparison.results(label)]
        figure.add_scatter(x=values, y=[label] * len(values), mode="markers", name=label, opacity=0.5,
                           marker={"color": colours[label], "size": 6})  # fmt: skip
        interval = table[f"{metric}_interval"][label]
        figure.add_scatter(
            x=[table[metric][label]], y=[label], mode="markers", name=label,
            marker={"color": colours[label], "size": 11, "symbol": "diamond"},
            error_x={"type": "data", "array": [0 if np.isnan(interval) else interval], "color": colours[label]},
        )  # fmt: skip
    figure.update_layout(height=120 + 34 * len(labels))
    return figure


def _tested(comparison: Results, repeats: list[int], labels: list[str]) -> pd.DataFrame:
    """Return one line per test rating: ratings, user_counts, item_counts and `predicted LABEL` for each label."""
    frames = []
    for task in (task for task in comparison.tasks if task.row.label == labels[0] and task.repeat in repeats):
        split = task.split()
        frame = pd.DataFrame({name: split[name] for name in ("ratings", "user_counts", "item_counts")})
        errors = comparison.test_errors(task.repeat)
        frames.append(frame.assign(**{f"predicted {label}": frame["ratings"] + errors[label] for label in labels}))
    return pd.concat(frames, ignore_index=True)


def _subtitle(comparison: Results, result: dict[str, Any]) -> str:
    plan = comparison.plan
    drawn = f"{plan.repeats}-fold cross-validation" if plan.kfold else f"{plan.repeats} repeats on different splits"
    return f"{drawn}. {how_chosen(result, result['all_parameters'])}" if result else drawn


def _settings(comparison: Results, label: str) -> str:
    """Return a row's non-default parameters."""
    results = comparison.results(label)
    changed = results[0]["parameters"] if results else {}
    ours = {"saved", "metrics", "valid_metric"}
    return in_lines({key: value for key, value in changed.items() if key not in ours})
