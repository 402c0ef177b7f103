"""Serve a trained model from its checkpoint alone, without the dataset. External ids in, stars out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import compress, islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import ContextRecommender
from torch import Tensor

from recbole_autorec.config.checks import compares_ratings, is_number
from recbole_autorec.config.config import Config, of_a_file, portable
from recbole_autorec.data.dataset import ServedDataset, without_ratings
from recbole_autorec.distributed.children import environment
from recbole_autorec.errors import CheckpointError, ConfigError, DataError, counted
from recbole_autorec.model.autorec import AutoRec, RowAutoRec
from recbole_autorec.model.registry import get_model, predicts_stars, why_no_ratings
from recbole_autorec.quick_start import build_model, quiet_recbole
from recbole_autorec.reading.fields import FIELDS, PAIR, by_known_names, id_text, numbers
from recbole_autorec.reading.options import shown
from recbole_autorec.trainer.checkpoint import (
    load_checkpoint,
    no_forgery,
    other_parameter,
    rebuilt,
    save_checkpoint,
)

Ids = Iterable[Any] | str | float  # one, or many

# Indexed by what a pair lacks, see Predictor._lacks: 3 * user + item.
NOTES = [
    ", ".join(filter(None, both)) for both in product(*(("", f"unrated {kind}", f"unknown {kind}") for kind in PAIR))
]
BLOCK = 1024  # pairs per batch; always padded to it, so that no prediction depends on the others
# How and where a model was evaluated does not matter here.
SERVING = {"metrics": ["RMSE", "MAE"], "valid_metric": "RMSE", "eval_args": {"mode": "labeled"}, "use_gpu": False}


class Predictor:
    """Predict with a checkpoint's model, on the CPU. Safe to share between threads.

    Ids are those of the dataset's files, as text. A number stands for its text (196.0 is "196"); NaN and None are
    unknown.
    `predict` accepts unknown ids and warns once; see `notes`.

    Attributes:
        model: the model, in evaluation mode.
        users: ids of the users in the dataset, in training or not.
        items: ids of the items in the dataset, in training or not.
        rating_range: lowest and highest training rating, in stars.
        knows_ratings: whether `recommend` can leave out what a user has rated; see `save`.

    Examples:
        >>> from recbole_autorec import run_recbole_autorec
        >>> result = run_recbole_autorec("IAutoRec", "ml-100k", config_dict={"hidden_size": [50], "epochs": 2})
        >>> predictor = Predictor.load(result["checkpoint"])
        >>> predictor.predict(["196", "22"], ["242", "377"]).shape
        (2,)
        >>> len(predictor.recommend("196", k=5)), len(predictor.similar_items("242", k=5))
        (5, 5)
        >>> new = predictor.fold_in_user({"242": 5, "302": 1})
        >>> bool(new.predict("242") > new.predict("302"))
        True
    """

    model: Any
    users: list[str]
    items: list[str]
    rating_range: tuple[float, float]
    _has_warned = False

    def __init__(
        self,
        model: torch.nn.Module,
        dataset: ServedDataset,
        data: Mapping[str, Any],
        parameters: Mapping[str, Any],
        given_class: type | None = None,
    ):
        self.model = model.eval()
        self.name = type(model).__name__
        self._parameters, self._data, self._margins = parameters, data, dataset.margins
        self._given_class = given_class
        self.users, self.items = data["users"][1:], data["items"][1:]
        self.titles: list[str] | None = data["titles"][1:] if data["titles"] else None
        ratings = dataset.inter_feat
        self._user_field, self._item_field = dataset.uid_field, dataset.iid_field
        self.knows_ratings = len(ratings) > 0
        self.rating_range = self._margins.low, self._margins.high
        self._numbers_of = {
            kind: {name: number for number, name in enumerate(data[f"{kind}s"]) if number} for kind in PAIR
        }
        users, items = ratings[self._user_field], ratings[self._item_field]
        counts = self._margins.user_counts, self._margins.item_counts
        self._rated = {kind: count.bool().numpy() for kind, count in zip(PAIR, counts, strict=True)}
        order = torch.argsort(users, stable=True)
        self._seen = items[order].numpy()  # grouped by user
        self._starts = np.searchsorted(users[order].numpy(), np.arange(len(data["users"]) + 1))
        self._predict(np.array([0]), np.array([0]))  # fills the model's caches before there are threads

    @classmethod
    def load(cls, checkpoint: str | Path, model: type | None = None) -> Predictor:
        """Load the predictor of a checkpoint. Untrusted files are safe to load: they cannot run code.

        Args:
            checkpoint: file of a model that predicts ratings.
            model: its class, if it is your own.

        Returns:
            The predictor.

        Raises:
            CheckpointError: the file is damaged, or its model cannot predict ratings from users and items alone.
        """
        return cls._from_content(
            load_checkpoint(checkpoint, serving=True), checkpoint, os.path.getsize(checkpoint), model
        )

    @classmethod
    def _from_content(cls, content: dict[str, Any], checkpoint: str | Path, size: int, model: type | None) -> Predictor:
        """Build the predictor of a checkpoint's content, `size` bytes that are or will be at that path."""
        data, parameters = content["data"], dict(content["parameters"])
        name, dataset_name = parameters.pop("model"), parameters.pop("dataset")
        try:
            with no_forgery(checkpoint):
                model_class = get_model(model or name)
                reason = _why_not_here(model_class, parameters, data["fields"])
                if reason is not None:
                    raise CheckpointError(
                        f"checkpoint '{checkpoint}': its model {model_class.__name__} cannot predict here: {reason}."
                    )
                # the environment is restored afterwards: RecBole's Config sets this variable
                with environment(CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES")), quiet_recbole():
                    config = Config(model_class, dataset_name, config_dict={**of_a_file(parameters), **SERVING})
                    dataset = ServedDataset(config, data)
                    with torch.random.fork_rng(devices=[]):
                        torch.manual_seed(config["seed"])
                        built = rebuilt(lambda: build_model(config, dataset), content, checkpoint, size)
                    if "learnt" in content:
                        for part, learnt in zip(_row_autorecs(built), content["learnt"], strict=True):
                            part.serve(*learnt)
                return cls(built, dataset, data, content["parameters"], model)
        except (ConfigError, DataError) as error:
            raise CheckpointError(f"checkpoint '{checkpoint}': its model cannot be built: {error}") from error

    @torch.no_grad()
    def save(self, path: str | Path) -> None:
        """Export a file for serving only: no training ratings, no optimiser state. Not in the paper.

        A Predictor of that file predicts, recommends and folds in like this one, with one exception: it does not know
        what a user has rated, so `recommend` does not leave it out. The file has ids, titles, rating counts, and what
        the model has learnt from the ratings: it is smaller, not anonymous.

        Args:
            path: the file to write.

        Raises:
            DataError: the model needs the training ratings to predict, as some of RecBole's do.
            CheckpointError: `path` cannot be written.

        Examples:
            >>> predictor.save("model.pth")
            >>> Predictor.load("model.pth").knows_ratings
            False
        """
        dampings = {
            key: getattr(self.model, key) for key in ("user_damping", "item_damping") if hasattr(self.model, key)
        }
        content = {
            "parameters": {**portable(self._parameters), **dampings},
            "data": without_ratings(self._data, self._margins),
            "state_dict": self.model.state_dict(),
            "other_parameter": other_parameter(self.model),
            "learnt": [part.learnt() for part in _row_autorecs(self.model)],
        }
        size = sum(weights.nbytes for weights in content["state_dict"].values())
        generator, why = np.random.default_rng(0), "its predictions change without them"
        pairs = [generator.integers(len(rated), size=10_000) for rated in self._rated.values()]
        try:
            twin = self._from_content(content, path, size, self._given_class)
            same = np.array_equal(self._predict(*pairs), twin._predict(*pairs))
        except CheckpointError as error:
            same, why = False, str(error)
        if not same:
            raise DataError(f"model {self.name} cannot be exported: it needs the training ratings to predict ({why}).")
        save_checkpoint(path, content, "--output")

    @property
    def rated_users(self) -> list[str]:
        """Users with a training rating."""
        return list(compress(self.users, self._rated["user"][1:]))

    @property
    def rated_items(self) -> list[str]:
        """Items with a training rating."""
        return list(compress(self.items, self._rated["item"][1:]))

    # Known users and items.

    def predict(self, users: Ids | pd.DataFrame, items: Ids | None = None, strict: bool = False) -> np.ndarray:
        """Predict the ratings of P pairs. A single user or item is paired with all others.

        A pair's prediction does not depend on the other pairs. The first pair whose user or item has no training
        rating causes a warning; `notes` tells which pairs these are, and what they get.

        Args:
            users: ids, or a DataFrame with a user and an item column, named as in any file that convert reads.
            items: ids; None with a DataFrame.
            strict: refuse pairs whose user or item has no training rating.

        Returns:
            Predictions (P,) float32, in stars.

        Raises:
            DataError: users and items differ in number, a column is missing, or `strict` and such a pair.

        Examples:
            >>> predictor.predict("196", ["242", "302", "377"]).shape
            (3,)
            >>> pairs = pd.DataFrame({"user": ["196", "22"], "item": ["242", "377"]})
            >>> bool((predictor.predict(pairs) == predictor.predict(["196", "22"], ["242", "377"])).all())
            True
        """
        ids = _given(PAIR, users, items)
        pairs = self._pairs(*ids)
        self._say_fallbacks(ids, self._lacks(*pairs), strict)
        return self._predict(*pairs)

    def notes(self, users: Ids | pd.DataFrame, items: Ids | None = None) -> list[str]:
        """Return what each pair's prediction lacks: "", or "unknown user", "unrated item" and so on.

        Such a pair gets the model's fallback: AutoRec's cold_start_rating, the offsets that are known, or the mean of
        the training ratings.

        Args:
            users: as in `predict`.
            items: as in `predict`.

        Returns:
            A text for each pair, empty if nothing is lacking.

        Examples:
            >>> predictor.notes("196", ["242", "nobody-knows"])
            ['', 'unknown item']
        """
        return self._notes(self._pairs(*_given(PAIR, users, items)))

    def predict_with_notes(self, users: Ids | pd.DataFrame, items: Ids | None = None) -> tuple[np.ndarray, list[str]]:
        """Return what `predict` and `notes` return, in one pass and without a warning.

        Args:
            users: as in `predict`.
            items: as in `predict`.

        Returns:
            Predictions (P,) float32, in stars, and a text for each pair.

        Examples:
            >>> stars, notes = predictor.predict_with_notes(["196", "new"], "242")
            >>> notes
            ['', 'unknown user']
        """
        pairs = self._pairs(*_given(PAIR, users, items))
        return self._predict(*pairs), self._notes(pairs)

    def evaluate(
        self, users: Ids | pd.DataFrame, items: Ids | None = None, ratings: Iterable[Any] | None = None
    ) -> dict[str, Any]:
        """Score the predictions against ratings.

        Args:
            users: ids, or a DataFrame with a user, an item and a rating column.
            items: ids; None with a DataFrame.
            ratings: in stars, one per pair; None with a DataFrame.

        Returns:
            rmse and mae of all pairs, in stars; n, their number; n_cold, the number of pairs whose user or item has no
            training rating; coverage, the share of the others; rmse_known and mae_known of the others, None if there
            are none.

        Raises:
            DataError: as `predict`, or there is no rating, or one is not a finite number.

        Examples:
            >>> scores = predictor.evaluate(["196", "22", "22"], ["242", "377", "nobody-knows"], [3, 1, 4])
            >>> scores["n"], scores["n_cold"], scores["rmse"] < 2
            (3, 1, True)
        """
        users, items, ratings = _given(FIELDS[:3], users, items, ratings)
        given = pd.Series(ratings)
        stars, pairs = numbers(given), self._pairs(users, items)
        if len(stars) != len(pairs[0]) or not len(stars):
            raise DataError(
                f"{counted(len(pairs[0]), 'pair')} and {counted(len(stars), 'rating')}; expected equal numbers >= 1."
            )
        if np.isnan(stars).any():
            place = int(np.isnan(stars).argmax())
            raise DataError(f"ratings[{place}] is {str(given.iloc[place])!r}; expected a finite number, in stars.")
        errors, known = self._predict(*pairs).astype(np.float64) - stars, self._lacks(*pairs) == 0
        (rmse, mae), (rmse_known, mae_known) = map(_rmse_and_mae, (errors, errors[known]))
        n, n_known = len(errors), int(known.sum())
        return {
            "rmse": rmse, "mae": mae, "n": n, "n_cold": n - n_known, "coverage": n_known / n,
            "rmse_known": rmse_known, "mae_known": mae_known,
        }  # fmt: skip

    def recommend(
        self, user: Any, k: int = 10, candidates: Ids | None = None, exclude: Ids | None = None
    ) -> pd.DataFrame:
        """Recommend the k best items that a user has not rated in training.

        Args:
            user: an id.
            k: maximum number of rows.
            candidates: the only items to rank. Those without a training rating are left out, with a warning.
            exclude: items not to recommend.

        Returns:
            Best first: item, rating (in stars, clipped to the training range), and title if known.

        Raises:
            DataError: the user is unknown or has no training rating, or no candidate has one.

        Examples:
            >>> predictor.recommend("196", k=3).columns.tolist()
            ['item', 'rating', 'title']
            >>> sorted(predictor.recommend("196", candidates=["50", "172"])["item"])
            ['172', '50']
        """
        return pd.DataFrame(self._recommended(user, k, self._left_out(candidates, exclude)))

    def best_items(
        self, user: Any, k: int = 10, candidates: Ids | None = None, exclude: Ids | None = None
    ) -> list[dict[str, Any]]:
        """Recommend like `recommend`, but return plain rows, in about half the time; for servers.

        Args:
            user: as in `recommend`.
            k: as in `recommend`.
            candidates: as in `recommend`.
            exclude: as in `recommend`.

        Returns:
            A dict with item, rating and title for each item, best first.

        Examples:
            >>> [sorted(row) for row in predictor.best_items("196", k=1)]
            [['item', 'rating', 'title']]
        """
        best = self._recommended(user, k, self._left_out(candidates, exclude))
        columns = [values.tolist() if isinstance(values, np.ndarray) else values for values in best.values()]
        return [dict(zip(best, row, strict=True)) for row in zip(*columns, strict=True)]

    def _recommended(self, user: Any, k: int, left_out: np.ndarray) -> dict[str, Any]:
        number = self._number("user", user)
        seen = self._seen[self._starts[number] : self._starts[number + 1]]
        return self._best_items(self._scores(number), np.append(seen, left_out), k)

    def similar_items(self, item: Any, k: int = 10) -> pd.DataFrame:
        """Find the k items most similar to this one.

        Similarity is the cosine of the items' codes, each less the mean code: 1 means alike, 0 nothing in common. The
        codes are I-AutoRec's hidden layer, U-AutoRec's output weights, BiasedMF's factors.

        Args:
            item: an id.
            k: maximum number of rows.

        Returns:
            Best first: item, similarity (-1 to 1), and title if known.

        Raises:
            DataError: the item is unknown or has no training rating, or the model has no item codes.

        Examples:
            >>> predictor.similar_items("50", k=3).columns.tolist()
            ['item', 'similarity', 'title']
        """
        number = self._number("item", item)
        codes = self._item_codes
        return pd.DataFrame(self._best(codes @ codes[number], "similarity", np.array([number]), k))

    # New users and items, without training.

    def fold_in_user(self, ratings: Mapping[Any, float] | pd.Series, strict: bool = False) -> NewUser:
        """Fold in a user that training did not see, from ratings of known items.

        U-AutoRec encodes the ratings and corrects the code by them: see RowAutoRec.solve_new_row. I-AutoRec solves for
        the user's output weights on the items' codes, by ridge regression with the model's own penalty: see
        solve_new_column.

        Args:
            ratings: item -> stars; a Series has the items as its index. Items without a training rating are left out,
                with a warning; see NewUser.left_out.
            strict: refuse such items.

        Returns:
            The new user, who predicts and recommends.

        Raises:
            DataError: no item has a training rating, a rating is outside the training range, or the model is not an
                AutoRec.

        Examples:
            >>> new = predictor.fold_in_user({"50": 5, "172": 5, "288": 1})
            >>> len(new.recommend(5)), new.left_out
            (5, [])
        """
        return NewUser(self, *self._folded("user", "item", ratings, strict))

    def fold_in_item(self, ratings: Mapping[Any, float] | pd.Series, strict: bool = False) -> NewItem:
        """Fold in an item that training did not see, from known users' ratings; otherwise like fold_in_user.

        Args:
            ratings: user -> stars; a Series has the users as its index.
            strict: refuse users without a training rating.

        Returns:
            The new item, which predicts.

        Raises:
            DataError: no user has a training rating, a rating is outside the training range, or the model is not an
                AutoRec.

        Examples:
            >>> predictor.fold_in_item({"196": 4, "22": 2}).predict(["196", "22", "377"]).shape
            (3,)
        """
        return NewItem(self, *self._folded("item", "user", ratings, strict))

    def _folded(
        self, new: str, known: str, ratings: Mapping[Any, float] | pd.Series, strict: bool
    ) -> tuple[Tensor, np.ndarray, list[str]]:
        """Return the unclipped scores of a new row or column, the numbers that it rated, and the ids left out."""
        model = self.model
        if not isinstance(model, AutoRec):
            raise DataError(f"model {self.name} cannot fold in new {new}s; AutoRec models can.")
        if not isinstance(ratings, Mapping | pd.Series) or not len(ratings):
            raise DataError(f"a new {new} needs ratings: give at least one, as {{{known}: stars}}.")
        low, high = self.rating_range
        ids = list(ratings.keys())
        plain = [stars.item() if isinstance(stars, np.generic) else stars for _, stars in ratings.items()]
        for each, stars in zip(ids, plain, strict=True):
            if not is_number(stars, low, high):
                raise DataError(
                    f"a new {new}'s rating {stars!r} of {known} {_name(each)!r}; expected {low:g} to {high:g}."
                )
        numbers_given = self._numbers(known, ids)
        there = self._rated[known][numbers_given]
        rated = numbers_given[there]
        if len(np.unique(rated)) < len(rated):
            raise DataError(f"a new {new}'s ratings name {'an item' if known == 'item' else 'a user'} twice.")
        left_out = [_name(each) for each, is_there in zip(ids, there, strict=True) if not is_there]
        if left_out and (strict or not len(rated)):
            self._number(known, left_out[0])
        if left_out:
            _warn(f"{_few(known, left_out, ids, 'rating')}; see left_out. strict=True refuses them.")
        values = torch.tensor([float(stars) for stars in plain])[torch.from_numpy(there)]
        with torch.no_grad():
            return model.rate_as_new(new, torch.from_numpy(rated), values), rated, left_out

    # Internals: numbers instead of ids.

    def _numbers(self, kind: str, ids: Ids) -> np.ndarray:
        """Return the numbers of one id or many; 0 for an unknown one."""
        known = self._numbers_of[kind].get
        other = lru_cache(None, typed=True)(lambda each: known(id_text(each), 0))
        several = _several(ids)
        try:
            if isinstance(several, pd.Series):
                codes, different = pd.factorize(several)
                return np.append(self._numbers(kind, different), 0)[codes]  # -1: missing
            plain = several.tolist() if hasattr(several, "tolist") else several
            found = [  # the most frequent types first
                known(each) if type(each) is str else known(str(each), 0) if type(each) is int else other(each)
                for each in plain
            ]
            if None in found:
                found = [other(each) if number is None else number for number, each in zip(found, plain, strict=True)]
        except TypeError as error:
            raise DataError(f"{kind}s {shown(repr(ids))}; expected an id, or a list of ids.") from error
        return np.array(found, dtype=np.int64)

    def _number(self, kind: str, name: Any) -> int:
        number = int(self._numbers(kind, [name])[0])
        if number == 0:
            raise DataError(f"{kind} {_name(name)!r} is unknown: no such id in the training data.")
        if not self._rated[kind][number]:
            raise DataError(f"{kind} {_name(name)!r} has no training rating; nothing is known about it.")
        return number

    def _pairs(self, users: Ids, items: Ids) -> Sequence[np.ndarray]:
        """Return the numbers of the pairs' users and items."""
        pair = [self._numbers(kind, ids) for kind, ids in zip(PAIR, (users, items), strict=True)]
        if len(pair[0]) != len(pair[1]) and 1 not in (len(pair[0]), len(pair[1])):
            raise DataError(f"{len(pair[0])} users and {len(pair[1])} items; expected equal numbers, or one of either.")
        return np.broadcast_arrays(*pair)

    def _lacks(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return what each numbered pair lacks, as an index into NOTES; 0 for nothing."""
        user, item = (
            np.where(self._rated[kind][ids], 0, np.where(ids == 0, 2, 1))
            for kind, ids in zip(PAIR, (users, items), strict=True)
        )
        return 3 * user + item

    def _notes(self, pairs: Sequence[np.ndarray]) -> list[str]:
        return [NOTES[lack] for lack in self._lacks(*pairs).tolist()]

    def _say_fallbacks(self, ids: Sequence[Any], lacks: np.ndarray, strict: bool) -> None:
        places = np.flatnonzero(lacks)
        if not len(places) or (self._has_warned and not strict):
            return
        first = [
            f"user {_id_at(ids[0], place)!r}, item {_id_at(ids[1], place)!r} ({NOTES[lacks[place]]})"
            for place in places[: 3 if strict else 1]
        ]
        what = f"{len(places):,} of {counted(len(lacks), 'pair')} without training ratings of the user or the item"
        if strict:
            raise DataError(f"{what}: {'; '.join(first)}. strict=False predicts the model's fallback.")
        self._has_warned = True
        _warn(
            f"{what}, first {first[0]}: they get fallback predictions. notes() tells which; strict=True refuses them."
        )

    def _left_out(self, candidates: Ids | None, exclude: Ids | None) -> np.ndarray:
        """Return the numbers of the items not to rank."""
        left_out = self._numbers("item", [] if exclude is None else exclude)
        if candidates is None:
            return left_out
        candidates = _several(candidates)
        chosen = self._numbers("item", candidates)
        unrated = [_id_at(candidates, place) for place in np.flatnonzero(~self._rated["item"][chosen])]
        if unrated:
            what = _few("item", unrated, chosen, "candidate")
            if len(unrated) == len(chosen):
                raise DataError(f"{what}; none is left.")
            _warn(f"{what}.")
        return np.append(left_out, np.setdiff1d(np.arange(len(self._rated["item"])), chosen))

    @torch.no_grad()
    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Predict numbered pairs, in stars."""
        n, found = len(users), []
        for start in range(0, n, BLOCK):
            pairs = Interaction({
                field: torch.from_numpy(np.resize(ids[start : start + BLOCK], BLOCK).astype(np.int64))
                for field, ids in ((self._user_field, users), (self._item_field, items))
            })  # fmt: skip
            found.append(self.model.predict(pairs).reshape(-1).numpy())
        stars = np.concatenate(found)[:n] if found else np.empty(0, dtype=np.float32)
        if not predicts_stars(type(self.model)):  # RecBole's models leave such ids at random initial values
            rated = self._rated["user"][users] & self._rated["item"][items]
            stars = np.where(rated, stars, np.float32(self._margins.mean))
        return stars

    @torch.no_grad()
    def _scores(self, user: int) -> Tensor:
        """Return a user's scores of all items, unclipped if the model can rank."""
        if predicts_stars(type(self.model)):
            return self.model.full_sort_predict(Interaction({self._user_field: torch.tensor([user])}))
        n = len(self._rated["item"])
        return torch.from_numpy(self._predict(np.full(n, user), np.arange(n)))

    @cached_property
    @torch.no_grad()
    def _item_codes(self) -> Tensor:
        """Codes of the items, each less the mean code of the rated ones, scaled to length 1."""
        if not hasattr(self.model, "item_codes"):
            raise DataError(f"model {self.name} has no item codes to compare; AutoRec models and BiasedMF have.")
        codes = self.model.item_codes()
        return torch.nn.functional.normalize(codes - codes[torch.from_numpy(self._rated["item"])].mean(0), dim=1)

    def _best_items(self, scores: Tensor, seen: np.ndarray, k: int) -> dict[str, Any]:
        clips = getattr(self.model, "clip_prediction", True)
        return self._best(scores, "rating", seen, k, self.rating_range if clips else None)

    def _best(
        self, scores: Tensor, column: str, left_out: np.ndarray, k: int, bounds: tuple[float, float] | None = None
    ) -> dict[str, Any]:
        """Return the k rated items with the highest scores, without `left_out`; clip the shown scores to `bounds`."""
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise DataError(f"k={k!r} (--topk); expected a whole number >= 1.")
        scores = torch.where(torch.from_numpy(self._rated["item"]), scores, -torch.inf)
        scores[torch.from_numpy(left_out.copy())] = -torch.inf
        k = min(k, len(scores))
        among = (scores >= scores.topk(k).values[-1]).nonzero().squeeze(1)  # k, and ties with the last of them
        order = among[torch.argsort(scores[among], descending=True, stable=True)][:k]
        best = order[scores[order] > -torch.inf].tolist()
        values = scores[best] if bounds is None else scores[best].clamp(*bounds)
        table: dict[str, Any] = {"item": [self.items[n - 1] for n in best], column: values.numpy()}
        return {**table, "title": [self.titles[n - 1] for n in best]} if self.titles else table


def _row_autorecs(model: torch.nn.Module) -> list[RowAutoRec]:
    return model.row_autorecs() if isinstance(model, AutoRec) else []


class _New:
    """Base of NewUser and NewItem.

    Attributes:
        scores: scores of all known items, or users, in stars, unclipped.
        left_out: ids whose ratings were ignored because they have no training rating.
    """

    _other: str

    def __init__(self, predictor: Predictor, scores: Tensor, rated: np.ndarray, left_out: list[str]):
        self._predictor, self._rated, self.scores, self.left_out = predictor, rated, scores, left_out

    def predict(self, ids: Ids) -> np.ndarray:
        """Predict ratings; an unknown id gets cold_start_rating, or the new one's offset.

        Args:
            ids: items, for a new user; users, for a new item.

        Returns:
            Predictions (P,) float32, in stars.
        """
        model, rated = self._predictor.model, self._predictor._rated[self._other]
        places = self._predictor._numbers(self._other, ids)
        return model.or_cold(model.clipped(self.scores[places]), torch.from_numpy(rated[places])).numpy()


class NewUser(_New):
    """A folded-in user: predicts and recommends like a known one."""

    _other = "item"

    def recommend(self, k: int = 10, candidates: Ids | None = None, exclude: Ids | None = None) -> pd.DataFrame:
        """Recommend like Predictor.recommend; the items rated by the new user are left out.

        Args:
            k: maximum number of rows.
            candidates: the only items to rank.
            exclude: items not to recommend.

        Returns:
            Best first: item, rating (in stars, clipped to the training range), and title if known.
        """
        left_out = np.append(self._rated, self._predictor._left_out(candidates, exclude))
        return pd.DataFrame(self._predictor._best_items(self.scores.clone(), left_out, k))


class NewItem(_New):
    """A folded-in item: predicts like a known one."""

    _other = "user"


# Reading arguments.


def _given(wanted: Sequence[str], *given: Any) -> list[Any]:
    """Return the values of each field: the arguments themselves, or columns of the one DataFrame."""
    there = [each for each in given if each is not None]
    if len(there) == len(wanted) and not any(isinstance(each, pd.DataFrame) for each in there):
        return [*map(_several, there)]
    if len(there) != 1 or not isinstance(given[0], pd.DataFrame):
        types = " and ".join(type(each).__name__ for each in there) or "nothing"
        raise DataError(f"expected {'s, '.join(wanted)}s, or one DataFrame with a column of each; got {types}.")
    frame = given[0]
    found = by_known_names(list(frame.columns), wanted)
    wrong = [name for name in wanted if found.count(name) != 1]
    if wrong:
        faults = ", ".join(f"{'two columns' if name in found else 'no column'} for {name}" for name in wrong)
        raise DataError(
            f"the DataFrame: {faults} in {shown(list(frame.columns))}; rename columns, "
            f"frame.rename(columns={{'NAME': '{wrong[0]}'}}), or leave some out, frame.drop(columns='NAME')."
        )
    return [frame.iloc[:, found.index(name)] for name in wanted]


def _several(ids: Any) -> Any:
    """Return one id as a list, and many so that they can be iterated over twice."""
    return [ids] if pd.api.types.is_scalar(ids) else list(ids) if isinstance(ids, Iterator) else ids


def _id_at(ids: Any, place: Any) -> str:
    """Return one of several ids, for messages; a single id is at every place."""
    return _name(next(islice(ids, int(place) if len(ids) > 1 else 0, None)))


def _name(value: Any) -> str:
    return id_text(value) or str(value)


def _few(kind: str, left_out: Sequence[str], of: Sequence[Any] | np.ndarray, what: str) -> str:
    return f"{len(left_out):,} of {counted(len(of), what)} left out: no training rating of {kind} {left_out[0]!r}" + (
        " and others" if len(left_out) > 1 else ""
    )


def _warn(text: str) -> None:
    """Warn at the caller of the public method, which is two frames up."""
    warnings.warn(text, UserWarning, stacklevel=4)


def _rmse_and_mae(errors: np.ndarray) -> tuple[float | None, float | None]:
    return (float(np.sqrt(np.mean(errors**2))), float(np.mean(np.abs(errors)))) if len(errors) else (None, None)


def _why_not_here(model_class: type, parameters: Mapping[str, Any], fields: list[str]) -> str | None:
    """Return why a model cannot predict stars from user and item alone, as half a sentence; None if it can."""
    if parameters.get("phase", "teacher_training") != "teacher_training":  # KD_DAGFM
        return "its constructor reads its teacher's file"
    if reason := why_no_ratings(model_class):
        return reason
    if not (compares_ratings(parameters) or predicts_stars(model_class)):
        return "it was trained to rank"
    more = [field for field in fields if field not in (parameters["USER_ID_FIELD"], parameters["ITEM_ID_FIELD"])]
    if more and issubclass(model_class, ContextRecommender):
        return f"it needs {', '.join(more)} besides user and item; load_data_and_model loads it with its data"
    return None
