"""The paper's figures on ML-1M, one seed each; docs/results.md has the means of five."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ML_1M, ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ML_1M / "ml-1m").is_dir(), reason=f"no ml-1m in {ML_1M}"),
]


def rmse(model, *arguments):
    command = [sys.executable, str(ROOT / "run_recbole_autorec.py"), "--model", model, "--dataset", "ml-1m"]
    common = ["--data_path", str(ML_1M), "--refit", "True", "--saved", "False", "--seed", "1", "--output", "out"]
    done = subprocess.run([*command, *common, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(Path("out/result.json").read_text())
    assert result["peak_memory_mb"] < 2000
    return result["test"]["rmse"]


def test_i_autorec_defaults():
    assert rmse("IAutoRec") < 0.831  # 0.8298 when measured; the paper has 0.831


def test_i_autorec_best_preset():
    assert (
        rmse("IAutoRec", "--config_files", str(ROOT / "properties" / "presets" / "iautorec-best.yaml")) < 0.8265
    )  # 0.8252 when measured; this split is harder than the mean of five, 0.8233


def test_u_autorec_reaches_its_paper():
    assert rmse("UAutoRec") < 0.863  # 0.8603 when measured; the paper has 0.874
