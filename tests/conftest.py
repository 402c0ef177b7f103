from __future__ import annotations

import gc
import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import recbole_autorec  # noqa: F401, before torch, which reads what it sets

# isort: split
import torch
from hypothesis import settings
from recbole.data.interaction import Interaction

from recbole_autorec.config.checks import MODEL_CHECKS
from recbole_autorec.config.config import Config
from recbole_autorec.data.dataset import RatingDataset
from recbole_autorec.model.autorec import AutoRec
from recbole_autorec.model.registry import get_model
from recbole_autorec.quick_start import quiet_recbole

# Values are compared with those of the CPU, so GPUs are hidden from all tests but those of test_gpu, which shows them.
N_GPUS, VISIBLE_GPUS = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
os.environ["CUDA_VISIBLE_DEVICES"], torch.cuda.is_available = "", lambda: False

gc.freeze()  # garbage collection between trainings can skip everything imported so far
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "dataset"
AT_HOME = {"data_path": str(DATA)}  # where a checkpoint's dataset is; the checkpoint cannot set it
ML_1M = ROOT.parent / "shared" / "dataset"

# A run of one second: few units, few iterations, nothing left on disk.
# With this seed the rating of zero is a training rating: tiny's scale is 0 to 5.
QUICK_ANY = {"seed": 1, "epochs": 3, "saved": False, "show_progress": False}  # for every model
QUICK = {
    **QUICK_ANY,
    "hidden_size": [8],
    "reg_weight": 1,
    "row_scaling": 0,
    "column_scaling": 0,
    "init_std": 0.01,
    "lbfgs_max_iter": 5,
    "calibration": False,
}


@pytest.fixture(autouse=True)
def _working_folder(tmp_path, monkeypatch):
    """RecBole writes saved/ and log_tensorboard/ to the working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write_dataset(tmp_path):
    """Return a function that writes lines as dataset 'toy' and returns the data folder."""

    def write(lines: list[str], header: str = "user_id:token\titem_id:token\trating:float", name: str = "toy") -> str:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.inter").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return str(tmp_path / "data")

    return write


def quick(model: str) -> dict:
    """Return the parameters of a quick run of a model."""
    if not issubclass(get_model(model), AutoRec):
        return QUICK_ANY
    shared = model == "AutoRecEnsemble"
    return {key: value for key, value in QUICK.items() if not (shared and key in MODEL_CHECKS["RowAutoRec"])}


def config_for(model: str = "IAutoRec", dataset: str = "tiny", **parameters) -> Config:
    return Config(model, dataset, config_dict={"data_path": str(DATA), **quick(model), **parameters})


def tiny_parts(config: Config) -> tuple[RatingDataset, list[RatingDataset]]:
    with quiet_recbole():
        data = RatingDataset(config)
        return data, data.build()


def tiny_model(model: str = "IAutoRec", **parameters):
    """Return (config, split parts, model on the training part)."""
    config = config_for(model, **parameters)
    _, parts = tiny_parts(config)
    torch.manual_seed(0)
    return config, parts, config.model_class(config, parts[0]).to(config["device"])


def all_pairs(model) -> Interaction:
    grid = torch.cartesian_prod(torch.arange(model.n_users), torch.arange(model.n_items))
    return Interaction({model.USER_ID: grid[:, 0], model.ITEM_ID: grid[:, 1]})


def written_by_0_1_0(model: str) -> Path:
    """Return a checkpoint that release 0.1.0 trained on tiny, of IAutoRec, UAutoRec or BiasedMF; see test_migration."""
    path = Path(f"{model}.pth").absolute()
    path.write_bytes(lzma.decompress((ROOT / "tests" / "release_0_1_0" / f"{model}.pth.xz").read_bytes()))
    return path


class Release(NamedTuple):
    """What a release uploads, and what it was built from.

    Attributes:
        tracked: the files of the project that git knows; a checkout also has its user's ratings and results.
        sdist, wheel: what `python -m build` makes; the wheel is that of the sdist.
        wheel_of_tree: the wheel of the files themselves.
    """

    tracked: set[str]
    sdist: Path
    wheel: Path
    wheel_of_tree: Path


# What work leaves behind in a checkout.
STRAY = ("saved/x.pth", "log_tensorboard/x/events", "results/x.json", "build/lib/recbole_autorec/old.py", "dist/old.whl",
         "site/index.html", "dataset/mine/mine.inter", "docs/__pycache__/x.pyc", "tests/.hypothesis/x", ".venv/x.py",
         "recbole_autorec/__pycache__/x.pyc", "examples/.ipynb_checkpoints/x.ipynb", "notes.txt")  # fmt: skip


@pytest.fixture(scope="session")
def release(tmp_path_factory) -> Release:
    """The project, built from a copy in which somebody has worked; building itself leaves files behind as well."""
    command = ["git", "ls-files", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a release is built from a git checkout")
    tracked = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    copy, out = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("built")

    def build(*arguments) -> None:
        command = map(str, [sys.executable, "-m", "build", "--no-isolation", *arguments, copy])
        done = subprocess.run([*command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    build("--wheel", "--outdir", out / "tree")
    for name in STRAY:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("stray")
    build("--outdir", out)
    (sdist,), (wheel,), (of_tree,) = out.glob("*.tar.gz"), out.glob("*.whl"), out.glob("tree/*.whl")
    return Release(tracked, sdist, wheel, of_tree)
