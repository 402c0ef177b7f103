"""The examples in the docstrings of public names run, in an empty folder."""

import doctest
import inspect
import sys

import pytest

import recbole_autorec
from recbole_autorec import Predictor, quick_start
from recbole_autorec.model.masked_autoencoder import MaskedAutoencoder
from recbole_autorec.quick_start import quiet_recbole

PUBLIC = [
    name
    for name in recbole_autorec.__all__
    if name not in ("__version__", "CheckpointError", "ConfigError", "DataError")  # AutoRecError has their example
]
STEPS = ["load_and_split", "build_dataloaders", "build_model", "build_trainer", "get_trainer"]
METHODS = [
    name
    for name, method in vars(Predictor).items()
    if not name.startswith("_") and inspect.isfunction(method) and name != "load"
]


def run_example(public, name: str, names: dict) -> dict:
    """Run the example in a docstring and return the names that it has defined."""
    (example,) = doctest.DocTestFinder(recurse=False).find(public, name, globs=names)
    said = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example, out=said.append, clear_globs=False)
    assert runner.tries > 0, f"{name} has no example"
    assert runner.failures == 0, "".join(said)
    return example.globs


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_a_public_name_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    public = getattr(recbole_autorec, name)
    run_example(public, name, dict(vars(sys.modules[public.__module__])))


@pytest.mark.parametrize("name", STEPS)
def test_the_example_of_a_step_of_training_runs(name):
    with quiet_recbole():
        run_example(getattr(quick_start, name), name, dict(vars(quick_start)))


def test_the_example_of_the_model_in_pure_torch_runs():
    run_example(MaskedAutoencoder, "MaskedAutoencoder", dict(vars(sys.modules[MaskedAutoencoder.__module__])))


@pytest.fixture(scope="module")
def after_the_class(tmp_path_factory):
    """The names that the example of the class Predictor leaves for those of its methods."""
    with pytest.MonkeyPatch.context() as patch, quiet_recbole():
        patch.chdir(tmp_path_factory.mktemp("predictor"))
        return run_example(Predictor, "Predictor", dict(vars(sys.modules[Predictor.__module__])))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore:.*without training ratings")
def test_the_example_of_a_method_of_the_predictor_runs(name, after_the_class):
    run_example(getattr(Predictor, name), name, dict(after_the_class))
