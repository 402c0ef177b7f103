"""Two or three processes give the result of one; if one dies, the run ends with a message and keeps its best epoch."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.multiprocessing as mp

from recbole_autorec import IAutoRec, compare, objective_function, run_recbole_autorec, tune
from recbole_autorec.distributed import collectives, launcher
from recbole_autorec.errors import ConfigError, DataError
from recbole_autorec.trainer.checkpoint import load_checkpoint
from tests import ranked
from tests.conftest import DATA, QUICK, QUICK_ANY, ROOT, config_for

ROUNDING = 2e-5
PATIENCE = 180  # seconds; a loaded machine is slow
TINY_ANY = {"data_path": str(DATA), **QUICK_ANY}
TINY = {"data_path": str(DATA), **QUICK, **ranked.FIRM}


@pytest.fixture(scope="module", params=[2, 3])
def outcomes(request, tmp_path_factory):
    """Outcomes of each rank, by case."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(ranked.train, (request.param, folder), nprocs=request.param)
    return [torch.load(folder / f"{rank}.pt") for rank in range(request.param)]


@pytest.mark.parametrize("case", ranked.CASES)
def test_processes_come_to_what_one_comes_to(outcomes, case):
    """Parameters, errors (RecBole averages the processes' RMSEs: another number) and losses."""
    alone = ranked.outcome(case)
    rounding = ROUNDING * (30 if ranked.CASES[case][1].get("reg_weight") else 1)  # L-BFGS amplifies it
    for together in (outcome[case] for outcome in outcomes):
        for key in ("valid", "test"):
            assert together[key] == pytest.approx(alone[key], abs=rounding)
        assert (together["best_epoch"], together["epochs_run"]) == (alone["best_epoch"], alone["epochs_run"])
        torch.testing.assert_close(together["scores"], alone["scores"], rtol=0, atol=5 * rounding)
        for name, parameter in alone["parameters"].items():
            torch.testing.assert_close(together["parameters"][name], parameter, rtol=0, atol=5 * rounding)
    assert outcomes[0][case]["losses"] == pytest.approx(alone["losses"], rel=rounding)
    for other in outcomes[1:]:
        assert other[case]["test"] == outcomes[0][case]["test"]


def test_nproc_and_a_resumed_run(tmp_path):
    alone = run_recbole_autorec("IAutoRec", "tiny", config_dict={**TINY, "saved": True})
    begun = run_recbole_autorec("IAutoRec", "tiny", config_dict={**TINY, "saved": True, "epochs": 2, "nproc": 2})
    more = {**TINY, "saved": True, "nproc": 2}
    resumed = run_recbole_autorec("IAutoRec", "tiny", config_dict=more, resume=begun["checkpoint"], output="out")
    assert resumed["test"] == pytest.approx(alone["test"], abs=30 * ROUNDING)
    assert resumed["parameters"]["nproc"] == 2
    assert Path("out/result.json").is_file()
    assert not torch.distributed.is_initialized()


def test_a_users_mistake_in_a_process_is_said_as_in_one():
    with pytest.raises(DataError, match="nowhere") as error:
        run_recbole_autorec("IAutoRec", "nowhere", config_dict={**TINY, "nproc": 2})
    assert "process" not in str(error.value)


def test_fewer_ratings_than_processes():
    with pytest.raises(DataError, match="only 4 ratings, too few for 5 processes"):
        run_recbole_autorec("IAutoRec", "tiny", config_dict={**TINY, "nproc": 5})


@pytest.mark.parametrize(
    ("model", "parameters", "said"),
    [
        ("IAutoRec", {"nproc": 2, "world_size": 1}, "group_offset=0 with world_size=1"),
        ("IAutoRec", {"world_size": 2, "group_offset": 2}, "nproc=1 and group_offset=2 with world_size=2"),
        ("LightGCN", {"nproc": 2, **ranked.RANKING}, "model LightGCN must be trained by one process"),
    ],
)
def test_flags_that_do_not_fit(model, parameters, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        config_for(model, **parameters)


def test_batch_normalisation_is_refused():
    with pytest.raises(ConfigError, match=r"model NFM normalises each batch \(BatchNorm\)"):
        run_recbole_autorec("NFM", "tiny", config_dict={**TINY_ANY, "nproc": 2})


def test_a_model_class_that_other_processes_do_not_find():
    class Mine(IAutoRec):
        pass

    with pytest.raises(ConfigError, match="defined in the running script or in a function; move it to a module"):
        run_recbole_autorec(Mine, "tiny", config_dict={**TINY, "nproc": 2})


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}: .*Give another --port"):
            run_recbole_autorec("IAutoRec", "tiny", config_dict={**TINY, "nproc": 2, "port": port})


