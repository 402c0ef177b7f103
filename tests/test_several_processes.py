"""Two and three processes come to what one comes to; one that dies takes the run with it, and says so."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import torch.multiprocessing as mp

from recbole_autorec import run_recbole_autorec
from recbole_autorec.errors import AutoRecError, ConfigError, DataError
from recbole_autorec.processes import import_path
from tests import ranked
from tests.conftest import DATA, QUICK, ROOT, config_for

PROGRAM = [sys.executable, str(ROOT / "run_recbole_autorec.py")]
TINY = ["--dataset", "tiny", "--data_path", str(DATA), "--hidden_size", "[8]", "--seed", "1"]


@pytest.fixture(scope="module", params=[2, 3])
def outcomes(request, tmp_path_factory):
    """Of each rank, by case."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(ranked.train, (request.param, folder), nprocs=request.param)
    return [torch.load(folder / f"{rank}.pt") for rank in range(request.param)]


@pytest.mark.parametrize("case", ranked.CASES)
def test_processes_come_to_what_one_comes_to(outcomes, case):
    alone = ranked.outcome(case)
    for together in (outcome[case] for outcome in outcomes):
        for key in ("valid", "test"):
            assert together[key] == pytest.approx(alone[key], abs=2e-5)
        assert (together["best_epoch"], together["epochs_run"]) == (alone["best_epoch"], alone["epochs_run"])
        torch.testing.assert_close(together["scores"], alone["scores"], rtol=0, atol=1e-4)
        for name, parameter in alone["parameters"].items():
            torch.testing.assert_close(together["parameters"][name], parameter, rtol=0, atol=1e-4)
    assert outcomes[0][case]["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    for other in outcomes[1:]:
        assert other[case]["test"] == outcomes[0][case]["test"]
