"""Offsets, the variances that set their damping, and what must not matter: units, and users or items without ratings."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.interaction import Interaction

from recbole_autorec.model.margins import margins_of
from recbole_autorec.model.offsets import MOST, estimate_variances, fit_offsets
from recbole_autorec.model.rating_recommender import RatingScale
from recbole_autorec.quick_start import build_dataloaders, build_trainer, quiet_recbole
from tests.conftest import all_pairs, config_for, tiny_model, tiny_parts

AUTOREC = ["IAutoRec", "UAutoRec", "AutoRecEnsemble"]
NAMES = ["GlobalMean", "Bias", "BiasedMF", *AUTOREC]


def crossed(rng, n_users=300, n_items=200, density=0.2, deviations=(0.4, 0.5, 0.9), mean=3.5):
    users, items = np.nonzero(rng.random((n_users, n_items)) < density)
    a, b = rng.normal(0, deviations[0], n_users), rng.normal(0, deviations[1], n_items)
    return users, items, mean + a[users] + b[items] + rng.normal(0, deviations[2], len(users))


def test_variances_of_generated_effects_come_back():
    found = np.array([estimate_variances(*crossed(np.random.default_rng(seed))) for seed in range(30)])
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - np.square([0.4, 0.5, 0.9])) < 3 * error).all(), (found.mean(0), error)
    assert (error < 0.02).all()


def test_variances_of_a_complete_table_are_those_of_the_analysis_of_variance():
    table = np.random.default_rng(1).normal(3, 1, (6, 5)) + np.arange(6)[:, None] + 2 * np.arange(5)
    users, items = np.divmod(np.arange(30), 5)
    of_user, of_item = table.mean(1) - table.mean(), table.mean(0) - table.mean()
    rest = table - table.mean() - of_user[:, None] - of_item
    mean_squares = 5 * (of_user**2).sum() / 5, 6 * (of_item**2).sum() / 4, (rest**2).sum() / 20
    expected = (mean_squares[0] - mean_squares[2]) / 5, (mean_squares[1] - mean_squares[2]) / 6, mean_squares[2]
    assert estimate_variances(users, items, table.ravel()) == pytest.approx(expected)


def test_variance_that_comes_out_negative_is_none():
    users, items = np.divmod(np.arange(40), 4)
    ratings = np.tile([1.0, 2.0, 4.0, 5.0], 10) + np.repeat([0.5, -0.5], 20) * np.tile([1, -1], 20)
    found = estimate_variances(users, items, ratings)  # every user has the same mean
    assert found.user == 0
    assert found.item > 2
    assert found.rest == pytest.approx(0.25, rel=0.2)
    offsets = fit_offsets(users, items, ratings, (10, 4))
    assert offsets.user_damping == MOST == 500
    assert np.abs(offsets.user).max() < 0.01
    assert np.abs(offsets.mean + offsets.item - [1, 2, 4, 5]).max() < 0.1


def test_of_two_variances_that_come_out_negative_the_lower_goes_first():
    """Of 6 users by 2 items: mean squares 0, 1.92 and 2.4. Without users' the rest's is 1.2, and items differ by more."""
    users, items = np.divmod(np.arange(12), 2)
    table = np.array([[1.4, -1.4]] * 3 + [[-0.6, 0.6]] * 3)
    assert estimate_variances(users, items, table.ravel()) == pytest.approx((0, (1.92 - 1.2) / 6, 1.2))


@pytest.mark.parametrize("lonely", ["users", "items", "both"])
def test_a_side_without_repeats_has_no_offsets(lonely):
    few, many = np.arange(12) % 3, np.arange(12)
    users, items = {"users": (many, few), "items": (few, many), "both": (many, many)}[lonely]
    ratings = np.arange(12) % 3 + np.arange(12) / 12
    found = estimate_variances(users, items, ratings)
    assert (found.user > 0, found.item > 0) == (lonely == "items", lonely == "users")
    assert found.rest > 0
    offsets = fit_offsets(users, items, ratings, (12, 12))
    assert np.isfinite([*offsets.user, *offsets.item, offsets.mean]).all()
    assert (offsets.user_damping == MOST, offsets.item_damping == MOST) == (lonely != "items", lonely != "users")


def test_ratings_without_noise_are_damped_a_little():
    users, items = np.divmod(np.arange(20), 4)
    found = fit_offsets(users, items, 1.0 * users + items, (5, 4))
    assert 0 < found.user_damping < 0.01
    assert found.variances.rest == pytest.approx(0.001 * (2 + 1.25))  # a thousandth of all
    np.testing.assert_allclose(found.mean + found.user[users] + found.item[items], users + items, atol=0.01)


@pytest.mark.parametrize("dampings", [(None, None), (15, 10), (0.5, None)])
def test_offsets_are_the_minimum(dampings):
    users, items, ratings = crossed(np.random.default_rng(2), 20, 30)
    found = fit_offsets(users, items, ratings, (21, 31), *dampings)
    error = ratings - found.mean - found.user[users] - found.item[items]
    assert error.sum() == pytest.approx(0, abs=1e-5)
    for ids, offsets, damping in ((users, found.user, found.user_damping), (items, found.item, found.item_damping)):
        np.testing.assert_allclose(np.bincount(ids, error, len(offsets)), damping * offsets, atol=1e-5)
    assert found.user[20] == found.item[30] == 0  # not rated
    if dampings[0] is None:
        assert found.user_damping == found.variances.rest / found.variances.user


def test_the_scale_has_movielens_mean_and_deviation():
    ratings = torch.tensor([0.0, 10, 20, 100, 100])
    part = Interaction({"user": torch.arange(5), "item": torch.arange(5), "rating": ratings})
    whole = SimpleNamespace(inter_feat=part, uid_field="user", iid_field="item", num=lambda field: 5)
    scale = RatingScale(margins_of(whole, "rating"))
    found = scale.on(ratings)
    assert found.mean().item() == pytest.approx(3.6, abs=1e-5)
    assert found.std(correction=0).item() == pytest.approx(1.1, abs=1e-5)
    torch.testing.assert_close(scale.in_stars(found), ratings, atol=0.002, rtol=0)


def fit(name: str, change=lambda parts: None, **parameters):
    """Return (trainer, validation errors of the best epoch) on tiny, with changed parts."""
    calibration = {"calibration": True} if name in AUTOREC else {}
    config = config_for(name, **calibration, **parameters)
    data, parts = tiny_parts(config)
    change(parts)
    with quiet_recbole():
        trainer = build_trainer(config, parts[0])
        train, valid, _ = build_dataloaders(config, data, parts)
        trainer.fit(train, valid, saved=False)
        return trainer, trainer.evaluate(valid)


def trained(*arguments, **parameters):
    """Return the model that `fit` trains."""
    return fit(*arguments, **parameters)[0].model.eval()


@torch.no_grad()
def all_predictions(model):
    """Predict all pairs: (n_users, n_items)."""
    return model.predict(all_pairs(model)).double().view(model.n_users, model.n_items)


@pytest.mark.parametrize("name", NAMES)
@given(times=st.floats(0.01, 100), plus=st.floats(-3, 3))
@settings(max_examples=5)
def test_the_unit_of_the_ratings_does_not_matter(name, times, plus):
    plus = plus * times

    def change(parts):
        for part in parts:
            part.inter_feat["rating"] = times * part.inter_feat["rating"] + plus

    expected = times * all_predictions(trained(name)) + plus
    torch.testing.assert_close(all_predictions(trained(name, change)), expected, atol=5e-5 * 5 * times, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_users_and_items_without_training_ratings_change_nothing_for_others(name):
    def change(parts):  # three more of each, without ratings
        for field in (parts[0].uid_field, parts[0].iid_field):  # the parts share their id tables
            parts[0].field2id_token[field] = np.append(parts[0].field2id_token[field], ["x", "y", "z"])

    before, model = all_predictions(trained(name, epochs=1)), trained(name, change, epochs=1)
    assert (model.n_users, model.n_items) == (14, 10)
    found = all_predictions(model)
    torch.testing.assert_close(found[:11, :7], before, atol=2e-4, rtol=0)
    if name != "GlobalMean":
        _, _, bias = tiny_model("Bias")
        level = model.calibration.weights[0].item() * model.scale.unit if name in AUTOREC else 0.0
        assert found[12, 8].item() == pytest.approx(bias.mean.item() + level, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits(name):
    assert torch.equal(all_predictions(trained(name)), all_predictions(trained(name)))


@pytest.mark.parametrize("name", ["BiasedMF", "IAutoRec", "UAutoRec"])
def test_offsets_alone_are_a_candidate_for_the_best_epoch(name):
    """The validation ratings equal the offsets' predictions, so nothing can be better."""

    def change(parts):
        _, _, bias = tiny_model("Bias")
        valid = parts[1].inter_feat
        valid["rating"] = bias.predict(valid).detach()

    trainer, errors = fit(name, change, epochs=2)
    assert trainer.best_epoch == 0
    assert [epoch for epoch, *_ in trainer.curve] == [0, 1, 2]
    assert errors["rmse"] < 0.02  # BiasedMF starts with factors nearly 0