def test_an_address_that_is_none():
    with pytest.raises(
        ConfigError, match=r"ip 'no\.such\.host\.invalid': .* give the IPv4 address of the first machine"
    ):
        run_recbole_autorec("IAutoRec", "tiny", config_dict={**TINY, "world_size": 2, "ip": "no.such.host.invalid"})


def test_a_name_that_means_this_machine_alone(monkeypatch):
    """Debian's /etc/hosts maps the host name to such an address."""

    class Probe(nullcontext):
        def __enter__(self):
            return self

        def connect(self, address):
            assert address[0] == "node1"

        def getsockname(self):
            return "127.0.1.1", 50000

    monkeypatch.setattr(launcher.socket, "socket", lambda *_: Probe())
    with pytest.raises(ConfigError, match=r"ip 'node1' is a loopback address here \(127\.0\.1\.1\)"):
        launcher._interface("node1", several_machines=True)


def test_processes_that_differ(monkeypatch):
    monkeypatch.setattr(collectives, "broadcast", lambda mine: ({"start_epoch": 3, "nproc": 1}, "abc"))
    collectives.check_alike({"start_epoch": 3, "nproc": 2}, "abc")
    with pytest.raises(ConfigError, match=r"process 0 has start_epoch=0 \(first process: 3\)"):
        collectives.check_alike({"start_epoch": 0, "nproc": 1}, "abc")
    with pytest.raises(DataError, match=r"process 0 has split abd \(first process: abc\): their datasets differ"):
        collectives.check_alike({"start_epoch": 3, "nproc": 1}, "abd")


def test_gloo_is_quoted_in_short():
    error = RuntimeError("[../tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:2451. This is typically GLHF!")
    said = r"another process of this run: Connection closed by peer \[127\.0\.0\.1\]:2451\.$"
    with pytest.raises(collectives.LostRankError, match=said), collectives._answered():
        raise error


@pytest.mark.parametrize(
    ("verb", "instead"),
    [
        (lambda: compare(["IAutoRec"], "tiny", 1, flags={"nproc": "2"}), "a comparison has --jobs"),
        (lambda: tune("IAutoRec", "tiny", flags={"nproc": "2"}), "a search has --engine ray"),
        (lambda: objective_function({**TINY, "dataset": "tiny", "nproc": 2}), "a search has Ray"),
    ],
)
def test_many_trainings_are_not_shared(verb, instead):
    with pytest.raises(ConfigError, match=f"nproc=2, .*{instead}"):
        verb()


# The command line, killed and interrupted.


@pytest.fixture
def start():
    """Start trainings of thousands of epochs, optionally on a "machine"; kill those still running at the end."""
    runs: list[subprocess.Popen] = []

    def start(log: Path, inside: str | None = None, interrupt: Any = signal.SIG_DFL, **given: object):
        parameters = {**TINY, "epochs": 10000, "stopping_step": 10000, "saved": True, **given}
        named = [text for key, value in parameters.items() for text in (f"--{key}", str(value))]
        command = [sys.executable, str(ROOT / "run_recbole_autorec.py"), "--dataset", "tiny", *named]
        elsewhere = ["ip", "netns", "exec", inside] if inside else []
        with log.open("w") as file:
            run = subprocess.Popen(
                [*elsewhere, *command],
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, interrupt),  # background jobs ignore SIGINT
            )
        runs.append(run)
        return run

    yield start
    for run in runs:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def ranks_of(run: subprocess.Popen) -> list[psutil.Process]:
    children = psutil.Process(run.pid).children(recursive=True)
    return sorted((c for c in children if "spawn_main" in " ".join(c.cmdline())), key=lambda c: c.pid)


