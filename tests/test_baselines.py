"""GlobalMean, Bias and BiasedMF: their formulas, and what holds for every model of ours."""

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

import recbole_autorec.quick_start as quick_start
from recbole_autorec import ConfigError, load_data_and_model, run_recbole_autorec
from tests.conftest import AT_HOME, DATA, QUICK_ANY, all_pairs, config_for, tiny_model, tiny_parts

NAMES = ["GlobalMean", "Bias", "BiasedMF"]
TINY = {"data_path": str(DATA), **QUICK_ANY}


def entries(model, part):
    feat = part.inter_feat
    return feat[model.USER_ID].numpy(), feat[model.ITEM_ID].numpy(), feat["rating"].double().numpy()


def test_global_mean_is_the_mean_of_the_training_ratings_for_every_pair():
    _, parts, model = tiny_model("GlobalMean")
    expected = parts[0].inter_feat["rating"].double().mean().item()
    assert model.predict(all_pairs(model)).tolist() == pytest.approx([expected] * 77)  # 11 users, 7 items, padding


@pytest.mark.parametrize(("user_damping", "item_damping"), [(15, 10), (0.5, 2)])
def test_bias_is_the_minimum_of_its_objective(user_damping, item_damping):
    _, parts, model = tiny_model("Bias", user_damping=user_damping, item_damping=item_damping)
    users, items, ratings = entries(model, parts[0])
    design = np.zeros((len(ratings), model.n_users + model.n_items))
    design[np.arange(len(ratings)), users] = design[np.arange(len(ratings)), model.n_users + items] = 1
    design = np.column_stack([design, np.ones(len(ratings))])  # the mean's column, undamped
    damping = np.append(np.repeat([user_damping, item_damping], [model.n_users, model.n_items]), 0)
    expected = np.linalg.solve(design.T @ design + np.diag(damping), design.T @ ratings)
    found = torch.cat([model.user_bias, model.item_bias, model.mean[None]]).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=5e-5)


def test_undamped_bias_is_solved_as_well():
    _, parts, model = tiny_model("Bias", user_damping=0, item_damping=0)
    users, items, ratings = entries(model, parts[0])
    fitted = (model.mean + model.user_bias[users] + model.item_bias[items]).detach().double().numpy()
    for ids in (users, items):  # at the minimum each user's and each item's residuals add up to 0
        np.testing.assert_allclose(np.bincount(ids, ratings - fitted), 0, atol=1e-4)


def test_biased_mf_loss_is_the_formula():
    dampings = {"user_damping": 2, "item_damping": 7}
    _, parts, model = tiny_model("BiasedMF", embedding_size=3, reg_weight=0.3, init_std=0.5, **dampings)
    for bias, field in ((model.user_bias, model.USER_ID), (model.item_bias, model.ITEM_ID)):
        torch.nn.init.normal_(bias.weight)
        bias.weight.data[torch.bincount(parts[0].inter_feat[field], minlength=len(bias.weight)) == 0] = 0
    users, items, ratings = entries(model, parts[0])
    p, q, b_u, b_i = (
        table.weight.detach().double().numpy()[ids]
        for table, ids in (
            (model.user_factors, users), (model.item_factors, items), (model.user_bias, users), (model.item_bias, items),
        )
    )  # fmt: skip
    on_scale = model.scale.on(torch.from_numpy(ratings)).numpy()
    error = on_scale - (model.mean.item() + (b_u + b_i)[:, 0] + (p * q).sum(1))
    expected = 0.5 * (error**2).sum() + 0.15 * sum((x**2).sum() for x in (p, q))
    for damping, bias in ((2, model.user_bias), (7, model.item_bias)):
        expected += damping / 2 * bias.weight[bias.weight[:, 0] != 0].square().sum().item()
    assert model.calculate_loss(parts[0].inter_feat).item() == pytest.approx(expected, rel=1e-5)


def test_biased_mf_damps_a_rating_by_its_share_and_at_most_10():
    _, parts, model = tiny_model("BiasedMF", user_damping=1000, item_damping=7)
    assert model.user_damping_of.tolist() == [10] * 11
    counts = torch.bincount(parts[0].inter_feat["item_id"], minlength=7).tolist()
    assert model.item_damping_of.tolist() == pytest.approx([7 / max(count, 1) for count in counts])


def test_biased_mf_with_one_rating_a_batch_steps_as_funk_does():
    dampings = {"user_damping": 2, "item_damping": 7}
    _, parts, model = tiny_model("BiasedMF", embedding_size=3, reg_weight=0.3, init_std=0.5, **dampings)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    one = parts[0].inter_feat[:1]
    user, item, rating = one[model.USER_ID], one[model.ITEM_ID], one["rating"]
    p, q = model.user_factors.weight[user].clone(), model.item_factors.weight[item].clone()
    b_u, b_i = model.user_bias.weight[user].clone(), model.item_bias.weight[item].clone()
    error = (model.scale.on(rating) - model.mean - b_u - b_i - (p * q).sum()).detach()[0]
    n = (parts[0].inter_feat[model.USER_ID] == user).sum()  # each rating has its share of the damping
    model.calculate_loss(one).backward()
    optimizer.step()
    torch.testing.assert_close(model.user_factors.weight[user], p + 0.1 * (error * q - 0.3 * p))
    torch.testing.assert_close(model.item_factors.weight[item], q + 0.1 * (error * p - 0.3 * q))
    torch.testing.assert_close(model.user_bias.weight[user], b_u + 0.1 * (error - 2 / n * b_u))


