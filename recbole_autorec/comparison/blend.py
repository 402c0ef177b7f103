"""Blend the rows of a comparison, with weights fitted to the validation ratings. Ours, not from a paper."""

from __future__ import annotations

import numpy as np

from recbole_autorec.comparison.runner import Task
from recbole_autorec.model.calibration import least_squares
from recbole_autorec.model.rating_recommender import DEVIATION


def write_blend(blend: Task, tasks: list[Task]) -> None:
    """Blend the finished `tasks` of one repeat and write the result; do nothing if there are none."""
    if not tasks:
        return
    split, results = tasks[0].split(), [task.result() or {} for task in tasks]
    level, valid = split["valid_ratings"].mean(dtype=np.float64), split["valid_ratings"].astype(np.float64)
    unit = valid.std() / DEVIATION or 1.0
    parts = [
        np.column_stack([np.ones(len(rows[0])), *((scores - level) / unit for scores in rows)])
        for rows in ([task.predictions(part) for task in tasks] for part in ("valid", "test"))
    ]
    table, n = np.column_stack([parts[0], (valid - level) / unit]), len(tasks)
    weights = least_squares(table.T @ table, np.array([0.0, *[1 / n] * n]), np.arange(n + 1) > 0)
    blended = [(level + unit * part @ weights).clip(*split["range"]) for part in parts]
    scores = [
        {"rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.abs(error).mean())}
        for error in (blended[0] - valid, blended[1] - split["ratings"])
    ]
    first = results[0]
    result = {
        "valid": scores[0],
        "test": scores[1],
        "parameters": {task.row.label: round(float(w), 4) for task, w in zip(tasks, weights[1:], strict=True)},
        "best_epoch": None,
        "curve": [],
        **{key: sum(result[key] for result in results) for key in ("train_seconds", "eval_seconds", "n_parameters")},
        "peak_memory_mb": max(result["peak_memory_mb"] for result in results),
        **{key: first[key] for key in ("n_train", "n_valid", "n_test", "split_fingerprint", "versions")},
        "all_parameters": {"refit": first["all_parameters"]["refit"]},
    }
    blend.write(result, blended[1], blended[0])
