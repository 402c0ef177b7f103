"""RMSE of Bias and BiasedMF beside scikit-surprise's BaselineOnly and SVD, with the same split and settings.

    pip install scikit-surprise
    python benchmarks/surprise_agreement.py --data_path dataset                # ML-1M, 4 minutes on two cores
    python benchmarks/surprise_agreement.py --dataset ml-100k

All train on train + validation (90 %) for a fixed number of epochs and are tested on the rest. Fails if two differ by
more than 0.005.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pandas as pd
from surprise import SVD, BaselineOnly, Dataset, Reader

from recbole_autorec.config.config import Config
from recbole_autorec.data.dataset import merge
from recbole_autorec.quick_start import build_dataloaders, build_trainer, load_and_split, quiet_recbole

TOLERANCE = 0.005
# (name, ours, its parameters, theirs)
PAIRS = [
    ("Bias / BaselineOnly", "Bias", {"user_damping": 15, "item_damping": 10}, lambda: BaselineOnly(verbose=False)),
    (
        "BiasedMF / SVD, its defaults",
        "BiasedMF",
        {"embedding_size": 100, "epochs": 20, "learning_rate": 0.005, "reg_weight": 0.02, "init_std": 0.1},
        lambda: SVD(random_state=0),
    ),
    (
        "BiasedMF / SVD, 60 epochs, reg 0.05",
        "BiasedMF",
        {"embedding_size": 100, "epochs": 60, "learning_rate": 0.005, "reg_weight": 0.05, "init_std": 0.1},
        lambda: SVD(n_factors=100, n_epochs=60, reg_all=0.05, random_state=0),
    ),
]


def ours(model: str, parameters: dict, dataset: str, data_path: str, seed: int):
    """Return the RMSE of our model, and the ratings it was trained and tested on."""
    fixed = {"data_path": data_path, "seed": seed, "saved": False, "show_progress": False}
    config = Config(model, dataset, config_dict={**fixed, **parameters})
    with quiet_recbole():
        data, parts = load_and_split(config)
        everything = merge(parts[0], parts[1])
        train, _, test = build_dataloaders(config, data, [everything, *parts[1:]])
        trainer = build_trainer(config, everything)
        trainer.fit(train, saved=False)
        rmse = trainer.evaluate(test)["rmse"]
    columns = [data.uid_field, data.iid_field, data.rating_field]
    return rmse, *(
        pd.DataFrame({column: part.inter_feat[column].numpy() for column in columns}) for part in (everything, parts[2])
    )


def theirs(algorithm, train: pd.DataFrame, test: pd.DataFrame) -> float:
    reader = Reader(rating_scale=(train.iloc[:, 2].min(), train.iloc[:, 2].max()))
    algorithm.fit(Dataset.load_from_df(train, reader).build_full_trainset())
    predicted = np.array([algorithm.predict(user, item).est for user, item in test.iloc[:, :2].itertuples(index=False)])
    return float(np.sqrt(np.mean((predicted - test.iloc[:, 2].to_numpy()) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    worst = 0.0
    for name, model, parameters, algorithm in PAIRS:
        mine, train, test = ours(model, parameters, arguments.dataset, arguments.data_path, arguments.seed)
        other = theirs(algorithm(), train, test)
        worst = max(worst, abs(mine - other))
        print(f"{name:<38} ours {mine:.4f}  scikit-surprise {other:.4f}  difference {mine - other:+.4f}", flush=True)
    if worst > TOLERANCE:
        sys.exit(f"they differ by {worst:.4f}, more than {TOLERANCE}")


if __name__ == "__main__":
    main()
