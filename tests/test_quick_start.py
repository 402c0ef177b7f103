"""Whole runs; typical bugs of other AutoRec ports would show here."""

import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_autorec import (
    AutoRecError,
    CheckpointError,
    ConfigError,
    DataError,
    load_data_and_model,
    run_recbole_autorec,
)
from recbole_autorec.quick_start import build_dataloaders, quiet_recbole
from recbole_autorec.report.summary import summary
from tests.conftest import AT_HOME, DATA, QUICK, config_for, quick, tiny_parts

KEYS = [
    "model", "dataset", "seed", "parameters", "valid", "test", "best_epoch", "epochs_run", "train_seconds", "eval_seconds",
    "peak_memory_mb", "n_parameters", "n_train", "n_valid", "n_test", "n_cold", "split_fingerprint", "curve", "checkpoint",
    "final", "versions", "command",
]  # fmt: skip
TINY = {"data_path": str(DATA), **QUICK}


def run(model="IAutoRec", dataset="tiny", **parameters):
    return run_recbole_autorec(model, dataset, config_dict={**TINY, **parameters})


def test_result_has_every_key_and_is_written_as_it_is_returned(tmp_path):
    result = run_recbole_autorec("IAutoRec", "tiny", config_dict={**TINY, "saved": True}, output=tmp_path / "out")
    assert list(result) == KEYS
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    assert sorted(file.name for file in (tmp_path / "out").glob("[!.]*")) == ["report.html", "result.json"]
    assert (result["n_train"], result["n_valid"], result["n_test"]) == (41, 4, 5)
    defaults = {"saved": True}
    assert result["parameters"] == {key: value for key, value in TINY.items() if key not in defaults}
    assert set(result["versions"]) == {"python", "recbole_autorec", "recbole", "torch", "numpy", "pandas"}


def test_parameters_that_equal_the_defaults_are_left_out():
    assert run(dropout_prob=0.0, lbfgs_history_size=5)["parameters"].keys() == {*TINY}


def test_ml_100k_rmse_is_in_the_band():
    """Damped user and item offsets give about 0.94 here, good matrix factorisation about 0.91."""
    result = run_recbole_autorec("IAutoRec", "ml-100k", config_dict={"hidden_size": [200], "saved": False, "epochs": 8})
    assert 0.87 < result["test"]["rmse"] < 0.905
    assert 0.68 < result["test"]["mae"] < 0.72


def test_a_seed_gives_the_same_split_and_scores_on_every_python():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = run_recbole_autorec("IAutoRec", "ml-100k", config_dict={"saved": False, "epochs": 2})
    finally:
        torch.set_num_threads(threads)
    assert result["seed"] == 2020
    assert result["split_fingerprint"] == "63eaa51141446969"
    assert result["test"]["rmse"] == pytest.approx(0.8820, abs=1e-4)


def test_rmse_is_the_root_of_the_pooled_squared_error_over_every_test_rating():
    """It is not a mean of per-user RMSEs, and it includes cold pairs."""
    result = run(saved=True)
    _, model, _, _, _, test_data = load_data_and_model(result["checkpoint"], AT_HOME)
    feat = test_data._dataset.inter_feat
    with torch.no_grad():
        error = model.predict(feat).double() - feat["rating"].double()
    assert len(error) == result["n_test"]
    assert result["test"]["rmse"] == pytest.approx(error.square().mean().sqrt().item(), abs=2e-6)
    assert result["test"]["mae"] == pytest.approx(error.abs().mean().item(), abs=2e-6)


