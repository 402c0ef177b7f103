"""Untrusted checkpoints, comparison files and data run no code, open no other file and connect to nobody."""

import ast
import copy
import os
import random
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest
import recbole
import torch
import yaml

from recbole_autorec import (
    AutoRecError,
    CheckpointError,
    Config,
    ConfigError,
    Predictor,
    compare,
    load_data_and_model,
    run_recbole_autorec,
)
from recbole_autorec.config.checks import CHECKS, MODEL_CHECKS, find_faults
from recbole_autorec.config.config import NOT_OF_A_FILE
from recbole_autorec.model.registry import get_model
from recbole_autorec.trainer.migration import CARRIED_OVER
from tests.conftest import AT_HOME, quick, written_by_0_1_0
from tests.test_predictor import train

RECBOLE = Path(recbole.__file__).parent
CODE = "__import__('pathlib').Path('executed').touch()"

# Where RecBole runs, imports, unpickles or opens something that a file may name, and what prevents it.
KNOWN = {
    # never called: Config reads YAML instead, HyperTuning has its own reader, checkpoints have their own format
    "config/configurator.py:_convert_config_dict", "config/configurator.py:_load_config_files",
    "config/configurator.py:_update_internal_config_dict", "trainer/hyper_tuning.py:_build_space_from_file",
    "trainer/hyper_tuning.py:export_result", "trainer/trainer.py:resume_checkpoint", "trainer/trainer.py:evaluate",
    "data/utils.py:create_dataset", "data/utils.py:load_split_dataloaders", "data/utils.py:save_split_dataloaders",
    "data/dataset/dataset.py:save", "utils/utils.py:get_model", "utils/utils.py:get_trainer", "utils/url.py:download_url",
    "utils/url.py:decide_download", "data/dataset/dataset.py:_get_download_url", "quick_start/quick_start.py:load_data_and_model",
    # checked values
    "model/context_aware_recommender/kd_dagfm.py:__init__", "model/general_recommender/ldiffrec.py:__init__",
    # a module of a fixed name
    "trainer/trainer.py:__init__",
    # plain tensors (torch.load of weights only, the default since torch 2.6), of paths that only the user may give
    "model/general_recommender/convncf.py:__init__", "model/general_recommender/nais.py:_load_pretrain",
    "model/general_recommender/ract.py:__init__", "model/general_recommender/neumf.py:load_pretrain",
    # the dataset's own files, read as text
    "data/dataset/dataset.py:_load_feat",
}  # fmt: skip
NAMES = {"eval", "exec", "compile", "__import__", "open", "import_module"}  # called by name
METHODS = {"import_module", "open", "urlopen", "load", "loads", "system", "popen", "Popen", "run_module"}  # fmt: skip  # or called on a module
# RecBole's other kinds of models, which the registry does not return
ELSEWHERE = ("model/sequential_recommender", "model/knowledge_aware_recommender", "model/exlib_recommender")


def dangerous_calls() -> set[str]:
    """Return file:function of each RecBole call that could run, import, unpickle, open or connect to something named."""
    found = set()
    for file in RECBOLE.rglob("*.py"):
        name = file.relative_to(RECBOLE).as_posix()
        if name.startswith(ELSEWHERE):
            continue
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
                names = {call.id for call in calls if isinstance(call, ast.Name)} & NAMES
                if names | ({call.attr for call in calls if isinstance(call, ast.Attribute)} & METHODS):
                    found.add(f"{name}:{function.name}")
    return found


def test_every_dangerous_call_of_recbole_is_known():
    assert dangerous_calls() <= KNOWN


def test_the_search_for_dangerous_calls_finds_them():
    assert "model/context_aware_recommender/kd_dagfm.py:__init__" in dangerous_calls()
    assert "model/general_recommender/nais.py:_load_pretrain" in dangerous_calls()


