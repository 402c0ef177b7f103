"""Full messages: where, what came in, what is allowed, what to do."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import recbole
from recbole.data.dataset import Dataset

from recbole_autorec import Config, ConfigError, IAutoRec
from recbole_autorec.config.checks import CHECKS, MODEL_CHECKS
from recbole_autorec.config.config import parse_value, properties_dir
from recbole_autorec.model.registry import get_model
from tests.conftest import DATA, ROOT, config_for

METRICS = "expected rmse, mae for ratings, or recall, mrr, ndcg, hit, map, precision, gauc for rankings"
FAULTS = {
    "hidden_size": (-5, "a list of whole numbers >= 1, such as [500] (the paper's)"),
    "encoder_activation": ("sigmoidd", "one of identity, sigmoid, tanh, relu, elu"),
    "decoder_activation": (1, "one of identity, sigmoid, tanh, relu, elu"),
    "reg_weight": (
        [1, -1],
        "a number >= 0, a pair [encoder, decoder] of them, or ~ to compute it from the number of ratings",
    ),
    "dataset": ("../elsewhere", "the name of a folder in data_path"),
    "download_url": ("grouplens", "an address, such as https://host/folder, or ~ for GroupLens's"),
    "reg_scale": (None, "a number >= 0, or a pair [encoder, decoder] of them"),
    "row_scaling": (2, "a number from -1 to 1 (the paper: 0)"),
    "column_scaling": ([0.5], "a number from -1 to 1 (the paper: 0)"),
    "init_std": (0, "a number > 0"),
    "offsets": (1, "True or False"),
    "calibration": ("valid", "True or False"),
    "user_damping": (-1, "a number >= 0, or ~ to estimate it from the ratings"),
    "item_damping": ("x", "a number >= 0, or ~ to estimate it from the ratings"),
    "reg_floor": (None, "a number >= 0"),
    "dropout_prob": (1.0, "a number from 0 to less than 1"),
    "cold_start_rating": ("three", "a rating in stars, or ~ to predict from the offsets"),
    "clip_prediction": (1, "True or False"),
    "learner": ("adamm", "one of lbfgs, rprop, adam, adamw, sgd, adagrad, rmsprop"),
    "lbfgs_max_iter": (0, "a whole number >= 1"),
    "lbfgs_history_size": (2.5, "a whole number >= 1"),
    "rprop_steps": (True, "a whole number >= 1"),
    "min_improvement": (1, "a number from 0 to less than 1"),
    "weight_decay": (0.1, "0 (it would also penalise biases; use reg_weight)"),
    "seed": (2**32, "a whole number from 0 to 4294967295"),
    "worker": (-1, "a whole number >= 0"),
    "clip_grad_norm": ({"max_normm": 5}, "~, or {max_norm: 5}"),
    "train_neg_sample_args": ({"distribution": "uniform"}, "~ (an unrated item is unknown, not disliked)"),
    "loss_decimal_place": ("x", "a whole number >= 1"),
    "log_wandb": (None, "False, or True if wandb is installed (pip install wandb)"),
    "shuffle": ("x", "True or False"),
    "enable_amp": ("x", "True or False"),
    "enable_scaler": ("x", "True or False"),
    "field_separator": ("::", "one character"),
    "seq_separator": ("", "one character"),
    "benchmark_filename": (["train", "test"], "three names, such as [train, valid, test]"),
    "threshold": ({"rating": 3}, "~ (otherwise RMSE is not in stars)"),
    "normalize_all": (True, "~ (otherwise RMSE is not in stars)"),
    "normalize_field": (["rating"], "~ (otherwise RMSE is not in stars)"),
    "numerical_features": (["age"], "[] (AutoRec uses only ids and ratings)"),
    "epochs": (0, "a whole number >= 1"),
    "eval_step": (0, "a whole number >= 1"),
    "stopping_step": (-1, "a whole number >= 0"),
    "train_batch_size": ("many", "a whole number >= 1"),
    "eval_batch_size": (0, "a whole number >= 1"),
    "metric_decimal_place": (0, "a whole number >= 1"),
    "learning_rate": (float("nan"), "a number > 0"),
    "refit": ("maybe", "True or False"),
    "final": ("maybe", "True or False"),
    "features": ("all", "True or False"),
    "saved": (0, "True or False"),
    "show_progress": (None, "True or False"),
    "use_gpu": (None, "True or False"),
    "gpu_id": ([0], "a GPU's number, several as in 0,1, or ~"),
    "reproducibility": (3, "True or False"),
    "nproc": (0, "a whole number >= 1"),
    "world_size": (0, "a whole number >= 1, or -1 for nproc"),
    "ip": (127, "an address"),
    "port": (70000, "a whole number from 1 to 65535, or ~"),
    "group_offset": (-1, "a whole number >= 0"),
    "state": ("LOUD", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
    "checkpoint_dir": (1, "a folder"),
    "data_path": (1, "a folder"),
    "rm_dup_inter": (None, "first or last (each pair keeps one rating)"),
}


def message(**parameters) -> str:
    with pytest.raises(ConfigError) as caught:
        config_for(**parameters)
    return str(caught.value)


@pytest.mark.parametrize("key", sorted(FAULTS))
def test_a_value_out_of_range_says_what_is_allowed(key):
    value, expected = FAULTS[key]
    place = "dataset" if key == "dataset" else "config_dict"
    assert message(**{key: value}) == f"{place}: {key}={value!r}; expected {expected}."


def test_all_faults_come_at_once_each_with_its_place(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("hiden_size: [5]\nrow_scaling: -2\n")
    with pytest.raises(ConfigError) as caught:
        Config("IAutoRec", "tiny", [str(file)], {"epochs": 0, True: 1}, {"learner": "adamm"})
    assert str(caught.value).splitlines() == [
        "config_dict: unknown key True; --help shows where parameters are listed.",
        "mine.yaml: unknown key 'hiden_size'; did you mean 'hidden_size'?",
        "command line: learner='adamm'; expected one of lbfgs, rprop, adam, adamw, sgd, adagrad, rmsprop.",
        "config_dict: epochs=0; expected a whole number >= 1.",
        "mine.yaml: row_scaling=-2; expected a number from -1 to 1 (the paper: 0).",
    ]


@pytest.mark.parametrize(
    "key", ["config_file", "save_dataset", "dataset_save_path", "save_dataloaders", "valid_metric_bigger"]
)
def test_a_key_that_would_do_nothing_is_unknown(key):
    assert message(**{key: "x"}).startswith(f"config_dict: unknown key {key!r}; ")


def test_every_checked_key_has_a_test_of_its_message():
    assert set(CHECKS) | set(MODEL_CHECKS["AutoRec"]) | set(MODEL_CHECKS["RowAutoRec"]) | {
        "train_neg_sample_args"
    } == set(FAULTS)


def test_unknown_key_without_a_neighbour():
    assert message(qqqqqq=1) == "config_dict: unknown key 'qqqqqq'; --help shows where parameters are listed."


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("iautorec", " Did you mean IAutoRec or UAutoRec?"),
        ("DeepMF", " Did you mean DeepFM or xDeepFM?"),
        ("qqqq", ""),
    ],
)
def test_unknown_model_names_what_there_is(name, hint):
    with pytest.raises(ConfigError) as caught:
        Config(name, "tiny")
    assert str(caught.value) == (
        f"unknown model {name!r}; expected IAutoRec, UAutoRec, AutoRecEnsemble, BiasedMF, Bias, GlobalMean, or one of RecBole's general and "
        f"context-aware models, such as FM and NeuMF (docs/built-in-models.md).{hint}"
    )


def test_models_that_recbole_runs_otherwise_are_refused():
    with pytest.raises(ConfigError) as caught:
        Config("SASRec", "tiny")
    assert str(caught.value) == (
        "model 'SASRec' is one of RecBole's sequential models; this project runs only general and context-aware ones. "
        "Run it with RecBole's own run_recbole.py."
    )


def test_models_that_cannot_run_here_say_why(monkeypatch):
    for name, expected in (
        ("RaCT", "model 'RaCT' is trained in three stages; run it with RecBole's own run_recbole.py."),
        ("NCL", "model 'NCL' needs the package faiss: pip install faiss-cpu."),
    ):
        monkeypatch.setattr("recbole_autorec.model.registry.find_spec", lambda package: None)
        with pytest.raises(ConfigError) as caught:
            Config(name, "tiny")
        assert str(caught.value) == expected


def test_what_recbole_1_2_0_lacks_is_refused_with_how_to_have_it(monkeypatch):
    monkeypatch.setattr(recbole, "__version__", "1.2.0")
    monkeypatch.setattr("recbole_autorec.model.registry._recbole_has", lambda kind, model: model != "AsymKNN")
    how = "RecBole 1.2.1 has it: pip install --no-deps recbole==1.2.1"
    with pytest.raises(ConfigError, match=rf"^model 'AsymKNN' is not in RecBole 1\.2\.0\. {how}\.$"):
        get_model("AsymKNN")
    assert message(eval_args={"split": {"TS": [8, 1, 1]}, "order": "TO"}) == (
        f"config_dict: split={{'TS': [8, 1, 1]}} is not in RecBole 1.2.0. {how}; or give {{RS: [...]}} with order TO."
    )


def test_recbole_1_2_0_lacks_what_its_files_lack():
    """The refusals match the installed RecBole."""
    lacks = recbole.__version__ == "1.2.0"
    assert hasattr(Dataset, "time_based_split") is not lacks
    if lacks:
        with pytest.raises(ConfigError, match="'AsymKNN' is not in RecBole"):
            get_model("AsymKNN")
    else:
        assert get_model("AsymKNN").__name__ == "AsymKNN"


def test_ldiffrec_says_what_it_needs_and_the_other_models_do_not_miss_it():
    code = (
        "import sys; sys.modules['kmeans_pytorch'] = None\n"
        "from recbole_autorec.model.registry import get_model\n"
        "for name in ('NeuMF', 'BPR', 'LDiffRec'):\n"
        "    try: print(get_model(name).__name__)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    missing = "ConfigError model 'LDiffRec' needs the package kmeans_pytorch: pip install kmeans_pytorch."
    expected = missing if recbole.__version__ == "1.2.0" else "LDiffRec"  # 1.2.1 imports it when it clusters
    assert done.stdout.splitlines() == ["NeuMF", "BPR", expected], done.stderr


def test_a_config_with_a_model_of_recboles_reaches_another_process(tmp_path):
    """RecBole 1.2.0 cannot import its general models at first where kmeans_pytorch is missing."""
    for model in ("NeuMF", "FM", "IAutoRec"):
        (tmp_path / model).write_bytes(pickle.dumps(config_for(model)))
    code = (
        "import sys, pickle, pathlib; sys.modules['kmeans_pytorch'] = None\n"
        "for path in sys.argv[1:]:\n"
        "    print(pickle.loads(pathlib.Path(path).read_bytes()).model_class.__name__)\n"
    )
    for model in ("NeuMF", "FM", "IAutoRec"):
        command = [sys.executable, "-c", code, str(tmp_path / model)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.stdout == f"{model}\n", done.stderr


def test_a_model_that_ranks_is_refused_for_ratings_and_welcome_for_rankings():
    assert message(model="BPR") == (
        "model BPR ranks items instead of predicting ratings: it learns which of two items a user prefers, not how much "
        "either is liked. Compare rankings with compare --metric ndcg@10, or run it with --metrics [NDCG] --valid_metric NDCG@10 "
        '--eval_args "{mode: full}".'
    )
    ranked = {"metrics": ["NDCG"], "valid_metric": "NDCG@3", "topk": [3], "eval_args": {"mode": "full"}}
    config = Config("BPR", "tiny", config_dict={"data_path": str(DATA), **ranked})
    assert (config["LABEL_FIELD"], config["train_neg_sample_args"]["distribution"]) == ("label", "uniform")
    config = Config("IAutoRec", "tiny", config_dict={"data_path": str(DATA), **ranked})
    assert (config["LABEL_FIELD"], config["train_neg_sample_args"]["distribution"]) == ("rating", "none")


def test_the_rating_is_no_feature():
    assert message(model="FM", numerical_features=["rating"]) == (
        "config_dict: numerical_features=['rating'] contains 'rating', the value to predict; leave it out."
    )


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"dropout_prob": 0.5}, "config_dict: dropout_prob=0.5 with learner 'lbfgs', whose line search needs a deterministic loss; set it to 0, or use learner adam."),
        ({"clip_grad_norm": {"max_norm": 5}}, "config_dict: clip_grad_norm={'max_norm': 5} with learner 'lbfgs', which needs the unclipped gradient; remove it, or use learner adam."),
        ({"metrics": "nDCGG"}, f"config_dict: unknown metric 'nDCGG'; {METRICS}."),
        ({"metrics": []}, "config_dict: metrics=[]; expected a list of names, such as [RMSE, MAE]."),
        ({"metrics": ["RMSE", "NDCG"]}, f"config_dict: metrics=['RMSE', 'NDCG'] mixes two kinds; {METRICS}."),
        ({"metrics": ["AUC"]}, f"config_dict: unknown metric 'AUC'; {METRICS}."),
        ({"metrics": ["ItemCoverage"]}, f"config_dict: unknown metric 'ItemCoverage'; {METRICS}."),
        ({"learner": "rprop", "clip_grad_norm": {"max_norm": 5}}, "config_dict: clip_grad_norm={'max_norm': 5} with learner 'rprop', which needs the unclipped gradient; remove it, or use learner adam."),
        ({"LABEL_FIELD": "label"}, "config_dict: LABEL_FIELD='label'; expected 'rating', the RATING_FIELD (predictions are compared with ratings); or leave it out."),
        ({"unused_col": {"inter": ["rating"]}}, "config_dict: unused_col={'inter': ['rating']} must not drop 'rating'; remove it there."),
        ({"eval_args": {"split": {"TS": [8, 1, 1]}}}, "config_dict: split={'TS': [8, 1, 1]} is by time, but order='RO'; expected order TO."),
        ({"eval_args": {"mode": {"validd": "labeled"}}}, "config_dict: mode={'validd': 'labeled'}; expected labeled, full, uni100 or similar, or a mode for valid and one for test."),
        ({"metrics": ["NDCG"], "valid_metric": "NDCG@10"}, "config_dict: metrics=['NDCG'] rank items, but mode 'labeled' has only rated pairs; add --eval_args \"{'mode': 'full'}\", or use RMSE and MAE."),
        ({"eval_args": {"mode": "full"}}, "config_dict: mode='full' ranks items, but metrics=['RMSE', 'MAE'] compare ratings; use mode labeled, or ranking metrics such as [NDCG, Recall]."),
        ({"eval_args": {"mode": "ful"}}, "config_dict: mode='ful'; expected labeled, full, uni100 or similar, or a mode for valid and one for test."),
        ({"eval_args": {"modes": "full"}}, "config_dict: unknown key 'modes' in eval_args; expected split, group_by, order, mode."),
        ({"eval_args": "full"}, "config_dict: eval_args='full'; expected keys split, group_by, order, mode."),
        ({"eval_args": {"split": {"RS": [0.8, 0.2]}}}, "config_dict: split={'RS': [0.8, 0.2]}; expected three shares > 0: train, valid, test; 0 for no valid or no test part."),
        ({"eval_args": {"split": {"RS": [0, 0.5, 0.5]}}}, "config_dict: split={'RS': [0, 0.5, 0.5]}; expected three shares > 0: train, valid, test; 0 for no valid or no test part."),
        ({"refit": True, "eval_args": {"split": {"RS": [0.9, 0, 0.1]}}}, "config_dict: refit=True, but split={'RS': [0.9, 0, 0.1]} has no valid part to add; leave refit out."),
        ({"final": True, "eval_args": {"split": {"RS": [0.9, 0, 0.1]}}}, "config_dict: final=True, but split={'RS': [0.9, 0, 0.1]} has no valid part to choose the epoch by; leave final out and train on {RS: [1, 0, 0]}."),
        ({"final": True, "eval_args": {"split": {"RS": [0.9, 0.1, 0]}}}, "config_dict: final=True, but split={'RS': [0.9, 0.1, 0]} has no test part to add; use refit: True instead."),
        ({"eval_args": {"split": {"XX": 1}}}, "config_dict: split={'XX': 1}; expected {RS: [0.81, 0.09, 0.1]} or similar, {TS: [...]}, {LS: valid_and_test}, or {KF: [1, 5]}."),
        ({"eval_args": {"split": {"LS": "test_only"}}}, "config_dict: split={'LS': 'test_only'}; expected {RS: [0.81, 0.09, 0.1]} or similar, {TS: [...]}, {LS: valid_and_test}, or {KF: [1, 5]}."),
        ({"eval_args": {"split": {"KF": [6, 5]}}}, "config_dict: split={'KF': [6, 5]}; expected a fold and the number of folds, such as {KF: [1, 5]}."),
        ({"eval_args": {"split": {"KF": [1, 5]}, "order": "TO"}}, "config_dict: split={'KF': [1, 5]} draws folds over all ratings; expected order RO and group_by none."),
        ({"eval_args": {"order": "XO"}}, "config_dict: order='XO'; expected RO (random) or TO (by time)."),
        ({"eval_args": {"group_by": "item"}}, "config_dict: group_by='item'; expected none or user."),
        ({"valid_metric": "AUC"}, "config_dict: valid_metric='AUC' is not computed; expected one of rmse, mae."),
        ({"topk": 0}, "config_dict: topk=0; expected whole numbers >= 1, such as [10]."),
    ],
)  # fmt: skip
def test_evaluation_faults(parameters, expected, monkeypatch):
    monkeypatch.setattr(recbole, "__version__", "1.2.1")
    assert message(**parameters) == expected


def test_an_ensemble_needs_validation_ratings():
    with pytest.raises(ConfigError) as caught:
        config_for("AutoRecEnsemble", eval_args={"split": {"RS": [0.9, 0, 0.1]}})
    assert str(caught.value) == (
        "config_dict: split={'RS': [0.9, 0, 0.1]} has no valid part to weigh the ensemble's members by; give it a "
        "share > 0."
    )


def test_valid_metric_of_a_ranking_names_its_cutoffs():
    assert message(metrics=["NDCG"], topk=[5, 10], eval_args={"mode": "full"}) == (
        "overall.yaml: valid_metric='RMSE' is not computed; expected one of ndcg@5, ndcg@10."
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "config file '{}' cannot be read: No such file or directory."),
        (b"a: [1\nb: 2\n", "config file '{}': line 2: invalid YAML: expected ',' or ']', but got ':'."),
        (b"- 1\n", "config file '{}': expected lines such as 'learning_rate: 0.001', got list."),
        (b"\xff\xfe\x00", "config file '{}': invalid YAML: not a text file."),
        (b"a: !!python/object/apply:os.system [id]\n", "config file '{}': line 1: invalid YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system'."),
    ],
)  # fmt: skip
def test_unreadable_config_file(tmp_path, content, expected):
    file = tmp_path / "x.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Config("IAutoRec", "tiny", [str(file)])
    assert str(caught.value) == expected.format(file)


def test_precedence_is_flag_dict_file_property(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("epochs: 11\nseed: 11\nstopping_step: 11\n")
    config = Config("IAutoRec", "tiny", [str(file)], {"epochs": 12, "seed": 12}, {"epochs": "13"})
    assert [config[key] for key in ("epochs", "seed", "stopping_step", "hidden_size")] == [13, 12, 11, [500]]


def test_a_later_file_beats_an_earlier_one(tmp_path):
    for name, epochs in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.yaml").write_text(f"epochs: {epochs}\n")
    assert Config("IAutoRec", "tiny", [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")])["epochs"] == 2


def test_eval_args_given_in_part_keep_the_rest_of_the_protocol():
    config = config_for(eval_args={"mode": "full"}, metrics=["NDCG"], valid_metric="NDCG@10")
    assert config["eval_args"]["split"] == {"RS": [0.81, 0.09, 0.10]}
    assert config["eval_args"]["group_by"] == "none"
    assert config["eval_args"]["mode"] == {"valid": "full", "test": "full"}


def test_values_are_yaml_and_never_evaluated(tmp_path):
    bait = tmp_path / "evaluated"
    code = f"__import__('pathlib').Path({str(bait)!r}).touch()"
    assert parse_value(code) == code
    config_for(checkpoint_dir=code)
    assert not bait.exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("[500, 250]", [500, 250]), ("true", True), ("~", None), ("None", None), ("\t", "\t"), ("2024-01-15", "2024-01-15"), ("2024-13-45", "2024-13-45"), (" ", " "),
     ("['NDCG','Recall']", ["NDCG", "Recall"]), ("{'mode':'full'}", {"mode": "full"}), ("a: b: c", "a: b: c"),
     ("1.5e2", 150.0), (".5e-1", 0.05), ("010", "010"), ("on", "on"), ("No", "No"), ("1:30", "1:30"), ("10", 10), ("0", 0), ("0.5", 0.5)],
)  # fmt: skip
def test_parse_value(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_command_line_of_the_calling_script_is_left_alone(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--epochs=77", "--nonsense=1"])
    assert config_for()["epochs"] == 3


def test_numpy_values_tuples_and_paths_become_plain(tmp_path):
    split = {"RS": (np.float64(0.8), 0.1, np.array(0.1))}
    plain = config_for(
        epochs=np.int64(2), reg_weight=(np.float64(1), 2), eval_args={"split": split}, checkpoint_dir=tmp_path
    )
    plain = plain.plain_parameters
    assert (plain["epochs"], plain["reg_weight"], plain["checkpoint_dir"]) == (2, [1, 2], str(tmp_path))
    assert [type(value) for value in (plain["epochs"], *plain["reg_weight"])] == [int, float, int]
    assert [type(share) for share in plain["eval_args"]["split"]["RS"]] == [float] * 3


def test_separators_are_taken_as_they_are():
    assert Config("IAutoRec", "tiny", flags={"field_separator": "|"})["field_separator"] == "|"


def test_label_and_columns_follow_renamed_fields():
    config = config_for(RATING_FIELD="stars", USER_ID_FIELD="who")
    assert config["LABEL_FIELD"] == "stars"
    assert config["load_col"] == {"inter": ["who", "item_id", "stars", "timestamp"]}


def test_a_model_of_ones_own_takes_the_defaults_of_the_one_it_extends():
    class Mine(IAutoRec):
        pass

    assert (config_for(Mine)["model"], Config(Mine, "tiny")["reg_scale"]) == ("Mine", [3.2, 1.05])
    with pytest.raises(ConfigError) as caught:
        Config(Config, "tiny")
    assert str(caught.value) == (
        "model class Config; expected a subclass of IAutoRec, UAutoRec, or RecBole's GeneralRecommender or "
        "ContextRecommender."
    )


def test_changed_parameters_are_those_that_differ(tmp_path):
    config = Config("IAutoRec", "tiny", config_dict={"epochs": 20, "eval_args": {"mode": "labeled"}, "seed": 7})
    assert config.changed_parameters() == {"seed": 7}


def test_use_gpu_false_means_cpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert config_for()["device"].type == "cuda"
    assert config_for(use_gpu=False)["device"].type == "cpu"


@pytest.mark.parametrize("chosen", [None, "", "2,3", "GPU-8932f937"])
@pytest.mark.parametrize("gpu_id", [None, 1, "0,1"])
def test_the_gpu_that_the_environment_chooses_is_kept_unless_gpu_id_is_given(gpu_id, chosen, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen or "")
    if chosen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    config_for("AutoRecEnsemble", **({} if gpu_id is None else {"gpu_id": gpu_id}))
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == (chosen if gpu_id is None else str(gpu_id))


@pytest.mark.parametrize("gpu_id", [-1, 1.5, True, [0, 1], "0, 1"])
def test_a_gpu_is_named_by_its_number(gpu_id):
    with pytest.raises(ConfigError, match=r"gpu_id.*expected a GPU's number, several as in 0,1, or ~"):
        config_for(gpu_id=gpu_id)


def test_recbole_packaged_ml_100k_gives_way_to_a_data_path_that_has_one(tmp_path):
    assert "dataset_example" in Config("IAutoRec", "ml-100k", config_dict={"data_path": str(tmp_path)})["data_path"]
    (tmp_path / "ml-100k").mkdir()
    assert Config("IAutoRec", "ml-100k", config_dict={"data_path": str(tmp_path)})["data_path"] == str(
        tmp_path / "ml-100k"
    )


def test_ml_100k_stays_in_stars():
    config = Config("IAutoRec", "ml-100k")
    assert config["normalize_all"] is None
    assert config["threshold"] is None
    assert config["LABEL_FIELD"] == "rating"


def test_every_line_of_a_property_file_says_type_and_meaning():
    for file in properties_dir().rglob("*.yaml"):
        for line in file.read_text().splitlines():
            if re.match(r"\w+:", line) and not line.startswith("model:"):
                assert re.search(r"# \((str|int|float|bool|list|dict)[^)]*\) \w", line), f"{file.name}: {line}"


def test_checkout_uses_its_own_property_files():
    assert properties_dir() == ROOT / "properties"


def test_a_preset_of_the_package_is_found_from_any_folder():
    assert not Path("properties").exists()
    preset = "properties/presets/paper.yaml"
    assert Config("IAutoRec", "tiny", [preset], {"data_path": str(DATA)})["offsets"] is False
    Path("properties/presets").mkdir(parents=True)
    Path(preset).write_text("epochs: 7\n")  # one's own comes first
    config = Config("IAutoRec", "tiny", [preset], {"data_path": str(DATA)})
    assert (config["epochs"], config["offsets"]) == (7, True)
    with pytest.raises(ConfigError, match=r"'properties/none\.yaml' cannot be read: No such file"):
        Config("IAutoRec", "tiny", ["properties/none.yaml"])