def test_cold_pairs_stay_in_the_rmse(write_dataset):
    """The error for a user seen only in the test part is 5 stars minus the prediction from the item's offset."""
    lines = [f"u{u}\ti{i}\t{1 + (u * i) % 5}" for u in range(6) for i in range(6)]
    path = write_dataset([*lines, "new\ti0\t5"])
    for seed in range(100):
        config = config_for(dataset="toy", data_path=path, seed=seed)
        data, parts = tiny_parts(config)
        if data.field2token_id["user_id"]["new"] in parts[2].inter_feat["user_id"].tolist():
            break
    with quiet_recbole():
        model = config.model_class(config, parts[0]).eval()
        loader = build_dataloaders(config, data, parts)[2]
        n_evaluated = sum(len(batch[0]) for batch in loader)
    feat = parts[2].inter_feat
    cold = feat["user_id"] == data.field2token_id["user_id"]["new"]
    assert cold.sum() == 1
    with torch.no_grad():
        core = model.autoencoder
        of_item = core.mean + core.row_bias[feat["item_id"][cold]]
        torch.testing.assert_close(model.predict(feat)[cold], model.scale.in_stars(of_item))
    assert n_evaluated == len(parts[2])
    for final in (False, True):  # the final model knows everybody
        assert run(dataset="toy", data_path=path, seed=seed, final=final)["n_cold"] == 1


@pytest.mark.parametrize("model", ["IAutoRec", "UAutoRec"])
def test_no_test_or_validation_rating_ever_reaches_training(model, monkeypatch):
    """Change the held-out ratings: weights, chosen epoch and validation choice of the epoch must not change."""
    import recbole_autorec.quick_start as module

    def states(poisoned):
        load, captured = module.load_and_split, {}

        def load_poisoned(config):
            data, parts = load(config)
            for k in poisoned:
                parts[k].inter_feat["rating"] = 5 - parts[k].inter_feat["rating"]
            return data, parts

        trainer = module.build_trainer

        def keep(config, part):
            captured["trainer"] = trainer(config, part)
            return captured["trainer"]

        with monkeypatch.context() as patch:
            patch.setattr(module, "load_and_split", load_poisoned)
            patch.setattr(module, "build_trainer", keep)
            result = run(model, stopping_step=99)
        assert len(captured["trainer"].model.ratings) == result["n_train"]
        return captured["trainer"].model.inputs.values, captured["trainer"], result

    inputs, trainer, result = states([])
    poisoned_inputs, poisoned_trainer, poisoned_result = states([2])
    assert torch.equal(inputs, poisoned_inputs)
    assert result["valid"] == poisoned_result["valid"]
    assert result["best_epoch"] == poisoned_result["best_epoch"]
    assert result["test"] != poisoned_result["test"]
    for one, other in zip(
        trainer.model.state_dict().values(), poisoned_trainer.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)
    valid_poisoned_inputs, valid_poisoned, _ = states([1, 2])
    assert torch.equal(inputs, valid_poisoned_inputs)
    assert valid_poisoned.train_loss_dict == trainer.train_loss_dict


def test_refit_trains_on_train_and_valid_for_the_chosen_epochs(monkeypatch, caplog):
    import recbole_autorec.quick_start as module

    trainers, build = [], module.build_trainer
    monkeypatch.setattr(module, "build_trainer", lambda *arguments: trainers.append(build(*arguments)) or trainers[-1])
    # a huge step: the best epoch is neither the first nor the last
    wild = {
        "offsets": False,
        "learner": "rprop",
        "rprop_steps": 3,
        "learning_rate": 0.3,
        "epochs": 12,
        "stopping_step": 20,
        "saved": True,
    }
    plain, refit = run(**wild), run(**wild, refit=True)
    assert 1 < refit["best_epoch"] < 12
    assert refit["valid"] == plain["valid"]
    assert refit["best_epoch"] == plain["best_epoch"]
    assert refit["test"] != plain["test"]
    assert [trainer.epochs_run for trainer in trainers] == [12, 12, refit["best_epoch"]]
    _, model, _, train_data, _, _ = load_data_and_model(refit["checkpoint"], AT_HOME)
    assert len(model.ratings) == refit["n_train"] + refit["n_valid"] == len(train_data._dataset)
    said = [record.getMessage() for record in caplog.records]
    again = said[said.index(f"refit on train + valid, {refit['best_epoch']} epochs") + 1 :]
    assert [line[:13] for line in again] == [
        f"epoch {number:>3}/{refit['best_epoch']}  "[:13] for number in range(1, refit["best_epoch"] + 1)
    ]