@pytest.mark.parametrize("teacher", [CODE, "CrossNet.__class__", "", None, ["CIN"], "DAGFM"])
def test_recbole_evaluates_no_teacher_but_the_two_it_has(teacher):
    with pytest.raises(ConfigError, match=r"teacher=.*; expected one of CrossNet, CIN\.$"):
        Config("KD_DAGFM", "tiny", config_dict={**AT_HOME, "teacher": teacher})
    assert not Path("executed").exists()


def test_a_comparison_file_runs_nothing(tmp_path):
    content = {"dataset": "tiny", "models": {"KD_DAGFM": {"teacher": CODE}}, "parameters": AT_HOME}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="teacher"):
        compare(file=tmp_path / "c.yaml", repeats=1, output="out")
    assert not Path("executed").exists()


def test_no_item_embeddings_are_unpickled():
    faults = find_faults(
        {**Config("Bias", "tiny").plain_parameters, "n_cate": 2}, type("LDiffRec", (get_model("EASE"),), {}), str
    )
    assert "n_cate: n_cate=2; expected 1 (else RecBole unpickles a file beside the data, which may run code)." in faults


def forged(checkpoint: str, **parameters) -> str:
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "parameters": {**content["parameters"], **parameters}}, "forged.pth")
    return "forged.pth"


@pytest.mark.parametrize("load", [Predictor.load, lambda file: load_data_and_model(file, AT_HOME)])
def test_a_checkpoint_runs_nothing(load, tmp_path):
    checkpoint = train("KD_DAGFM", tmp_path)
    load(checkpoint)
    with pytest.raises((CheckpointError, ConfigError), match="teacher"):
        load(forged(checkpoint, teacher=CODE))
    assert not Path("executed").exists()


def test_a_checkpoint_has_no_say_in_paths_addresses_and_devices(tmp_path, monkeypatch):
    def never(*arguments, **keywords):
        raise AssertionError("a connection")

    monkeypatch.setattr(urllib.request, "urlopen", never)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    said = {"data_path": "elsewhere", "checkpoint_dir": "elsewhere", "download_url": "http://nowhere/x", "gpu_id": "7",
            "use_gpu": True, "nproc": 4, "world_size": 4, "ip": "nowhere", "port": 1, "log_wandb": False}  # fmt: skip
    file = forged(train("NeuMF", tmp_path), **said, mf_pretrain_path="x", mlp_pretrain_path="x", use_pretrain=True)
    config = load_data_and_model(file, {**AT_HOME, "use_gpu": False})[0]
    for key, value in said.items():
        assert config[key] != value or value is False, key
    assert config["use_pretrain"] is False
    assert Predictor.load(file).predict("a", "x2").shape == (1,)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
    assert not Path("elsewhere").exists()
    with pytest.raises(CheckpointError, match=r"dataset 'ml-25m', which is not in '.*'; give its data_path"):
        load_data_and_model(forged(file, dataset="ml-25m"), AT_HOME)


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "a\\b", "..", ".", "", "x\0y"])
def test_a_dataset_is_a_name(name, tmp_path):
    with pytest.raises(ConfigError, match="expected the name of a folder in data_path"):
        Config("Bias", name, config_dict=AT_HOME)
    with pytest.raises(ConfigError, match="expected three names"):
        Config("Bias", "tiny", config_dict={**AT_HOME, "benchmark_filename": [name, "b", "c"]})
    with pytest.raises((CheckpointError, ConfigError)):
        Predictor.load(forged(train("Bias", tmp_path), dataset=name))


def test_what_a_file_has_no_say_in_is_real():
    """A key that is in no configuration would be a misspelling."""
    keys = (
        set(Config("NeuMF", "tiny").plain_parameters) | set(CHECKS) | {key for c in MODEL_CHECKS.values() for key in c}
    )
    texts = "".join(path.read_text() for path in RECBOLE.glob("properties/**/*.yaml")) + "wandb_project:"
    assert all(key in keys or f"{key}:" in texts for key in NOT_OF_A_FILE)


# Fuzzing: for any file content, a loader gives a readable error or a valid model, in bounded memory.

