"""Choose the settings of a public rating predictor by validation, train it again with them, and test it.

    python benchmarks/peer.py NAME FOLDER

peers.py calls this with the Python that has the predictor, and writes FOLDER/split.npz before: train, valid and test,
each of shape (3, ratings): user and item, counted from 0, and rating. The answer is FOLDER/answer.json.

Every setting of PEERS is trained on train and scored on valid; the best, with its best number of epochs if training
reports several, is trained on train + valid and scored on test. A single setting is taken as it is, without validation.
Predictions are clipped to the range of the training ratings. Seconds are those of training alone.

The settings in PEERS are the best of those tried on ML-1M's validation part and what suits smaller data. Validation
RMSE on ML-1M, seed 1:

    cmfrec, k 40, scaled lambda 0.05, 0.07, 0.1                       0.8616 0.8511 0.8583, default 10 unscaled 0.8786
    with implicit features                                            0.8552 0.8460 0.8535, 0.08: 0.8462
    k 100, 0.06, 0.065, 0.07, 0.08                                    0.8445 0.8433 0.8429 0.8442
    k 40, 0.08, 30 iterations; Cholesky; implicit weight 0.1          0.8453 0.8459 0.8505
    LIBMF, k 40, regularisation 0.04, 0.06, 0.08, 0.1                 0.8613 0.8478 0.8486 0.8589
    k 100, 0.05, 0.06, 0.07, 0.08; k 40, 0.06, 60 iterations          0.8514 0.8457 0.8446 0.8469; 0.8495
    LensKit ALS, size 50, regularization 0.07, 0.1, 0.15              0.8581 0.8615 0.8836
    0.07, size 25, 100; 0.05, size 25                                 0.8592 0.8557; 0.8695
    LensKit item k-NN, 20, 40 neighbours                              0.8483 0.8514
    LensKit FunkSVD, defaults                                         0.8551
    scikit-surprise SVD, 40 epochs, reg 0.05                          0.8512
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ratings = NDArray[np.float64]  # (3, ratings): user, item, rating
Points = Iterator[tuple[float, NDArray[np.floating]]]  # (seconds of training so far, predictions for the pairs)
Method = Callable[..., Points]  # called with the training ratings, the pairs to predict, and settings

THREADS = int(os.environ.get("OMP_NUM_THREADS", 1))
PATIENCE = 5  # reports in a row without improvement after which a setting is given up


def myfm(train: Ratings, pairs: Ratings, relations: bool, rank: int, iterations: int) -> Points:
    """Bayesian factorisation machine, averaged over all samples but the first five, as its `predict` does.

    With relation blocks a user also has the items that they rated, and an item the users who rated it, each list with
    weights that make its sum of squares 1.
    """
    from myfm import MyFMGibbsRegressor, RelationBlock
    from scipy.sparse import csr_matrix, eye, hstack

    n_users, n_items = (int(max(train[side].max(), pairs[side].max())) + 1 for side in (0, 1))
    users, items = eye(n_users, format="csr"), eye(n_items, format="csr")
    rated = csr_matrix((np.ones(train.shape[1]), train[:2].astype(int)), shape=(n_users, n_items))

    def listed(rows: csr_matrix) -> csr_matrix:
        lengths = np.asarray(rows.sum(1)).ravel()
        return rows.multiply(1 / np.sqrt(np.maximum(lengths, 1))[:, None])

    def features(ratings: Ratings) -> dict[str, Any]:
        user, item = ratings[:2].astype(int)
        if not relations:
            return {"X": hstack([users[user], items[item]], format="csr")}
        of_users, of_items = hstack([users, listed(rated)]), hstack([items, listed(rated.T.tocsr())])
        return {"X": None, "X_rel": [RelationBlock(user, of_users.tocsr()), RelationBlock(item, of_items.tocsr())]}

    points, total, testing = [], np.zeros(pairs.shape[1]), 0.0
    at_pairs = features(pairs)
    empty = csr_matrix((pairs.shape[1], 0))

    def after(iteration: int, machine: Any, *_: Any) -> tuple[bool, None]:
        nonlocal testing
        begun = perf_counter()
        if iteration >= 5:
            total[:] += machine.predict_score(empty if relations else at_pairs["X"], at_pairs.get("X_rel", []))
        if (iteration + 1) % 10 == 0:
            points.append((begun - start - testing, total / (iteration - 4)))
        testing += perf_counter() - begun
        return False, None

    start = perf_counter()
    groups = [n_users, n_items, n_items, n_users] if relations else [n_users, n_items]
    MyFMGibbsRegressor(rank=rank, random_seed=0).fit(
        y=train[2], n_iter=iterations, n_kept_samples=1, group_shapes=groups, callback=after, **features(train)
    )
    yield from points


def cmfrec(train: Ratings, pairs: Ratings, **settings: Any) -> Points:
    """Alternating least squares, with the "implicit features" (who rated what) that cmfrec advises for small data."""
    from cmfrec import CMF
    from scipy.sparse import coo_matrix

    start = perf_counter()
    model = CMF(add_implicit_features=True, nthreads=THREADS, **settings)
    model.fit(coo_matrix((train[2], train[:2].astype(int))))
    yield perf_counter() - start, model.predict(*pairs[:2].astype(int))


def libmf(train: Ratings, pairs: Ratings, k: int, regularisation: float, nr_iters: int = 30) -> Points:
    """LIBMF, whose predictions are its factors' products, and the mean for users and items without ratings.

    The package's own `predict` (0.9.2) answers for other pairs than it is asked for.
    """
    from libmf.mf import MF

    start = perf_counter()
    model = MF(k=k, nr_iters=nr_iters, lambda_p2=regularisation, lambda_q2=regularisation, lambda_p1=0, lambda_q1=0,
               nr_threads=THREADS, quiet=True)  # fmt: skip
    model.fit(np.ascontiguousarray(train.T))
    seconds = perf_counter() - start
    of_users, of_items = np.full((2, int(max(train[:2].max(), pairs[:2].max())) + 1, k), np.nan)
    of_users[: model.model.m], of_items[: model.model.n] = model.p_factors(), model.q_factors()
    user, item = pairs[:2].astype(int)
    yield seconds, np.nan_to_num((of_users[user] * of_items[item]).sum(1), nan=train[2].mean())


def lenskit(scorer: str, train: Ratings, pairs: Ratings, **settings: Any) -> Points:
    """LensKit's prediction pipeline: pairs that the scorer leaves out get user and item offsets."""
    import pandas as pd
    from lenskit import batch
    from lenskit.als import BiasedMFScorer
    from lenskit.data import from_interactions_df
    from lenskit.funksvd import FunkSVDScorer
    from lenskit.knn import ItemKNNScorer
    from lenskit.pipeline import predict_pipeline

    scorers = {"ALS": BiasedMFScorer, "FunkSVD": FunkSVDScorer, "item k-NN": ItemKNNScorer}
    ratings, asked = (
        pd.DataFrame({"user_id": part[0].astype(int), "item_id": part[1].astype(int), "rating": part[2]})
        for part in (train, pairs)
    )
    start = perf_counter()
    pipeline = predict_pipeline(scorers[scorer](**settings))
    pipeline.train(from_interactions_df(ratings))
    seconds = perf_counter() - start
    answer = batch.predict(pipeline, asked[["user_id", "item_id"]], n_jobs=1).to_df()
    yield seconds, asked.merge(answer, how="left", on=["user_id", "item_id"])["score"].to_numpy()


