"""A checkpoint suffices for predictions: the same as in training, for known and new users and items."""

import json
import pickletools
import random
import shutil
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_autorec import (
    CheckpointError,
    DataError,
    IAutoRec,
    Predictor,
    cli,
    load_data_and_model,
    run_recbole_autorec,
)
from recbole_autorec.data.dataset import ServedDataset, served_data
from recbole_autorec.reading.options import FOUND_OUT
from recbole_autorec.serving import batch
from recbole_autorec.trainer.checkpoint import load_checkpoint
from tests.conftest import AT_HOME, DATA, QUICK, ROOT, quick, tiny_model


class Mine(IAutoRec):
    """A user's own model."""


AUTOREC = ("IAutoRec", "UAutoRec")
MODELS = (*AUTOREC, "AutoRecEnsemble", "BiasedMF", "Bias", "GlobalMean", "FM", "NeuMF", "DMF", "NAIS", "DeepFM")


def train(model: str, folder: Path, dataset="tiny", data_path=DATA, **parameters) -> str:
    config_dict = {
        "data_path": str(data_path),
        **quick(model),
        "saved": True,
        "checkpoint_dir": str(folder),
        **parameters,
    }
    return run_recbole_autorec(model, dataset, config_dict=config_dict)["checkpoint"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Return checkpoint paths by model; each is trained once."""
    folder, made = tmp_path_factory.mktemp("checkpoints"), {}

    def checkpoint(model: str) -> str:
        if model not in made:
            made[model] = train(model, folder)
        return made[model]

    return checkpoint


def all_pairs(predictor) -> tuple[list[str], list[str]]:
    pairs = [(user, item) for user in predictor.users for item in predictor.items]
    return [user for user, _ in pairs], [item for _, item in pairs]


@pytest.mark.parametrize("model", MODELS)
def test_predictions_are_the_models_own_and_need_no_dataset(model, checkpoints, monkeypatch):
    _, trained, data, *_ = load_data_and_model(checkpoints(model), AT_HOME)
    monkeypatch.setattr("recbole_autorec.data.dataset.RatingDataset.__init__", None)  # so that no dataset can be read
    predictor = Predictor.load(checkpoints(model))
    users, items = all_pairs(predictor)
    rated = set(predictor.rated_users), set(predictor.rated_items)  # the others get the mean from RecBole's models
    pairs = [pair for pair in zip(users, items, strict=True) if pair[0] in rated[0] and pair[1] in rated[1]]
    users, items = [user for user, _ in pairs], [item for _, item in pairs]
    numbers = {"user_id": [data.token2id("user_id", user) for user in users],
               "item_id": [data.token2id("item_id", item) for item in items]}  # fmt: skip
    from recbole.data.interaction import Interaction

    with torch.no_grad():
        expected = trained.predict(Interaction({name: torch.tensor(ids) for name, ids in numbers.items()}))
    np.testing.assert_allclose(predictor.predict(users, items), expected.numpy(), rtol=1e-6)
    assert predictor.predict(users, items).dtype == np.float32


@pytest.mark.parametrize("model", ["IAutoRec", "AutoRecEnsemble", "BiasedMF", "NeuMF"])
def test_a_prediction_is_the_same_alone_in_any_batch_and_in_any_thread(model, checkpoints):
    predictor = Predictor.load(checkpoints(model))
    users, items = (ids * 60 for ids in all_pairs(predictor))
    together = predictor.predict(users, items)
    assert (
        together[:60] == [predictor.predict(user, item)[0] for user, item in zip(users[:60], items[:60], strict=True)]
    ).all()
    assert (together[7:1999] == predictor.predict(users[7:1999], items[7:1999])).all()
    start = threading.Barrier(4)

    def ask(number: int):
        if number < 4:
            start.wait()
        return predictor.predict(users, items), predictor.recommend(users[0], 3)["item"].tolist()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(12)))
    assert all((stars == together).all() and best == answers[0][1] for stars, best in answers)


def test_one_user_or_item_stands_for_all_of_the_others(checkpoints):
    predictor = Predictor.load(checkpoints("IAutoRec"))
    user, items = predictor.users[0], predictor.items
    assert (predictor.predict(user, items) == predictor.predict([user] * len(items), items)).all()
    assert (predictor.predict(predictor.users, items[0])[0] == predictor.predict(user, items[0])).all()
    assert (predictor.predict(pd.Series([user, user]), pd.Series(items[:2], dtype="category"))
            == predictor.predict(user, items[:2])).all()  # fmt: skip
    assert predictor.predict([], []).shape == (0,)
    with pytest.raises(DataError, match=r"^2 users and 3 items; expected equal numbers, or one of either\.$"):
        predictor.predict(["a", "b"], ["c", "d", "e"])


@pytest.mark.parametrize("model", MODELS)
def test_unknown_ids_get_what_the_model_falls_back_to_and_a_note(model, checkpoints):
    predictor = Predictor.load(checkpoints(model))
    user, item = predictor.rated_users[0], predictor.rated_items[0]
    stars = predictor.predict([user, "who", user, "who"], [item, item, "what", "what"])
    assert predictor.notes([user, "who", user, "who"], [item, item, "what", "what"]) == [
        "", "unknown user", "unknown item", "unknown user, unknown item"]  # fmt: skip
    if model in AUTOREC:
        core = predictor.model.autoencoder
        of = dict(zip(predictor.model._by_side("item", "user"), (core.row_bias, core.decoder_bias), strict=True))
        known = [of["item"][predictor._number("item", item)], of["user"][predictor._number("user", user)], 0.0]
        expected = [predictor.model.scale.in_stars(core.mean + offset).item() for offset in known]
        assert stars[1:] == pytest.approx(expected, abs=1e-5)
    elif model in ("FM", "NeuMF", "DMF", "NAIS", "DeepFM"):
        data = load_checkpoint(checkpoints(model))["data"]
        assert stars[1:] == pytest.approx(data["rating"].mean().item(), abs=1e-5)
    assert np.isfinite(stars).all()


def test_an_id_that_training_never_rated_has_a_note(write_dataset, tmp_path):
    lines = [f"u{u}\ti{i}\t{1 + (u * i) % 5}" for u in range(8) for i in range(8)] + ["rare\ti1\t5"]
    checkpoint = next(
        path
        for seed in range(40)
        for path in [train("IAutoRec", tmp_path / "c", "toy", write_dataset(lines), seed=seed, epochs=1)]
        if "rare" not in Predictor.load(path).rated_users
    )
    predictor = Predictor.load(checkpoint)
    assert predictor.notes("rare", ["i1", "x"]) == ["unrated user", "unrated user, unknown item"]
    assert list(predictor.predict("rare", "i1")) == list(predictor.predict("nobody", "i1")) != [3.0]
    with pytest.raises(DataError, match=r"^user 'rare' has no training rating; nothing is known about it\.$"):
        predictor.recommend("rare")


@pytest.mark.parametrize("model", ["IAutoRec", "UAutoRec", "AutoRecEnsemble", "Bias", "FM"])
def test_recommendations_are_the_best_unseen_items(model, checkpoints):
    predictor = Predictor.load(checkpoints(model))
    data = load_checkpoint(checkpoints(model))["data"]
    for user in predictor.rated_users:
        number = data["users"].index(user)
        seen = {data["items"][item] for item in data["item"][data["user"] == number]}
        best = predictor.recommend(user, 3)
        unseen = [item for item in predictor.rated_items if item not in seen]
        assert list(best["item"]) == sorted(best["item"], key=lambda item: -predictor.predict(user, item)[0])
        assert len(best) == min(3, len(unseen))
        assert set(best["item"]) <= set(unseen)
        np.testing.assert_allclose(best["rating"], predictor.predict(user, best["item"]), atol=1e-5)
        assert (best["rating"] >= predictor.predict(user, unseen).max() - 1e-5).any() if unseen else True
    with pytest.raises(DataError, match=r"^user 'who' is unknown: no such id in the training data\.$"):
        predictor.recommend("who")
    with pytest.raises(DataError, match=r"^k=0 \(--topk\); expected a whole number >= 1\.$"):
        predictor.recommend(predictor.rated_users[0], 0)


def test_recommended_ratings_are_ordered_as_they_are_and_shown_within_the_range(checkpoints):
    predictor = Predictor.load(checkpoints("Bias"))
    with torch.no_grad():
        predictor.model.mean.fill_(0.0)
        predictor.model.user_bias.fill_(0.0)
        predictor.model.item_bias.copy_(torch.tensor([90.0, 9.0, 7.0, 8.0, 4.5, -1.0, -2.0]))  # the first: padding
    numbers, low, high = predictor.items, *predictor.rating_range
    assert (low, high) == (0, 5)
    for user in predictor.rated_users:
        best = predictor.recommend(user, 6)
        order = [numbers[place] for place in (0, 2, 1, 3, 4, 5) if numbers[place] in set(best["item"])]
        assert list(best["item"]) == order
        shown = dict(zip(numbers, [5, 5, 5, 4.5, 0, 0], strict=True))
        assert list(best["rating"]) == [shown[item] for item in order]
        assert predictor.best_items(user, 6) == best.to_dict("records")
    new = Predictor.load(checkpoints("IAutoRec")).fold_in_user({numbers[0]: 3.0})
    new.scores = torch.tensor([90.0, 9.0, 7.0, 8.0, 4.5, -1.0, -2.0])
    best = new.recommend(4)
    assert list(best["item"]) == [numbers[place] for place in (2, 1, 3, 4)]
    assert list(best["rating"]) == [5, 5, 4.5, 0]
    assert list(new.predict(numbers)) == [5, 5, 5, 4.5, 0, 0]


def test_without_clip_prediction_a_rating_may_be_outside_the_range(checkpoints):
    predictor = Predictor.load(checkpoints("IAutoRec"))
    predictor.model.clip_prediction = False
    new = predictor.fold_in_user({predictor.items[0]: 3.0})
    new.scores = torch.tensor([0.0, 9.0, 7.0, 8.0, 4.5, -1.0, -2.0])  # the first: padding
    assert list(new.predict(predictor.items)) == [9, 7, 8, 4.5, -1, -2]
    assert list(new.recommend(6)["rating"]) == [8, 7, 4.5, -1, -2]


@pytest.mark.parametrize("model", ["IAutoRec", "UAutoRec", "AutoRecEnsemble", "BiasedMF"])
def test_similar_items_are_those_rated_alike(model, write_dataset, tmp_path):
    generator = random.Random(1)
    taste = {user: generator.random() < 0.5 for user in range(60)}
    lines = [
        f"u{user}\t{'ab'[kind]}{number}\t{5 - generator.random() if taste[user] == kind else 1 + generator.random():.2f}"
        for user in taste for kind in (0, 1) for number in range(6) if generator.random() < 0.7
    ]  # fmt: skip
    learned = {"BiasedMF": {"epochs": 60, "learning_rate": 0.03, "embedding_size": 2, "train_batch_size": 8}}
    checkpoint = train(model, tmp_path, "toy", write_dataset(lines), **learned.get(model, {"epochs": 10}))
    best = Predictor.load(checkpoint).similar_items("a0", 5)
    assert {item[0] for item in best["item"]} == {"a"}
    assert "a0" not in set(best["item"])
    assert best["similarity"].is_monotonic_decreasing
    assert best["similarity"].max() <= 1 + 1e-6


def test_models_without_codes_or_encoder_say_so(checkpoints):
    predictor = Predictor.load(checkpoints("Bias"))
    with pytest.raises(
        DataError, match=r"^model Bias has no item codes to compare; AutoRec models and BiasedMF have\.$"
    ):
        predictor.similar_items(predictor.items[0])
    with pytest.raises(DataError, match=r"^model Bias cannot fold in new users; AutoRec models can\.$"):
        predictor.fold_in_user({predictor.items[0]: 3})


def test_titles_come_from_the_item_file(tmp_path):
    shutil.copytree(DATA / "tiny", tmp_path / "data" / "tiny")
    items = sorted({line.split("\t")[1] for line in (DATA / "tiny" / "tiny.inter").read_text().splitlines()[1:]})
    rows = "\n".join(f"1999\t{item}\tFilm of {item}" for item in items[1:])
    (tmp_path / "data" / "tiny" / "tiny.item").write_text(f"year:token\titem_id:token\tmovie_title:token_seq\n{rows}\n")
    predictor = Predictor.load(train("IAutoRec", tmp_path / "c", data_path=tmp_path / "data"))
    assert dict(zip(predictor.items, predictor.titles, strict=True)) == {
        **{item: f"Film of {item}" for item in items[1:]}, items[0]: ""}  # fmt: skip
    best = predictor.recommend(predictor.rated_users[0])
    assert list(best.columns) == ["item", "rating", "title"]


# Folding in.


@pytest.mark.parametrize(("model", "kind"), [("UAutoRec", "user"), ("IAutoRec", "item")])
def test_a_new_rows_code_is_the_one_it_would_have_in_training(model, kind, tmp_path):
    checkpoint = train(model, tmp_path, row_scaling=0.4, column_scaling=-0.3)
    predictor = Predictor.load(checkpoint)
    number = 1 + getattr(predictor, f"{kind}s").index(getattr(predictor, f"rated_{kind}s")[2])
    data, other = load_checkpoint(checkpoint)["data"], {"user": "item", "item": "user"}[kind]
    mine = data[kind] == number
    with torch.no_grad():
        values = predictor.model.scale.on(data["rating"][mine])
        code = predictor.model.encode_new_row(data[other][mine].long(), values)
        torch.testing.assert_close(code, predictor.model.codes()[number])


def dense_ratings(write_dataset) -> str:
    return write_dataset([f"u{u}\ti{i}\t{1 + (u * i * i + u) % 5}" for u in range(12) for i in range(34)])


# A new user with 2 ratings, fewer than hidden units, and with 30.
folding = pytest.mark.parametrize(
    ("settings", "count"),
    [
        (settings, count)
        for settings in (
            {},
            {"user_damping": 0},
            {"offsets": False},
            {"offsets": False, "decoder_activation": "sigmoid"},
        )
        for count in (2, 30)
    ],
)


@folding
def test_a_folded_in_column_is_the_minimum_of_the_objective(settings, count, tmp_path, write_dataset):
    settings = {**settings, "reg_weight": [1, 3]}
    predictor = Predictor.load(train("IAutoRec", tmp_path, "toy", dense_ratings(write_dataset), **settings))
    model, chosen = predictor.model, predictor.rated_items[:count]
    ratings = {item: float(1 + number % 5) for number, item in enumerate(chosen)}
    rows, stars = torch.from_numpy(predictor._numbers("item", chosen)), torch.tensor(list(ratings.values()))
    values, damping = model.scale.on(stars), 3 / 2
    levels = torch.zeros(model.ratings.shape[0])
    if model.autoencoder.has_offsets:
        damping, levels = model.user_damping, model.levels().detach()
    with torch.no_grad():
        weight, bias = model.solve_new_column(rows, values)
        codes, rated = model.codes().double(), model.column_is_rated
        mean_w = model.autoencoder.decoder_weight[rated].mean(0).double()
        mean_b = model.autoencoder.decoder_bias[rated].mean().double()
    w, b = weight.double().requires_grad_(), bias.double().requires_grad_()
    error = model.autoencoder.output(codes[rows] @ w + b + levels[rows]) - values
    (error.square().sum() + 3 / 2 * (w - mean_w).square().sum() + damping * (b - mean_b).square()).backward()
    assert torch.cat([w.grad, b.grad[None]]).abs().max() < 1e-3
    new = predictor.fold_in_user(ratings)
    scores = model.scale.in_stars(model.autoencoder.output(codes[rows] @ weight.double() + bias + levels[rows]))
    np.testing.assert_allclose(new.predict(chosen), scores.clamp(*predictor.rating_range), atol=1e-5)
    assert set(new.recommend(100)["item"]) == set(predictor.rated_items) - set(chosen)


@folding
def test_a_folded_in_row_is_the_minimum_of_its_objective(settings, count, tmp_path, write_dataset):
    checkpoint = train("UAutoRec", tmp_path, "toy", dense_ratings(write_dataset), **settings)
    predictor = Predictor.load(checkpoint)
    model, chosen = predictor.model, predictor.rated_items[:count]
    ratings = {item: float(1 + number % 5) for number, item in enumerate(chosen)}
    columns, stars = torch.from_numpy(predictor._numbers("item", chosen)), torch.tensor(list(ratings.values()))
    values, offsets = model.scale.on(stars), model.autoencoder.has_offsets
    with torch.no_grad():
        code, (found, level) = model.encode_new_row(columns, values).double(), model.solve_new_row(columns, values)
        codes = model.codes()[model.rated_rows].double()
        training = model.autoencoder.decode(model.codes(), model.levels(), model.ratings) - model.ratings.values
        error, covariance = training.double().square().mean(), torch.cov(codes.t(), correction=0)
    # outside the span of the eight codes the covariance is 0, and h does not move
    values_of, vectors = torch.linalg.eigh(covariance)
    span = vectors[:, values_of > 1e-9 * values_of.max()]
    z = (span.t() @ (found.double() - code)).requires_grad_()
    torch.testing.assert_close(span @ z.detach() + code, found.double(), atol=1e-4, rtol=0)
    weights = model.autoencoder.decoder_weight.detach()[columns].double()
    biases = model.autoencoder.decoder_bias.detach()[columns].double()
    a = (level.double() - model.autoencoder.mean if offsets else torch.zeros(1)).detach().requires_grad_()
    mean = model.autoencoder.mean if offsets else 0.0
    residual = model.autoencoder.output(weights @ (code + span @ z) + biases + mean + a) - values
    inverse = torch.linalg.inv(span.t() @ covariance @ span)
    damped = model.user_damping * a.square().sum() if offsets else 0.0
    (residual.square().sum() + error * (z @ inverse @ z) + damped).backward()
    scale = (error * inverse).diagonal().max()
    assert z.grad.abs().max() < 1e-5 * scale
    assert not offsets or a.grad.abs() < 1e-3
    new = predictor.fold_in_user(ratings)
    scores = model.scale.in_stars(
        model.autoencoder.output(weights @ found.double() + biases + (level if offsets else 0.0))
    )
    np.testing.assert_allclose(new.predict(chosen), scores.detach().clamp(*predictor.rating_range), atol=1e-5)


def test_a_bounded_decoder_is_searched_to_the_minimum_even_where_codes_differ_in_size():
    _, _, model = tiny_model(offsets=False, decoder_activation="sigmoid")
    generator = torch.Generator().manual_seed(1)
    design = torch.randn(30, 8, generator=generator, dtype=torch.float64) * torch.logspace(-1, 1.5, 8)
    values, score = 5 * torch.rand(30, generator=generator, dtype=torch.float64), torch.zeros(30, dtype=torch.float64)
    z = model._search(design, score, values).requires_grad_()
    error = model.autoencoder.output(score + design @ z) - values
    (error.square().sum() + z.square().sum()).backward()
    assert z.grad.abs().max() < 0.01


@pytest.mark.parametrize("model", [*AUTOREC, "AutoRecEnsemble"])
def test_what_a_new_user_likes_moves_what_is_recommended(model, write_dataset, tmp_path):
    generator = random.Random(2)
    taste = {user: user % 2 for user in range(80)}
    lines = [
        f"u{user}\t{'ab'[kind]}{number}\t{5 if taste[user] == kind else 1}"
        for user in taste for kind in (0, 1) for number in range(8) if generator.random() < 0.7
    ]  # fmt: skip
    predictor = Predictor.load(train(model, tmp_path, "toy", write_dataset(lines), epochs=10))
    for kind in "ab":
        new = predictor.fold_in_user({f"{kind}0": 5, f"{kind}1": 5, f"{'ba'['ab'.index(kind)]}0": 1})
        assert {item[0] for item in new.recommend(5)["item"]} == {kind}
        assert new.predict([f"{kind}5"])[0] > 3.5
    item = predictor.fold_in_item({f"u{user}": 1 if user % 2 else 5 for user in range(6, 50)})
    assert item.predict("u4")[0] > item.predict("u5")[0] + 0.3


@pytest.mark.parametrize("model", AUTOREC)
def test_a_new_user_gives_an_unknown_item_its_own_level_or_the_cold_start_rating(model, checkpoints, tmp_path):
    predictor = Predictor.load(checkpoints(model))
    item, core = predictor.rated_items[0], predictor.model
    given = torch.tensor([predictor._number("item", item)]), core.scale.on(torch.tensor([5.0]))
    with torch.no_grad():
        level = core.solve_new_row(*given)[1] if model == "UAutoRec" else core.mean() + core.solve_new_column(*given)[1]
    assert predictor.fold_in_user({item: 5}).predict("what") == pytest.approx(
        core.scale.in_stars(level).item(), abs=1e-5
    )
    cold = Predictor.load(train(model, tmp_path, cold_start_rating=5.5)).fold_in_user({item: 5})
    assert cold.predict(["what", item])[0] == 5.5 > cold.predict(item)[0]


def test_folding_in_leaves_the_predictor_as_it_was(checkpoints):
    predictor = Predictor.load(checkpoints("IAutoRec"))
    before = predictor.predict(*all_pairs(predictor))
    for _ in range(3):
        predictor.fold_in_user({predictor.rated_items[0]: 5}).recommend(2)
    assert (predictor.predict(*all_pairs(predictor)) == before).all()


@pytest.mark.parametrize("model", [*AUTOREC, "AutoRecEnsemble"])
def test_impossible_new_users_are_refused(model, checkpoints):
    predictor = Predictor.load(checkpoints(model))
    item = predictor.rated_items[0]
    for ratings, expected in (
        ({}, "a new user needs ratings: give at least one, as {item: stars}."),
        ([3], "a new user needs ratings: give at least one, as {item: stars}."),
        ({"what": 3}, "item 'what' is unknown: no such id in the training data."),
        ({item: 6}, f"a new user's rating 6 of item '{item}'; expected 0 to 5."),
        ({item: float("nan")}, f"a new user's rating nan of item '{item}'; expected 0 to 5."),
        ({item: np.float32(7)}, f"a new user's rating 7.0 of item '{item}'; expected 0 to 5."),
        ({item: "5"}, f"a new user's rating '5' of item '{item}'; expected 0 to 5."),
    ):
        with pytest.raises(DataError) as error:
            predictor.fold_in_user(ratings)
        assert str(error.value) == expected


# Invalid files.


def refused(path, **keywords) -> str:
    with pytest.raises(CheckpointError) as error:
        Predictor.load(path, **keywords)
    return str(error.value)


def test_models_that_cannot_serve_say_why(tmp_path):
    ranked = {"metrics": ["NDCG"], "valid_metric": "NDCG@2", "topk": [2], "eval_args": {"mode": "full"}}
    bpr = train("BPR", tmp_path, **ranked)
    assert refused(bpr) == (
        f"checkpoint '{bpr}': its model BPR cannot predict here: it learns which of two items a user prefers, not how "
        "much either is liked."
    )
    neumf = train("NeuMF", tmp_path, **ranked)
    assert refused(neumf) == f"checkpoint '{neumf}': its model NeuMF cannot predict here: it was trained to rank."
    assert Predictor.load(train("IAutoRec", tmp_path, **ranked)).predict("a", "x2").shape == (1,)


def test_a_model_that_sees_features_says_so(tmp_path, monkeypatch):
    checkpoint = run_recbole_autorec("FM", "ml-100k", config_dict={"features": True, "epochs": 1, "show_progress": False})[
        "checkpoint"]  # fmt: skip
    assert refused(checkpoint).startswith(
        f"checkpoint '{checkpoint}': its model FM cannot predict here: it needs age, gender, occupation, zip_code, "
    )


@pytest.mark.parametrize(
    ("name", "forge"),
    [
        ("users", lambda users: None), ("users", lambda users: users[:1]), ("users", lambda users: [*users[:-1], users[1]]),
        ("items", lambda items: list(range(len(items)))), ("items", lambda items: items[:-1]), ("titles", lambda _: ["x"]),
        ("user", lambda numbers: numbers * 0), ("user", lambda numbers: numbers + (1 << 30)), ("item", lambda n: -n),
        ("rating", lambda stars: stars * torch.nan), ("rating", lambda stars: stars[:3]), ("rating", lambda s: s[:0]),
        ("item", lambda numbers: numbers.float()), ("item", lambda numbers: "x"), ("fields", lambda _: [3]),
    ],
)  # fmt: skip
def test_forged_data_are_refused(name, forge, checkpoints, tmp_path):
    content = torch.load(checkpoints("IAutoRec"), weights_only=True)
    torch.save({**content, "data": {**content["data"], name: forge(content["data"][name])}}, tmp_path / "forged.pth")
    assert "is damaged:" in refused(tmp_path / "forged.pth")


def test_forged_parameters_and_weights_are_refused(checkpoints, tmp_path):
    content = torch.load(checkpoints("IAutoRec"), weights_only=True)
    path = tmp_path / "forged.pth"
    for changes, expected in (
        ({"parameters": {**content["parameters"], "model": "os.system"}}, "its model cannot be built: unknown model"),
        (
            {"parameters": {**content["parameters"], "hidden_size": [-1]}},
            "its model cannot be built: config_dict: hidden_size",
        ),
        ({"parameters": {**content["parameters"], "hidden_size": [9]}}, "does not fit this model"),
        ({"parameters": 3}, "is damaged: invalid parameters."),
        ({"state_dict": {}}, "does not fit this model"),
        (
            {"state_dict": {name: weights * torch.nan for name, weights in content["state_dict"].items()}},
            "is damaged: invalid state_dict.",
        ),
        ({"data": None}, "is damaged: invalid data."),
        ({"parameters": {**content["parameters"], "hidden_size": [10**9]}}, "require more weights than it has"),
        ({"state_dict": {k: v.double() for k, v in content["state_dict"].items()}}, "does not fit this model"),
        ({"other_parameter": {"predict": torch.ones(1)}}, "does not fit this model"),
    ):
        torch.save({**content, **changes}, path)
        assert expected in refused(path)


@settings(max_examples=150)
@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 255), st.booleans())
def test_a_flipped_or_truncated_checkpoint_is_refused_or_whole(checkpoints, tmp_path_factory, place, end, byte, cut):
    good = Path(checkpoints("IAutoRec"))
    path, content = tmp_path_factory.mktemp("fuzz") / "c.pth", bytearray(good.read_bytes())
    if cut:
        content = content[: end % len(content)]
    if content:
        content[place % len(content)] = byte
    path.write_bytes(content)
    try:
        predictor = Predictor.load(path)
    except CheckpointError:
        return
    expected = Predictor.load(good)
    assert (predictor.predict(*all_pairs(expected)) == expected.predict(*all_pairs(expected))).all()


def test_a_model_of_ones_own_is_given_as_its_class(tmp_path):
    config_dict = {"data_path": str(DATA), **QUICK, "saved": True, "checkpoint_dir": str(tmp_path)}
    checkpoint = run_recbole_autorec(Mine, "tiny", config_dict=config_dict)["checkpoint"]
    assert "unknown model 'Mine'" in refused(checkpoint)
    assert Predictor.load(checkpoint, model=Mine).predict("a", "x2").shape == (1,)


def test_a_checkpoint_holds_the_training_ratings_and_no_others(checkpoints):
    data = load_checkpoint(checkpoints("IAutoRec"))["data"]
    for name in ("user", "item", "rating"):
        assert data[name].untyped_storage().nbytes() == data[name].nbytes


def test_served_data_make_the_same_dataset(checkpoints):
    config, _, _, train_data, *_ = load_data_and_model(checkpoints("FM"), AT_HOME)
    served = ServedDataset(config, served_data(train_data.dataset))
    assert served.num("user_id") == train_data.dataset.num("user_id")
    assert (served.inter_matrix(value_field="rating") != train_data.dataset.inter_matrix(value_field="rating")).nnz == 0


# The command line.


@pytest.fixture
def pairs():
    Path("pairs.tsv").write_text("user_id\titem_id\na\tx2\nwho\tx2\nb\twhat\na\tx2\n")


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".json", ".jsonl"])
def test_predict_writes_a_line_for_each_pair_in_order(suffix, checkpoints, pairs, capsys):
    checkpoint = checkpoints("IAutoRec")
    assert cli.main(["predict", "--checkpoint", checkpoint, "--input", "pairs.tsv", "--output", f"out/p{suffix}"]) == 0
    assert capsys.readouterr().out == f"out/p{suffix}: 4 pairs predicted, 2 with a note\n"
    text = Path(f"out/p{suffix}").read_text()
    if suffix in (".tsv", ".csv"):
        separator = {".tsv": "\t", ".csv": ","}[suffix]
        rows = [line.split(separator) for line in text.splitlines()]
        assert rows[0] == ["user", "item", "rating", "note"]
        rows = rows[1:]
    else:
        content = json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.splitlines()]
        rows = [[row["user"], row["item"], f"{row['rating']:.4f}", row["note"]] for row in content]
    predicted = Predictor.load(checkpoint).predict(["a", "who", "b"], ["x2", "x2", "what"])
    stars, of_item, of_user = (f"{rating:.4f}" for rating in predicted)
    assert rows == [["a", "x2", stars, ""], ["who", "x2", of_item, "unknown user"], ["b", "what", of_user, "unknown item"],
                    ["a", "x2", stars, ""]]  # fmt: skip


def test_a_tsv_goes_in_and_out_without_quotes(checkpoints, capsys):
    Path("pairs.tsv").write_text('say "hi"\t"x2"\n')
    checkpoint = checkpoints("IAutoRec")
    assert cli.main(["predict", "--checkpoint", checkpoint, "--input", "pairs.tsv", "--output", "p.tsv"]) == 0
    mean = f"{Predictor.load(checkpoint).predict('?', '?')[0]:.4f}"
    assert Path("p.tsv").read_text().splitlines()[1] == f'say "hi"\t"x2"\t{mean}\tunknown user, unknown item'


def test_an_unknown_header_of_numbers_is_no_pair(checkpoints, capsys):
    Path("pairs.csv").write_text("user_code,item_code\n1,2\n")
    assert cli.main(["predict", "--checkpoint", checkpoints("IAutoRec"), "--input", "pairs.csv"]) == 2
    assert "pairs.csv: no column for user in ['user_code', 'item_code'];" in capsys.readouterr().err


def test_new_ratings_are_folded_in_first(checkpoints, capsys):
    checkpoint = checkpoints("IAutoRec")
    predictor = Predictor.load(checkpoint)
    item, user = predictor.rated_items[0], predictor.rated_users[0]
    Path("new.csv").write_text(f"user,item,rating\nme,{item},5\n{user},novelty,1\n")
    Path("pairs.csv").write_text(f"me,{item}\n{user},novelty\nme,novelty\n{user},{item}\n")
    arguments = ["predict", "--checkpoint", checkpoint, "--input", "pairs.csv", "--new_ratings", "new.csv"]
    assert cli.main(arguments) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines() if line][1:]
    new_user, new_item = predictor.fold_in_user({item: 5}), predictor.fold_in_item({user: 1})
    assert rows == [
        ["me", item, f"{new_user.predict(item)[0]:.4f}", "folded in"],
        [user, "novelty", f"{new_item.predict(user)[0]:.4f}", "folded in"],
        ["me", "novelty", f"{predictor.predict('?', '?')[0]:.4f}", "unknown user, unknown item"],  # both new
        [user, item, f"{predictor.predict(user, item)[0]:.4f}", ""],
    ]
    Path("new.csv").write_text(f"user,item,rating\nme,{item},5\n")
    assert cli.main(["recommend", "--checkpoint", checkpoint, "--new_ratings", "new.csv", "--output", "r.csv"]) == 0
    assert list(pd.read_csv("r.csv", dtype=str)["item"]) == list(new_user.recommend(10)["item"])


def test_recommend_and_similar(checkpoints, capsys):
    checkpoint = checkpoints("IAutoRec")
    predictor = Predictor.load(checkpoint)
    user, item = predictor.rated_users[0], predictor.rated_items[0]
    assert cli.main(["recommend", "--checkpoint", checkpoint, "--users", user, "--topk", "1"]) == 0
    best = predictor.recommend(user, 1)
    assert capsys.readouterr().out.split() == ["user", "rank", "item", "rating", user, "1", best["item"][0],
                                              f"{best['rating'][0]:.4f}"]  # fmt: skip
    assert cli.main(["recommend", "--checkpoint", checkpoint, "--users", "all", "--output", "all.csv"]) == 0
    assert set(pd.read_csv("all.csv", dtype=str)["user"]) <= set(predictor.rated_users)
    assert cli.main(["similar", "--checkpoint", checkpoint, "--items", item, "--output", "s.json"]) == 0
    assert [row["similar"] for row in json.loads(Path("s.json").read_text())] == list(
        predictor.similar_items(item)["item"]
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predict", "--input", "no.tsv"], "'no.tsv': no such file."),
        (["predict", "--input", "pairs.tsv", "--output", "a.xlsx"], "--output 'a.xlsx'; expected a name that ends in .tsv, .csv, .json, .jsonl."),
        (["predict", "--input", "pairs.tsv", "--output", "pairs.tsv"], "--output 'pairs.tsv' is the input; give another name."),
        (["predict", "--input", "bad.tsv"], "bad.tsv line 3: '1': 1 field instead of 2."),
        (["predict", "--input", "one.tsv"], "one.tsv: found no separator that splits 'user' into user, item; expected a tab, blanks, or one of :: , ; | between the fields, or give --separator."),
        (["predict", "--inptu", "pairs.tsv"], "command line: unknown flag --inptu; did you mean --input?"),
        (["predict", "--input", "pairs.tsv", "--new_ratings", "known.csv"], "known.csv: no new user has rated a known item, and no known user a new item; check that the ids are those of the training data."),
        (["predict", "--input", "pairs.tsv", "--new_ratings", "strange.csv"], "strange.csv: no new user has rated a known item, and no known user a new item; check that the ids are those of the training data."),
        (["predict"], "command line: the following arguments are required: --input; see --help."),
        (["predict", "--input", "pairs.tsv", "--new_ratings", "high.csv"], "high.csv: a new user's rating 9.0 of item 'x2'; expected 0 to 5. If 9 means 'not rated', --new_not_rated 9 leaves it out."),
        (["recommend", "--users", ""], "command line: --users is empty; see --help."),
        (["recommend", "--users", "who"], "user 'who' is unknown: no such id in the training data."),
        (["recommend"], "recommend: give --users 196,22, --users all, or --new_ratings FILE with new users' ratings."),
        (["recommend", "--users", "a", "--topk", "0"], "k=0 (--topk); expected a whole number >= 1."),
        (["recommend", "--users", "a", "--topk", "some"], "command line: argument --topk: invalid int value: 'some'; see --help."),
        (["similar", "--items", "what"], "item 'what' is unknown: no such id in the training data."),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_and_exit_code_2(arguments, expected, checkpoints, pairs, capsys, tmp_path):
    for name, text in (("bad.tsv", "user\titem\n1\t1\n1\n"), ("one.tsv", "user\n1\n"), ("known.csv", "user,item,rating\na,x2,3\n"),
                       ("strange.csv", "user,item,rating\nwho,what,3\n"), ("high.csv", "user,item,rating\nme,x2,9\n")):  # fmt: skip
        Path(name).write_text(text)
    before = set(tmp_path.iterdir())
    assert cli.main([arguments[0], "--checkpoint", checkpoints("IAutoRec"), *arguments[1:]]) == 2
    assert capsys.readouterr().err == f"error: {expected}\n"
    assert set(tmp_path.iterdir()) == before


def test_a_failure_midway_leaves_no_output(checkpoints, capsys, tmp_path):
    Path("p.tsv").write_text("user\titem\n" + "a\tx2\n" * 3 + "a\n")
    Path("out.tsv").write_text("from before")
    assert (
        cli.main(["predict", "--checkpoint", checkpoints("IAutoRec"), "--input", "p.tsv", "--output", "out.tsv"]) == 2
    )
    assert Path("out.tsv").read_text() == "from before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tsv", "p.tsv"]


def test_a_checkpoint_holds_no_code(checkpoints):
    with zipfile.ZipFile(checkpoints("IAutoRec")) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        classes = {operand for code, operand, _ in pickletools.genops(archive.read(pickled)) if code.name == "GLOBAL"}
    assert all(name.startswith(("torch ", "torch._utils ", "collections ")) for name in classes)


def test_best_items_are_what_recommend_gives(checkpoints):
    predictor = Predictor.load(checkpoints("IAutoRec"))
    for user in predictor.rated_users:
        rows = predictor.best_items(user, 3)
        pd.testing.assert_frame_equal(pd.DataFrame(rows).astype({"rating": "float32"}), predictor.recommend(user, 3))
    assert isinstance(rows[0]["rating"], float)


def test_ties_are_ranked_in_the_order_of_the_items(checkpoints):
    predictor = Predictor.load(checkpoints("GlobalMean"))
    user = predictor.rated_users[0]
    whole = predictor.recommend(user, 99)["item"].tolist()
    assert whole == [item for item in predictor.items if item in whole]
    assert all(predictor.recommend(user, k)["item"].tolist() == whole[:k] for k in range(1, len(whole)))


def test_whatever_is_in_a_table_its_json_is_valid(tmp_path):
    tables = [pd.DataFrame({"item": ["a\u2028b", "\x85"], "rating": [1.0, 2.0]}), pd.DataFrame({"item": [], "rating": []}),
              pd.DataFrame({"item": ['"'], "rating": [3.0]})]  # fmt: skip
    for suffix in (".json", ".jsonl"):
        batch._write(tables, tmp_path / f"out{suffix}")
        text = (tmp_path / f"out{suffix}").read_text(encoding="utf-8")
        rows = json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.split("\n")[:-1]]
        assert [row["item"] for row in rows] == ["a\u2028b", "\x85", '"']
        batch._write([tables[1]], tmp_path / f"none{suffix}")
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_a_reader_that_stops_early_is_no_error(checkpoints, tmp_path):
    Path("p.tsv").write_text("user\titem\n" + "a\tx2\n" * 200_000)
    command = [
        sys.executable,
        str(ROOT / "run_recbole_autorec.py"),
        "predict",
        "--checkpoint",
        checkpoints("Bias"),
        "--input",
    ]
    with subprocess.Popen([*command, "p.tsv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "user\titem\trating\tnote\n"
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()


def test_a_pretrained_model_reads_no_other_file(tmp_path, monkeypatch):
    content = torch.load(train("NeuMF", tmp_path), weights_only=True)
    content["parameters"] |= {"use_pretrain": True, "mf_pretrain_path": "evil", "mlp_pretrain_path": "evil"}
    torch.save(content, tmp_path / "c.pth")
    opened, load = [], torch.load
    monkeypatch.setattr(
        torch, "load", lambda path, *rest, **keywords: (opened.append(str(path)), load(path, *rest, **keywords))[1]
    )
    Predictor.load(tmp_path / "c.pth")
    assert opened == [str(tmp_path / "c.pth")]


def test_a_later_rating_of_a_new_user_counts(checkpoints, caplog):
    predictor = Predictor.load(checkpoints("IAutoRec"))
    item = predictor.rated_items[0]
    Path("new.csv").write_text(f"user,item,rating,timestamp\nme,{item},5,20\nme,{item},1,10\n")
    users, items = batch._folded_in(predictor, "new.csv", FOUND_OUT)
    assert items == {}
    assert users["me"].predict(item) == predictor.fold_in_user({item: 5}).predict(item)
    assert caplog.messages[-1] == "new.csv: 1 duplicate rating left out; the last of a pair by time is kept"
