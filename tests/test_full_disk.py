"""A real filesystem fills up at each write in turn: the error is readable, and the same command then continues."""

import json
import subprocess
from pathlib import Path

import pytest

from recbole_autorec.cli import main
from tests.conftest import DATA

PAGE = 4096
SHORT = ["--dataset", "tiny", "--data_path", str(DATA), "--seed", "1", "--epochs", "2", "--show_progress", "False"]
VERBS = {
    "train": [*SHORT, "--hidden_size", "[4]", "--refit", "True", "--output", "out"],
    "compare": ["compare", *SHORT, "--models", "Bias,BiasedMF", "--repeats", "1", "--jobs", "2", "--output", "out"],
    "tune": ["tune", *SHORT, "--hidden_size", "[4]", "--max_evals", "2", "--output", "out", "--space"],
    "convert": ["convert", "--name", "new", "--data_path", "data", "--input"],
}  # fmt: skip


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """Return a function that mounts a filesystem of given size on the current folder, and one that enlarges it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True)

    def leave():
        monkeypatch.chdir(tmp_path)
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)

    def fresh(size):
        leave()
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs")
        monkeypatch.chdir(folder)

    try:
        fresh(PAGE)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no filesystem can be mounted here: {error}")
    yield fresh, lambda: mount("-o", "remount,size=100m")
    leave()


def scores(argv):
    if "convert" in argv:
        return Path("data/new/new.inter").read_text()
    result = json.loads(Path("out/result.json").read_text())
    return result["test"] if "test" in result else {label: row["rmse"] for label, row in result["table"].items()}


@pytest.mark.parametrize("verb", VERBS)
def test_a_disk_that_fills_up_at_any_write_is_said_and_the_same_command_goes_on(verb, disk, tmp_path, capfd):
    fresh, enlarge = disk
    argv = list(VERBS[verb])
    if verb == "tune":
        (tmp_path / "x.hyper").write_text("reg_weight choice [1,2,3]\n")
        argv.append(str(tmp_path / "x.hyper"))
    if verb == "convert":
        (tmp_path / "x.csv").write_text("".join(f"{user},{item},3\n" for user in range(100) for item in range(100)))
        argv.append(str(tmp_path / "x.csv"))
    fresh("100m")
    assert main(argv) == 0, capfd.readouterr().err
    whole, pages, failed = scores(argv), 1, 0
    while True:
        fresh(pages * PAGE)
        code = main(argv)
        said = capfd.readouterr().err
        if code == 0:
            break
        failed += 1
        assert (code, said.splitlines()[-1][:7]) == (2, "error: "), said
        assert "No space left on device" in said.splitlines()[-1]
        assert "Traceback" not in said
        assert not list(Path().rglob("*.tmp"))
        enlarge()
        resume = ["--resume"] if verb == "tune" and Path("out/tuning.json").exists() else []
        assert main([*argv, *resume]) == 0, capfd.readouterr().err
        assert scores(argv) == whole
        pages = pages + 1 if pages < 14 else pages * 2
    assert failed > 5
