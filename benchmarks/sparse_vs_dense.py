"""Time of one objective-and-gradient pass of I-AutoRec: our sparse code and a dense version of the same objective.

    python benchmarks/sparse_vs_dense.py --data_path dataset          # with ml-1m in that folder
    python benchmarks/sparse_vs_dense.py                              # without data: random ratings in ML-1M's shape

The dense version is plain torch: batches of 512 rows, dense products, a mask on the error. Both must agree on loss and
gradient before they are timed, alternately, so that a slow moment of the machine hits both.
"""

from __future__ import annotations

import argparse
import platform
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from recbole_autorec.config.config import Config
from recbole_autorec.data.dataset import RatingDataset
from recbole_autorec.model.masked_autoencoder import MaskedAutoencoder
from recbole_autorec.model.rating_matrix import RatingMatrix
from recbole_autorec.quick_start import quiet_recbole

HIDDEN, BATCH, REG = 500, 512, 400.0


def ml_1m(data_path: str) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """Return (items, users, ratings, shape) of the training part of the paper's split."""
    config = Config("IAutoRec", "ml-1m", config_dict={"data_path": data_path})
    with quiet_recbole():
        train = RatingDataset(config).build()[0]
    feat = train.inter_feat
    return feat["item_id"], feat["user_id"], feat["rating"], (train.item_num, train.user_num)


def random_ratings(n_items=3707, n_users=6041, n_ratings=810_000) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """Draw as many ratings as ML-1M's training part has, with long tails of items and users."""
    generator = torch.Generator().manual_seed(0)
    popularity = torch.arange(1, n_items).double().pow(-0.7), torch.arange(1, n_users).double().pow(-0.5)
    items, users = (torch.multinomial(p, 2 * n_ratings, True, generator=generator) + 1 for p in popularity)
    pairs = torch.unique(items * n_users + users)
    pairs = pairs[torch.randperm(len(pairs), generator=generator)[:n_ratings]]
    ratings = torch.randint(1, 6, (len(pairs),), generator=generator).float()
    return pairs // n_users, pairs % n_users, ratings, (n_items, n_users)


def sparse_pass(model: MaskedAutoencoder, ratings: RatingMatrix) -> float:
    model.zero_grad()
    loss = model.objective(ratings, ratings)
    loss.backward()
    return loss.item()


def dense_pass(model: MaskedAutoencoder, ratings: Tensor, mask: Tensor) -> float:
    model.zero_grad()
    total = 0.0
    for rows, observed in zip(ratings.split(BATCH), mask.split(BATCH), strict=True):
        hidden = torch.sigmoid(rows @ model.encoder_weight + model.encoder_bias)
        error = (hidden @ model.decoder_weight.t() + model.decoder_bias - rows) * observed
        penalty = REG / 2 * (model.encoder_weight.square().sum() + model.decoder_weight.square().sum())
        loss = error.square().sum() + len(rows) / len(ratings) * penalty
        loss.backward()
        total += loss.item()
    return total


def compare(items: Tensor, users: Tensor, values: Tensor, shape: tuple[int, int], repeats: int) -> float:
    """Print both median times; return their ratio."""
    torch.manual_seed(0)
    model = MaskedAutoencoder(shape[1], [HIDDEN], "sigmoid", "identity", (REG, REG), 0.01, 0.0, (1.0, 5.0))
    ratings = RatingMatrix.from_entries(items, users, values, shape)
    dense, mask = torch.zeros(shape), torch.zeros(shape)
    dense[items, users], mask[items, users] = values, 1.0

    losses, gradients = [], []
    for run in (lambda: sparse_pass(model, ratings), lambda: dense_pass(model, dense, mask)):
        losses.append(run())
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert abs(losses[0] - losses[1]) < 1e-4 * losses[1], losses
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * other.abs().max().item())

    seconds: dict[str, list[float]] = {"sparse": [], "dense": []}
    for _ in range(repeats):
        for name, run in (
            ("sparse", lambda: sparse_pass(model, ratings)),
            ("dense", lambda: dense_pass(model, dense, mask)),
        ):
            start = perf_counter()
            run()
            seconds[name].append(perf_counter() - start)
    sparse, plain = median(seconds["sparse"]), median(seconds["dense"])
    print(f"{len(ratings):>9,} ratings   sparse {sparse:.3f} s   dense {plain:.3f} s   ratio {plain / sparse:.1f}")
    return plain / sparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_path", help="folder with ml-1m/ml-1m.inter; without it, random ratings in its shape")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    data = ml_1m(arguments.data_path) if arguments.data_path else random_ratings()
    items, users, values, shape = data
    what = "ML-1M's training part" if arguments.data_path else "random ratings in ML-1M's shape"
    print(
        f"{what}, {shape[0] - 1} x {shape[1] - 1}, K = {HIDDEN}, float32, medians of {arguments.repeats}; "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}"
    )
    compare(items, users, values, shape, arguments.repeats)
    quarter = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))[: len(values) // 4]
    compare(items[quarter], users[quarter], values[quarter], shape, arguments.repeats)


if __name__ == "__main__":
    main()
