"""Weights of a prediction's parts, fitted on validation ratings: they reach the minimum and see nothing else."""

import numpy as np
import pytest
import torch

from recbole_autorec.model.calibration import LOOSE, TIGHT, Calibration, Parts, least_squares
from recbole_autorec.quick_start import build_dataloaders, build_trainer, quiet_recbole, train_and_test
from tests.conftest import config_for, tiny_model, tiny_parts
from tests.ranked import RANKING

USERS, ITEMS = torch.tensor([0, 4, 9, 1, 30]), torch.tensor([0, 20, 12, 12])


def drawn(n: int, size: int, noise: float, weights, seed=0):
    """Return (a calibration, arguments for random pairs, r - m from these weights plus noise)."""
    torch.manual_seed(seed)
    calibration = Calibration(n, USERS, ITEMS)
    users, items = torch.randint(1, 5, (size,)), torch.randint(1, 4, (size,))
    parts = Parts(0.6 * torch.randn(size, n), 0.4 * torch.randn(size, n))
    x = calibration.x_user[users], calibration.x_item[items]
    calibration.weights.data = torch.tensor(weights)
    rest = calibration(parts, *x) + noise * torch.randn(size)
    return Calibration(n, USERS, ITEMS), (parts, *x), rest


def test_x_is_0_for_a_rating_as_they_are_on_average():
    calibration = Calibration(1, USERS, ITEMS)
    for x, counts in ((calibration.x_user, USERS), (calibration.x_item, ITEMS)):
        assert (x * counts).sum().item() == pytest.approx(0, abs=1e-5)
        assert x[counts.argmax()] < 0 < x[counts.argmin()]
    torch.testing.assert_close(calibration.x("user", torch.tensor(9)), calibration.x_user[2])


def test_x_is_the_inverse_root_over_its_mean():
    roots = (2**-0.5, 5**-0.5, 10**-0.5, 2**-0.5, 31**-0.5)  # without a rating, as with the least that counts: 1
    mean = (4 * roots[1] + 9 * roots[2] + roots[3] + 30 * roots[4]) / 44
    calibration = Calibration(1, USERS, ITEMS)
    assert calibration.x_user.tolist() == pytest.approx([root / mean - 1 for root in roots], abs=1e-6)
    assert calibration.least == {"user": 1, "item": 12}


def test_a_prior_holds_the_level_and_the_sum_tightly_and_each_weight_loosely():
    """One rating of 0.3 whose parts are 0; and of 1, whose parts are 1, with a weight of 1/2 to start from."""
    alone = np.array([[1.0, 0.0, 0.3], [0.0, 0.0, 0.0], [0.3, 0.0, 0.09]])
    level, weight = least_squares(alone, np.array([0.0, 0.5]), np.array([False, True]))
    assert (level, weight) == pytest.approx((0.3 / (1 + 0.09 / 0.03**2), 0.5))
    part = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]])  # of variance 1/4, the square of 1 - 1/2
    for summed, tight in ((False, 0), (True, 1 / 0.03**2)):
        found = least_squares(part, np.array([0.0, 0.5]), np.array([False, summed]))
        assert found == pytest.approx([0, 0.5 + 0.5 / (1 + 0.25 * (1 / 0.6**2 + tight))])


def test_who_has_hardly_a_rating_counts_as_the_least_active_that_matter():
    users = torch.tensor([0, 1, 2, 3, 400, 400])  # 6 of 806 ratings are less than a hundredth
    calibration = Calibration(1, users, ITEMS)
    assert calibration.least == {"user": 400, "item": 12}
    assert (calibration.x_user[:5] == calibration.x_user[4]).all()
    torch.testing.assert_close(calibration.x_user[4], torch.tensor(0.0))


def test_a_part_that_is_solved_for_carries_as_far_as_its_offsets():
    calibration, (parts, *x), _ = drawn(2, 20, 0, [0.0] * 9)
    calibration.weights.data = torch.tensor([0.0, 0.75, 1.5, 0.5, 0.25, 0.25, 2.0, 0.5, 0.25])
    found = calibration(parts, *x, torch.tensor([True, False]))
    second = 2.0 + 0.5 * x[0] + 0.25 * x[1]
    offsets = 0.75 * parts.offsets[:, 0] + 0.25 * parts.offsets[:, 1]
    torch.testing.assert_close(found, offsets + 0.75 * parts.interactions[:, 0] + second * parts.interactions[:, 1])