def surprise(train: Ratings, pairs: Ratings, **settings: Any) -> Points:
    import pandas as pd
    from surprise import SVD, Dataset, Reader

    scale = Reader(rating_scale=(train[2].min(), train[2].max()))
    trainset = Dataset.load_from_df(pd.DataFrame(train.T), scale).build_full_trainset()
    start = perf_counter()
    model = SVD(random_state=0, **settings).fit(trainset)
    yield perf_counter() - start, np.array([model.predict(user, item).est for user, item, _ in pairs.T])


def dense(train: Ratings, pairs: Ratings, penalty: float, batch: int = 512, hidden: int = 500) -> Points:
    """AutoRec as in the usual ports: item rows as dense tensors with 0 for no rating, a mask, Adam."""
    import torch
    from torch import Tensor, nn

    torch.manual_seed(0)
    n_users, n_items = (int(max(train[side].max(), pairs[side].max())) + 1 for side in (0, 1))
    users, items = torch.from_numpy(train[:2].astype(int))
    ratings = torch.zeros(n_items, n_users)
    ratings[items, users] = torch.from_numpy(train[2]).float()
    mask = (ratings > 0).float()
    encoder, decoder = nn.Linear(n_users, hidden), nn.Linear(hidden, n_users)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)

    def predictions(rows: Tensor) -> Tensor:
        return decoder(torch.sigmoid(encoder(rows)))

    seconds = 0.0
    while True:
        start = perf_counter()
        for rows in torch.randperm(n_items).split(batch):
            optimizer.zero_grad()
            error = ((predictions(ratings[rows]) - ratings[rows]) * mask[rows]).square().sum()
            (error + penalty / 2 * (encoder.weight.square().sum() + decoder.weight.square().sum())).backward()
            optimizer.step()
        seconds += perf_counter() - start
        with torch.no_grad():
            predicted = torch.cat([predictions(rows) for rows in ratings.split(512)]).numpy()
        yield seconds, predicted[pairs[1].astype(int), pairs[0].astype(int)]