def wait_for(log: Path, text: str) -> None:
    for _ in range(10 * PATIENCE):
        if text in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_processes_of_one_machine_listen_to_it_alone(tmp_path, start):
    run = start(tmp_path / "log", nproc=2)
    wait_for(tmp_path / "log", "epoch   3")
    listening = [
        ip_address(connection.laddr.ip)
        for process in (psutil.Process(run.pid), *ranks_of(run))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert all((getattr(address, "ipv4_mapped", None) or address).is_loopback for address in listening)


@pytest.mark.parametrize("dead", [0, 1])
def test_a_process_that_dies_ends_the_run(tmp_path, start, dead):
    run = start(tmp_path / "log", nproc=2)
    wait_for(tmp_path / "log", "epoch   3")
    others = ranks_of(run)
    others.pop(dead).kill()
    assert run.wait(timeout=PATIENCE) == 2
    said = (tmp_path / "log").read_text()
    assert f"error: process {dead} of 2 was killed by signal 9 (SIGKILL)" in said
    assert "Traceback" not in said
    checkpoint = re.search(r"The best epoch so far is in (\S+);", said)
    assert load_checkpoint(checkpoint[1])["course"]["best_epoch"] >= 1
    psutil.wait_procs(others, timeout=10)
    assert not any(other.is_running() for other in others)


def test_ctrl_c_is_said_once(tmp_path, start):
    run = start(tmp_path / "log", nproc=2)
    wait_for(tmp_path / "log", "epoch   3")
    others = ranks_of(run)
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(timeout=PATIENCE) == 130
    said = (tmp_path / "log").read_text()
    assert said.count("interrupted; epoch") == 1
    assert "Traceback" not in said
    assert not any(other.is_running() for other in others)


@pytest.mark.parametrize("interrupt", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_launcher_that_is_ended_leaves_no_process(tmp_path, start, interrupt):
    """A script's background job ignores Ctrl-C, and would ignore torch's signal to orphans."""
    run = start(tmp_path / "log", interrupt=interrupt, nproc=2)
    wait_for(tmp_path / "log", "epoch   3")
    orphans = ranks_of(run)
    assert len(orphans) == 2
    run.terminate()
    _, alive = psutil.wait_procs(orphans, timeout=PATIENCE)
    assert not alive


@pytest.fixture
def machines():
    """Make two network namespaces that reach each other like two machines."""
    names = [f"recbole{os.getpid()}{letter}" for letter in "ab"]

    def ip(*words: str) -> bool:
        return subprocess.run(["ip", *words], capture_output=True).returncode == 0

    try:
        if os.geteuid() or not all(ip("netns", "add", name) for name in names):
            pytest.skip("needs root and network namespaces")
        assert ip("link", "add", "v0", "netns", names[0], "type", "veth", "peer", "name", "v1", "netns", names[1])
        for number, name in enumerate(names):
            assert ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", f"v{number}")
            assert ip("-n", name, "link", "set", "lo", "up")
            assert ip("-n", name, "link", "set", f"v{number}", "up")
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


MEET = {"world_size": 2, "ip": "10.77.0.1"}


def test_two_machines(tmp_path, start, machines):
    logs = [tmp_path / "first", tmp_path / "second"]
    runs = [start(log, machines[number], **MEET, group_offset=number, epochs=3) for number, log in enumerate(logs)]
    assert [run.wait(timeout=PATIENCE) for run in runs] == [0, 0]
    alone = run_recbole_autorec("IAutoRec", "tiny", config_dict=TINY)
    for log in logs:
        test = re.search(r"^test +(\S+)", log.read_text(), re.MULTILINE)
        assert float(test[1]) == pytest.approx(alone["test"]["rmse"], abs=1e-4)
    assert "epoch   3" not in logs[1].read_text()
    assert "checkpoint saved/" in logs[0].read_text()
    assert "checkpoint of the first machine" in logs[1].read_text()


def test_a_machine_that_is_lost(tmp_path, start, machines):
    logs = [tmp_path / "first", tmp_path / "second"]
    first, second = (start(log, machines[number], **MEET, group_offset=number)
                     for number, log in enumerate(logs))  # fmt: skip
    wait_for(logs[0], "epoch   3")
    os.killpg(second.pid, signal.SIGKILL)
    assert first.wait(timeout=PATIENCE) == 2
    said = logs[0].read_text()
    assert "error: lost contact with another process of this run" in said
    assert "The best epoch so far is in" in said
    assert "Traceback" not in said


def test_machines_that_differ(tmp_path, start, machines):
    logs = [tmp_path / "first", tmp_path / "second"]
    runs = [
        start(log, machines[number], **MEET, group_offset=number, seed=number + 1) for number, log in enumerate(logs)
    ]
    assert [run.wait(timeout=PATIENCE) for run in runs] == [2, 2]
    assert "error: process 1 has seed=2 (first process: 1)" in logs[1].read_text()
