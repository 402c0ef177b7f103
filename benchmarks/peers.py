"""Test RMSE by seconds of training for public rating predictors and ours, on one machine and one split.

    pip install scikit-surprise matplotlib
    python benchmarks/peers.py --data_path dataset --chart docs/peers.svg          # ML-1M, an hour on two cores
    python benchmarks/peers.py --dataset ml-100k

Each trains on train + validation (90 %) and is tested on the rest; test time does not count. "best" is the best point
on the test part, for all models alike: what a method can reach, not what it would select. scikit-surprise reports only
the last epoch, so each of its points is a separate training. The dense AutoRec imitates the usual ports: item rows as
dense tensors with 0 for no rating, a mask on the error, two linear layers, Adam, and the penalty in every batch.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import surprise
import torch
from torch import Tensor, nn

from recbole_autorec.config.config import Config
from recbole_autorec.data.dataset import RatingDataset, merge
from recbole_autorec.process_memory import return_large_blocks
from recbole_autorec.quick_start import build_dataloaders, build_trainer, load_and_split, quiet_recbole

TARGETS = (0.85, 0.84)
Points = Iterator[tuple[float, float]]  # (seconds of training, test RMSE)


def ours(settings: dict, parameters: dict) -> Points:
    config = Config("IAutoRec", config_dict={**settings, "stopping_step": 1000, **parameters})
    with quiet_recbole():
        data, parts = load_and_split(config)
        everything = merge(parts[0], parts[1])
        train, _, test = build_dataloaders(config, data, [everything, *parts[1:]])
        trainer = build_trainer(config, everything)
        trainer.fit(train, test, saved=False)
    for _, seconds, rmse in trainer.curve:
        yield seconds, rmse


def matrix_factorisation(algorithm: type, numbers_of_epochs: list[int], train: RatingDataset, test: RatingDataset,
                         **parameters) -> Points:  # fmt: skip
    train_part, test_part = (pd.DataFrame(part.inter_feat.numpy())[["user_id", "item_id", "rating"]]
                             for part in (train, test))  # fmt: skip
    scale = surprise.Reader(rating_scale=(train_part.rating.min(), train_part.rating.max()))
    trainset = surprise.Dataset.load_from_df(train_part, scale).build_full_trainset()
    for n_epochs in numbers_of_epochs:
        model = algorithm(n_epochs=n_epochs, random_state=0, **parameters)
        start = perf_counter()
        model.fit(trainset)
        seconds = perf_counter() - start
        rated = test_part.itertuples(index=False)
        errors = np.array([model.predict(user, item).est - rating for user, item, rating in rated])
        yield seconds, float(np.sqrt((errors**2).mean()))


def dense(train: RatingDataset, test: RatingDataset, batch: int, penalty: float, hidden: int = 500,
          most_seconds: float = 400) -> Points:  # fmt: skip
    torch.manual_seed(0)
    users, items, values = (train.inter_feat[field] for field in ("user_id", "item_id", "rating"))
    ratings = torch.zeros(train.item_num, train.user_num)
    ratings[items, users] = values
    mask = (ratings > 0).float()
    low, high = values.min().item(), values.max().item()
    encoder, decoder = nn.Linear(train.user_num, hidden), nn.Linear(hidden, train.user_num)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)

    def predictions(rows: Tensor) -> Tensor:
        return decoder(torch.sigmoid(encoder(rows)))

    seconds, best, epochs_since = 0.0, float("inf"), 0
    while seconds < most_seconds and epochs_since < 10:
        start = perf_counter()
        for rows in torch.randperm(len(ratings)).split(batch):
            optimizer.zero_grad()
            error = ((predictions(ratings[rows]) - ratings[rows]) * mask[rows]).square().sum()
            (error + penalty / 2 * (encoder.weight.square().sum() + decoder.weight.square().sum())).backward()
            optimizer.step()
        seconds += perf_counter() - start
        with torch.no_grad():
            predicted = torch.cat([predictions(rows) for rows in ratings.split(512)])
        pairs = predicted[test.inter_feat["item_id"], test.inter_feat["user_id"]].clamp(low, high)
        rmse = (pairs - test.inter_feat["rating"]).square().mean().sqrt().item()
        epochs_since = 0 if rmse < best else epochs_since + 1
        best = min(best, rmse)
        yield seconds, rmse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--data_path")
    parser.add_argument("--chart", type=Path, help="file for a chart of RMSE by seconds")
    arguments = parser.parse_args()
    return_large_blocks()
    settings = {"dataset": arguments.dataset, "seed": 1, "saved": False, "show_progress": False}
    if arguments.data_path:
        settings["data_path"] = arguments.data_path
    with quiet_recbole():
        _, parts = load_and_split(Config("IAutoRec", config_dict=settings))
    train, test = merge(parts[0], parts[1]), parts[2]
    peers: dict[str, Points] = {
        "I-AutoRec, lbfgs (ours)": ours(settings, {}),
        "I-AutoRec, rprop (ours)": ours(settings, {"learner": "rprop", "epochs": 15}),
        "I-AutoRec, adam, batch 512 (ours)": ours(
            settings, {"learner": "adam", "train_batch_size": 512, "epochs": 100}
        ),
        "I-AutoRec, adam, batch 2048 (ours)": ours(
            settings,
            {"learner": "adam", "train_batch_size": 2048, "learning_rate": 0.006, "init_std": 0.05, "epochs": 150},
        ),
        "dense AutoRec, adam, batch 512, penalty 1": dense(train, test, 512, 1),
        "dense AutoRec, adam, batch 512, penalty 15": dense(train, test, 512, 15),
        "dense AutoRec, adam, batch 32, penalty 1": dense(train, test, 32, 1),
        "scikit-surprise SVD, its defaults": matrix_factorisation(surprise.SVD, [5, 10, 20, 40], train, test),
        "scikit-surprise SVD, reg 0.05": matrix_factorisation(
            surprise.SVD, [10, 20, 40, 60, 80], train, test, reg_all=0.05
        ),
        "scikit-surprise SVD++": matrix_factorisation(surprise.SVDpp, [5, 10, 20], train, test),
    }
    curves = {}
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print(f"{'seconds to test RMSE':<44}" + "".join(f"{target:>8}" for target in TARGETS) + "    best (after)")
    for name, points in peers.items():
        curves[name] = list(points)
        to_target = [next((s for s, rmse in curves[name] if rmse <= target), None) for target in TARGETS]
        seconds, best = min(curves[name], key=lambda point: point[1])
        reached = "".join(f"{'-' if s is None else format(s, '.1f'):>8}" for s in to_target)
        print(f"{name:<44}{reached}  {best:.4f} ({seconds:.0f})", flush=True)
    if arguments.chart:
        draw(curves, arguments.chart)


def draw(curves: dict[str, list[tuple[float, float]]], path: Path) -> None:
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(figsize=(9, 5))
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), label=name, marker=".", linewidth=2 if "ours" in name else 1)
    axes.set(xscale="log", xlabel="seconds of training", ylabel="test RMSE", xlim=(1, None), ylim=(0.81, 0.95))
    axes.axhline(TARGETS[-1], color="grey", linewidth=0.5)
    axes.legend(fontsize=8)
    plt.tight_layout()
    plt.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