def test_a_refit_of_epoch_0_is_the_offsets_of_train_and_valid(caplog):
    worse = {"seed": 3, "learner": "sgd", "learning_rate": 8.0, "init_std": 9.0, "stopping_step": 0, "saved": True}
    plain, refit = run(**worse), run(**worse, refit=True)
    assert [(result["best_epoch"], result["epochs_run"]) for result in (plain, refit)] == [(0, 1), (0, 1)]
    assert refit["valid"] == plain["valid"]
    assert refit["test"] != plain["test"]
    model = load_data_and_model(refit["checkpoint"], AT_HOME)[1]
    assert len(model.ratings) == refit["n_train"] + refit["n_valid"]
    assert not model.autoencoder.decoder_weight.any()
    assert model.autoencoder.row_bias.any()
    assert "refit on train + valid, offsets alone" in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("refit", [False, True])
def test_the_final_model_is_that_of_every_rating_and_the_scores_are_those_of_the_one_before(refit):
    settings = {"reg_weight": 20, "calibration": True, "saved": True, "epochs": 6, "refit": refit}
    before, final = run(**settings), run(**settings, final=True)
    ours = ("valid", "test", "best_epoch", "epochs_run", "n_cold", "n_test")
    assert {key: final[key] for key in ours} == {key: before[key] for key in ours}
    assert (before["final"], final["final"]) == (False, True)
    _, model, _, train_data, _, test_data = load_data_and_model(final["checkpoint"], AT_HOME)
    assert len(train_data._dataset) == len(model.ratings) == 50
    assert len(test_data._dataset) == final["n_test"]
    everything = {"eval_args": {"split": {"RS": [1, 0, 0]}}, "refit": False, "epochs": final["best_epoch"]}
    alike = load_data_and_model(run(**{**settings, **everything})["checkpoint"], AT_HOME)[1].state_dict()
    learnt = model.state_dict()
    calibrated, tested = (state.pop("calibration.weights") for state in (
        learnt, load_data_and_model(before["checkpoint"], AT_HOME)[1].state_dict()
    ))  # fmt: skip
    assert torch.equal(calibrated, tested)
    assert not torch.equal(calibrated, alike.pop("calibration.weights"))  # the others are uncalibrated
    torch.testing.assert_close(learnt, alike)
    said = summary(final)
    assert "checkpoint's model was trained on all 50 ratings and has no score of its own" in said
    assert "no score" not in summary(before)


@pytest.mark.parametrize("shares", [[1, 0, 0], [0.8, 0, 0.2], [0.8, 0.2, 0]])
@pytest.mark.parametrize(("model", "more"), [
    ("IAutoRec", {"calibration": True}), ("Bias", {}), ("FM", {"eval_args": {"group_by": "user"}}),
    ("BPR", {"metrics": ["NDCG"], "valid_metric": "NDCG@3", "topk": 3, "eval_args": {"mode": "full"}}),
])  # fmt: skip
def test_a_part_of_no_share_is_not_there(model, more, shares):
    parameters = {**quick(model), **AT_HOME, **more, "stopping_step": 0, "saved": True}
    parameters["eval_args"] = {**more.get("eval_args", {}), "split": {"RS": shares}}
    result = run_recbole_autorec(model, "tiny", config_dict=parameters)
    assert [result[f"n_{part}"] > 0 for part in ("train", "valid", "test")] == [share > 0 for share in shares]
    assert [bool(result["valid"]), bool(result["test"])] == [share > 0 for share in shares[1:]]
    if not shares[1]:
        assert result["best_epoch"] == result["epochs_run"] == (1 if model == "Bias" else 3)
    loaders = load_data_and_model(result["checkpoint"], AT_HOME)[3:]
    assert [loader is not None for loader in loaders] == [share > 0 for share in shares]
    said = summary(result)
    assert "NaN" not in said
    for part, share in zip(("valid", "test"), shares[1:], strict=True):
        assert (f"no {part} score: the split has no {part} part" in said) == (not share)


