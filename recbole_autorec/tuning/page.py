"""The HTML report of a search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from recbole_autorec.errors import counted
from recbole_autorec.invocation import versions
from recbole_autorec.report.page import Section, empty_figure, render
from recbole_autorec.tuning.search import DONE, FAILED, Setting, Trial, Trials
from recbole_autorec.tuning.space import Dimension, Space

BLUE, ORANGE, GRAY = "#4c8dd6", "#e07b39", "#9aa0a6"


def report(trials: Trials, space: Space, setting: Setting) -> str:
    """Return the page as HTML."""
    config, table, best = setting.config(), trials.table, trials.best
    ended = table["status"].value_counts()
    counts = ", ".join(f"{count} {status}" for status, count in ended.items())
    names = [dimension.name for dimension in space]
    metrics = next((list(trial["valid"]) for trial in trials.trials if trial.get("valid")), [])
    columns = ["status", *metrics, "best_epoch", "seconds", *names]
    rows = table[columns].apply(lambda column: column.map(_text))  # DataFrame.map came with pandas 2.1
    return render(
        Path(__file__).with_name("tuning.html"),
        _sections(trials, table, space, best) if best else (),
        versions(),
        title=f"{config['model']} tuned on {config['dataset']}",
        subtitle=f"{counted(len(table), 'trial')}: {counts}. Scores are on the validation part; no trial sees the test "
        "part.",
        best=best,
        metric=trials.metric.upper(),
        rows=rows.rename(
            columns=lambda name: trials.metric.upper() if name == trials.metric else name.replace("_", " ")
        ),
        errors=[(trial["trial"], trial["error"]) for trial in trials.trials if trial["status"] == FAILED],
        fixed="\n".join(f"{key}: {value}" for key, value in config.changed_parameters().items()),
    )


def _text(value) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return "" if value is None else str(value)


def _sections(trials: Trials, table: pd.DataFrame, space: Space, best: Trial) -> Iterator[Section]:
    scored = table[table[trials.metric].notna()]
    metric = trials.metric.upper()
    yield (
        "The search",
        "Each dot is a trial, hollow if it was stopped early; the line is the best score so far.",
        [("progress", f"{metric} by trial", _progress(trials, scored))],
    )
    yield (
        "Parameter combinations",
        "Each line is a trial; the best quarter is blue. Drag along an axis to select trials.",
        [("parallel", "", _parallel(trials, scored, space))],
    )
    yield (
        f"{metric} against each parameter",
        "The star marks the chosen configuration.",
        [(f"parameter_{d.name}", d.name, _against(trials, scored, d, best)) for d in space],
    )


def _scores(trials: Trials, scored: pd.DataFrame, what: str, x: Iterable[float], **hover: Any) -> go.Figure:
    """Draw each trial's score over `x`, which is `what`; limit the score axis so that outliers do not flatten it."""
    figure = empty_figure(what, f"validation {trials.metric.upper()}", showlegend=False)
    scores = scored[trials.metric]
    symbols = ["circle" if status == DONE else "circle-open" for status in scored["status"]]
    figure.add_scatter(x=x, y=scores, mode="markers", marker={"color": BLUE, "symbol": symbols, "size": 7}, **hover)
    good = np.sort(-scores if trials.bigger else scores)
    far = good[min(len(good) - 1, max(3, int(0.8 * len(good))))]
    low, high = good[0], far if far > good[0] else good[-1]
    room = 0.08 * (high - low) or 0.01
    bounds = [low - room, high + room]
    figure.update_yaxes(range=[-bound for bound in bounds][::-1] if trials.bigger else bounds)
    return figure


def _progress(trials: Trials, scored: pd.DataFrame) -> go.Figure:
    figure = _scores(trials, scored, "trial", list(scored.index))
    scores = scored[trials.metric]
    so_far = scores.cummax() if trials.bigger else scores.cummin()
    figure.add_scatter(x=list(scored.index), y=so_far, mode="lines", line={"color": ORANGE, "shape": "hv"})
    return figure


def _axis(trials: Trials, dimension: Dimension) -> tuple[np.ndarray, dict[str, list]]:
    """Return the trials' positions on a parameter's axis (index of a choice, log10 for loguniform) and its ticks."""
    values = [trial["parameters"][dimension.name] for trial in trials.trials if trial.get("valid")]
    if dimension.kind == "choice":
        places = list(range(len(dimension.values)))
        ticks: dict[str, list] = {"tickvals": places, "ticktext": [str(value) for value in dimension.values]}
        return np.array([dimension.drawn(value) for value in values]), ticks
    numbers = np.array(values, dtype=float)
    if dimension.kind != "loguniform":
        return numbers, {}
    low, high = (bound / np.log(10) for bound in dimension.values)
    powers = np.linspace(low, high, 5)
    return np.log10(numbers), {"tickvals": list(powers), "ticktext": [f"{10**power:.3g}" for power in powers]}


def _parallel(trials: Trials, scored: pd.DataFrame, space: Space) -> go.Figure:
    figure, scores = empty_figure("", ""), scored[trials.metric]
    axes = []
    for dimension in space:
        values, ticks = _axis(trials, dimension)
        axes.append({"label": dimension.name, "values": values, **ticks})
    axes.append({"label": trials.metric.upper(), "values": scores})
    ranks = scores.rank(ascending=not trials.bigger, pct=True)
    colours = [[0, BLUE], [0.25, BLUE], [0.26, GRAY], [1, GRAY]]
    figure.add_parcoords(dimensions=axes, line={"color": ranks, "colorscale": colours, "cmin": 0, "cmax": 1})
    figure.update_layout(margin={"l": 60, "r": 40, "t": 60, "b": 30})
    return figure


def _against(trials: Trials, scored: pd.DataFrame, dimension: Dimension, best: Trial) -> go.Figure:
    values, ticks = _axis(trials, dimension)
    names = [f"trial {number}" for number in scored.index]
    figure = _scores(
        trials, scored, dimension.name, values, text=names, hovertemplate="%{text}: %{y:.5g}<extra></extra>"
    )
    chosen = list(scored.index).index(best["trial"])
    figure.add_scatter(
        x=[values[chosen]], y=[scored[trials.metric].iloc[chosen]], mode="markers",
        marker={"color": ORANGE, "symbol": "star", "size": 14}, hoverinfo="skip",
    )  # fmt: skip
    figure.update_xaxes(**ticks)
    return figure
