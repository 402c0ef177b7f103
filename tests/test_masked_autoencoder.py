"""The objective compared with hand computation, finite differences and a plain dense NumPy implementation."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_autorec.model.masked_autoencoder import ACTIVATIONS, Damping, MaskedAutoencoder, activity_scales
from recbole_autorec.model.rating_matrix import RatingMatrix
from tests.conftest import DATA
from tests.reference import objective_and_gradients
from tests.test_rating_matrix import dense_and_mask, matrix_of

REG = (0.7, 1.9)


PAPER = {
    "encoder_activation": "sigmoid",
    "decoder_activation": "identity",
    "init_std": 0.01,
    "dropout_prob": 0.0,
    "rating_range": (1.0, 5.0),
}


def autoencoder(n_columns, hidden_size=(4,), reg_weight=REG, seed=0, **arguments):
    torch.manual_seed(seed)
    model = MaskedAutoencoder(n_columns, hidden_size, reg_weight=reg_weight, **{**PAPER, **arguments}).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def gradients(model, loss):
    learned = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return dict(zip(learned, torch.autograd.grad(loss, list(learned.values())), strict=True))


def weights_of(model):
    names = ("encoder_weight", "encoder_bias", "decoder_weight", "decoder_bias")
    return [getattr(model, name).detach().numpy() for name in names]


def assert_is_the_reference(model, loss, J, expected):
    np.testing.assert_allclose(loss.item(), J, rtol=1e-12)
    found = gradients(model, loss)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-9, atol=1e-10, err_msg=name)


@given(dense_and_mask(), st.integers(0, 1000))
def test_sparse_path_equals_plain_dense_numpy(data, seed):
    dense, mask = data
    model, ratings = autoencoder(dense.shape[1], seed=seed), matrix_of(dense, mask)
    loss = model.objective(ratings, ratings)
    assert_is_the_reference(model, loss, *objective_and_gradients(dense, mask, *weights_of(model), REG))


@given(dense_and_mask(), st.integers(0, 1000))
def test_over_offsets_too(data, seed):
    dense, mask = data
    n_rows, damping = len(dense), Damping(row=3.0, column=5.0)
    model = autoencoder(dense.shape[1], seed=seed, n_rows=n_rows, damping=damping)
    ratings = matrix_of(dense, mask)
    loss = model.objective(ratings, ratings, model.levels(torch.arange(n_rows)))
    m, a = model.mean.item(), model.row_bias.detach().numpy()
    assert_is_the_reference(model, loss, *objective_and_gradients(dense, mask, *weights_of(model), REG, m, a, damping))


def test_an_empty_row_is_predicted_by_the_offsets():
    model = autoencoder(3, hidden_size=(4, 3), n_rows=2)
    empty = matrix_of(np.zeros((2, 3)), np.zeros((2, 3), dtype=bool))
    expected = model.mean + model.row_bias[:, None] + model.decoder_bias
    every = torch.arange(3)
    assert torch.equal(model.decode_all(model.encode(empty), model.levels(torch.arange(2)), every), expected)


def test_it_starts_at_the_offsets_alone():
    model = MaskedAutoencoder(3, [4], reg_weight=REG, **PAPER, n_rows=2)
    ratings = matrix_of(np.full((2, 3), 4.0), np.ones((2, 3), dtype=bool))
    model.start_at(3.5, torch.tensor([0.5, -0.5]), torch.tensor([0.25, 0.0, -0.25]))
    predicted = model.decode_all(model.encode(ratings), model.levels(torch.arange(2)), torch.arange(3))
    assert predicted.tolist() == [[4.25, 4.0, 3.75], [3.25, 3.0, 2.75]]
    assert model.encoder_weight.std() > 0  # otherwise training could not start


def test_columns_without_ratings_take_no_part_in_the_draw():
    rated = torch.tensor([True, False, True])
    torch.manual_seed(1)
    some = MaskedAutoencoder(3, [4], reg_weight=REG, **PAPER, rated_columns=rated)
    torch.manual_seed(1)
    all_of_them = MaskedAutoencoder(2, [4], reg_weight=REG, **PAPER)
    for name in ("encoder_weight", "decoder_weight"):
        assert torch.equal(getattr(some, name)[rated], getattr(all_of_them, name))
        assert not getattr(some, name)[1].any()


def test_gradient_is_the_same_bits_every_time():
    """Also on many threads: torch's own gradient of an indexed bias sums in a different order each time."""
    rng = np.random.default_rng(0)
    dense, mask = rng.integers(1, 6, (400, 500)).astype(np.float32), rng.random((400, 500)) < 0.5
    model, ratings = autoencoder(500).float(), matrix_of(dense, mask)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        first, *others = (gradients(model, model.objective(ratings, ratings)) for _ in range(20))
    finally:
        torch.set_num_threads(threads)
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)


