"""Figures of test scores and learning curves, for a comparison's page and a training's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from recbole_autorec.report.page import empty_figure

BINS = 8


def both_learning_curves(
    results: Mapping[str, Mapping[str, Any]], metric: str, colours: Mapping[str, str]
) -> list[tuple[str, str, go.Figure]]:
    """Return the figures of a section: learning_curves by epoch and by seconds."""
    return [
        ("by_epoch", f"{metric} by epoch", learning_curves(results, metric, colours, by_seconds=False)),
        ("by_seconds", f"{metric} by seconds of training", learning_curves(results, metric, colours, by_seconds=True)),
    ]


def learning_curves(
    results: Mapping[str, Mapping[str, Any]], metric: str, colours: Mapping[str, str], by_seconds: bool
) -> go.Figure:
    """Draw the validation scores of label -> result of run_recbole_autorec, with a star at each best epoch."""
    figure = empty_figure("seconds" if by_seconds else "epoch", f"validation {metric}")
    for label, result in results.items():
        if not result["curve"]:  # a blend has none
            continue
        epochs, seconds, scores = np.array(result["curve"]).T
        x, best = seconds if by_seconds else epochs, epochs == result["best_epoch"]
        figure.add_scatter(x=x, y=scores, name=label, legendgroup=label, mode="lines" if len(x) > 1 else "markers",
                           line={"color": colours[label]})  # fmt: skip
        figure.add_scatter(x=x[best], y=scores[best], name=label, legendgroup=label, showlegend=False, mode="markers",
                           marker={"color": colours[label], "symbol": "star", "size": 11})  # fmt: skip
    if len(results) > 1:  # models differ by orders of magnitude
        figure.update_xaxes(type="log", tickformat="~g", **({"nticks": 6} if by_seconds else {"dtick": "D2"}))
    return figure


def both_errors_by_activity(
    tested: pd.DataFrame, labels: Sequence[str], colours: Mapping[str, str]
) -> list[tuple[str, str, go.Figure]]:
    """Return the figures of a section: error_by_activity of items and of users."""
    return [
        ("by_item", "By item ratings", error_by_activity(tested, labels, "item_counts", colours)),
        ("by_user", "By user ratings", error_by_activity(tested, labels, "user_counts", colours)),
    ]


def error_by_activity(
    tested: pd.DataFrame, labels: Sequence[str], column: str, colours: Mapping[str, str]
) -> go.Figure:
    """Draw RMSE by `column`, user_counts or item_counts; see predicted_and_actual for `tested`."""
    figure = empty_figure("training ratings", "RMSE")
    bins = pd.qcut(tested[column], BINS, duplicates="drop")
    if bins.isna().all():  # all counts are equal
        bins = tested[column]
    count = tested.groupby(bins, observed=True)[column].agg(["median", "min", "max", "size"])
    spans = [f"{row['min']} to {row['max']} ratings, {row['size']:,} test ratings" for _, row in count.iterrows()]
    for label in labels:
        squares = (tested[f"predicted {label}"] - tested["ratings"]) ** 2
        figure.add_scatter(
            x=list(range(len(count))), y=squares.groupby(bins, observed=True).mean() ** 0.5, name=label,
            mode="lines+markers", line={"color": colours[label]}, text=spans, hovertemplate="%{y:.4f}<br>%{text}",
        )  # fmt: skip
    figure.update_xaxes(tickvals=list(range(len(count))), ticktext=[f"{value:g}" for value in count["median"]])
    return figure


def predicted_and_actual(tested: pd.DataFrame, labels: Sequence[str], colours: Mapping[str, str]) -> go.Figure:
    """Draw the mean prediction of each actual rating; for a single label, also the middle 80 % of its predictions.

    Args:
        tested: one line per test rating: ratings, user_counts and item_counts (training ratings of its user and item),
            and `predicted LABEL` for each label.
    """
    figure = empty_figure("actual rating, stars", "mean prediction, stars")
    few = tested["ratings"].nunique() <= 20
    groups = tested["ratings"] if few else pd.qcut(tested["ratings"], BINS, duplicates="drop")
    actual = tested.groupby(groups, observed=True)["ratings"].mean()
    figure.add_scatter(x=actual, y=actual, name="perfect", mode="lines", line={"color": "gray", "dash": "dot"})
    for label in labels:
        predicted = tested.groupby(groups, observed=True)[f"predicted {label}"]
        if len(labels) == 1:
            low, high = predicted.quantile(0.1), predicted.quantile(0.9)
            edge = {"x": actual, "mode": "lines", "line": {"width": 0, "color": colours[label]}, "hoverinfo": "skip"}
            figure.add_scatter(y=low, showlegend=False, **edge)
            figure.add_scatter(y=high, name="80 % of the predictions", fill="tonexty", **edge)
        figure.add_scatter(
            x=actual, y=predicted.mean(), name=label, mode="lines+markers", line={"color": colours[label]}
        )
    return figure


def errors(tested: pd.DataFrame, label: str, colour: str) -> go.Figure:
    """Draw how often each error, prediction minus rating, occurs; see predicted_and_actual for `tested`."""
    figure = empty_figure("prediction minus rating, stars", "share of the test ratings", showlegend=False)
    found = tested[f"predicted {label}"] - tested["ratings"]
    counts, edges = np.histogram(found, bins=41)
    figure.add_bar(x=(edges[1:] + edges[:-1]) / 2, y=counts / len(found), marker={"color": colour}, name=label)
    figure.update_layout(bargap=0.05)
    figure.update_yaxes(tickformat=".0%")
    return figure
