"""Run a Search on Ray Tune: parallel trials on one machine or a cluster; ASHA stops the worse ones early.

RecBole's own Ray support reports test metrics, requires recall@10 and a GPU, and loads the dataset in every trial.
Here the driver loads and splits it once, and Ray's object store copies it once to each node.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from recbole_autorec.distributed.children import ending_with_us, environment, import_path
from recbole_autorec.errors import ConfigError
from recbole_autorec.interruptions import sigterm_unwinds
from recbole_autorec.quick_start import quiet_recbole
from recbole_autorec.tuning.search import FAILED, Search, Setting, Trial, Trials, key, run_trial
from recbole_autorec.tuning.space import Space, combination, draws, hyperopt_space, parameters_of

STARTUP = 20  # random trials before hyperopt's Parzen estimators take over; hyperopt's default
RETRIES = 3  # for a trial whose worker died
TOKEN = secrets.token_hex(32)  # keeps other users of this machine out of a local search; Ray reads it once per process


@dataclass(frozen=True)
class Cluster:
    """Where trials run.

    Attributes:
        address: running cluster, as host:port or auto; None starts Ray on this machine.
        cpus_per_trial, gpus_per_trial: resources of each trial.
        storage_path: folder for checkpoints, from which trials continue if their node dies; on a cluster, shared by
            all nodes. Cleared at the end. None saves no checkpoints: such trials start again.
        cards: CUDA_VISIBLE_DEVICES for Ray on this machine; None for all.
    """

    address: str | None = None
    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    storage_path: str | Path | None = None
    cards: str | None = None


def search_with_ray(search: Search, cluster: Cluster, name: str) -> None:
    """Run the search; add each trial to search.trials and pass it to search.ended when it ends.

    Raises:
        ConfigError: no cluster answers at the address, or none of its machines has room for a trial.
    """
    points = _points(search)
    if not points:
        return
    with _connected(cluster):
        _search(search, cluster, name, points)


@contextmanager
def _connected(cluster: Cluster) -> Iterator[None]:
    with environment(**_settings(cluster)), sigterm_unwinds() as unwinds_again:
        with quiet_recbole():
            import ray
        constants = ray._private.ray_constants
        was = constants.ENABLE_RAY_CLUSTER
        # If False, the default on Windows, Ray listens on loopback only.
        constants.ENABLE_RAY_CLUSTER = cluster.address is not None
        try:
            _connect(ray, cluster)
            unwinds_again()  # Ray's own handler exits with a C++ stack trace
            with ending_with_us(_started(ray)):  # two of Ray's agents outlive a killed search by a minute
                try:
                    _check_room(ray, cluster)
                    yield
                finally:
                    ray.shutdown()
        finally:
            constants.ENABLE_RAY_CLUSTER = was


def _search(search: Search, cluster: Cluster, name: str, points: list[dict[str, Any]]) -> None:
    with quiet_recbole():
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.hyperopt import HyperOptSearch

    name = f"{name}-{uuid4()}"  # other searches may share the storage path
    temporary = tempfile.TemporaryDirectory(prefix="recbole_autorec-", ignore_cleanup_errors=True)
    try:
        searcher = HyperOptSearch(
            hyperopt_space(search.space),
            metric="loss",
            mode="min",
            points_to_evaluate=points,
            n_initial_points=STARTUP,
            random_state_seed=search.seed,
        )
        epochs = _most_epochs(search)
        scheduler = ASHAScheduler(
            time_attr="epoch",
            metric="loss",
            mode="min",
            max_t=epochs + 1,  # the trial itself decides when it is finished
            grace_period=ceil(epochs / 4),
            reduction_factor=3,
        )
        trainable = tune.with_parameters(
            _trainable, setting=search.setting, space=search.space, trials=search.trials, data=search.data,
            parts=search.parts, threads=max(1, int(cluster.cpus_per_trial)), keeps=cluster.storage_path is not None,
        )  # fmt: skip
        errors: list[Exception] = []  # our own; Ray would blame them on the trial

        class Listener(tune.Callback):
            def on_trial_complete(self, iteration, trials, trial, **info):
                try:
                    _record(search, trial.config, trial.last_result["trial"])
                except Exception as error:
                    errors.append(error)

        class Stopper(tune.Stopper):
            def __call__(self, trial_id, result):
                return False

            def stop_all(self):
                return bool(errors)

        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": cluster.cpus_per_trial, "gpu": cluster.gpus_per_trial}),
            tune_config=tune.TuneConfig(
                num_samples=search.max_evals if search.algo == "bayes" else len(points),
                search_alg=searcher,
                scheduler=scheduler,
                time_budget_s=search.time_budget,
                reuse_actors=False,  # Ray fails a trial whose actor is still busy with one that ASHA stopped
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=os.path.abspath(cluster.storage_path or temporary.name),
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                callbacks=[Listener()],
                stop=Stopper(),
                verbose=0,
            ),
        )
        results = tuner.fit()
        if errors:
            raise errors[0]
        for result in (results[number] for number in range(len(results))):
            if result.error is not None:
                why = (str(result.error).strip().splitlines() or ["it was killed"])[-1]
                error = f"it failed {RETRIES + 1} times; the last error: {why}"
                _record(search, result.config or {}, {"status": FAILED, "seconds": 0.0, "error": error})
    finally:
        shutil.rmtree(Path(cluster.storage_path or temporary.name) / name, ignore_errors=True)
        temporary.cleanup()


def _started(ray) -> list[psutil.Process]:
    """Return the processes of Ray that this process started."""
    infos = (info for kind in ray._private.worker._global_node.all_processes.values() for info in kind)
    first = [psutil.Process(info.process.pid) for info in infos]
    return [process for each in first for process in (each, *each.children(recursive=True))]


def _settings(cluster: Cluster) -> dict[str, str | None]:
    """Return Ray's environment variables: no usage statistics, no extra logs, Ctrl-C left to the caller."""
    settings: dict[str, str | None] = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
    }
    if cluster.address is None:  # Ray then requires this token and writes none to the home folder
        settings |= {"RAY_AUTH_MODE": None, "RAY_AUTH_TOKEN": TOKEN}
    elif "RAY_AUTH_MODE" not in os.environ:
        file = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
        if "RAY_AUTH_TOKEN" in os.environ or Path(file).is_file():  # where Ray looks for a token
            settings["RAY_AUTH_MODE"] = "token"  # as `ray start` does if it finds one; Ray forgets it for HOST:PORT
    return settings


