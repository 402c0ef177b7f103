"""Damped user and item offsets, and dampings estimated from the ratings.

    r(u, i) = m + a_u + b_i
    J       = sum_observed (r - m - a_u - b_i)^2  +  user_damping |a|^2  +  item_damping |b|^2

Units    those of the ratings; a damping counts ratings: with n ratings an offset shrinks to about n / (n + damping).
Source   Koren, Factor in the Neighbors, TKDD 2010, doi:10.1145/1644873.1644874, section 2.1. Variances: Gao and Owen,
         Efficient moment calculations for variance components in large unbalanced crossed random effects models,
         EJS 2017, doi:10.1214/17-EJS1236.
Differs  m is fitted as well, where Koren takes the mean rating: active users and popular items then do not dominate
         the prediction for an unknown pair.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

LEAST = 1e-3  # minimum share of the residual in the total variance: with none, offsets would not be damped at all
MOST = 500.0  # maximum damping: it leaves little of any offset, and beyond it gradient steps would diverge


class Variances(NamedTuple):
    """Variances of a, b and e in r = m + a_u + b_i + e, in squared units of the ratings."""

    user: float
    item: float
    rest: float

    @property
    def user_damping(self) -> float:
        """Optimal damping var(e) / var(a), at most MOST."""
        return self.rest / self.user if self.user * MOST > self.rest else MOST

    @property
    def item_damping(self) -> float:
        """Optimal damping var(e) / var(b), at most MOST."""
        return self.rest / self.item if self.item * MOST > self.rest else MOST


class Offsets(NamedTuple):
    """The minimum of J: m, a (n_users,) and b (n_items,), with the dampings and the estimated variances."""

    mean: float
    user: NDArray[np.float64]
    item: NDArray[np.float64]
    user_damping: float
    item_damping: float
    variances: Variances


def fit_offsets(
    users: NDArray,
    items: NDArray,
    ratings: NDArray,
    shape: tuple[int, int],
    user_damping: float | None = None,
    item_damping: float | None = None,
) -> Offsets:
    """Fit offsets of `shape` = (n_users, n_items) to M ratings, each of user users[m] and item items[m].

    A damping of None is estimated from the ratings. Users and items without ratings get offset 0.
    """
    if not len(ratings):  # a model that only serves has its offsets in its weights
        none = Variances(0.0, 0.0, 0.0)
        return Offsets(0.0, np.zeros(shape[0]), np.zeros(shape[1]), user_damping or 0.0, item_damping or 0.0, none)
    variances = estimate_variances(users, items, ratings)
    user_damping = variances.user_damping if user_damping is None else user_damping
    item_damping = variances.item_damping if item_damping is None else item_damping
    found = _minimum(users, items, ratings, shape, user_damping, item_damping)
    return Offsets(*found, user_damping, item_damping, variances)


def estimate_variances(users: NDArray, items: NDArray, ratings: NDArray) -> Variances:
    """Estimate variances by the method of moments, in one pass over M ratings of users[m] and items[m].

    Expected sums of squares, for M ratings, U users with n_u ratings and I items with n_i:
        within users   (var(b) + var(e)) (M - U)
        within items   (var(a) + var(e)) (M - I)
        in all         var(a) (M - sum n_u^2 / M) + var(b) (M - sum n_i^2 / M) + var(e) (M - 1)
    A variance that comes out negative is set to 0 and the others are solved again. If no user (item) has two ratings,
    the variance of users (items) is 0: their offsets cannot be told from the residual.
    """
    n, centred = len(ratings), ratings - ratings.mean()
    total = float(centred @ centred)
    counts = [np.bincount(ids).astype(np.float64) for ids in (users, items)]
    within = [
        total - float(np.sum(np.bincount(ids, centred) ** 2 / np.maximum(count, 1)))
        for ids, count in zip((users, items), counts, strict=True)
    ]
    free_users, free_items = (n - int(np.count_nonzero(count)) for count in counts)
    concentration = [float(count @ count) / n for count in counts]
    equations = np.array([
        [0.0, free_users, free_users],
        [free_items, 0.0, free_items],
        [n - concentration[0], n - concentration[1], n - 1],
    ])  # fmt: skip
    squares = np.array([*within, total])
    kept = [free_users > 0, free_items > 0, True]
    found = np.zeros(3)
    while True:
        found[:] = 0  # a side without variance drops out with its equation, as in a one-way layout
        found[kept] = np.linalg.lstsq(equations[kept][:, kept], squares[kept], rcond=None)[0]
        negative = [k for k in (0, 1) if found[k] < 0]
        if not negative:
            break
        kept[min(negative, key=lambda k: found[k])] = False
    return Variances(float(found[0]), float(found[1]), max(float(found[2]), LEAST * total / n))


def _minimum(
    users: NDArray, items: NDArray, ratings: NDArray, shape: tuple[int, int], user_damping: float, item_damping: float
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Solve for m, a and b exactly: the normal equations of J are linear, sparse and positive semi-definite."""
    n, (n_users, n_items) = len(ratings), shape
    rated = sparse.csr_matrix((np.ones(n), (users, items)), shape=shape)
    by_user, by_item = np.bincount(users, minlength=n_users), np.bincount(items, minlength=n_items)
    level = ratings.mean()
    centred = ratings - level
    diagonal = np.concatenate([by_user + user_damping, by_item + item_damping, [n]]).astype(np.float64)
    diagonal[:-1][np.concatenate([by_user, by_item]) == 0] = 1.0

    def normal(x: NDArray) -> NDArray:
        user, item, mean = x[:n_users], x[n_users:-1], x[-1]
        product = diagonal * x
        product[:n_users] += rated @ item + by_user * mean
        product[n_users:-1] += rated.T @ user + by_item * mean
        product[-1] += by_user @ user + by_item @ item
        return product

    sums = [np.bincount(users, centred, n_users), np.bincount(items, centred, n_items), centred.sum(keepdims=True)]
    equations = LinearOperator((len(diagonal),) * 2, matvec=normal, dtype=np.float64)
    jacobi = sparse.diags(1 / diagonal)
    found, failure = cg(equations, np.concatenate(sums), M=jacobi, rtol=1e-8, maxiter=10_000)
    assert failure == 0, "conjugate gradients did not converge"
    return float(level + found[-1]), found[:n_users], found[n_users:-1]
