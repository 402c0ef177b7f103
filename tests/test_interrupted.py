"""Ctrl-C, SIGTERM, full disks and dead processes: the truth is said, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recbole_autorec import AutoRecError, CheckpointError, compare
from recbole_autorec.files import write_json, write_whole
from tests.conftest import DATA, QUICK_ANY, ROOT

TRAIN = ["--dataset", "tiny", "--data_path", str(DATA), "--epochs", "100000", "--stopping_step", "100000"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("arguments", "until", "said"),
    [
        ([*TRAIN, "--hidden_size", "[4]"], "epoch   3", "--resume saved/"),
        (["compare", *TRAIN, "--models", "Bias,IAutoRec", "--repeats", "1", "--output", "out"], "repeat 1/1  Bias",
         "interrupted after 1 of 2 trainings; the same command with --output out goes on"),
        (["tune", *TRAIN[:-4], "--epochs", "30", "--max_evals", "9999", "--output", "out"], "best so far",
         "the same command with --output out --resume goes on"),
    ],
)  # fmt: skip
def test_a_signal_ends_each_verb_with_its_code_and_how_to_go_on(arguments, until, said, number, code):
    with Path("log").open("w") as log:
        command = [sys.executable, str(ROOT / "run_recbole_autorec.py"), *arguments]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(1200):
            if until in Path("log").read_text() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(timeout=60) == code, Path("log").read_text()
    finally:
        process.kill()
    text = Path("log").read_text()
    assert said in text
    assert "Traceback" not in text
    assert not list(Path().rglob("*.tmp"))


def test_ctrl_c_while_a_file_is_written_is_ctrl_c_and_no_full_disk(tmp_path):
    (tmp_path / "file").write_text("old")

    def write(file):
        file.write(b"half")
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", write, CheckpointError, "Free some space.")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def small(output="out", **keywords):
    return compare(
        {"Bias": None, "GlobalMean": None}, "tiny", 1, output=output, show_progress=False,
        config_dict={**QUICK_ANY, "data_path": str(DATA)}, **keywords,
    )  # fmt: skip


def test_what_a_process_that_died_has_left_does_not_stop_the_next():
    """A full disk at the very start leaves a lock; one that is killed, what it was writing."""
    Path("out/runs").mkdir(parents=True)
    for left in ("out/.lock", "out/comparison.json.123.tmp"):
        Path(left).touch()
    Path("out/runs").rmdir()
    small()
    Path("out/runs/Bias-1.npy.4567.tmp").touch()
    Path("out/mine.tmp").touch()
    small()
    assert not [path for path in Path("out").rglob("*.tmp") if path.name != "mine.tmp"]
    assert Path("out/mine.tmp").exists()


def test_a_disk_that_is_full_at_any_write_leaves_a_folder_that_goes_on(monkeypatch, tmp_path):
    """Each write in turn fails once; the same call then ends as if none had."""
    import recbole_autorec.files as files

    whole = small(tmp_path / "whole").table["rmse"].to_dict()
    replace, said = os.replace, []
    for turn in range(50):
        writes = iter(range(1000))

        def full(source, target, turn=turn, writes=writes):
            if next(writes) == turn:
                raise OSError(28, "No space left on device")
            return replace(source, target)

        output = tmp_path / f"out{turn}"
        with monkeypatch.context() as patched:
            patched.setattr(files.os, "replace", full)
            try:
                small(output)
            except AutoRecError as error:
                said.append(str(error))
            else:
                break
        assert small(output).table["rmse"].to_dict() == whole
        assert not list(output.rglob("*.tmp"))
    assert len(said) > 3
    assert all("No space left on device" in each for each in said)


def test_changed_data_are_seen_whatever_the_dataset_is_called(write_dataset):
    from recbole_autorec.data.dataset import data_digest
    from tests.conftest import config_for

    lines = [f"u{u}\ti{i}\t{1 + (u * i) % 5}" for u in range(6) for i in range(6)]
    for name in ("x[1]", "a*", "what?"):
        digests = set()
        for changed in (lines, [*lines[:-1], "u5\ti5\t5"]):
            path = write_dataset(changed, name=name)
            digests.add(data_digest(config_for("Bias", name, data_path=path)))
        assert len(digests) == 2, name


def test_json_is_whole_or_not_there(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1}, "")
    assert (tmp_path / "x.json").read_text() == '{\n  "a": 1\n}\n'
