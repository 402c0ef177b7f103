"""One of several processes that train the same models; returns their results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from recbole_autorec.quick_start import train_and_test
from tests.conftest import config_for, tiny_parts

RANKING = {"metrics": ["NDCG", "Recall"], "valid_metric": "NDCG@2", "topk": [2], "eval_args": {"mode": "full"}}
# With a small penalty or first step, L-BFGS with other rounding ends at another point.
FIRM = {"reg_weight": 20, "init_std": 0.5}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "lbfgs": ("IAutoRec", FIRM),
    "the paper's": ("IAutoRec", {"reg_weight": 20, "offsets": False}),
    "chunks": ("IAutoRec", {**FIRM, "train_batch_size": 4, "eval_batch_size": 2}),
    "rprop": ("UAutoRec", {"learner": "rprop", "learning_rate": 0.01}),
    "adam": ("UAutoRec", {"learner": "adam", "learning_rate": 0.01, "train_batch_size": 4, "refit": True}),
    "clipped": ("UAutoRec", {"learner": "adam", "train_batch_size": 3, "clip_grad_norm": {"max_norm": 1.0}}),
    "sparse gradients": ("BiasedMF", {"train_batch_size": 16}),
    "a mean loss": ("FM", {"train_batch_size": 16}),
    "solved": ("Bias", {}),
    "ranking": ("IAutoRec", {**FIRM, **RANKING}),
    "calibrated": ("IAutoRec", {**FIRM, "calibration": True, "refit": True}),
    "an ensemble": (
        "AutoRecEnsemble",
        {"reg_weight": 20, "calibration": True, "refit": True,
         "members": [{"model": "IAutoRec", "init_std": 0.5}, {"model": "UAutoRec", "init_std": 0.5}]},
    ),
}  # fmt: skip


def outcome(case: str) -> dict[str, Any]:
    """Return result, scores on the test part, and parameters."""
    model, parameters = CASES[case]
    config = config_for(model, **parameters)
    result, trainer = train_and_test(config, *tiny_parts(config))
    kept = {key: result[key] for key in ("valid", "test", "best_epoch", "epochs_run")}
    losses = [float(loss) for loss in trainer.train_loss_dict.values()]
    return {**kept, "losses": losses, "scores": trainer.last_scores, "parameters": trainer.model.state_dict()}


def train(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size)
    os.chdir(folder)
    torch.save({case: outcome(case) for case in CASES}, folder / f"{rank}.pt")
    dist.destroy_process_group()