def test_loss_equals_hand_computed_value_on_tiny():
    lines = [line.split("\t") for line in (DATA / "tiny" / "tiny.inter").read_text().splitlines()[1:]]
    users, items = (torch.tensor([sorted({row[k] for row in lines}).index(row[k]) for row in lines]) for k in (0, 1))
    values = torch.tensor([float(row[2]) for row in lines], dtype=torch.float64)
    ratings = RatingMatrix.from_entries(items, users, values, (6, 10))
    model = MaskedAutoencoder(10, [2], reg_weight=(400.0, 400.0), **PAPER).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.decoder_weight.fill_(1.0)
    # V = 0: every code is sigmoid(0) = 1/2, every prediction 2 * 1/2 * 1 = 1. The 50 ratings are 20 fives, 5 fours,
    # 5 twos, 19 ones and a zero: SSE = 20 * 16 + 5 * 9 + 5 + 0 + 1 = 371. |V|^2 = 0, |W|^2 = 10 * 2.
    assert model.objective(ratings, ratings).item() == pytest.approx(371 + 400 / 2 * 20)


@pytest.mark.parametrize("encoder_activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("decoder_activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("hidden_size", [(3,), (4, 2, 3)])
def test_gradient_equals_finite_difference(encoder_activation, decoder_activation, hidden_size):
    rng = np.random.default_rng(1)
    ratings = matrix_of(rng.integers(-1, 6, (5, 6)).astype(float), rng.random((5, 6)) < 0.6)
    model = autoencoder(
        6,
        hidden_size,
        encoder_activation=encoder_activation,
        decoder_activation=decoder_activation,
        rating_range=(-1, 5),
    )
    analytic = gradients(model, model.objective(ratings, ratings))
    for name, parameter in model.named_parameters():
        for index in list(np.ndindex(*parameter.shape))[:4]:
            values = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    parameter[index] += step
                    values.append(model.objective(ratings, ratings).item())
                    parameter[index] -= step
            numeric = (values[0] - values[1]) / 2e-6
            assert analytic[name][index].item() == pytest.approx(numeric, rel=1e-4, abs=1e-4), (name, index)


@given(dense_and_mask(), st.integers(0, 1000))
def test_unobserved_entries_get_zero_gradient_and_cost_nothing(data, seed):
    dense, mask = data
    elsewhere = np.where(mask, dense, np.random.default_rng(seed).normal(size=dense.shape))
    model = autoencoder(dense.shape[1], reg_weight=(0.0, 0.0))
    losses = [model.objective(matrix_of(d, mask), matrix_of(d, mask)) for d in (dense, elsewhere)]
    assert losses[0].item() == losses[1].item()
    unseen = ~mask.any(0)  # columns without a rating
    found = gradients(model, losses[0])
    for name in ("encoder_weight", "decoder_weight", "decoder_bias"):
        assert not found[name][unseen].any(), name


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_zero_and_negative_ratings_still_count(value):
    mask = np.array([[True, True], [True, False]])
    model = autoencoder(2, reg_weight=(0.0, 0.0))
    with_it = matrix_of(np.array([[value, 3.0], [4.0, 0.0]]), mask)
    mask[0, 0] = False
    without = matrix_of(np.array([[value, 3.0], [4.0, 0.0]]), mask)
    assert model.objective(with_it, with_it).item() != model.objective(without, without).item()
    assert gradients(model, model.objective(with_it, with_it))["decoder_bias"][0] != 0


@given(dense_and_mask(), st.randoms(use_true_random=False))
def test_batch_split_and_row_order_leave_the_epoch_objective_unchanged(data, random):
    dense, mask = data
    ratings, model = matrix_of(dense, mask), autoencoder(dense.shape[1])
    rows = list(range(dense.shape[0]))
    random.shuffle(rows)
    cut = random.randint(0, len(rows))
    whole = model.objective(ratings, ratings)
    parts = sum(
        model.objective(part, part, share=len(ids) / len(rows))
        for ids in (rows[:cut], rows[cut:])
        for part in [ratings.select(torch.tensor(ids, dtype=torch.long))]
    )
    assert parts.item() == pytest.approx(whole.item(), rel=1e-12)
    for (name, one), other in zip(gradients(model, whole).items(), gradients(model, parts).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10, msg=name)


@given(dense_and_mask())
def test_padding_rows_and_columns_change_nothing(data):
    dense, mask = data
    padded, padded_mask = np.pad(dense, 1), np.pad(mask, 1)
    model, wide = autoencoder(dense.shape[1]), autoencoder(dense.shape[1] + 2)
    with torch.no_grad():
        for parameter in wide.parameters():
            parameter.zero_()
        for name in ("encoder_weight", "decoder_weight", "decoder_bias"):
            getattr(wide, name)[1:-1] = getattr(model, name)
        wide.encoder_bias.copy_(model.encoder_bias)
    ratings, padded_ratings = matrix_of(dense, mask), matrix_of(padded, padded_mask)
    loss, wide_loss = model.objective(ratings, ratings), wide.objective(padded_ratings, padded_ratings)
    assert wide_loss.item() == pytest.approx(loss.item(), rel=1e-12)
    found, wide_found = gradients(model, loss), gradients(wide, wide_loss)
    torch.testing.assert_close(found["encoder_bias"], wide_found["encoder_bias"])
    torch.testing.assert_close(found["decoder_weight"], wide_found["decoder_weight"][1:-1])
    assert not wide_found["decoder_weight"][0].any()


def test_reg_weight_is_four_times_authors_lamda():
    rng = np.random.default_rng(2)
    dense, mask = rng.integers(1, 6, (6, 5)).astype(float), rng.random((6, 5)) < 0.7
    ratings, lamda = matrix_of(dense, mask), 100.0
    model = autoencoder(5, reg_weight=(4 * lamda, 4 * lamda))
    error = model.decode(model.encode(ratings), None, ratings) - ratings.values
    squares = model.encoder_weight.square().sum() + model.decoder_weight.square().sum()
    authors = 0.5 * error.square().sum() + lamda * squares
    assert model.objective(ratings, ratings).item() == pytest.approx(2 * authors.item(), rel=1e-12)


def test_biases_are_free():
    model = autoencoder(5)
    found = torch.autograd.grad(model.penalty(), list(model.parameters()), allow_unused=True)
    free = {name for (name, _), gradient in zip(model.named_parameters(), found, strict=True) if gradient is None}
    assert free == {"encoder_bias", "decoder_bias"}


def test_pair_of_reg_weights_is_encoder_then_decoder():
    model = autoencoder(5, hidden_size=(4, 3), reg_weight=(2.0, 0.0))
    expected = model.encoder_weight.square().sum() + model.hidden_layers[0].weight.square().sum()
    assert model.penalty().item() == pytest.approx(expected.item())
    model.reg_weight = (0.0, 2.0)
    assert model.penalty().item() == pytest.approx(model.decoder_weight.square().sum().item())


@pytest.mark.parametrize("decoder_activation", ["sigmoid", "tanh"])
def test_bounded_decoder_is_stretched_onto_the_rating_range(decoder_activation):
    model = autoencoder(3, decoder_activation=decoder_activation, rating_range=(0.5, 5.0))
    low, middle, high = model.output(torch.tensor([-50.0, 0.0, 50.0])).tolist()
    assert (low, middle, high) == pytest.approx((0.5, 2.75, 5.0))


@pytest.mark.parametrize("n_rows", [0, 4])
def test_pairs_and_all_agree_with_observed(n_rows):
    rng = np.random.default_rng(3)
    mask = rng.random((4, 6)) < 0.5
    ratings = matrix_of(rng.integers(1, 6, (4, 6)).astype(float), mask)
    model = autoencoder(6, (4, 3), n_rows=n_rows)
    codes = model.encode(ratings), model.levels(torch.arange(4)) if n_rows else None
    observed = model.decode(*codes, ratings)
    backwards_twice = torch.arange(len(ratings)).flip(0).repeat(2)  # in another order, and repeated
    pairs = ratings.rows.long()[backwards_twice], ratings.columns.long()[backwards_twice]
    torch.testing.assert_close(model.decode_pairs(*codes, *pairs), observed[backwards_twice])
    torch.testing.assert_close(model.decode_all(*codes, torch.arange(6))[torch.from_numpy(mask)], observed)


def test_dropout_hides_inputs_in_training_only_and_keeps_their_mean():
    ratings = matrix_of(np.full((200, 50), 4.0), np.ones((200, 50), dtype=bool))
    model = autoencoder(50, encoder_activation="identity", dropout_prob=0.5)
    with torch.no_grad():
        model.encoder_weight.fill_(1.0)
        model.encoder_bias.zero_()
        plain = model.eval().encode(ratings)
        dropped = model.train().encode(ratings)
    assert (plain == 200).all()
    assert dropped.std() > 1
    assert dropped.mean().item() == pytest.approx(200, rel=0.05)


def test_scaling_by_power_zero_is_the_paper_and_the_mean_is_kept():
    counts = torch.tensor([0, 1, 4, 9])
    assert activity_scales(counts, 0.0).tolist() == [0, 1, 1, 1]
    scales = activity_scales(counts, 0.5)  # n^-0.5 * mean(1, 2, 3)
    assert scales.tolist() == pytest.approx([0, 2, 1, 2 / 3])


def test_core_imports_no_recbole():
    code = (
        "import sys; sys.modules['recbole'] = None; import recbole_autorec.model.masked_autoencoder; "
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=DATA.parent, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


def test_curvatures_grow_with_the_inputs_and_the_ratings_of_a_row_or_column():
    entries = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 2, 1])  # columns of 1, 2, 1 ratings and one of none
    targets = RatingMatrix.from_entries(*entries, torch.tensor([5.0, 4.0, 3.0, 2.0]), (2, 4))
    inputs = targets.with_values(torch.tensor([1.0, 2.0, 3.0, 2.0]))  # sums of squares 1, 8, 9
    for n_rows, output in ((2, 0.1), (0, 1.0)):
        model = MaskedAutoencoder(4, [2], "sigmoid", "identity", (1.0, 1.0), 0.1, 0.0, (1.0, 5.0), n_rows=n_rows)
        found = model.curvatures(inputs, targets)
        by_column = output * torch.tensor([1.75, 2.5, 1.75, 1.0])
        torch.testing.assert_close(found[model.encoder_weight].squeeze(1), torch.tensor([7 / 6, 7 / 3, 2.5, 1.0]))
        torch.testing.assert_close(found[model.decoder_weight].squeeze(1), by_column)
        torch.testing.assert_close(found[model.decoder_bias], by_column)
        if n_rows:
            torch.testing.assert_close(found[model.row_bias], output * torch.tensor([2.5, 1.5]))
        assert model.encoder_bias not in found
