"""Time and peak memory by stage, from data on disk to test RMSE, for generated ratings too large for any cache.

    python benchmarks/large.py                                                     # ML-20M's shape
    python benchmarks/large.py --users 480189 --items 17770 --ratings 100000000 --hidden_size [100]      # Netflix's

A rating is 3.5 + user offset + item offset + five factors + noise: no model can beat the standard deviation of the
noise, and a correct one comes close. Any other --key value is a training parameter.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

NOISE, FACTORS = 0.8, 5
PART = 1 << 22  # ratings per write


def generate(folder: Path, n_users: int, n_items: int, n_ratings: int) -> None:
    """Write large.inter, with long tails of users and items."""
    random = np.random.default_rng(0)
    chance = [np.cumsum((np.arange(n) + n / 100) ** -0.7) for n in (n_users, n_items)]
    pairs = np.empty(0, dtype=np.int64)
    while len(pairs) < n_ratings:
        n = (n_ratings - len(pairs)) * 5 // 4 + 1000
        users, items = (np.searchsorted(sums, random.random(n) * sums[-1]) for sums in chance)
        pairs = np.unique(np.concatenate([pairs, users * n_items + items]))
    random.shuffle(pairs)
    offsets = [0.4 * random.standard_normal(n).astype(np.float32) for n in (n_users, n_items)]
    factors = [0.5 * random.standard_normal((n, FACTORS)).astype(np.float32) for n in (n_users, n_items)]
    for start in range(0, n_ratings, PART):
        users, items = np.divmod(pairs[start : min(start + PART, n_ratings)], n_items)
        ratings = 3.5 + offsets[0][users] + offsets[1][items] + (factors[0][users] * factors[1][items]).sum(1)
        ratings += NOISE * random.standard_normal(len(users))
        columns = {"user_id:token": users, "item_id:token": items, "rating:float": ratings.round(2)}
        path = folder / "large" / "large.inter"
        path.parent.mkdir(exist_ok=True)
        pd.DataFrame(columns).to_csv(path, sep="\t", index=False, header=start == 0, mode="a")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("users", 138_493), ("items", 26_744), ("ratings", 20_000_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--model", default="IAutoRec")
    parser.add_argument("--data_path", type=Path, help="folder that keeps the data for the next run")
    known, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = known.data_path or Path(temporary)
        if not (folder / "large").exists():
            arguments = folder, known.users, known.items, known.ratings
            process = multiprocessing.get_context("spawn").Process(target=generate, args=arguments)
            process.start()  # a process of its own, so that its memory does not count
            process.join()
        train(known.model, folder, {key[2:]: value for key, value in zip(rest[::2], rest[1::2], strict=True)})


def train(model: str, folder: Path, flags: dict[str, str]) -> None:
    from recbole_autorec.config.config import Config
    from recbole_autorec.data.dataset import RatingDataset
    from recbole_autorec.process_memory import peak_memory_mb, return_large_blocks
    from recbole_autorec.quick_start import build_dataloaders, build_trainer, quiet_recbole

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return_large_blocks()
    start = perf_counter()

    def stage(name: str) -> None:
        nonlocal start
        print(f"{name:<24} {perf_counter() - start:7.1f} s   peak {peak_memory_mb() / 1024:5.2f} GiB", flush=True)
        start = perf_counter()

    config = Config(model, "large", config_dict={"data_path": str(folder), "saved": False}, flags=flags)
    stage("start")
    with quiet_recbole():
        data = RatingDataset(config)
        stage("load")
        parts = data.build()
        loaders = build_dataloaders(config, data, parts)
        stage("split")
        trainer = build_trainer(config, parts[0])
        stage("model")
        trainer.fit(loaders[0], loaders[1], saved=False, show_progress=True)
        stage(f"train {trainer.epochs_run} epochs")
        print(f"    of which training {trainer.train_seconds:.1f} s, validation {trainer.eval_seconds:.1f} s")
        result = trainer.evaluate(loaders[2])
        stage("test")
    print(f"test RMSE {result['rmse']:.4f}; noise {NOISE}")


if __name__ == "__main__":
    main()