@pytest.mark.parametrize("n", [1, 3])
def test_before_it_is_fitted_it_is_the_mean_of_the_predictions(n):
    calibration, (parts, *x), _ = drawn(n, 20, 0, [0.0] * (1 + 4 * n))
    torch.testing.assert_close(calibration(parts, *x), (parts.offsets + parts.interactions).mean(1))


def test_with_many_ratings_weights_come_back():
    weights = [0.02, 0.9, 1.4, 0.5, -0.3, 0.1, 0.2, 0.0, 0.1]
    calibration, arguments, rest = drawn(2, 300_000, 0.3, weights)
    calibration.fit(calibration.products(*arguments, rest), 2)
    np.testing.assert_allclose(calibration.weights, weights, atol=0.05)


@pytest.mark.parametrize("n", [1, 2])
def test_it_is_the_minimum_of_error_and_distance(n):
    """Check against autograd, without sums of products."""
    calibration, (parts, x_user, x_item), rest = drawn(n, 300, 0.9, [0.1, *([0.7, 1.2, 0.4, 0.3] * n)])
    calibration.fit(calibration.products(parts, x_user, x_item, rest), n)
    weights = calibration.weights.double().requires_grad_()
    level, of_each = weights[0], weights[1:].view(n, 4)
    error = (level - rest).double()
    for k in range(n):
        w, v, s, t = of_each[k]
        error = error + w * parts.offsets[:, k] + (v + s * x_user + t * x_item) * parts.interactions[:, k]
    start = torch.tensor([1 / n, 1 / n, 0, 0]).double()
    prior = (level / TIGHT).square() + ((of_each[:, 0].sum() - 1) / TIGHT).square()
    prior = prior + ((of_each - start) / LOOSE).square().sum()
    variance = (rest - (parts.offsets + parts.interactions).mean(1)).double().square().mean()  # of a plain mean
    (error.square().sum() + variance * prior).backward()
    assert weights.grad.abs().max() < 1e-2 * len(rest) ** 0.5


def test_parts_that_are_not_there_have_no_say():
    """With offsets alone the interaction is 0 and its weights stay as they were."""
    calibration, (parts, *x), rest = drawn(1, 50, 0.5, [0.0, 1.0, 1.0, 0.0, 0.0])
    nothing = Parts(parts.offsets, torch.zeros_like(parts.interactions))
    calibration.fit(calibration.products(nothing, *x, rest), 1)
    assert calibration.weights[2:].tolist() == [1, 0, 0]


def test_few_ratings_change_little_and_never_wildly():
    calibration, arguments, rest = drawn(2, 5, 1.0, [0.0, *([0.5, 0.5, 0.0, 0.0] * 2)])
    calibration.fit(calibration.products(*arguments, rest), 2)
    weights = calibration.weights
    assert weights[0].abs() < 0.05
    assert weights[1:].view(2, 4)[:, 0].sum().item() == pytest.approx(1, abs=0.1)
    assert weights.abs().max() < 1.5


def test_members_to_come_have_no_weight():
    calibration, arguments, rest = drawn(3, 500, 0.5, [0.0] * 13)
    calibration.fit(calibration.products(*arguments, rest), 2)
    assert (calibration.weights[1:9] != 0).all()
    assert (calibration.weights[9:] == 0).all()


def test_perfect_predictions_and_a_single_rating_do_no_harm():
    for size in (1, 40):
        calibration, arguments, rest = drawn(1, size, 0.0, [0.0, 1.0, 1.0, 0.0, 0.0])
        calibration.fit(calibration.products(*arguments, rest), 1)
        torch.testing.assert_close(calibration(*arguments), rest, atol=1e-5, rtol=0)
    assert np.isfinite(least_squares(np.ones((3, 3)), np.array([0.0, 1.0]), np.array([False, True]))).all()


# In training.


def fitted(change=lambda parts: None, model="IAutoRec", **parameters):
    config = config_for(model, **{"calibration": True, **parameters})
    data, parts = tiny_parts(config)
    change(parts)
    result, trainer = train_and_test(config, data, parts)
    trainer.load_best()
    return result, trainer, parts


@pytest.mark.parametrize("model", ["IAutoRec", "UAutoRec"])
def test_the_best_epochs_weights_are_those_of_its_own_validation_predictions(model):
    _, trainer, parts = fitted(model=model)
    found = trainer.model.calibration.weights.clone()
    assert (found[:3] != torch.tensor([0.0, 1, 1])).all()
    trainer.model.calibration.fit(trainer.model.products(parts[1].inter_feat), 1)
    torch.testing.assert_close(trainer.model.calibration.weights, found, atol=1e-6, rtol=0)


