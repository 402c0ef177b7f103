"""Ratings as a sparse matrix, and the three products AutoRec needs, each in time proportional to the ratings.

An entry is observed because it is stored, never because its value is non-zero.
Imports torch only, so that the model can be read, tested and reused without RecBole.

Shapes   N rows; D columns; M stored ratings; K hidden units.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

WIDTH = 32  # hidden units per slice on a CPU: a CPU's cache holds such a slice of the weights, however many columns
FEW_ROWS = 1 << 14  # of the dense matrices together: up to here a slice of twice the width fits a core's own cache
LEAST_USES = 8  # of a row of weights, on average, for slices to pay off

with warnings.catch_warnings():  # triggers torch's one-time beta warning for CSR tensors here, suppressed
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor(
        torch.zeros(1, dtype=torch.int32), torch.zeros(0, dtype=torch.int32), torch.zeros(0), (0, 0)
    )


def _pointers(sorted_ids: Tensor, count: int) -> Tensor:
    """Return where each id's run starts in `sorted_ids`: (count + 1,), as in CSR."""
    bounds = torch.arange(count + 1, dtype=sorted_ids.dtype, device=sorted_ids.device)
    return torch.searchsorted(sorted_ids, bounds, out_int32=True)


class RatingMatrix:
    """CSR matrix of ratings that caches its transpose.

    Attributes:
        row_ptr: (N + 1,) int32; row n owns entries row_ptr[n] to row_ptr[n + 1].
        rows: (M,) int32, sorted.
        columns: (M,) int32, sorted within each row.
        values: (M,) ratings, in stars.
        shape: (N, D).
    """

    def __init__(self, row_ptr: Tensor, rows: Tensor, columns: Tensor, values: Tensor, n_columns: int):
        self.row_ptr, self.rows, self.columns, self.values = row_ptr, rows, columns, values
        self.shape = (len(row_ptr) - 1, n_columns)
        self._transpose: tuple[Tensor, Tensor, Tensor] | None = None

    @classmethod
    def from_entries(cls, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> RatingMatrix:
        """Build a matrix from M entries in any order. Each (row, column) may occur once."""
        order = torch.argsort(rows * shape[1] + columns)  # int64 keys: N * D exceeds int32
        return cls.from_sorted(rows[order], columns[order], values[order], shape)

    @classmethod
    def from_sorted(cls, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> RatingMatrix:
        """Build a matrix from M entries sorted by row."""
        return cls(_pointers(rows, shape[0]), rows.int(), columns.int(), values, shape[1])

    def __len__(self) -> int:
        return len(self.values)

    @property
    def row_counts(self) -> Tensor:
        """Number of ratings in each row, (N,)."""
        return self.row_ptr.diff()

    def to(self, device: torch.device | str) -> RatingMatrix:
        row_ptr, rows, columns, values = (t.to(device) for t in (self.row_ptr, self.rows, self.columns, self.values))
        return RatingMatrix(row_ptr, rows, columns, values, self.shape[1])

    def with_values(self, values: Tensor) -> RatingMatrix:
        """Return the same observed entries with other values (M,); the transpose is shared."""
        other = RatingMatrix(self.row_ptr, self.rows, self.columns, values, self.shape[1])
        other._transpose = self.transpose
        return other

    def select(self, row_ids: Tensor) -> RatingMatrix:
        """Return the rows `row_ids` (B,), in that order, as a matrix of shape (B, D)."""
        starts, counts = self.row_ptr[row_ids], self.row_counts[row_ids]
        row_ptr = torch.nn.functional.pad(counts.cumsum(0, dtype=torch.int32), (1, 0))
        rows = torch.repeat_interleave(torch.arange(len(row_ids), device=counts.device, dtype=torch.int32), counts)
        # index_select takes a third of the time of [] on a CPU
        entries = torch.arange(len(rows), device=counts.device) + (starts - row_ptr[:-1]).index_select(0, rows)
        columns, values = self.columns.index_select(0, entries), self.values.index_select(0, entries)
        return RatingMatrix(row_ptr, rows, columns, values, self.shape[1])

    @property
    def transpose(self) -> tuple[Tensor, Tensor, Tensor]:
        """(D + 1,) column pointers, (M,) row ids and (M,) entry numbers in column order, int32; computed once."""
        if self._transpose is None:
            columns, order = torch.sort(self.columns, stable=True)
            self._transpose = _pointers(columns, self.shape[1]), self.rows.index_select(0, order), order.int()
        return self._transpose

    def matmul(self, entries: Tensor, dense: Tensor) -> Tensor:
        """Multiply sparse (N, D) with values `entries` (M,) by dense (D, K): (N, K)."""
        return _weighted_row_sums(dense, self.columns, self.row_ptr, entries)

    def transposed_matmul(self, entries: Tensor, dense: Tensor) -> Tensor:
        """Multiply the transpose of sparse (N, D) with values `entries` (M,) by dense (N, K): (D, K)."""
        column_ptr, rows, order = self.transpose
        return _weighted_row_sums(dense, rows, column_ptr, entries.index_select(0, order))

    def column_sums(self, entries: Tensor) -> Tensor:
        """Sum `entries` (M,) in each column: (D,). The order is fixed; that of torch's own sum depends on threads."""
        return self.transposed_matmul(entries, entries.new_ones(self.shape[0], 1)).squeeze(1)

    def row_sums(self, entries: Tensor) -> Tensor:
        """Sum `entries` (M,) in each row, likewise: (N,)."""
        return self.matmul(entries, entries.new_ones(self.shape[1], 1)).squeeze(1)

    def sampled_matmul(self, left: Tensor, right: Tensor) -> Tensor:
        """Multiply left (N, K) by right (D, K) transposed, at the observed entries only: (M,)."""
        n_rows, n_columns = self.shape
        if n_rows >= n_columns or len(self) < n_columns:
            return _sampled_products(left, right, self.columns, self.row_ptr)
        # by columns: the rows that are gathered repeatedly then come from the smaller of the two matrices
        column_ptr, rows, order = self.transpose
        values = _sampled_products(right, left, rows, column_ptr)
        return torch.empty_like(values).index_copy_(0, order.long(), values)


def _sampled_products(dense: Tensor, other: Tensor, ids: Tensor, pointers: Tensor) -> Tensor:
    """Multiply each row of `dense` by the rows of `other` that its run of `ids` names: (M,)."""
    n_rows = len(dense) + len(other)
    pattern = torch.sparse_csr_tensor(
        pointers, ids, dense.new_zeros(len(ids)), (len(dense), len(other)), check_invariants=False
    )
    for units in _slices(dense, len(ids), n_rows) if n_rows > FEW_ROWS else (slice(None),):
        one, others = dense[:, units].contiguous(), other[:, units].contiguous()
        torch.sparse.sampled_addmm(pattern, one, others.t(), out=pattern)  # adds to the previous slices
    return pattern.values()


def _slices(dense: Tensor, n_entries: int, n_rows: int) -> Iterator[slice]:
    """Yield the columns of (R, K) in slices to process one by one; a single slice where copying would not pay off.

    Slices pay off where each of the dense matrices' `n_rows` rows is used several times; a GPU does not need them.
    """
    width = dense.shape[1]
    if not dense.is_cuda and n_entries >= LEAST_USES * n_rows:
        n = math.ceil(width / (WIDTH if n_rows > FEW_ROWS else 2 * WIDTH)) or 1
        width = math.ceil(width / n / 8) * 8
    return (slice(start, start + width) for start in range(0, dense.shape[1], width or 1))


def _weighted_row_sums(dense: Tensor, ids: Tensor, pointers: Tensor, weights: Tensor) -> Tensor:
    # embedding_bag prefetches the rows it gathers: 2 to 4 times faster on a CPU than MKL's CSR product.
    dense = dense.detach()  # otherwise embedding_bag prepares for a gradient
    sums, weights = dense.new_empty(len(pointers) - 1, dense.shape[1]), weights.to(dense.dtype)
    for units in _slices(dense, len(ids), len(dense) + len(sums)):
        part = dense[:, units].contiguous()
        sums[:, units] = torch.nn.functional.embedding_bag(
            ids, part, pointers, mode="sum", per_sample_weights=weights, include_last_offset=True
        )
    return sums


class _Encode(Function):
    @staticmethod
    def forward(ctx, weight: Tensor, ratings: RatingMatrix) -> Tensor:
        ctx.ratings = ratings
        return ratings.matmul(ratings.values, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return ctx.ratings.transposed_matmul(ctx.ratings.values, grad.contiguous()), None


class _DecodeObserved(Function):
    @staticmethod
    def forward(
        ctx, hidden: Tensor, weight: Tensor, level: Tensor | None, bias: Tensor, observed: RatingMatrix
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.observed = observed
        scores = observed.sampled_matmul(hidden, weight) + bias.index_select(0, observed.columns)
        return scores if level is None else scores.add_(level.index_select(0, observed.rows))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        hidden, weight = ctx.saved_tensors
        observed = ctx.observed
        # the sums are the gradients of level[rows] and bias[columns]; torch's own differ from run to run
        return (
            observed.matmul(grad, weight),
            observed.transposed_matmul(grad, hidden),
            observed.row_sums(grad) if ctx.needs_input_grad[2] else None,
            observed.column_sums(grad),
            None,
        )


def encode(ratings: RatingMatrix, weight: Tensor) -> Tensor:
    """Multiply sparse ratings (N, D) by dense weight (D, K): (N, K). Differentiable in `weight`."""
    return _Encode.apply(weight, ratings)


def decode_observed(
    hidden: Tensor, weight: Tensor, level: Tensor | None, bias: Tensor, observed: RatingMatrix
) -> Tensor:
    """Multiply hidden (N, K) by weight (D, K) transposed, plus level (N,) and bias (D,), at the observed entries: (M,).

    Differentiable. A level of None counts as 0.
    """
    hidden = hidden.to(weight.dtype)  # autocast may have made the codes half precision
    return _DecodeObserved.apply(hidden, weight, level, bias, observed)


def rating_matrix(dataset: Any, rating_field: str, rows: str) -> RatingMatrix:
    """Collect the training ratings of a RecBole dataset.

    Args:
        dataset: the training part only; the whole dataset would leak test ratings.
        rating_field: interaction field holding the rating, in stars.
        rows: "item" for I-AutoRec, "user" for U-AutoRec.

    Returns:
        Matrix of shape (n_items, n_users) or (n_users, n_items), float32; row and column 0 are RecBole's padding
        id and empty.
    """
    ratings = dataset.inter_feat
    users, items = ratings[dataset.uid_field], ratings[dataset.iid_field]
    if rows == "item":
        return RatingMatrix.from_entries(items, users, ratings[rating_field], (dataset.item_num, dataset.user_num))
    return RatingMatrix.from_entries(users, items, ratings[rating_field], (dataset.user_num, dataset.item_num))
