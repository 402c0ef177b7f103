"""Folding in new users compared with training on them: RMSE on the other half of their ratings.

    python benchmarks/fold_in.py --dataset ml-1m --data_path dataset

A tenth of the users is hidden. One model trains on the other users and folds in the hidden ones from half of their
ratings; a second model trains on the other users and those halves. Both are tested on the remaining halves; a tenth
of the other users' ratings selects the epoch of both.
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_autorec import Predictor, run_recbole_autorec
from recbole_autorec.config.config import Config
from recbole_autorec.data.dataset import RatingDataset
from recbole_autorec.quick_start import quiet_recbole

COLUMNS = {"user": "user_id:token", "item": "item_id:token", "rating": "rating:float"}


def ratings_of(dataset: str, data_path: str) -> pd.DataFrame:
    """Return columns user, item, rating, with one row per rating."""
    with quiet_recbole():
        data = RatingDataset(Config("Bias", dataset, config_dict={"data_path": data_path}))
    feat = data.inter_feat
    ids = {name: data.field2id_token[field][feat[field]] for name, field in (("user", "user_id"), ("item", "item_id"))}
    return pd.DataFrame({**ids, "rating": feat["rating"].to_numpy()})


def trained(model: str, parts: dict[str, pd.DataFrame], folder: Path, seed: int) -> dict:
    """Train on a given split and return the result."""
    (folder / "split").mkdir(parents=True)
    for name, part in parts.items():
        part.rename(columns=COLUMNS).to_csv(folder / "split" / f"split.{name}.inter", sep="\t", index=False)
    return run_recbole_autorec(
        model,
        "split",
        config_dict={
            "data_path": str(folder), "benchmark_filename": list(parts), "seed": seed, "checkpoint_dir": str(folder),
            "load_col": {"inter": ["user_id", "item_id", "rating"]},
        },
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="dataset/")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    ratings, random = ratings_of(options.dataset, options.data_path), np.random.default_rng(options.seed)
    users = ratings["user"].unique()
    hidden = ratings["user"].isin(random.choice(users, len(users) // 10, replace=False))
    half, tenth = random.random(len(ratings)) < 0.5, random.random(len(ratings)) < 0.1
    given, scored = ratings[hidden & half], ratings[hidden & ~half]
    others, valid = ratings[~hidden & ~tenth], ratings[~hidden & tenth]
    for model in ("UAutoRec", "IAutoRec"):
        with tempfile.TemporaryDirectory() as temporary:
            parts = {"train": others, "valid": valid, "test": scored}
            without = trained(model, parts, Path(temporary) / "without", options.seed)
            predictor = Predictor.load(without["checkpoint"])
            known = given[given["item"].isin(predictor.items)]
            squares = 0.0
            for user, pairs in scored.groupby("user"):
                theirs = known[known["user"] == user]
                new = predictor.fold_in_user(dict(zip(theirs["item"], theirs["rating"], strict=True)))
                squares += ((new.predict(pairs["item"]) - pairs["rating"]) ** 2).sum()
            folded = math.sqrt(squares / len(scored))
            parts["train"] = pd.concat([others, given])
            along = trained(model, parts, Path(temporary) / "with", options.seed)["test"]["rmse"]
        print(f"{model}: folded in {folded:.4f}, trained with them {along:.4f}, {folded / along - 1:+.1%}; "
              f"not known at all {without['test']['rmse']:.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