def test_validation_ratings_move_it_and_test_ratings_do_not():
    def moved(part: int):
        def change(parts):
            parts[part].inter_feat["rating"] = 5 - parts[part].inter_feat["rating"]

        return fitted(change)[1].model.calibration.weights

    plain = fitted()[1].model.calibration.weights
    assert torch.equal(moved(2), plain)
    assert not torch.equal(moved(1), plain)


def test_the_score_of_validation_is_the_calibrated_models():
    result, trainer, parts = fitted()
    error = trainer.model.predict(parts[1].inter_feat) - parts[1].inter_feat["rating"]
    assert error.square().mean().sqrt().item() == pytest.approx(result["valid"]["rmse"], abs=2e-6)


def test_a_refit_keeps_what_validation_said():
    """The refit has no validation part: its ratings are then in training."""
    once, again = fitted()[1], fitted(refit=True)[1]
    assert torch.equal(again.model.calibration.weights, once.model.calibration.weights)
    assert not torch.equal(again.model.autoencoder.decoder_weight, once.model.autoencoder.decoder_weight)


@pytest.mark.parametrize("parameters", [{"calibration": False}, {"offsets": False}, RANKING])
def test_it_stays_away_where_it_is_off_without_offsets_and_from_rankings(parameters):
    assert fitted(**parameters)[1].model.calibration.weights.tolist() == [0, 1, 1, 0, 0]


def test_without_offsets_a_prediction_is_the_autoencoders_own():
    _, _, model = tiny_model(offsets=False, decoder_activation="sigmoid")
    users, items = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
    parts = model.eval().parts(users, items)
    assert (parts.offsets == 0).all()
    found = model.autoencoder.decode_pairs(model.codes(), None, items, users)
    assert torch.equal(
        model.calibration(parts, model.calibration.x_user[users], model.calibration.x_item[items]), found
    )


def test_a_trainer_says_which_epoch_and_weights_it_has_chosen():
    config = config_for(calibration=True)
    data, parts = tiny_parts(config)
    with quiet_recbole():
        trainer = build_trainer(config, parts[0])
        train, valid, _ = build_dataloaders(config, data, parts)
        trainer.fit(train, valid, saved=False)
    chosen = trainer.chosen()
    assert chosen["course"]["best_epoch"] == trainer.best_epoch
    trainer.load_best()
    assert torch.equal(chosen["calibration"], trainer.model.calibration.weights)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["user", "item"])
@pytest.mark.parametrize("name", ["IAutoRec", "UAutoRec"])
def test_a_new_ones_parts_are_weighted_by_how_they_were_found(name, kind):
    _, _, model = tiny_model(name)
    torch.nn.init.normal_(model.eval().autoencoder.decoder_weight)
    model.calibration.weights.data = torch.tensor([0.1, 0.75, 1.5, 0.5, 0.25])
    known, stars = torch.tensor([2, 3]), torch.tensor([1.0, 4.0])
    o, h = (part[:, 0] for part in model.parts_of_new(kind, known, model.scale.on(stars)))
    x_new, calibration = model.calibration.x(kind, torch.tensor(2)), model.calibration
    x_user, x_item = (x_new, calibration.x_item) if kind == "user" else (calibration.x_user, x_new)
    solved = (name == "UAutoRec") == (kind == "user")  # its code is fitted to these ratings
    weight = 0.75 if solved else 1.5 + 0.5 * x_user + 0.25 * x_item
    expected = model.scale.in_stars(model.mean() + 0.1 + 0.75 * o + weight * h)
    torch.testing.assert_close(model.rate_as_new(kind, known, stars), expected)
    assert h.abs().max() > 0.01


@pytest.mark.parametrize(("cold_start_rating", "n"), [(None, 3), (3.0, 1)])
def test_pairs_that_get_the_cold_start_rating_do_not_count(cold_start_rating, n):
    _, parts, model = tiny_model(cold_start_rating=cold_start_rating)
    pairs = parts[0].inter_feat[:3]
    pairs["user_id"][0] = 0  # the padding id has no rating
    pairs["item_id"][1] = 0
    found = model.eval().products(pairs)
    assert found[0, 0].item() == n
    rest = model.scale.on(pairs["rating"][3 - n :]) - model.mean()
    assert found[0, -1].item() == pytest.approx(rest.sum().item(), abs=1e-5)
