"""Unusable paths: every command gives a readable error and touches nothing outside."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_autorec import AutoRecError, run_recbole_autorec
from recbole_autorec.files import write_json
from tests.conftest import DATA, QUICK_ANY, ROOT


def without_roots_rights():
    """Make permissions count even for root and its child processes."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert libc.prctl(24, right, 0, 0, 0) == 0  # PR_CAPBSET_DROP


def test_every_flag_with_a_path_that_cannot_be_used_ends_in_words():
    """See bad_paths.py, which also checks that existing files are untouched."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bad_paths"], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=without_roots_rights,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ended = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"place"')]
    assert len(ended) > 200
    for each in ended:
        assert each["code"] in (0, 2), each
        assert "Traceback" not in each["said"], each
        if each["code"]:
            assert each["said"].splitlines()[-1].startswith("error: "), each
    assert [each["code"] for each in ended[-2:]] == [0, 0]  # from a read-only folder, writing elsewhere
    refused = [each for each in ended if each["code"]]
    assert len(refused) > 0.9 * len(ended)
    assert all(each["code"] for each in ended if "300 bytes" in each["kind"] or "beyond" in each["kind"])
    assert all(each["code"] for each in ended if each["kind"] == "empty")


def test_a_link_planted_at_a_temporary_name_is_not_followed(tmp_path):
    (tmp_path / "outside").write_text("untouched")
    (tmp_path / f"x.json.{os.getpid()}.tmp").symlink_to(tmp_path / "outside")
    write_json(tmp_path / "x.json", {"a": 1}, "")
    assert (tmp_path / "outside").read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "x.json"]


def test_a_planted_lock_is_not_followed(tmp_path):
    from tests.test_interrupted import small

    Path("outside").write_text("untouched")
    Path("out").mkdir()
    Path("out/.lock").symlink_to(Path("outside").absolute())
    with pytest.raises(AutoRecError, match=r"'out/.lock' is a link; delete it, or give another --output\.$"):
        small()
    assert Path("outside").read_text() == "untouched"


def test_a_killed_training_s_half_written_checkpoint_goes_when_it_is_old():
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    Path("saved").mkdir()
    old, new, other = (Path(f"saved/{name}.{dead.pid}.tmp") for name in ("a.pth", "b.pth", "c"))
    for left in (old, new, other):
        left.touch()
    for left in (old, other):
        os.utime(left, (0, 0))
    run_recbole_autorec("Bias", "tiny", config_dict={**QUICK_ANY, "data_path": str(DATA), "saved": True})
    assert set(Path("saved").glob("*.tmp")) == {new, other}


def test_what_is_written_lets_a_dead_process_s_leftovers_go_and_a_living_one_s_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"x.json.{pid}.tmp" for pid in (dead.pid, os.getppid())] + [f"y.json.{dead.pid}.tmp"]
    for name in names:
        (tmp_path / name).touch()
    write_json(tmp_path / "x.json", {}, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], "x.json"])
