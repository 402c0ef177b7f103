"""Run each training in a process of its own, to measure its memory and to survive its crash.

Files in the folder of a comparison:

    comparison.json          the dataset, the settings and the parameters of each row
    runs/LABEL-N.json        the result of LABEL in repeat N, or {"error": reason}
    runs/LABEL-N.npy         its predictions of the test part, (n_test,) stars
    runs/LABEL-N.valid.npy   its predictions of the validation part in the chosen epoch, (n_valid,) stars
    runs/LABEL-N.log         its output
    splits/N.npz             the test part of repeat N: users, items, ratings, user_counts, item_counts; the
                             validation part's valid_ratings; the range of the training ratings; and the
                             fingerprint of the whole split
"""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Generator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch

from recbole_autorec.comparison.plan import Plan, Row
from recbole_autorec.data.dataset import split_fingerprint, tested_pairs
from recbole_autorec.distributed.children import death, interrupt, self_contained
from recbole_autorec.errors import AutoRecError, ConfigError, DataError, in_one_line
from recbole_autorec.files import write_json, write_whole
from recbole_autorec.interruptions import blocked_interruptions, interrupted, noted_interruptions
from recbole_autorec.model.registry import get_model

HINT = "free some space, or give another --output; finished rows are safe, and the same command continues from them."
# Imported by torch's optimisers and RecBole's trainer on first use; preloading them saves each child two seconds.
SLOW_IMPORTS = ["torch._dynamo", "tensorboard.plugins.projector.projector_plugin"]


@dataclass(frozen=True)
class Task:
    """One training: a row of the table in one repeat."""

    plan: Plan
    row: Row
    repeat: int
    parameters: dict[str, Any]  # all of them, as they were when the comparison started
    folder: Path
    threads: int
    directory: str  # working directory, for relative paths

    def file(self, ending: str) -> Path:
        return self.folder / "runs" / f"{quote(self.row.label, safe=' ()=,')}-{self.repeat}.{ending}"

    @property
    def result_file(self) -> Path:
        return self.file("json")

    def result(self) -> dict[str, Any] | None:
        """Read the result; None if it has not been written yet."""
        return json.loads(self.result_file.read_text()) if self.result_file.is_file() else None

    def predictions(self, part: str = "test") -> np.ndarray:
        return np.load(self.file("npy" if part == "test" else "valid.npy"))

    def write(self, result: dict[str, Any], test: np.ndarray, valid: np.ndarray) -> None:
        """Write the predictions, then the result, so that a result implies complete predictions."""
        for ending, scores in (("npy", test), ("valid.npy", valid)):
            save = partial(np.save, arr=scores.astype(np.float32))
            write_whole(self.file(ending), save, AutoRecError, HINT)
        write_json(self.result_file, result, HINT)

    def split(self) -> dict[str, np.ndarray]:
        with np.load(self.split_file) as arrays:
            return dict(arrays)

    @property
    def split_file(self) -> Path:
        return self.folder / "splits" / f"{self.repeat}.npz"


def run_all(tasks: list[Task], jobs: int) -> Generator[tuple[Task | None, float], None, None]:
    """Run `jobs` tasks in parallel. Yield (task, seconds) when one ends, and (None, 0) each second in between."""
    # forkserver: children start with all imports done, and without our threads and GPU context
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    models = {get_model(task.row.model).__module__ for task in tasks}
    preload = [__name__, "recbole_autorec.quick_start", *SLOW_IMPORTS, *sorted(models)]
    context.set_forkserver_preload([*preload, "recbole_autorec.distributed.unblocked"])
    waiting, running = deque(tasks), dict[Any, tuple[Any, Task, float]]()
    with noted_interruptions() as interruptions:  # handled only where all children are known, so none is orphaned
        try:
            if method == "forkserver":
                from multiprocessing import forkserver, resource_tracker  # not on Windows

                resource_tracker.ensure_running()  # first: when it starts, it ends the blocking
                # an interruption would end the server's imports with a traceback
                with self_contained(), blocked_interruptions():
                    forkserver.ensure_running()
            while waiting or running:
                while waiting and len(running) < jobs:
                    task = waiting.popleft()
                    process = context.Process(target=_work, args=(task,))
                    with self_contained():
                        process.start()
                    running[process.sentinel] = process, task, time.perf_counter()
                ended = wait(list(running), timeout=1)
                if interruptions:
                    interrupted(interruptions[0])
                if not ended:
                    yield None, 0.0
                for sentinel in ended:
                    process, task, start = running.pop(sentinel)
                    process.join()
                    if task.result() is None:
                        _fail(task, f"its process {death(process.exitcode)}")
                    yield task, time.perf_counter() - start
        finally:
            interrupt([process for process, *_ in running.values()])


def _fail(task: Task, why: str) -> None:
    write_json(task.result_file, {"error": why}, HINT)


def _work(task: Task) -> None:
    try:
        os.chdir(task.directory)
        _train_logged(task)
    except (OSError, AutoRecError) as error:  # a full disk or an unwritable log
        sys.exit(f"{task.row.label}, repeat {task.repeat}: {in_one_line(error)}")
    except KeyboardInterrupt:  # at any moment, also while an error is written
        sys.exit(130)


def _train_logged(task: Task) -> None:
    with task.file("log").open("w", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=file)
        if task.threads:
            torch.set_num_threads(task.threads)
        try:
            _train(task)
        except AutoRecError as error:
            _fail(task, " ".join(str(error).split()))
        except Exception as error:  # RecBole's models may raise anything; the row shows it
            _fail(task, in_one_line(error))
            traceback.print_exc()


def _train(task: Task) -> None:
    from recbole_autorec.process_memory import return_large_blocks
    from recbole_autorec.quick_start import load_and_split, quiet_recbole, train_and_test

    return_large_blocks()
    start = time.perf_counter()
    config = task.plan.config(task.row, task.repeat)
    for key, value in config.plain_parameters.items():
        if value != task.parameters.get(key):
            raise ConfigError(f"{key} was {task.parameters.get(key)!r} when the comparison began and is {value!r} now.")
    config["show_progress"] = False
    with quiet_recbole():
        data, parts = load_and_split(config)
    _write_split(task, parts)
    result, trainer = train_and_test(config, data, parts)
    result["all_parameters"] = config.plain_parameters
    result["total_seconds"] = round(time.perf_counter() - start, 3)
    if task.plan.ranks:
        write_json(task.result_file, result, HINT)
    else:
        task.write(result, trainer.test_scores.numpy(), trainer.valid_scores.numpy())


def _write_split(task: Task, parts) -> None:
    """Write the test part and the fingerprint of the split; all rows of a repeat must have the same split."""
    fingerprint = split_fingerprint(parts)
    if task.split_file.is_file():
        known = str(task.split()["fingerprint"])
        if known != fingerprint:
            raise DataError(f"its split is {fingerprint}, but the other rows have {known}.")
        return
    train, valid = (part.inter_feat[part.rating_field].numpy() for part in parts[:2])
    arrays = {
        **tested_pairs(parts),
        "range": np.array([train.min(), train.max()]),
        "valid_ratings": valid,
        "fingerprint": np.array(fingerprint),
    }
    archive = io.BytesIO()  # zipfile would print a traceback on a full disk when it is garbage-collected
    np.savez_compressed(archive, **arrays)
    write_whole(task.split_file, lambda file: file.write(archive.getbuffer()), AutoRecError, HINT)
