"""Signals at random moments of train, compare and tune: what is left can be continued, with bit-identical results."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from recbole_autorec.cli import main
from recbole_autorec.comparison.runner import SLOW_IMPORTS
from recbole_autorec.distributed.children import self_contained
from tests.conftest import DATA

SHORT = ["--dataset", "tiny", "--data_path", str(DATA), "--seed", "1", "--show_progress", "False"]
SMALL = ["--hidden_size", "[4]", "--lbfgs_max_iter", "5"]
VERBS = {
    "train": [*SHORT, *SMALL, "--epochs", "6", "--refit", "True", "--output", "out"],
    "compare": ["compare", *SHORT, "--models", "Bias,BiasedMF", "--epochs", "6", "--repeats", "1", "--output", "out"],
    "tune": ["tune", *SHORT, *SMALL[2:], "--epochs", "3", "--max_evals", "3", "--output", "out"],
}
MOMENTS = {"train": 86, "compare": 5, "tune": 9}


def _work(argv, begun):
    with Path("said").open("w", buffering=1) as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
        begun.set()
        sys.exit(main(argv))


def start(argv):
    """Run the command in a separate process that has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    modules = ["quick_start", "comparison.compare", "tuning.tune", "process_memory", "trainer.autorec_trainer"]
    context.set_forkserver_preload([*(f"recbole_autorec.{name}" for name in modules), *SLOW_IMPORTS, "hyperopt"])
    begun = context.Event()
    with self_contained():
        process = context.Process(target=_work, args=(argv, begun))
        process.start()
    assert begun.wait(60)
    return process


def came_out(verb):
    """Return the result without times and places; None if the command has not finished."""
    file = Path("out/result.json")
    if not file.exists():
        return None
    result = json.loads(file.read_text())
    if verb == "compare":
        return {label: {key: value for key, value in row.items() if key in ("rmse", "mae", "epochs")}
                for label, row in result["table"].items()}  # fmt: skip
    kept = {key: result[key] for key in ("valid", "test", "best_epoch", "epochs_run")}
    if verb == "train":
        return {**kept, "curve": [[epoch, score] for epoch, _, score in result["curve"]]}
    trials = [json.loads(line) for line in Path("out/trials.jsonl").read_text().splitlines()]
    return {**kept, "best": Path("out/best.yaml").read_text().split("# ")[-1],
            "trials": [[trial["parameters"], trial["valid"]] for trial in trials]}  # fmt: skip


def go_on(verb):
    argv = list(VERBS[verb])
    if verb == "train" and (there := sorted(Path("saved").glob("*.pth"))):
        argv += ["--resume", str(there[0])]
    if verb == "tune" and Path("out/tuning.json").exists():
        argv += ["--resume"]
    return main(argv)


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="signals of POSIX")
@pytest.mark.parametrize("verb", VERBS)
def test_a_signal_at_any_moment_loses_nothing(verb, tmp_path, monkeypatch):
    seed = random.randrange(10**6)
    chosen, took = random.Random(seed), 0.0
    print(f"seed {seed}")
    for number in range(3):  # the first run takes longest
        monkeypatch.chdir(fresh(tmp_path / f"whole{number}"))
        process, begun = start(VERBS[verb]), time.perf_counter()
        process.join(60)
        took = time.perf_counter() - begun
        assert process.exitcode == 0, Path("said").read_text()
    whole, ended = came_out(verb), 0
    for _ in range(MOMENTS[verb]):
        monkeypatch.chdir(fresh(tmp_path / "interrupted"))
        number, moment = chosen.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL]), chosen.uniform(0, took)
        process = start(VERBS[verb])
        time.sleep(moment)
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
        process.join(60)
        said, what = Path("said").read_text(), f"{signal.Signals(number).name} after {moment:.3f} s of {took:.3f}"
        codes = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
        assert process.exitcode in (0, codes[number]), f"{what}: {process.exitcode}\n{said}"
        assert "Traceback" not in said, f"{what}\n{said}"
        if number != signal.SIGKILL:
            assert not list(Path().rglob("*.tmp")), what
        ended += process.exitcode != 0
        if came_out(verb) is None:
            assert go_on(verb) == 0, what
        assert came_out(verb) == whole, what
    assert ended > MOMENTS[verb] / 2


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
