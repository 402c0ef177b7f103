"""Performance ratios that must not get worse: exit code 1 if one is more than 25 % above its recorded value.

    python benchmarks/guard.py            # what make bench runs
    python benchmarks/guard.py --record   # write the ratios of this machine to guard.json

Both sides of a ratio are timed alternately, so that a slow moment of the machine hits both. guard.json has the largest
ratios of several machines: how much more large data cost depends on the caches (1.6 and 2.3 on two AMD EPYCs).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader as DataLoader
from sparse_vs_dense import HIDDEN, REG, compare, random_ratings, sparse_pass

from recbole_autorec.config.config import Config
from recbole_autorec.model.masked_autoencoder import MaskedAutoencoder
from recbole_autorec.model.rating_matrix import RatingMatrix
from recbole_autorec.process_memory import return_large_blocks
from recbole_autorec.quick_start import build_dataloaders, build_trainer, load_and_split, quiet_recbole
from recbole_autorec.trainer.rating_trainer import RatingTrainer

RECORDED = Path(__file__).with_suffix(".json")
ALLOWED = 1.25
ML_1M, ML_10M = (3_707, 6_041, 810_000), (10_678, 69_879, 10_000_000)  # rows, columns with padding; ratings


def side_by_side(one: Callable[[], object], other: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median seconds of each, after one warm-up run of each."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(repeats + 1):
        for run, taken in zip((one, other), seconds, strict=True):
            start = perf_counter()
            run()
            if number:
                taken.append(perf_counter() - start)
    return median(seconds[0]), median(seconds[1])


def passes(shape: tuple[int, int, int], device: str = "cpu") -> tuple[Callable[[], object], int]:
    """Return a function that runs one objective-and-gradient pass over random ratings, and the number of ratings."""
    items, users, values, (n_rows, n_columns) = random_ratings(*shape)
    ratings = RatingMatrix.from_entries(items, users, values, (n_rows, n_columns)).to(device)
    model = MaskedAutoencoder(n_columns, [HIDDEN], "sigmoid", "identity", (REG, REG), 0.01, 0.0, (1.0, 5.0)).to(device)
    return lambda: sparse_pass(model, ratings), len(ratings)


def per_rating_of_large_data() -> float:
    """Return the cost per rating in ML-10M's shape divided by that in ML-1M's."""
    (small, n_small), (large, n_large) = passes(ML_1M), passes(ML_10M)
    seconds = side_by_side(small, large, 5)
    each = seconds[0] / n_small, seconds[1] / n_large
    print(f"a pass, K = {HIDDEN}: {each[0] * 1e6:.3f} us a rating in ML-1M's shape, {each[1] * 1e6:.3f} in ML-10M's")
    return each[1] / each[0]


def prepared(learner: str, batch: int) -> tuple[RatingTrainer, DataLoader, Callable[[], float]]:
    """Return I-AutoRec's trainer on ml-100k, its loader, and a function that leaves the full gradient and returns J."""
    settings = {"learner": learner, "train_batch_size": batch, "saved": False}
    config = Config("IAutoRec", "ml-100k", config_dict=settings)
    with quiet_recbole():
        data, parts = load_and_split(config)
        loader = build_dataloaders(config, data, parts)[0]
        trainer = build_trainer(config, parts[0])
    model = trainer.model.train()
    rows = loader.collate_fn(torch.arange(len(loader.row_ids)))

    def one_pass() -> float:
        model.zero_grad()
        loss = model.calculate_loss(rows)
        loss.backward()
        return loss.item()

    return trainer, loader, one_pass


def epochs_by_pass() -> tuple[float, float]:
    """Return the time of an adam epoch (batches of 512 rows), and of an L-BFGS iteration, divided by a pass's."""
    (adam, batches, _), (full, whole, one_pass) = prepared("adam", 512), prepared("lbfgs", 65536)
    iterations = full.config["lbfgs_max_iter"]
    epoch, once = side_by_side(lambda: adam._train_epoch(batches, 0), one_pass, 21)
    step, again = side_by_side(lambda: full._train_epoch(whole, 0), one_pass, 7)
    print(
        f"ml-100k: an epoch of adam {epoch:.4f} s, {iterations} iterations of L-BFGS {step:.4f} s, a pass {once:.4f} s"
    )
    return epoch / once, step / iterations / again


def passes_of_scaled_lbfgs(n: int = 40) -> float:
    """Return the passes until J is where torch's L-BFGS has it after `n` passes, divided by `n`."""
    trainer, _, one_pass = prepared("lbfgs", 65536)
    learnt = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    start = [parameter.detach().clone() for parameter in learnt]
    found: list[float] = []

    def objective() -> float:
        found.append(one_pass())
        return found[-1]

    torchs = torch.optim.LBFGS(learnt, max_iter=n, max_eval=n, history_size=5, line_search_fn="strong_wolfe")
    torchs.step(objective)
    target = min(found[:n])
    for parameter, value in zip(learnt, start, strict=True):
        parameter.data.copy_(value)
    found.clear()
    while min(found, default=target + 1) > target and len(found) < 2 * n:
        trainer.optimizer.step(objective)
    needed = next((number for number, value in enumerate(found, 1) if value <= target), len(found))
    print(f"ml-100k: J {target:.0f} after {n} passes of torch's L-BFGS and {needed} of ours")
    return needed / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    return_large_blocks()
    items, users, values, shape = random_ratings()
    quarter = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))[: len(values) // 4]
    ratios = {
        "sparse pass by dense": 1 / compare(items, users, values, shape, 9),
        "the same, a quarter of the ratings": 1 / compare(items[quarter], users[quarter], values[quarter], shape, 9),
        "a rating in ML-10M's shape by one in ML-1M's": per_rating_of_large_data(),
    }
    ratios["adam's epoch by a pass"], ratios["an L-BFGS iteration by a pass"] = epochs_by_pass()
    ratios["passes of L-BFGS by those of torch's"] = passes_of_scaled_lbfgs()
    if options.record:
        RECORDED.write_text(json.dumps({name: round(ratio, 3) for name, ratio in ratios.items()}, indent=2) + "\n")
    recorded, worse = json.loads(RECORDED.read_text()), False
    for name, ratio in ratios.items():
        bad = ratio > ALLOWED * recorded[name]
        worse |= bad
        print(f"{name:<46} {ratio:6.3f}   recorded {recorded[name]:6.3f}{'   WORSE' if bad else ''}")
    sys.exit(int(worse))


if __name__ == "__main__":
    main()