@pytest.mark.parametrize("name", ["Bias", "BiasedMF"])
def test_a_cold_user_or_item_has_no_offset_and_no_factors(name):
    _, _, model = tiny_model(name)
    cold = Interaction({model.USER_ID: torch.tensor([0, 0, 3]), model.ITEM_ID: torch.tensor([0, 3, 0])})
    user_bias, item_bias = (
        torch.atleast_1d(getattr(b, "weight", b).squeeze()) for b in (model.user_bias, model.item_bias)
    )
    expected = model.mean + torch.stack([torch.tensor(0.0), item_bias[3], user_bias[3]])
    expected = model.scale.in_stars(expected) if name == "BiasedMF" else expected
    torch.testing.assert_close(model.predict(cold), model.clipped(expected))


@pytest.mark.parametrize("name", NAMES)
def test_full_sort_is_predict_for_every_pair_unclipped(name):
    _, _, model = tiny_model(name, clip_prediction=False) if name != "GlobalMean" else tiny_model(name)
    users = Interaction({model.USER_ID: torch.arange(model.n_users)})
    torch.testing.assert_close(model.full_sort_predict(users), model.predict(all_pairs(model)))


@pytest.mark.parametrize("name", ["Bias", "BiasedMF"])
def test_predictions_stay_in_the_range_of_the_training_ratings(name):
    _, _, model = tiny_model(name)
    with torch.no_grad():
        getattr(model.user_bias, "weight", model.user_bias)[1] = 100
    assert model.predict(all_pairs(model)).max() == 5


@pytest.mark.parametrize("name", [*NAMES, "FM", "NeuMF"])
def test_no_test_rating_reaches_the_model(name, monkeypatch):
    """Change the test ratings; the scores must not change."""
    scores, load, train_and_test = [], quick_start.load_and_split, quick_start.train_and_test

    def poisoned(config):
        data, parts = load(config)
        parts[2].inter_feat["rating"] = 5 - parts[2].inter_feat["rating"]
        return data, parts

    def keep(*arguments):
        result, trainer = train_and_test(*arguments)
        scores.append(trainer.last_scores)
        return result, trainer

    monkeypatch.setattr(quick_start, "train_and_test", keep)
    first = run_recbole_autorec(name, "tiny", config_dict=TINY)
    monkeypatch.setattr(quick_start, "load_and_split", poisoned)
    second = run_recbole_autorec(name, "tiny", config_dict=TINY)
    assert first["test"] != second["test"]
    assert torch.equal(*scores)


@pytest.mark.parametrize("name", [*NAMES, "FM", "DMF"])
def test_a_checkpoint_predicts_the_same_bits(name):
    result = run_recbole_autorec(name, "tiny", config_dict={**TINY, "saved": True})
    config, model, *_, test_data = load_data_and_model(result["checkpoint"], AT_HOME)
    trainer = quick_start.get_trainer(config)(config, model)
    assert trainer.evaluate(test_data, load_best_model=False) == result["test"]


@pytest.mark.parametrize("name", NAMES)
def test_refit_trains_on_train_and_valid(name):
    plain, refit = (run_recbole_autorec(name, "tiny", config_dict={**TINY, "refit": flag}) for flag in (False, True))
    assert plain["valid"] == refit["valid"]
    assert plain["test"] != refit["test"]


def test_models_solved_by_their_constructor_run_one_epoch():
    config = config_for("Bias", epochs=50)
    data, parts = tiny_parts(config)
    result, _ = quick_start.train_and_test(config, data, parts)
    assert (result["epochs_run"], result["best_epoch"], len(result["curve"])) == (1, 1, 1)
    assert result["n_parameters"] == 1 + 11 + 7  # the mean, and offsets of 10 users and 6 items, padding included


@pytest.mark.parametrize(
    ("model", "key", "value", "expected"),
    [
        ("Bias", "user_damping", -1, "a number >= 0, or ~ to estimate it from the ratings"),
        ("BiasedMF", "item_damping", "x", "a number >= 0, or ~ to estimate it from the ratings"),
        ("Bias", "clip_prediction", 1, "True or False"),
        ("BiasedMF", "embedding_size", 0, "a whole number >= 1"),
        ("BiasedMF", "reg_weight", -0.1, "a number >= 0"),
        ("BiasedMF", "init_std", 0, "a number > 0"),
        ("BiasedMF", "clip_prediction", None, "True or False"),
        ("BiasedMF", "learner", "adam", "one of sgd, adagrad, sparse_adam"),
        ("BiasedMF", "weight_decay", 0.1, "0 (it would also penalise biases; use reg_weight)"),
        ("BiasedMF", "clip_grad_norm", {"max_norm": 5}, "~ (torch cannot clip sparse gradients)"),
        ("FM", "learner", "lbfgs", "one of adam, adamw, sgd, adagrad, rmsprop"),
    ],
)
def test_a_value_out_of_range_says_what_is_allowed(model, key, value, expected):
    with pytest.raises(ConfigError) as caught:
        config_for(model, **{key: value})
    assert str(caught.value) == f"config_dict: {key}={value!r}; expected {expected}."


@pytest.mark.parametrize("learner", ["sgd", "adagrad", "sparse_adam"])
def test_biased_mf_trains_with_every_learner_it_takes(learner):
    rates = {"sgd": 0.02, "adagrad": 0.1, "sparse_adam": 0.02}
    result = run_recbole_autorec(
        "BiasedMF",
        "tiny",
        config_dict={**TINY, "learner": learner, "learning_rate": rates[learner], "train_batch_size": 4, "epochs": 5},
    )
    scores = [score for _, _, score in result["curve"]]
    assert min(scores[1:]) < scores[0]