EVIL = [
    None, True, False, 0, 1, -1, 2**31, 10**9, 10**18, -(10**9), 0.5, 1e300, -1e300, float("nan"), float("inf"), "", "x",
    CODE, "../../etc/passwd", "http://nowhere/x", [], [0], [-1], [10**9], [[1]], ["x"], {}, {"x": 1}, {1: 2}, (1, 2), b"x",
    torch.tensor(1.0), torch.ones(3), torch.zeros(0), torch.full((2, 2), torch.nan), torch.ones(1).expand(10**10),
    torch.ones(2, dtype=torch.int64), torch.ones(2).to_sparse(), torch.zeros(5000, dtype=torch.uint8),
]  # fmt: skip


def places(value, path=()):
    """Yield the paths to everything in nested dictionaries and lists."""
    yield path
    if isinstance(value, dict) or (isinstance(value, list) and len(value) < 50):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def with_changes(content, chosen: random.Random):
    """Return the content with one to three things replaced, removed or added."""
    content = copy.deepcopy(content)
    for _ in range(chosen.choice([1, 1, 1, 2, 3])):
        *way, key = chosen.choice([path for path in places(content) if path])
        inside = content
        for step in way:
            inside = inside[step]
        action = chosen.random()
        if action < 0.8:
            inside[key] = chosen.choice(EVIL)
        elif action < 0.9:
            del inside[key]
        elif isinstance(inside, dict):
            inside[chosen.choice(["more", 7, "seed", "teacher"])] = chosen.choice(EVIL)
    return content


LOADERS = {
    "Predictor.load": (1000, lambda file: Predictor.load(file).predict(["a", "b"], ["x2", "x2"])),
    "Predictor.load, exported": (800, lambda file: Predictor.load(file).predict(["a", "b"], ["x2", "x2"])),
    "Predictor.load, version 2 of IAutoRec": (300, lambda file: Predictor.load(file).predict(["a", "b"], ["x2", "x2"])),
    "Predictor.load, version 2 of BiasedMF": (300, lambda file: Predictor.load(file).predict(["a", "b"], ["x2", "x2"])),
    "load_data_and_model": (
        150,
        lambda file: load_data_and_model(file, {**AT_HOME, "use_gpu": False})[1].state_dict()["calibration.weights"],
    ),
    "--resume": (
        150,
        lambda file: [run_recbole_autorec("IAutoRec", "tiny", config_dict=RESUMED, resume=file)["test"]["rmse"]],
    ),
}
RESUMED = {**AT_HOME, **quick("IAutoRec"), "epochs": 4, "saved": False, "state": "ERROR"}


@pytest.mark.parametrize("loader", LOADERS)
def test_a_forged_checkpoint_is_refused_in_words_or_right(loader, tmp_path, monkeypatch):
    for name in ("urlopen", "urlretrieve"):
        monkeypatch.setattr(urllib.request, name, None)
    old = "version 2" in loader
    checkpoint = written_by_0_1_0(loader.split()[-1]) if old else train("IAutoRec", tmp_path, saved=True, epochs=3)
    count, load = LOADERS[loader]
    if "exported" in loader:
        Predictor.load(checkpoint).save(checkpoint)
    content = torch.load(checkpoint, weights_only=True)
    if old:  # the other parts are not looked at
        content = {key: content[key] for key in ("format", "version", *CARRIED_OVER)}
    chosen, refused, before = random.Random(loader), 0, {path.name for path in Path().iterdir()}
    memory = psutil.Process().memory_info().rss
    for number in range(count):
        torch.save(with_changes(content, chosen), tmp_path / "forged.pth")
        try:
            numbers = load(tmp_path / "forged.pth")
        except AutoRecError:
            refused += 1
        else:
            assert np.isfinite(np.asarray(numbers)).all(), number
    assert count / 2 < refused < count
    assert psutil.Process().memory_info().rss < memory + (1 << 29)
    assert {path.name for path in Path().iterdir()} - before <= {"log_tensorboard", "saved", "forged.pth"}
    assert not Path("executed").exists()
