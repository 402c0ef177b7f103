"""Time and memory of predicting files of random pairs.

python benchmarks/predict.py saved/MODEL.pth
"""

import argparse
import resource
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from recbole_autorec import Predictor
from recbole_autorec.serving.batch import predict_file

PART = 250_000  # pairs generated at once: takes no more memory than predicting them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    options = parser.parse_args()
    predictor, random = Predictor.load(options.checkpoint), np.random.default_rng(0)
    for count in (1_000_000, 4_000_000):
        with tempfile.TemporaryDirectory() as folder:
            pairs, output = Path(folder) / "pairs.tsv", Path(folder) / "output.tsv"
            for written in range(0, count, PART):
                columns = {"user": random.choice(predictor.users, PART), "item": random.choice(predictor.items, PART)}
                pd.DataFrame(columns).to_csv(pairs, sep="\t", index=False, header=written == 0, mode="a")
            start = perf_counter()
            predict_file(options.checkpoint, pairs, output)
            seconds = perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{count:,} pairs: {seconds:.1f} s, peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