@pytest.mark.parametrize("refit", [False, True])
def test_load_data_and_model_predicts_the_same_bits(refit):
    result = run(saved=True, refit=refit)
    config, model, data, _, valid_data, test_data = load_data_and_model(result["checkpoint"], AT_HOME)
    assert (config["model"], config["hidden_size"], data.dataset_name) == ("IAutoRec", [8], "tiny")
    assert len(valid_data._dataset) == result["n_valid"]
    assert not model.training
    with quiet_recbole():
        from recbole_autorec.trainer.autorec_trainer import AutoRecTrainer

        assert AutoRecTrainer(config, model).evaluate(test_data, load_best_model=False) == result["test"]


def test_the_packaged_ml_100k_comes_back_with_its_checkpoint():
    result = run_recbole_autorec(
        "IAutoRec", "ml-100k", config_dict={"hidden_size": [4], "epochs": 1, "lbfgs_max_iter": 2}
    )
    _, model, *_ = load_data_and_model(result["checkpoint"])
    assert len(model.ratings) == result["n_train"] == 81_000


@pytest.mark.parametrize(("change", "expected"), [
    ({"hidden_size": [7]}, "checkpoint '{}' does not fit this model: it has another dataset or hidden_size."),
    ({"seed": 5}, "checkpoint '{}' was trained on other ratings than dataset 'tiny' has now: the data have changed, or a changed parameter splits or filters them differently."),
])  # fmt: skip
def test_load_data_and_model_refuses_what_does_not_fit(change, expected):
    checkpoint = run(saved=True)["checkpoint"]
    with pytest.raises(CheckpointError) as caught:
        load_data_and_model(checkpoint, {**AT_HOME, **change})
    assert str(caught.value) == expected.format(checkpoint)


def test_a_ranking_is_not_clipped():
    ranked = {"metrics": ["NDCG"], "valid_metric": "NDCG@3", "topk": [3], "eval_args": {"mode": "uni3"}, "saved": True}
    _, model, *_ = load_data_and_model(run(**ranked)["checkpoint"], AT_HOME)
    with torch.no_grad():
        model.autoencoder.decoder_bias.fill_(100.0)
        pair = {"user_id": torch.tensor([3]), "item_id": torch.tensor([3])}
        assert model.predict(pair).item() > 50


def test_a_user_who_rated_everything_cannot_be_ranked(write_dataset):
    lines = [f"u{u}\ti{i}\t{1 + (u + i) % 5}" for u in range(5) for i in range(10)]
    with pytest.raises(DataError) as caught:
        run(
            dataset="toy",
            data_path=write_dataset(lines),
            metrics=["NDCG"],
            valid_metric="NDCG@3",
            topk=[3],
            eval_args={"mode": "uni3"},
        )
    assert str(caught.value).startswith("dataset 'toy' cannot be ranked: ")


def test_a_result_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "out" / "result.json").mkdir(parents=True)
    with pytest.raises(AutoRecError) as caught:
        run_recbole_autorec("IAutoRec", "tiny", config_dict=TINY, output=tmp_path / "out")
    assert (
        str(caught.value) == f"'{tmp_path}/out/result.json' cannot be written: Is a directory; give another --output."
    )
    assert [file.name for file in (tmp_path / "out").glob("[!.]*")] == ["result.json"]


