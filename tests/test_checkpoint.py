import pickle
import zipfile

import pytest
import torch

from recbole_autorec import CheckpointError
from recbole_autorec.trainer.checkpoint import SCHEMA, load_checkpoint, save_checkpoint
from tests.conftest import DATA

STATE = {
    "parameters": {"model": "IAutoRec", "dataset": "tiny", "hidden_size": [3]},
    "train_fingerprint": "0",
    "best_valid_score": 0.9,
    "course": {
        "best_epoch": 2, "epochs_run": 2, "train_seconds": 1.5, "eval_seconds": 0.1, "curve": [[1, 0.7, 0.9]],
        "valid": {"rmse": 0.9},
    },
    "refit": False,
    "data": {
        "users": ["[PAD]", "a"], "items": ["[PAD]", "x"], "titles": None, "fields": [],
        "user": torch.ones(1, dtype=torch.int32), "item": torch.ones(1, dtype=torch.int32), "rating": torch.ones(1),
    },
    "state_dict": {"w": torch.arange(1000.0)},
    "other_parameter": {},
    "optimizer": {},
    "random_state": {name: torch.zeros(3, dtype=torch.uint8) for name in ("torch", "loader", "numpy")},
}  # fmt: skip


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
    for name in ("b.pth", "a.pth", "result.json"):
        (tmp_path / name).touch()
    assert message(tmp_path / "c.pth").endswith("no such file; its folder has a.pth, b.pth.")


@pytest.mark.parametrize("keep", [0, 1, 10, 500, -1])
def test_truncated_file(tmp_path, keep):
    path = tmp_path / "c.pth"
    save_checkpoint(path, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    assert message(path) == f"checkpoint '{path}' cannot be read: it is damaged or not a checkpoint of recbole_autorec."


def test_a_pickle_that_runs_code_does_not_run(tmp_path):
    class Bait:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "c.pth"
    for write in (lambda: path.write_bytes(pickle.dumps(Bait())), lambda: torch.save({"format": Bait()}, path)):
        write()
        assert (
            message(path)
            == f"checkpoint '{path}' cannot be read: it is damaged or not a checkpoint of recbole_autorec."
        )
    assert not (tmp_path / "ran").exists()


def test_a_text_file(tmp_path):
    path = tmp_path / "tiny.inter"
    path.write_text((DATA / "tiny" / "tiny.inter").read_text())
    assert message(path) == f"checkpoint '{path}' cannot be read: it is damaged or not a checkpoint of recbole_autorec."


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1], torch.zeros(2)])
def test_foreign_file(tmp_path, content):
    torch.save(content, tmp_path / "c.pth")
    assert message(tmp_path / "c.pth") == f"checkpoint '{tmp_path / 'c.pth'}' was not written by recbole_autorec."


def test_other_version(tmp_path):
    torch.save({"format": "recbole_autorec", "version": 99}, tmp_path / "c.pth")
    assert message(tmp_path / "c.pth") == (
        f"checkpoint '{tmp_path / 'c.pth'}' has format version 99; this release reads version 3, and predicts with version 2. "
        "Train again, or use the release that wrote it."
    )


def test_missing_part(tmp_path):
    save_checkpoint(
        tmp_path / "c.pth", {key: value for key, value in STATE.items() if key not in ("course", "optimizer")}
    )
    assert message(tmp_path / "c.pth") == f"checkpoint '{tmp_path / 'c.pth'}' lacks course, optimizer; it is damaged."


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("PytorchStreamWriter failed\nbacktrace"), "PytorchStreamWriter failed"),
    ],
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
        f"'{path}' cannot be written: {cause}; an earlier checkpoint is intact. Free some space, or give "
        "another --checkpoint_dir."
    )
    assert [file.name for file in tmp_path.iterdir()] == ["c.pth"]
    assert load_checkpoint(path)["course"]["best_epoch"] == 2


def test_the_schema_is_what_is_written():
    assert SCHEMA.keys() == STATE.keys()
    assert all(is_right(STATE[name]) for name, is_right in SCHEMA.items())


@pytest.mark.parametrize("name", [*SCHEMA, "another"])
@pytest.mark.parametrize(
    "value", [None, 3, 3.5, "x", [], {}, {"x": 1}, {"x": torch.ones(2)}, torch.ones(2), float("nan")]
)
def test_a_part_of_another_kind_is_damage(tmp_path, name, value):
    right = name in SCHEMA and SCHEMA[name](value)
    torch.save({"format": "recbole_autorec", "version": 3, **STATE, name: value}, tmp_path / "c.pth")
    if right:
        assert load_checkpoint(tmp_path / "c.pth")
    else:
        assert message(tmp_path / "c.pth") == (f"checkpoint '{tmp_path / 'c.pth'}' is damaged: invalid {name}.")


def test_a_record_that_unpacks_to_more_than_the_file_is_not_unpacked(tmp_path):
    save_checkpoint(tmp_path / "c.pth", {**STATE, "state_dict": {"w": torch.zeros(5_000_000)}})
    with zipfile.ZipFile(tmp_path / "c.pth") as stored, zipfile.ZipFile(tmp_path / "d.pth", "w") as deflated:
        for entry in stored.infolist():
            deflated.writestr(entry.filename, stored.read(entry), compress_type=zipfile.ZIP_DEFLATED)
    assert (tmp_path / "d.pth").stat().st_size < 100_000
    assert "cannot be read" in message(tmp_path / "d.pth")


def test_a_tensor_longer_than_its_storage_is_damage(tmp_path):
    long = torch.ones(1).expand(1 << 40)
    torch.save({"format": "recbole_autorec", "version": 3, **STATE, "state_dict": {"w": long}}, tmp_path / "c.pth")
    assert "invalid state_dict" in message(tmp_path / "c.pth")
