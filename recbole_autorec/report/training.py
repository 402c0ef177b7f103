"""The HTML report of a single training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from plotly.colors import qualitative

from recbole_autorec.report.figures import both_errors_by_activity, both_learning_curves, errors, predicted_and_actual
from recbole_autorec.report.page import Section, how_chosen, in_lines, render
from recbole_autorec.report.summary import sentences


def report(
    result: Mapping[str, Any],
    parameters: Mapping[str, Any],
    sizes: Mapping[str, Mapping[str, int]],
    about: Sequence[str],
    tested: Mapping[str, np.ndarray] | None,
    predictions: np.ndarray,
) -> str:
    """Return the page as HTML.

    Args:
        result: what run_recbole_autorec returns.
        parameters: all parameters of the training.
        sizes: train, valid and test -> number of ratings, users and items.
        about: what the model estimated from the training ratings.
        tested: ratings, user_counts and item_counts of the test ratings, (n_test,) each; None without predictions.
        predictions: of the test ratings, (n_test,), in stars.
    """
    frame = None
    if tested is not None:
        columns = {name: tested[name] for name in ("ratings", "user_counts", "item_counts")}
        frame = pd.DataFrame({**columns, f"predicted {result['model']}": predictions}).astype({"ratings": float})
    return render(
        Path(__file__).with_name("training.html"),
        _sections(result, parameters["valid_metric"], frame),
        result["versions"],
        title=f"{result['model']} on {result['dataset']}",
        subtitle=f"{how_chosen(result, parameters)} Seed {result['seed']}, split {result['split_fingerprint']}.",
        table=_table(result, sizes),
        sentences=[*sentences(result), *about],
        settings=[
            ("Changed parameters", in_lines(result["parameters"]) or "All parameters have their defaults."),
            ("All parameters", in_lines(parameters)),
        ],
    )


def _table(result: Mapping[str, Any], sizes: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Return a row for each part, with its scores and its sizes as text."""
    total = sum(size["ratings"] for size in sizes.values())
    names = list(result["test"] or result["valid"])
    rows = {}
    for part, size in sizes.items():
        scores = result.get(part) or {}
        rows[part] = {
            **{name.upper(): f"{scores[name]:.4f}" if name in scores else "" for name in names},
            **{name: f"{count:,}" for name, count in size.items()},
            "share": f"{size['ratings'] / total:.1%}",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _sections(result: Mapping[str, Any], metric: str, tested: pd.DataFrame | None) -> Iterator[Section]:
    model = result["model"]
    labels, colours = [model], {model: qualitative.T10[0]}
    if result["curve"]:
        yield (
            "Learning curve",
            "Validation score; the star marks the chosen epoch. Epoch 0 is the start of training.",
            both_learning_curves({model: result}, metric, colours),
        )
    if tested is None:
        return
    yield (
        "Predicted and actual",
        "Predictions of the test ratings; a perfect model's lie on the dotted line.",
        [
            ("calibration", "Mean prediction for each actual rating", predicted_and_actual(tested, labels, colours)),
            ("errors", "Errors", errors(tested, model, colours[model])),
        ],
    )
    yield (
        "Error by activity",
        "RMSE by the number of ratings of the item or user in the train part; bins hold equal numbers of test ratings.",
        both_errors_by_activity(tested, labels, colours),
    )
