"""Estimated dampings of Bias minus the best pair of a grid, in test RMSE: negative if the estimate is better.

    python benchmarks/dampings.py --dataset ml-100k --keep 1 0.3 0.1

The pair is chosen from GRID x GRID on the validation part; the mean is fitted in both. Default split, no refit, mean
over the thinning seeds.
"""

import argparse
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from sparse import thinned

from recbole_autorec.config.config import Config
from recbole_autorec.model.offsets import Offsets, fit_offsets
from recbole_autorec.quick_start import load_and_split, quiet_recbole

GRID = [1, 1.5, 2, 3, 4, 6, 9, 14, 20, 30, 50]


def difference(config: Config) -> float:
    with quiet_recbole():
        data, parts = load_and_split(config)
    fields = (data.uid_field, data.iid_field, data.rating_field)
    train, valid, test = ([part.inter_feat[field].numpy() for field in fields] for part in parts)
    low, high = train[2].min(), train[2].max()

    def fitted(user_damping: float | None, item_damping: float | None) -> Offsets:
        shape = data.user_num, data.item_num
        return fit_offsets(train[0], train[1], train[2].astype(float), shape, user_damping, item_damping)

    def rmse(offsets: Offsets, part: list[np.ndarray]) -> float:
        users, items, ratings = part
        prediction = (offsets.mean + offsets.user[users] + offsets.item[items]).clip(low, high)
        return float(np.sqrt(np.mean((prediction - ratings) ** 2)))

    best = min((fitted(*pair) for pair in product(GRID, GRID)), key=lambda offsets: rmse(offsets, valid))
    return rmse(fitted(None, None), test) - rmse(best, test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path")
    parser.add_argument("--keep", type=float, nargs="+", default=[1, 0.3, 0.1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    args = parser.parse_args()
    source = Config("Bias", args.dataset, config_dict={"data_path": args.data_path} if args.data_path else None)
    file = Path(source["data_path"]) / f"{args.dataset}.inter"
    ratings = pd.read_csv(file, sep="\t", dtype={"user_id:token": str, "item_id:token": str})
    for keep in args.keep:
        found = []
        for seed in args.seeds if keep < 1 else args.seeds[:1]:
            with tempfile.TemporaryDirectory() as folder:
                thinned(ratings, keep, 1, seed, Path(folder))
                found.append(difference(Config("Bias", "thinned", config_dict={"data_path": folder})))
        each = ", ".join(f"{value:+.4f}" for value in found)
        print(f"{args.dataset}, {keep:.0%}: {np.mean(found):+.4f} ({each})", flush=True)


if __name__ == "__main__":
    main()
