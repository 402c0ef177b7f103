"""Test RMSE of each model with its defaults on sparser and rescaled MovieLens, in stars on the scale 1 to 5.

    python benchmarks/sparse.py --dataset ml-100k --keep 1 0.3 0.1 --times 1 20 0.2

For each of --seeds, keep a random share of the ratings, multiply them by --times, train with the default split and no
refit, and divide the RMSE by --times. Mean over the seeds; one seed if all ratings are kept.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_autorec import run_recbole_autorec
from recbole_autorec.config.config import Config

MODELS = ["Bias", "BiasedMF", "IAutoRec", "UAutoRec"]


def thinned(ratings: pd.DataFrame, keep: float, times: float, seed: int, folder: Path) -> None:
    chosen = ratings[np.random.default_rng(seed).random(len(ratings)) < keep]
    (folder / "thinned").mkdir(exist_ok=True)
    chosen.assign(**{"rating:float": chosen["rating:float"] * times}).to_csv(
        folder / "thinned" / "thinned.inter", sep="\t", index=False
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path")
    parser.add_argument("--keep", type=float, nargs="+", default=[1, 0.3, 0.1])
    parser.add_argument("--times", type=float, nargs="+", default=[1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--models", nargs="+", default=MODELS)
    args = parser.parse_args()
    source = Config("Bias", args.dataset, config_dict={"data_path": args.data_path} if args.data_path else None)
    file = Path(source["data_path"]) / f"{args.dataset}.inter"
    ratings = pd.read_csv(file, sep="\t", dtype={"user_id:token": str, "item_id:token": str})
    print(f"| {args.dataset} | ratings | times |", " | ".join(args.models), "|\n|" + "---|" * (3 + len(args.models)))
    for keep in args.keep:
        seeds = args.seeds if keep < 1 else args.seeds[:1]
        for times in args.times:
            found = {model: [] for model in args.models}
            for seed in seeds:
                with tempfile.TemporaryDirectory() as folder:
                    thinned(ratings, keep, times, seed, Path(folder))
                    for model in args.models:
                        settings = {"data_path": folder, "saved": False, "show_progress": False, "state": "WARNING"}
                        result = run_recbole_autorec(model, "thinned", config_dict=settings)
                        found[model].append(result["test"]["rmse"] / times)
            means = " | ".join(f"{np.mean(found[model]):.4f}" for model in args.models)
            print(f"| {keep:.0%} | {keep * len(ratings):,.0f} | {times:g} | {means} |", flush=True)


if __name__ == "__main__":
    main()
