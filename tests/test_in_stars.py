"""RecBole's own models on the star scale."""

import re
from pathlib import Path

import pytest
import recbole
import torch

import recbole_autorec.quick_start as quick_start
from recbole_autorec import ConfigError, run_recbole_autorec
from recbole_autorec.data.dataset import split_fingerprint
from recbole_autorec.model.rating_recommender import in_stars
from recbole_autorec.model.registry import MODELS, RECBOLE, get_model, why_no_ratings
from recbole_autorec.quick_start import get_trainer
from recbole_autorec.trainer.rating_trainer import RatingTrainer
from tests.conftest import DATA, QUICK_ANY, ROOT, config_for, tiny_parts

RANKED = {"metrics": ["NDCG"], "valid_metric": "NDCG@3", "topk": [3], "eval_args": {"mode": "full"}}

PREDICT = [name for name, reason in RECBOLE.items() if reason is None]
RANK = [name for name, reason in RECBOLE.items() if reason is not None]
TINY = {"data_path": str(DATA), **QUICK_ANY}


def setup(name="FM", **parameters):
    """(config, training part, model in stars, RecBole's model with the same parameters)."""
    config = config_for(name, **parameters)
    _, parts = tiny_parts(config)
    stars = quick_start.build_model(config, parts[0]).eval()
    plain = get_model(name)(config, parts[0]).eval()
    plain.load_state_dict(stars.state_dict())
    return config, parts[0], stars, plain


def test_the_label_goes_in_as_a_share_of_the_training_range_and_the_dataset_keeps_its_stars():
    _, part, stars, plain = setup()
    feat = part.inter_feat
    ratings = feat["rating"].clone()
    loss = stars.calculate_loss(feat)
    assert torch.equal(feat["rating"], ratings)
    mapped = feat[:]
    mapped.interaction["rating"] = ratings / 5  # tiny's scale is 0 to 5
    torch.testing.assert_close(loss, plain.calculate_loss(mapped))


def test_the_probability_comes_out_in_stars():
    _, part, stars, plain = setup()
    torch.testing.assert_close(stars.predict(part.inter_feat), 5 * plain.predict(part.inter_feat))


def test_the_range_is_that_of_the_training_part(write_dataset):
    lines = [f"u{u}\ti{i}\t{2 + (u * i) % 3}" for u in range(6) for i in range(6)]
    config = config_for("FM", dataset="toy", data_path=write_dataset(lines))
    _, parts = tiny_parts(config)
    parts[2].inter_feat["rating"] += 10
    model = quick_start.build_model(config, parts[0])
    assert (model.lowest_rating, model.rating_span) == (2, 2)


def test_the_class_keeps_its_name_and_is_made_once():
    assert in_stars(get_model("FM")) is in_stars(get_model("FM"))
    assert in_stars(get_model("FM")).__name__ == "FM"
    assert issubclass(in_stars(get_model("FM")), get_model("FM"))


@pytest.mark.parametrize("name", PREDICT)
def test_every_model_that_predicts_trains_and_predicts_in_the_range(name):
    config = config_for(name, epochs=2)
    data, parts = tiny_parts(config)
    result, trainer = quick_start.train_and_test(config, data, parts)
    ratings = parts[0].inter_feat["rating"]
    assert trainer.last_scores.min() > 0.5  # an unmapped probability would be near the lowest rating, 0
    assert trainer.last_scores.max() < 5
    assert abs(trainer.last_scores.mean() - ratings.mean()) < 1.2
    assert result["n_parameters"] > 0


@pytest.mark.parametrize("name", ["BPR", "ItemKNN", "EASE", "LightGCN", "MultiVAE", "Pop", "NeuMF", "RecVAE", "SLIMElastic", "FM"])  # fmt: skip
def test_models_of_every_kind_rank(name, write_dataset):
    lines = [f"u{u}\ti{i}\t{1 + (u * i) % 5}" for u in range(12) for i in range(15) if (u * 7 + i * 3) % 4]
    result = run_recbole_autorec(
        name, "toy", config_dict={**QUICK_ANY, "data_path": write_dataset(lines), **RANKED, "epochs": 2}
    )
    assert 0 <= result["test"]["ndcg@3"] <= 1


def test_a_trainer_of_recboles_own_stays_below_ours():
    trainer = get_trainer(config_for("RecVAE", **RANKED))
    assert [base.__name__ for base in trainer.__mro__[:3]] == ["RatingRecVAETrainer", "RatingTrainer", "RecVAETrainer"]
    subclass = type("Mine", (get_model("RecVAE"),), {})
    mine = get_trainer(config_for(subclass, **RANKED))  # recognised by its base class, not by its name
    assert [base.__name__ for base in mine.__mro__[:3]] == [base.__name__ for base in trainer.__mro__[:3]]
    assert get_trainer(config_for("FM")) is RatingTrainer


def test_features_are_seen_on_request_and_do_not_move_the_split():
    splits, names = [], []
    for features in (False, True):
        config = config_for("FM", dataset="ml-100k", features=features)
        _, parts = tiny_parts(config)
        splits.append(split_fingerprint(parts))
        model = quick_start.build_model(config, parts[0])
        names.append(model.token_field_names + model.token_seq_field_names)
    assert splits[0] == splits[1]
    assert names[0] == ["user_id", "item_id"]
    assert set(names[1]) == {"user_id", "item_id", "age", "gender", "occupation", "zip_code", "movie_title", "release_year", "class"}  # fmt: skip


def test_dmf_may_not_multiply_the_rating_by_itself():
    with pytest.raises(ConfigError) as caught:
        config_for("DMF", inter_matrix_type="rating")
    assert str(caught.value) == (
        "config_dict: inter_matrix_type='rating'; expected '01' when predicting ratings (otherwise RecBole multiplies "
        "the rating by itself)."
    )


def test_a_model_of_ones_own_ranks_or_predicts_as_the_one_it_extends():
    mine = {name: type("Mine", (get_model(name),), {}) for name in ("EASE", "NeuMF", "BPR")}
    assert why_no_ratings(mine["NeuMF"]) is None
    assert why_no_ratings(mine["EASE"]) == RECBOLE["EASE"]
    assert why_no_ratings(mine["BPR"]) == RECBOLE["BPR"]


def test_the_documented_table_is_the_registry():
    text = (ROOT / "docs" / "built-in-models.md").read_text()
    table = dict(re.findall(r"^\| (\w+) \| (yes|no) \|", text, flags=re.MULTILINE))
    assert table == {name: "yes" if reason is None else "no" for name, reason in RECBOLE.items()}


def test_the_registry_names_every_general_and_context_aware_model_of_recbole():
    folder = Path(recbole.__file__).parent / "model"
    files = [*folder.glob("general_recommender/*.py"), *folder.glob("context_aware_recommender/*.py")]
    theirs = {file.stem for file in files} - {"__init__"}
    assert theirs | {"asymknn"} == {name.lower() for name in RECBOLE}
    assert ("asymknn" in theirs) is (recbole.__version__ != "1.2.0")
    assert len(set(MODELS)) == len(MODELS)


def test_no_model_that_learns_no_label_is_said_to_predict():
    from recbole.utils import InputType

    for name in PREDICT:
        assert get_model(name).input_type == InputType.POINTWISE
    assert all(RECBOLE[name] for name in RANK)