def test_a_run_refused_for_its_data_leaves_nothing_behind(tmp_path):
    with pytest.raises(DataError):
        run_recbole_autorec("IAutoRec", "nope", config_dict={"data_path": str(DATA)}, output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_load_data_and_model_refuses_changed_data(write_dataset):
    lines = [f"u{u}\ti{i}\t{1 + (u * i) % 5}" for u in range(6) for i in range(6)]
    path = write_dataset(lines)
    checkpoint = run(dataset="toy", data_path=path, saved=True)["checkpoint"]
    write_dataset([*lines[:-1], "u5\ti5\t5"])
    with pytest.raises(CheckpointError) as caught:
        load_data_and_model(checkpoint, {"data_path": path})
    assert str(caught.value) == (
        f"checkpoint '{checkpoint}' was trained on other ratings than dataset 'toy' has now: the data have changed, "
        "or a changed parameter splits or filters them differently."
    )


def test_ranking_evaluation():
    result = run(metrics=["NDCG", "Recall"], valid_metric="NDCG@3", topk=[3], eval_args={"mode": "full"})
    assert result["test"].keys() == {"ndcg@3", "recall@3"}
    assert all(0 <= value <= 1 for value in result["test"].values())


def test_saved_false_writes_no_checkpoint(tmp_path):
    assert run(saved=False)["checkpoint"] is None
    assert list(tmp_path.rglob("*.pth")) == []


def test_resume_through_the_front_door():
    first = run(saved=True, epochs=2, stopping_step=99)
    second = run_recbole_autorec(
        "IAutoRec", "tiny", config_dict={**TINY, "epochs": 4, "stopping_step": 99}, resume=first["checkpoint"]
    )
    assert second["epochs_run"] == 4
    assert second["test"] == run(epochs=4, stopping_step=99)["test"]


def test_ratings_below_zero_train_as_well_as_others(write_dataset):
    """No r > 0 mask anywhere: shifted ratings are predicted about as well."""
    results = []
    for shift in (0, -3):
        lines = [f"u{u}\ti{i}\t{1 + (u * i) % 5 + shift}" for u in range(9) for i in range(9)]
        path = write_dataset(lines, name=f"toy{shift}")
        results.append(run(dataset=f"toy{shift}", data_path=path, reg_weight=0.1, epochs=10, lbfgs_max_iter=30))
    assert results[0]["split_fingerprint"] != results[1]["split_fingerprint"]
    assert results[1]["n_train"] == results[0]["n_train"] == 81 - 7 - 8
    assert np.isclose(results[0]["test"]["rmse"], results[1]["test"]["rmse"], atol=0.6)


PAIRS = [(user, item) for user in range(4) for item in range(4)]
MODELS = ["IAutoRec", "UAutoRec", "AutoRecEnsemble", "Bias", "GlobalMean", "BiasedMF", "FM"]
SPLITS = [{"RS": [1, 0, 0]}, {"RS": [1, 0, 1]}, {"RS": [1, 1, 0]}, {"RS": [1, 1, 1]}, {"LS": "valid_and_test"},
          {"KF": [1, 2]}]  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.one_of(
        st.lists(st.sampled_from(PAIRS), unique=True, min_size=1, max_size=7),
        st.integers(3, 9).map(lambda n: [(0, item) for item in range(n)]),
        st.integers(3, 9).map(lambda n: [(user, 0) for user in range(n)]),
    ),
    model=st.sampled_from(MODELS),
    split=st.sampled_from(SPLITS),
    seed=st.integers(0, 9),
)
def test_however_few_ratings_give_a_score_or_a_sentence(pairs, model, split, seed, write_dataset):
    lines = [f"u{user}\ti{item}\t{1 + (3 * k) % 5}" for k, (user, item) in enumerate(pairs)]
    parameters = {
        "data_path": write_dataset(lines),
        "saved": False,
        "epochs": 2,
        "seed": seed,
        "eval_args": {"split": split},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            result = run_recbole_autorec(model, "toy", config_dict=parameters)
        except (DataError, ConfigError):
            return
    assert "nan" not in summary(result).lower()
    for part in ("valid", "test"):
        scores = result[part]
        assert bool(scores) == (result[f"n_{part}"] > 0)
        assert all(0 <= score < 10 for score in scores.values())
        if result[f"n_{part}"] == 1:
            assert scores["rmse"] == pytest.approx(scores["mae"], abs=1e-5)


@pytest.mark.parametrize("model", ["IAutoRec", "AutoRecEnsemble", "Bias", "BiasedMF", "FM"])
def test_parts_of_one_rating_are_tested_too(model, write_dataset):
    path = write_dataset([f"u{k % 4}\ti{k // 4}\t{1 + (k * 7) % 5}" for k in range(12)])
    result = run_recbole_autorec(model, "toy", config_dict={"data_path": path, "saved": False, "epochs": 2})
    assert (result["n_valid"], result["n_test"]) == (1, 1)
    assert result["test"]["rmse"] == pytest.approx(result["test"]["mae"], abs=1e-6)
