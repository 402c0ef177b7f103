"""Which differences are significant: over repeats, and over the single test ratings."""

from __future__ import annotations

import numpy as np
from scipy import stats

RESAMPLES = 1000


def half_width(values: np.ndarray) -> float:
    """Half of the 95 % interval of the mean of independent values (R,), by Student's t; nan for one."""
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def paired_p_value(differences: np.ndarray, test_share: float) -> float:
    """p of a mean difference over repeats (R,) as large as this if there were none; nan for one repeat.

    Repeats share training ratings, so that a plain paired t-test finds too much; this is the corrected resampled one.

    Args:
        differences: of two models on each repeat.
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
    """Each model's score on resampled test ratings, the same resample for all models.

    Args:
        losses: for each repeat, the loss of every test rating by every model: (n_test, models).
        root: whether the score is the root of the mean loss (RMSE) or the mean (MAE).

    Returns:
        (RESAMPLES, models); each entry a mean over repeats.
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
