"""Searches on Ray: on this machine, and on a cluster of two nodes, one of which dies."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from recbole_autorec import AutoRecError, ConfigError, cli, tune
from recbole_autorec.installation import check_extra
from recbole_autorec.quick_start import load_and_split
from recbole_autorec.tuning.search import Search, Setting, Trials
from recbole_autorec.tuning.space import draws, parameters_of, space_from
from recbole_autorec.tuning.tune import NEEDED
from tests.conftest import DATA, QUICK, ROOT
from tests.doomed import Slow
from tests.test_tuning import lines

try:
    check_extra("tune", NEEDED["ray"], "engine ray")
except ConfigError as error:  # missing, or the Ray of RecBole 1.2.1
    pytest.skip(str(error), allow_module_level=True)

SHARED = {**QUICK, "data_path": str(DATA), "epochs": 4}
SPACE = {"loguniform": {"reg_weight": [-2, 3]}, "choice": {"hidden_size": [[4], [8]]}}


def parameters(folder) -> list[str]:
    return sorted(json.dumps(line["parameters"]) for line in lines(folder))


@pytest.fixture
def wait_for():
    def wait(condition, seconds=120):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    return wait


@pytest.fixture
def start_node(tmp_path):
    """Start a cluster node on loopback, as `ray start` does; all nodes end with the test.

    Each has its own address, so that Ray takes them for two machines.
    """
    nodes = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "marks").mkdir()

    def start(name: str):
        first = ["--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false"]
        where = first if name == "head" else [f"--address=127.0.0.1:{port}", "--node-ip-address=127.0.0.2"]
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1",
                   "--disable-usage-stats", "--object-store-memory=200000000", *where]  # fmt: skip
        environment = {
            **os.environ, "MARKS": str(tmp_path / "marks"), "NODE": name, "PYTHONPATH": str(ROOT),
            "RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "4",
        }  # fmt: skip
        with (tmp_path / f"{name}.log").open("w") as log:
            nodes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        return nodes[-1]

    yield start, f"127.0.0.1:{port}"
    for node in reversed(nodes):
        kill(node)


def kill(node: subprocess.Popen) -> None:
    """Kill a node, as a power failure would."""
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def ray_status(address: str) -> str:
    command = [str(Path(sys.executable).with_name("ray")), "status", "--address", address]
    return subprocess.run(command, capture_output=True, text=True).stdout


def test_on_this_machine_it_searches_and_resumes():
    keywords = {"engine": "ray", "algo": "random", "output": "out", "show_progress": False, "cpus_per_trial": 1}
    part = tune("IAutoRec", "tiny", SPACE, max_evals=1, config_dict=SHARED, **keywords)
    before = (part.folder / "trials.jsonl").read_text()
    whole = tune("IAutoRec", "tiny", SPACE, max_evals=3, config_dict=SHARED, resume=True, **keywords)
    assert len(whole.trials) == 3
    assert (whole.folder / "trials.jsonl").read_text().startswith(before)
    assert set(whole.trials["status"]) <= {"done", "stopped"}
    done = whole.trials[whole.trials["status"] == "done"]
    assert whole.result["search"]["valid"]["rmse"] == done["rmse"].min()
    assert whole.result["valid"]["rmse"] == pytest.approx(done["rmse"].min(), abs=2e-6)
    seeded = [parameters_of(space_from(SPACE), drawn) for drawn in draws(space_from(SPACE), SHARED["seed"], 3)]
    assert sorted(map(json.dumps, seeded)) == parameters("out")


def test_a_node_that_dies_loses_no_trial(start_node, wait_for, tmp_path):
    start, address = start_node
    start("head")
    wait_for(lambda: "1 node_" in ray_status(address))
    second = start("second")
    wait_for(lambda: ray_status(address).count("1 node_") == 2)
    code = (
        "from recbole_autorec import tune\n"
        "from tests.doomed import Slow\n"
        f"tune(Slow, 'tiny', {SPACE!r}, engine='ray', algo='random', max_evals=2, output='out', ray_address={address!r},\n"
        f"     config_dict={ {**SHARED, 'epochs': 60, 'stopping_step': 60, 'lbfgs_max_iter': 1}!r}, storage_path='storage')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MARKS": str(tmp_path / "marks"), "NODE": "driver"}
    with Path("search.log").open("w") as log:
        search = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=log, stderr=log)
    wait_for(lambda: any(len(mark.read_text()) >= 3 for mark in tmp_path.glob("marks/second *")))
    kill(second)
    assert search.wait(timeout=300) == 0, Path("search.log").read_text()
    found = lines("out")
    assert len(found) == 2
    assert {line["status"] for line in found} <= {"done", "stopped"}
    epochs = {
        f"{line['parameters']['reg_weight']} {line['parameters']['hidden_size']}": line["epochs_run"] for line in found
    }
    moved = [
        mark.name.removeprefix("second ")
        for mark in tmp_path.glob("marks/second *")
        if len(mark.read_text()) < epochs[mark.name.removeprefix("second ")]
    ]
    assert list(Path("storage").iterdir()) == []  # checkpoints are deleted at the end
    assert moved  # and continued from the checkpoint:
    for name in moved:
        assert len((tmp_path / "marks" / f"head {name}").read_text()) < epochs[name]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_search_on_this_machine_listens_to_it_alone_and_leaves_nothing(number, wait_for, tmp_path):
    (tmp_path / "marks").mkdir()
    code = (
        "from recbole_autorec import tune\n"
        "from tests.doomed import Slow\n"
        f"tune(Slow, 'tiny', {SPACE!r}, engine='ray', algo='random', max_evals=9, output='out',\n"
        f"     config_dict={ {**SHARED, 'epochs': 100, 'stopping_step': 100}!r})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MARKS": str(tmp_path / "marks"), "NODE": "here",
                   "HOME": str(tmp_path)}  # fmt: skip
    with Path("search.log").open("w") as log:
        search = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=log, stderr=log)
    wait_for(lambda: list(tmp_path.glob("marks/*")))
    started = psutil.Process(search.pid).children(recursive=True)
    assert len(started) > 4  # Ray's, and those of the trials
    listening = [
        ip_address(connection.laddr.ip)
        for process in (psutil.Process(search.pid), *started)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 4
    assert all((getattr(address, "ipv4_mapped", None) or address).is_loopback for address in listening)
    search.send_signal(number)
    assert search.wait(timeout=30) == (143 if number == signal.SIGTERM else -signal.SIGKILL), Path(
        "search.log"
    ).read_text()
    assert psutil.wait_procs(started, timeout=30)[1] == []
    assert "SIGTERM" not in Path("search.log").read_text()  # no stack trace from Ray
    if number == signal.SIGTERM:
        assert "--output out --resume continues it" in Path("search.log").read_text()
    assert not (tmp_path / ".ray").exists()  # nor a token in the home folder


def test_a_cluster_that_asks_for_a_token_gets_it(start_node, wait_for, monkeypatch, tmp_path):
    start, address = start_node
    with monkeypatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", "0123456789" * 4)
        start("head")
        wait_for(lambda: "1 node_" in ray_status(address))
    command = [sys.executable, "-m", "recbole_autorec", "tune", "--dataset", "tiny", "--data_path", str(DATA), "--seed", "1",
               "--engine", "ray", "--ray_address", address, "--max_evals", "1", "--epochs", "1", "--algo", "random"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    refused = subprocess.run([*command, "--output", "out"], capture_output=True, text=True, env=environment)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith(
        f"error: --ray_address '{address}': no Ray cluster answers there ("
    )
    assert "give its token if it requires one" in refused.stderr
    with_token = {**environment, "RAY_AUTH_TOKEN": "0123456789" * 4}
    done = subprocess.run([*command, "--output", "other"], capture_output=True, text=True, env=with_token)
    assert done.returncode == 0, done.stderr


def test_only_the_machine_that_runs_the_command_needs_the_dataset(monkeypatch, tmp_path):
    shutil.copytree(DATA / "tiny", tmp_path / "here" / "tiny")

    def load_once(config):
        loaded = load_and_split(config)
        shutil.rmtree(config["data_path"])
        return loaded

    monkeypatch.setattr("recbole_autorec.tuning.tune.load_and_split", load_once)
    tuning = tune("IAutoRec", "tiny", SPACE, engine="ray", algo="random", max_evals=2, output="out",
                  config_dict={**SHARED, "data_path": str(tmp_path / "here")}, show_progress=False)  # fmt: skip
    assert len(tuning.trials) == 2
    assert set(tuning.trials["status"]) <= {"done", "stopped"}


def test_failing_trials_and_searched_epochs():
    space = {"choice": {"learner": ["lbfgs", "adam"], "dropout_prob": [0.2], "epochs": [2, 12]}}
    config_dict = {**SHARED, "stopping_step": 20}
    tuning = tune("IAutoRec", "tiny", space, engine="ray", algo="exhaustive", config_dict=config_dict, output="out",
                  show_progress=False)  # fmt: skip
    table = tuning.trials.set_index(["learner", "epochs"])
    assert list(table.loc["lbfgs", "status"]) == ["failed", "failed"]
    assert all("whose line search needs a deterministic loss" in error for error in table.loc["lbfgs", "error"])
    assert table.loc[("adam", 12), "epochs_run"] == 12  # its epochs, not the default's
    assert table.loc[("adam", 12), "status"] == "done"


def test_a_trial_that_cannot_be_written_ends_the_search_and_says_so(monkeypatch):
    def full(self, trial):
        raise AutoRecError("no space")

    monkeypatch.setattr(Trials, "add", full)
    with pytest.raises(AutoRecError, match=r"^no space$"):
        tune(
            "IAutoRec", "tiny", SPACE, engine="ray", max_evals=2, config_dict=SHARED, output="out", show_progress=False
        )


def test_a_cluster_that_is_not_there_is_one_message_and_exit_code_2(capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["tune", "--dataset", "tiny", "--data_path", str(DATA), "--engine", "ray", "--output", "out"]
    assert cli.main([*arguments, "--ray_address", f"127.0.0.1:{port}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: --ray_address '127.0.0.1:{port}': no Ray cluster answers there ([Errno 111] Connection refused); start one "
        "with 'ray start --head', give its token if it requires one (docs/tuning.md), or leave --ray_address out to use this "
        "machine alone."
    )


def test_a_trial_that_fits_on_no_machine_is_refused(capsys):
    arguments = ["tune", "--dataset", "tiny", "--data_path", str(DATA), "--engine", "ray", "--output", "out"]
    assert cli.main([*arguments, "--gpus_per_trial", "64"]) == 2
    error = capsys.readouterr().err
    assert "error: --cpus_per_trial 1 --gpus_per_trial 64: no machine has that many; the largest have " in error


def test_points_of_a_resumed_bayes_search_have_what_is_known(tmp_path):
    from recbole_autorec.tuning.ray_tune import _points

    space = space_from(SPACE)
    trials = Trials(tmp_path / "trials.jsonl", "rmse", False)
    known = {"parameters": {"reg_weight": 1.25, "hidden_size": [8]}, "status": "done", "valid": {"rmse": 1.0}}
    trials.add(known)
    search = Search(Setting(Slow, "tiny", (), {}), space, None, [], trials, "bayes", 30, 1, None, print)
    points = _points(search)
    assert len(points) == 20 + 1
    assert parameters_of(space, points[-1]) == known["parameters"]
    assert _points(search) == points
