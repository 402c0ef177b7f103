"""Time and memory of a pass by the number of ratings, with rows and columns as long as ML-1M's.

    pip install matplotlib
    python benchmarks/growth.py --chart docs/growth.svg          # 0.1 to 100 million ratings, half an hour on two cores

Each size is measured in a process of its own, for its peak memory. The limit is what the same gathers cost if they
streamed from the cache, and ids and values from memory; see kernels.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from guard import ML_1M
from kernels import floor, seconds
from sparse_vs_dense import REG, random_ratings, sparse_pass

from recbole_autorec.model.masked_autoencoder import MaskedAutoencoder
from recbole_autorec.model.rating_matrix import RatingMatrix
from recbole_autorec.process_memory import peak_memory_mb, return_large_blocks

SIZES = (100_000, 1_000_000, 10_000_000, 100_000_000)


def measure(n_ratings: int, hidden: int) -> dict[str, float]:
    """Return seconds of a pass, and memory in MiB: what a pass needs, and the peak, which drawing the ratings sets."""
    by = n_ratings / ML_1M[2]
    items, users, values, shape = random_ratings(round(ML_1M[0] * by), round(ML_1M[1] * by), n_ratings)
    ratings = RatingMatrix.from_entries(items, users, values, shape)
    del items, users, values
    model = MaskedAutoencoder(shape[1], [hidden], "sigmoid", "identity", (REG, REG), 0.01, 0.0, (1.0, 5.0))
    taken = seconds(lambda: sparse_pass(model, ratings), 3)
    stored = sum(tensor.nbytes for tensor in (*vars(ratings).values(), *ratings.transpose) if torch.is_tensor(tensor))
    weights = sum(2 * weight.nbytes for weight in model.parameters())  # and gradients
    return {"n": len(ratings), "rows": shape[0], "columns": shape[1], "seconds": taken,
            "stored_mb": (stored + weights) / 2**20, "peak_mb": peak_memory_mb()}  # fmt: skip


def draw(found: list[dict[str, float]], limit: float, path: Path) -> None:
    import matplotlib.pyplot as plt

    _, (time, memory) = plt.subplots(1, 2, figsize=(9, 4))
    sizes = [each["n"] for each in found]
    time.plot(sizes, [each["seconds"] for each in found], marker="o", label="a pass")
    time.plot(sizes, [limit * n / 1e6 for n in sizes], linestyle="--", color="grey", label="limit of the machine")
    time.set(xscale="log", yscale="log", xlabel="ratings", ylabel="seconds")
    memory.plot(sizes, [each["stored_mb"] for each in found], marker="o", label="ratings, weights and gradients")
    memory.set(xscale="log", yscale="log", xlabel="ratings", ylabel="MiB")
    time.legend()
    memory.legend()
    plt.tight_layout()
    plt.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=100, help="hidden units K")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="largest number of ratings")
    parser.add_argument("--chart", type=Path, help="file for a chart")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    return_large_blocks()
    if options.one:
        print(json.dumps(measure(options.one, options.hidden)))
        return
    print(f"K = {options.hidden}\n{'ratings':>12} {'rows':>8} {'columns':>8} {'s a pass':>9} {'us a rating':>12} "
          f"{'stored MiB':>10} {'peak MiB':>9}")  # fmt: skip
    found = []
    for size in (size for size in SIZES if size <= options.largest):
        command = [sys.executable, __file__, "--one", str(size), "--hidden", str(options.hidden)]
        found.append(each := json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(f"{each['n']:>12,} {each['rows']:>8,} {each['columns']:>8,} {each['seconds']:>9.3f} "
              f"{each['seconds'] / each['n'] * 1e6:>12.3f} {each['stored_mb']:>10,.0f} {each['peak_mb']:>9,.0f}",
              flush=True)  # fmt: skip
    limit = floor("cpu", options.hidden)
    print(f"limit of the machine: {limit:.3f} us a rating")
    if options.chart:
        draw(found, limit, options.chart)


if __name__ == "__main__":
    main()
