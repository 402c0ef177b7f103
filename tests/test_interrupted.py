"""Ctrl-C, SIGTERM, full disks and dead processes: messages are true, and the same command then continues."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from recbole_autorec import AutoRecError, CheckpointError, ConfigError, compare, run_recbole_autorec
from recbole_autorec.files import locked, write_json, write_whole
from recbole_autorec.interruptions import Terminated, sigterm_interrupts
from recbole_autorec.trainer.checkpoint import load_checkpoint
from tests.conftest import DATA, QUICK_ANY, ROOT, config_for, quick, tiny_parts

TRAIN = ["--dataset", "tiny", "--data_path", str(DATA), "--epochs", "100000", "--stopping_step", "100000"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("arguments", "until", "said"),
    [
        ([*TRAIN, "--hidden_size", "[4]"], "epoch   3", "--resume saved/"),
        (["compare", *TRAIN, "--models", "Bias,IAutoRec", "--repeats", "1", "--output", "out"], "repeat 1/1  Bias",
         "interrupted after 1 of 2 trainings; the same command with --output out continues it"),
        (["tune", *TRAIN[:-4], "--epochs", "30", "--max_evals", "9999", "--output", "out"], "best so far",
         "the same command with --output out --resume continues it"),
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


@pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_comparison_is_interrupted_while_its_first_process_is_made(number, code):
    command = [sys.executable, str(ROOT / "run_recbole_autorec.py"), "compare", "--dataset", "tiny", "--data_path"]
    process = psutil.Popen(
        [*command, str(DATA), "--models", "Bias,GlobalMean", "--repeats", "1", "--output", "out"],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not [child for child in process.children() if "forkserver" in " ".join(child.cmdline())]:
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)  # it imports for seconds
    os.killpg(process.pid, number)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in said) == (code, False), said
    assert "the same command with --output out continues it" in said


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_an_interruption_in_a_finalizer_is_not_lost(number, raised, capfd):
    class Unlucky:
        def __del__(self):
            signal.raise_signal(number)

    def work():
        Unlucky()
        time.sleep(10)

    start = time.monotonic()
    with sigterm_interrupts(), pytest.raises(raised):
        work()
    assert time.monotonic() - start < 5
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("read_before", [0, 1])
def test_ctrl_c_while_ratings_are_read_is_ctrl_c_and_no_damage(read_before, monkeypatch):
    class Source(io.StringIO):
        """Text whose reader gets Ctrl-C in the first or the second read: when pandas opens it, or on the way."""

        reads = 0

        def read(self, size=-1):
            self.reads += 1
            if self.reads == read_before + 1:
                os.kill(os.getpid(), signal.SIGINT)
            return super().read(80)

    real = pd.read_csv
    monkeypatch.setattr(pd, "read_csv", lambda path, **keywords: real(Source(path.read_text()), **keywords))
    with pytest.raises(KeyboardInterrupt):
        tiny_parts(config_for())


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


MOMENTS = {
    "IAutoRec": {"calibration": True}, "UAutoRec": {"learner": "adam", "learning_rate": 0.05, "train_batch_size": 3, "dropout_prob": 0.2},
    "AutoRecEnsemble": {"members": [{"model": name, "epochs": 1, "hidden_size": [4], "lbfgs_max_iter": 3} for name in ("IAutoRec", "UAutoRec")]}, "Bias": {}, "BiasedMF": {},
    "NeuMF": {}, "BPR": {"metrics": ["NDCG"], "valid_metric": "NDCG@3", "topk": 3, "eval_args": {"mode": "full"}},
}  # fmt: skip


def same_in_every_run(result):
    """Drop times and places."""
    state = load_checkpoint(result["checkpoint"])["state_dict"]
    left = {key: result[key] for key in ("valid", "test", "best_epoch", "epochs_run", "n_cold", "split_fingerprint")}
    return {**left, "curve": [[epoch, score] for epoch, _, score in result["curve"]],
            **{name: value.tolist() for name, value in state.items()}}  # fmt: skip


@pytest.mark.parametrize(("model", "stages"), [
    ("IAutoRec", {}), ("IAutoRec", {"refit": True, "final": True}), ("AutoRecEnsemble", {"final": True}),
    ("UAutoRec", {"eval_args": {"split": {"RS": [0.8, 0, 0.2]}}}),
    *((model, {"refit": True}) for model in MOMENTS if model != "IAutoRec"),
])  # fmt: skip
def test_a_run_that_ended_at_any_moment_is_finished_to_the_bit(model, stages, monkeypatch):
    """Stop before and after each checkpoint and before each evaluation: the resumed run equals an uninterrupted one."""
    from recbole_autorec.trainer import rating_trainer

    parameters = {**quick(model), **MOMENTS[model], "data_path": str(DATA), **stages, "saved": True, "epochs": 4}

    def run(**keywords):
        return run_recbole_autorec(model, "tiny", config_dict=parameters, **keywords)

    whole, moments = same_in_every_run(run()), 0
    for turn in range(0, 100, 3 if model == "AutoRecEnsemble" else 1):  # each member adds steps
        steps = iter(range(1000))

        def may_end(method, turn=turn, steps=steps):
            def called(*arguments, **keywords):
                if next(steps) == turn:
                    raise KeyboardInterrupt
                done = method(*arguments, **keywords)
                if next(steps) == turn:
                    raise KeyboardInterrupt
                return done

            return called

        with monkeypatch.context() as patched:
            patched.setattr(rating_trainer, "_free_name", lambda stem, turn=turn: f"saved/{turn}.pth")
            patched.setattr(rating_trainer, "save_checkpoint", may_end(rating_trainer.save_checkpoint))
            patched.setattr(rating_trainer.RatingTrainer, "evaluate", may_end(rating_trainer.RatingTrainer.evaluate))
            try:
                run()
            except KeyboardInterrupt:
                moments += 1
            else:
                break
        if Path(f"saved/{turn}.pth").exists():
            assert same_in_every_run(run(resume=f"saved/{turn}.pth")) == whole, turn
    assert moments > 4


def small(output="out", **keywords):
    return compare(
        {"Bias": None, "GlobalMean": None}, "tiny", 1, output=output, show_progress=False,
        config_dict={**QUICK_ANY, "data_path": str(DATA)}, **keywords,
    )  # fmt: skip


def test_what_a_process_that_died_has_left_does_not_stop_the_next():
    """A disk that is full at the start leaves a lock; a killed process leaves a partial file."""
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
    """Each write in turn fails once; the same call then ends as if nothing had failed."""
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


def test_two_trainings_in_one_output_folder_are_refused():
    def train():
        return run_recbole_autorec("Bias", "tiny", config_dict={**QUICK_ANY, "data_path": str(DATA)}, output="out")

    train()
    train()  # sequential runs are fine
    with locked("out", "training"), pytest.raises(ConfigError, match=r"^--output 'out': a training is running there; "):
        train()
    with locked("out", "comparison"), pytest.raises(ConfigError, match="running there"):
        train()
