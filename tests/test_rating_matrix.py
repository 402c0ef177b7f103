from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_autorec.model import rating_matrix as rating_matrix_module
from recbole_autorec.model.rating_matrix import RatingMatrix, rating_matrix
from tests.conftest import config_for, tiny_parts


@st.composite
def dense_and_mask(draw, max_rows=6, max_columns=7):
    """Draw a dense matrix and the mask of observed entries; ratings include zeros and negatives."""
    shape = draw(st.tuples(st.integers(1, max_rows), st.integers(1, max_columns)))
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    return rng.integers(-3, 6, shape).astype(float), rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))


def matrix_of(dense, mask) -> RatingMatrix:
    rows, columns = (torch.from_numpy(ids) for ids in mask.nonzero())
    shuffled = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    values = torch.from_numpy(dense[mask])
    return RatingMatrix.from_entries(rows[shuffled], columns[shuffled], values[shuffled], dense.shape)


@given(dense_and_mask(), st.sampled_from([0, 10**9]))
def test_products_equal_dense_ones_in_slices_and_without(data, least_uses):
    dense, mask = data
    matrix, masked = matrix_of(dense, mask), np.where(mask, dense, 0)
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(dense.shape[0], 19)), rng.normal(size=(dense.shape[1], 19))
    to = torch.from_numpy
    with patch.multiple(rating_matrix_module, WIDTH=8, LEAST_USES=least_uses, FEW_ROWS=0):
        _check_products(matrix, masked, left, right, mask, to)


def test_slices_cover_every_unit_once():
    dense = torch.zeros(3, 500)
    widths = [len(range(500)[part]) for part in rating_matrix_module._slices(dense, 10**6, 100)]
    assert widths == [64] * 7 + [52]
    widths = [len(range(500)[part]) for part in rating_matrix_module._slices(dense, 10**7, 10**5)]
    assert widths == [32] * 15 + [20]
    assert [len(range(500)[part]) for part in rating_matrix_module._slices(dense, 10, 100)] == [500]
    assert list(rating_matrix_module._slices(torch.zeros(3, 0), 10**6, 100)) == []


def _check_products(matrix, masked, left, right, mask, to):
    np.testing.assert_allclose(matrix.matmul(matrix.values, to(right)), masked @ right, atol=1e-12)
    np.testing.assert_allclose(matrix.transposed_matmul(matrix.values, to(left)), masked.T @ left, atol=1e-12)
    np.testing.assert_allclose(matrix.sampled_matmul(to(left), to(right)), (left @ right.T)[mask], atol=1e-12)


@given(dense_and_mask(), st.data())
def test_selected_rows_are_those_rows_in_that_order(data, draw):
    dense, mask = data
    ids = draw.draw(st.lists(st.integers(0, dense.shape[0] - 1), max_size=8))
    selected = matrix_of(dense, mask).select(torch.tensor(ids, dtype=torch.long))
    expected = matrix_of(dense[ids].reshape(-1, dense.shape[1]), mask[ids].reshape(-1, dense.shape[1]))
    assert selected.shape == (len(ids), dense.shape[1])
    for name in ("row_ptr", "rows", "columns", "values"):
        torch.testing.assert_close(getattr(selected, name), getattr(expected, name))


def test_zero_is_stored_and_counted():
    matrix = matrix_of(np.array([[0.0, 3.0], [0.0, 0.0]]), np.array([[True, True], [False, False]]))
    assert len(matrix) == 2
    assert matrix.row_counts.tolist() == [2, 0]
    assert matrix.columns.tolist() == [0, 1]


def test_entry_keys_do_not_overflow_int32():
    size = 100_000  # size * size > 2**31
    rows, columns = torch.tensor([size - 1, size - 2, 0]), torch.tensor([0, size - 1, 5])
    matrix = RatingMatrix.from_entries(rows, columns, torch.tensor([1.0, 2.0, 3.0]), (size, size))
    assert matrix.values.tolist() == [3.0, 2.0, 1.0]
    assert matrix.rows.tolist() == [0, size - 2, size - 1]


@pytest.mark.parametrize(("rows", "shape"), [("item", (7, 11)), ("user", (11, 7))])
def test_matrix_of_a_dataset_has_every_rating_once_and_nothing_on_padding(rows, shape):
    _, parts = tiny_parts(config_for())
    matrix = rating_matrix(parts[0], "rating", rows)
    assert matrix.shape == shape
    assert len(matrix) == len(parts[0])
    assert matrix.row_counts[0] == 0
    assert 0 not in matrix.columns
    users, items = (matrix.columns, matrix.rows) if rows == "item" else (matrix.rows, matrix.columns)
    ours = sorted(zip(users.tolist(), items.tolist(), matrix.values.tolist(), strict=True))
    theirs = parts[0].inter_feat
    assert ours == sorted(
        zip(theirs["user_id"].tolist(), theirs["item_id"].tolist(), theirs["rating"].tolist(), strict=True)
    )
