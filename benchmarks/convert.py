"""Time and memory of converting 20 million generated ratings in ml-25m's format.

python benchmarks/convert.py
"""

import argparse
import resource
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from recbole_autorec import convert

USERS, ITEMS = 138_493, 26_744


def write_ratings(path: Path, count: int) -> None:
    """Write userId, movieId, rating, timestamp: skewed item popularity, half stars, occasional repeated pairs."""
    random = np.random.default_rng(0)
    for start in range(0, count, 1 << 20):
        n = min(1 << 20, count - start)
        frame = pd.DataFrame({
            "userId": random.integers(1, USERS + 1, n),
            "movieId": 1 + (ITEMS * random.random(n) ** 2).astype(np.int64),
            "rating": random.integers(1, 11, n) / 2,
            "timestamp": random.integers(789652009, 1427784002, n),
        })  # fmt: skip
        frame.to_csv(path, mode="a", index=False, header=start == 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=int, default=20_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv"
        write_ratings(path, options.ratings)
        start = perf_counter()
        converted = convert(path, "generated", folder)
        seconds = perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{options.ratings:,} ratings, {converted.n_duplicates:,} of them repeated: {seconds:.1f} s, {peak:.1f} GB")


if __name__ == "__main__":
    main()