def _trainable(
    drawn: Mapping[str, Any], setting: Setting, space: Space, trials: Trials, data, parts, threads: int, keeps: bool
) -> None:
    """Run one trial in a worker. Its last report is the whole trial."""
    import torch
    from ray import tune

    parameters = parameters_of(space, drawn)
    torch.set_num_threads(threads)
    machine = {"show_progress": False, "gpu_id": os.environ.get("CUDA_VISIBLE_DEVICES", "")}  # as Ray set it

    def metrics(trial: Trial) -> dict[str, Any]:
        return {"trial": trial, "loss": trials.loss(trial), "epoch": trial.get("epochs_run", 0)}

    known = trials.known(parameters)
    if known is not None:
        tune.report(metrics(known))
        return
    kept = tune.get_checkpoint() if keeps else None
    with tempfile.TemporaryDirectory() as temporary, kept.as_directory() if kept else nullcontext() as before:
        start = Path(before) / "checkpoint.pth" if before else None

        def report(trial: Trial) -> None:
            new = keeps and trial["best_epoch"] == trial["epochs_run"]
            tune.report(metrics(trial), checkpoint=tune.Checkpoint.from_directory(temporary) if new else None)

        run = partial(run_trial, setting, data, parts, parameters, report)
        folder = Path(temporary) if keeps else None
        trial = run(folder, start, machine)
        if start is not None and trial["status"] == FAILED:
            trial = run(folder, None, machine)  # start again without the checkpoint, which may be damaged
        tune.report(metrics(trial))


def _points(search: Search) -> list[dict[str, Any]]:
    """Return what hyperopt tries first, encoded as hyperopt draws it.

    For a grid or a random search, that is every point without a result. For bayes, it is the random start and all known
    trials: hyperopt learns from them, and workers report them without training.
    """
    space = search.space
    if search.algo == "exhaustive":
        sizes = {dimension.name: len(dimension.values) for dimension in space}
        points = [combination(sizes, number) for number in range(search.max_evals)]
    else:
        random = min(search.max_evals, STARTUP) if search.algo == "bayes" else search.max_evals
        points = draws(space, search.seed, random)
    if search.algo != "bayes":
        different = {key(parameters_of(space, point)): point for point in points}
        return [point for point in different.values() if search.trials.known(parameters_of(space, point)) is None]
    asked = {key(parameters_of(space, point)) for point in points}
    return points + [
        {dimension.name: dimension.drawn(trial["parameters"][dimension.name]) for dimension in space}
        for trial in search.trials.trials
        if key(trial["parameters"]) not in asked
    ]


def _most_epochs(search: Search) -> int:
    """Return the most epochs a trial may train; the space may search over epochs."""
    searched = [max(dimension.extremes()) for dimension in search.space if dimension.name == "epochs"]
    return searched[0] if searched else search.setting.config()["epochs"]


def _record(search: Search, drawn: Mapping[str, Any], trial: Trial) -> None:
    parameters = parameters_of(search.space, drawn)
    if search.trials.known(parameters) is None:
        search.ended(search.trials.add({**trial, "parameters": parameters}))


def _connect(ray, cluster: Cluster) -> None:
    address = cluster.address
    quiet = {"include_dashboard": None if address else False, "log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        if address and address != "auto":
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=10):
                pass  # Ray itself would wait for minutes, then exit the process
        with environment(PYTHONPATH=import_path(), CUDA_VISIBLE_DEVICES=cluster.cards):
            ray.init(address=address or "local", **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        if address is None:
            raise ConfigError(f"Ray cannot start on this machine: {why}.") from error
        raise ConfigError(
            f"--ray_address {address!r}: no Ray cluster answers there ({why}); start one with 'ray start --head', give "
            "its token if it requires one (docs/tuning.md), or leave --ray_address out to use this machine alone."
        ) from error
    listens = ray.util.get_node_ip_address()
    if address is None and not ip_address(listens).is_loopback:
        ray.shutdown()
        raise ConfigError(
            f"Ray {ray.__version__} listens on {listens}, not only on this machine; pip install 'ray<2.61'."
        )


def _check_room(ray, cluster: Cluster) -> None:
    """Reject trials that fit on no machine; they would wait forever."""
    rooms = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {"CPU": cluster.cpus_per_trial, "GPU": cluster.gpus_per_trial}
    if not any(all(room.get(name, 0) >= count for name, count in wanted.items()) for room in rooms):
        largest = {name: max(room.get(name, 0) for room in rooms) for name in wanted}
        raise ConfigError(
            f"--cpus_per_trial {cluster.cpus_per_trial:g} --gpus_per_trial {cluster.gpus_per_trial:g}: no machine has "
            f"that many; the largest have {largest['CPU']:g} CPUs and {largest['GPU']:g} GPUs."
        )
