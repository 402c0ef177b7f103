"""A wheel and an editable install run in an environment of their own, and find the property files."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import recbole_autorec
from tests.conftest import ROOT

SOURCES = ["recbole_autorec", "properties", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"]


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy of the project, because building leaves files behind."""
    copy = tmp_path / "project"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    return copy


def pip(*arguments, python=sys.executable):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("how", ["wheel", "editable"])
def test_installed_copy_finds_its_property_files_and_runs(how, tmp_path, request):
    if how == "wheel":
        what = [request.getfixturevalue("release").wheel]
    else:
        project = request.getfixturevalue("project")
        what = ["--no-build-isolation", "-e", project]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    (site,) = (tmp_path / "env").glob("lib/*/site-packages")
    (site / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # last: the new copy wins
    pip("install", "--quiet", "--no-deps", *what, python=python)

    code = "import recbole_autorec, recbole_autorec.config.config as c; print(recbole_autorec.__file__); print(c.properties_dir())"
    done = subprocess.run([str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    package, properties = map(Path, done.stdout.split())
    root = tmp_path / "env" if how == "wheel" else project
    assert package.is_relative_to(root)
    assert (package.parent / "py.typed").is_file()  # otherwise type checkers treat every name as Any
    assert properties.is_relative_to(root)
    tracked = {file.relative_to(ROOT / "properties") for file in (ROOT / "properties").rglob("*.*")}
    assert {file.relative_to(properties) for file in properties.rglob("*.*") if "__" not in str(file)} == tracked

    done = subprocess.run(
        [python.parent / "recbole-autorec", "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[0] == f"recbole_autorec {recbole_autorec.__version__}", done.stderr

    command = [str(python.parent / "recbole-autorec"), "--dataset", "tiny", "--data_path", str(ROOT / "dataset")]
    done = subprocess.run(
        [*command, "--hidden_size", "[4]", "--epochs", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "test" in done.stdout
    compare = [command[0], "compare", *command[1:], "--models", "Bias,GlobalMean", "--repeats", "1", "--output", "out"]
    done = subprocess.run(compare, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").is_file()
    tune = [command[0], "tune", *command[1:], "--max_evals", "1", "--epochs", "1", "--output", "tuned"]
    done = subprocess.run(tune, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tuned" / "tuning.html").is_file()


def test_every_package_folder_is_listed_for_the_wheel():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split()) - {"recbole_autorec.properties"}
    there = {".".join(f.parent.relative_to(ROOT).parts) for f in (ROOT / "recbole_autorec").rglob("__init__.py")}
    assert listed == there