# Where there is one setting, it is the authors' or has nothing to choose: a Bayesian model samples its own penalties.
PEERS: dict[str, tuple[str, Method, list[dict[str, Any]]]] = {  # name: package, method, settings to choose from
    "myFM": ("myfm", myfm, [{"relations": False, "rank": 32, "iterations": 300}]),
    "myFM, relation blocks": ("myfm", myfm, [{"relations": True, "rank": 32, "iterations": 300}]),
    "cmfrec ALS": (
        "cmfrec",
        cmfrec,
        [{"lambda_": 10}, *({"k": 100, "lambda_": value, "scale_lam": True} for value in (0.07, 0.1, 0.14, 0.2))],
    ),
    "LIBMF": (
        "libmf",
        libmf,
        [{"k": k, "regularisation": value} for k in (8, 40, 100) for value in (0.07, 0.1, 0.14)],
    ),
    "LensKit ALS": (
        "lenskit",
        partial(lenskit, "ALS"),
        [{"embedding_size": size, "regularization": value} for size in (25, 50, 100) for value in (0.07, 0.1, 0.2)],
    ),
    "LensKit FunkSVD": ("lenskit", partial(lenskit, "FunkSVD"), [{}, {"learning_rate": 0.002}]),
    "LensKit item k-NN": (
        "lenskit",
        partial(lenskit, "item k-NN"),
        [{"max_nbrs": most, "min_nbrs": least} for most, least in ((20, 1), (20, 4), (20, 10))],
    ),
    "scikit-surprise SVD": (
        "scikit-surprise",
        surprise,
        [{}, {"n_epochs": 60, "reg_all": 0.05}, {"n_epochs": 80, "reg_all": 0.1}],
    ),
    "dense AutoRec": ("torch", dense, [{"penalty": 1}, {"penalty": 15}]),
}


def scored(method: Method, train: Ratings, part: Ratings, settings: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """Yield the seconds of training so far and the RMSE on `part`."""
    for seconds, predicted in method(train, part, **settings):
        errors = predicted.clip(train[2].min(), train[2].max()) - part[2]
        yield seconds, float(np.sqrt((errors**2).mean()))


def choose_and_test(method: Method, grid: list[dict[str, Any]], train: Ratings, valid: Ratings, test: Ratings) -> dict:
    chosen, n_points, choosing, best = grid[0], None, 0.0, float("inf")
    for settings in grid if len(grid) > 1 else ():
        lowest = float("inf")  # of this setting
        for number, (elapsed, rmse) in enumerate(scored(method, train, valid, settings), 1):
            seconds = elapsed
            if rmse < lowest:
                lowest, at = rmse, number
            if rmse < best:
                best, chosen, n_points = rmse, settings, number
            if number - at == PATIENCE:
                break
        choosing += seconds
    points = list(islice(scored(method, np.hstack([train, valid]), test, chosen), n_points))
    return {"settings": chosen, "choosing": choosing, "points": points}


if __name__ == "__main__":
    package, method, grid = PEERS[sys.argv[1]]
    folder = Path(sys.argv[2])
    parts = np.load(folder / "split.npz")
    try:
        answer = choose_and_test(method, grid, *(parts[name] for name in ("train", "valid", "test")))
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: pip install {package}")
    (folder / "answer.json").write_text(json.dumps(answer))
