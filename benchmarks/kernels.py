"""Time of the three sparse products in ML-10M's shape by slice width, of a whole pass, and the limit of the machine.

python benchmarks/kernels.py
python benchmarks/kernels.py --device cuda     # on a GPU, which needs no slices: only passes and the limit
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from guard import ML_1M, ML_10M, passes
from sparse_vs_dense import HIDDEN, random_ratings

from recbole_autorec.model import rating_matrix
from recbole_autorec.model.rating_matrix import RatingMatrix
from recbole_autorec.process_memory import return_large_blocks


def seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """Return the median seconds, after one warm-up run."""
    taken = []
    for _ in range(repeats + 1):
        start = perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(perf_counter() - start)
    return median(taken[1:])


def bandwidth(n_bytes: int, device: str) -> float:
    """Measure the bandwidth of reading an array of that size repeatedly, in GB/s."""
    array = torch.ones(n_bytes // 4, device=device)
    times = max(1, (1 << 30) // n_bytes)
    return n_bytes * times / seconds(lambda: [array.sum() for _ in range(times)]) / 1e9


def products() -> None:
    items, users, values, (n_rows, n_columns) = random_ratings(*ML_10M)
    matrix = RatingMatrix.from_entries(items, users, values, (n_rows, n_columns))
    hidden, weight = torch.randn(n_rows, HIDDEN), torch.randn(n_columns, HIDDEN)
    print(f"{len(matrix):,} ratings, {n_rows} x {n_columns}, K = {HIDDEN}; seconds of\n"
          "width   R V    R^T H   sampled H W^T")  # fmt: skip
    ours = rating_matrix.WIDTH
    for width in (HIDDEN, 128, 64, 48, 32, 24, 16):
        rating_matrix.WIDTH = width
        each = (
            seconds(lambda: matrix.matmul(matrix.values, weight)),
            seconds(lambda: matrix.transposed_matmul(matrix.values, hidden)),
            seconds(lambda: matrix.sampled_matmul(hidden, weight)),
        )
        print(f"{width:>5}  " + "  ".join(f"{one:5.2f}" for one in each) + ("   ours" if width == ours else ""))
    rating_matrix.WIDTH = ours


def whole_passes(device: str) -> None:
    for name, shape in (("ML-1M", ML_1M), ("ML-10M", ML_10M)):
        run, n = passes(shape, device)
        print(f"a pass in {name}'s shape: {seconds(run) / n * 1e6:.3f} us a rating")


def floor(device: str, hidden: int = HIDDEN) -> float:
    """Return the limit of the machine, in us a rating, and print where it comes from.

    Five products gather a row of a slice per rating, and read its id and value once per slice.
    """
    width = min(hidden, rating_matrix.WIDTH if device == "cpu" else hidden)
    slices = -(-hidden // width)
    cache, memory = bandwidth(ML_10M[1] * width * 4, device), bandwidth(1 << 30, device)
    gathered, streamed = 5 * hidden * 4, 5 * slices * 8
    limit = gathered / cache / 1e3 + streamed / memory / 1e3
    print(
        f"reading {cache:.0f} GB/s from the cache, {memory:.0f} GB/s from memory: {gathered} and {streamed} bytes a "
        f"rating take {limit:.3f} us; {10 * hidden} flops"
    )
    return limit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    return_large_blocks()
    if device == "cpu":
        products()
    else:
        print(torch.cuda.get_device_name())
    whole_passes(device)
    floor(device)


if __name__ == "__main__":
    main()
