"""The examples in the docstrings of public names run, in an empty folder."""

import doctest
import sys

import pytest

import recbole_autorec

PUBLIC = [
    name
    for name in recbole_autorec.__all__
    if name != "__version__" and not name.endswith(("Error", "AutoRec", "AutoRecEnsemble"))  # models run by name
]


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_a_public_name_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    public = getattr(recbole_autorec, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(public, name, globs=vars(sys.modules[public.__module__]))
    said = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example, out=said.append)
    assert runner.tries > 1, f"{name} has no example"
    assert runner.failures == 0, "".join(said)
