import pickle

import pytest
import torch

from recbole_autorec import CheckpointError
from recbole_autorec.trainer.checkpoint import KEYS, load_checkpoint, save_checkpoint
from tests.conftest import DATA

STATE = dict.fromkeys(KEYS, 1) | {"state_dict": {"w": torch.arange(1000.0)}}


def message(path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    return str(caught.value)


def test_what_is_saved_comes_back(tmp_path):
    save_checkpoint(tmp_path / "c.pth", STATE)
    loaded = load_checkpoint(tmp_path / "c.pth")
    assert torch.equal(loaded["state_dict"]["w"], STATE["state_dict"]["w"])
    assert [file.name for file in tmp_path.iterdir()] == ["c.pth"]


def test_missing_file(tmp_path):
    assert message(tmp_path / "c.pth") == f"checkpoint '{tmp_path / 'c.pth'}': no such file."


@pytest.mark.parametrize("keep", [0, 1, 10, 500, -1])
def test_truncated_file(tmp_path, keep):
    path = tmp_path / "c.pth"
    save_checkpoint(path, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    assert message(path) == f"checkpoint '{path}' cannot be read: it is damaged or no checkpoint of recbole_autorec."


def test_a_pickle_that_runs_code_does_not_run(tmp_path):
    class Bait:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "c.pth"
    for write in (lambda: path.write_bytes(pickle.dumps(Bait())), lambda: torch.save({"format": Bait()}, path)):
        write()
        assert (
            message(path) == f"checkpoint '{path}' cannot be read: it is damaged or no checkpoint of recbole_autorec."
        )
    assert not (tmp_path / "ran").exists()


def test_a_text_file(tmp_path):
    path = tmp_path / "tiny.inter"
    path.write_text((DATA / "tiny" / "tiny.inter").read_text())
    assert message(path) == f"checkpoint '{path}' cannot be read: it is damaged or no checkpoint of recbole_autorec."


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1], torch.zeros(2)])
def test_foreign_file(tmp_path, content):
    torch.save(content, tmp_path / "c.pth")
    assert message(tmp_path / "c.pth") == f"checkpoint '{tmp_path / 'c.pth'}' was not written by recbole_autorec."


def test_other_version(tmp_path):
    torch.save({"format": "recbole_autorec", "version": 99}, tmp_path / "c.pth")
    assert message(tmp_path / "c.pth") == (
        f"checkpoint '{tmp_path / 'c.pth'}' has format version 99; this release reads version 3. Train again, or use the "
        "release that wrote it."
    )


def test_missing_part(tmp_path):
    save_checkpoint(
        tmp_path / "c.pth", {key: value for key, value in STATE.items() if key not in ("epoch", "optimizer")}
    )
    assert message(tmp_path / "c.pth") == f"checkpoint '{tmp_path / 'c.pth'}' lacks epoch, optimizer; it is damaged."


@pytest.mark.parametrize(
    ("error", "cause"),
    [(OSError(28, "No space left on device"), "No space left on device"), (RuntimeError("disk\nbacktrace"), "disk")],
)
def test_a_failed_write_leaves_the_old_checkpoint_and_nothing_half_written(tmp_path, monkeypatch, error, cause):
    path = tmp_path / "c.pth"
    save_checkpoint(path, STATE)

    def fail(state, file):
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CheckpointError) as caught:
        save_checkpoint(path, STATE)
    assert str(caught.value) == (
        f"'{path}' cannot be written: {cause}; a checkpoint written before is untouched. Free some space, or give "
        "another --checkpoint_dir."
    )
    assert [file.name for file in tmp_path.iterdir()] == ["c.pth"]
    assert load_checkpoint(path)["epoch"] == 1
