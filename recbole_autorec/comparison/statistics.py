"""Significance of differences: a t-test over repeats and a bootstrap over test ratings."""

from __future__ import annotations

import numpy as np
from scipy import stats

RESAMPLES = 1000


def half_width(values: np.ndarray) -> float:
    """Return half the 95 % confidence interval of the mean of independent values (R,), by Student's t; nan for one."""
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def paired_p_value(differences: np.ndarray, test_share: float) -> float:
    """Return p of the mean difference in the corrected resampled t-test, two-sided; nan for one repeat.

    Repeats share training ratings, so a plain paired t-test would find too many differences significant.

    Args:
        differences: score of one model minus that of the other on each repeat, (R,).
        test_share: test ratings per training rating.

    Source: Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 2003,
    doi:10.1023/A:1024068626366.
    """
    n = len(differences)
    if n < 2:
        return float("nan")
    error = np.sqrt(differences.var(ddof=1) * (1 / n + test_share))
    if error == 0:
        return 1.0 if differences.mean() == 0 else 0.0
    return float(2 * stats.t.sf(abs(differences.mean()) / error, n - 1))


def bootstrap_scores(losses: list[np.ndarray], root: bool, seed: int = 0) -> np.ndarray:
    """Return each model's scores on resampled test ratings; all models get the same resamples.

    Args:
        losses: for each repeat, the loss of each model on each test rating, (n_test, models).
        root: whether the score is the root of the mean loss (RMSE) or the mean (MAE).

    Returns:
        Scores of shape (RESAMPLES, models), averaged over repeats.
    """
    generator = np.random.default_rng(seed)
    total = np.zeros((RESAMPLES, losses[0].shape[1]))
    for loss in losses:
        n = len(loss)
        for number in range(RESAMPLES):
            weights = np.bincount(generator.integers(n, size=n), minlength=n)
            mean = weights @ loss / n
            total[number] += np.sqrt(mean) if root else mean
    return total / len(losses)
