"""A trained model that serves without its dataset: the checkpoint has all it takes. External ids in, stars out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import islice, product
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
from recbole_autorec.model.general_recommender.biasedmf import BiasedMF
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

# By what a pair lacks, see Predictor._lacks: 3 times the user's, plus the item's.
NOTES = [
    ", ".join(filter(None, both)) for both in product(*(("", f"unrated {kind}", f"unknown {kind}") for kind in PAIR))
]
BLOCK = 1024  # pairs at once; always so many, so that no prediction depends on the others
# How a model was evaluated, and where, is of no interest here.
SERVING = {"metrics": ["RMSE", "MAE"], "valid_metric": "RMSE", "eval_args": {"mode": "labeled"}, "use_gpu": False}


class Predictor:
    """Predictions of a checkpoint's model, on the CPU. Safe to share between threads.

    Ids are those of the dataset's files, as text. Numbers count as their text, 196.0 as 196; NaN and None are unknown.
    An unknown id is no error in `predict`, which warns once: see `notes`.

    Attributes:
        model: in evaluation mode.
        users, items: the ids that training knew.
        rating_range: lowest and highest training rating, in stars.
        knows_ratings: whether `recommend` can leave out what a user has rated; see `save`.
    """

    model: Any
    users: list[str]
    items: list[str]
    rating_range: tuple[float, float]
    _given_class: type | None = None
    _has_warned = False

    def __init__(
        self, model: torch.nn.Module, dataset: ServedDataset, data: Mapping[str, Any], parameters: Mapping[str, Any]
    ):
        self.model = model.eval()
        self.name = type(model).__name__
        self._parameters, self._data, self._margins = parameters, data, dataset.margins
        self.users, self.items = data["users"][1:], data["items"][1:]
        self.titles: list[str] | None = data["titles"][1:] if data["titles"] else None
        ratings = dataset.inter_feat
        self._user_field, self._item_field = dataset.uid_field, dataset.iid_field
        self.knows_ratings = len(ratings) > 0
        self.rating_range = self._margins.low, self._margins.high
        self._numbers_of = {
            "user": {user: number for number, user in enumerate(data["users"]) if number},
            "item": {item: number for number, item in enumerate(data["items"]) if number},
        }
        users, items = ratings[self._user_field], ratings[self._item_field]
        self._rated = {
            "user": self._margins.user_counts.bool().numpy(),
            "item": self._margins.item_counts.bool().numpy(),
        }
        order = torch.argsort(users, stable=True)
        self._seen = items[order].numpy()  # by user
        self._starts = np.searchsorted(users[order].numpy(), np.arange(len(data["users"]) + 1))
        self._predict(np.array([0]), np.array([0]))  # once, before there are threads: codes are kept

    @classmethod
    def load(cls, checkpoint: str | Path, model: type | None = None) -> Predictor:
        """The predictor of a checkpoint. A stranger's file is safe to load: it cannot run code.

        Args:
            checkpoint: of a model that predicts ratings.
            model: its class, where it is one of your own.

        Raises:
            CheckpointError: unreadable, damaged, or of a model that cannot predict ratings from users and items alone.
        """
        return cls._of(load_checkpoint(checkpoint, serving=True), checkpoint, os.path.getsize(checkpoint), model)

    @classmethod
    def _of(cls, content: dict[str, Any], checkpoint: str | Path, size: int, model: type | None) -> Predictor:
        """The predictor of a checkpoint's content, which is or will be at that path, with so many bytes."""
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
                with environment(CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES")), quiet_recbole():
                    config = Config(model_class, dataset_name, config_dict={**of_a_file(parameters), **SERVING})
                    dataset = ServedDataset(config, data)
                    with torch.random.fork_rng(devices=[]):
                        torch.manual_seed(config["seed"])
                        built = rebuilt(lambda: build_model(config, dataset), content, checkpoint, size)
                    if "learnt" in content:
                        for part, learnt in zip(_row_autorecs(built), content["learnt"], strict=True):
                            part.serve(*learnt)
                predictor = cls(built, dataset, data, content["parameters"])
                predictor._given_class = model
                return predictor
        except (ConfigError, DataError) as error:
            raise CheckpointError(f"checkpoint '{checkpoint}': its model cannot be built: {error}") from error

    @torch.no_grad()
    def save(self, path: str | Path) -> None:
        """Write what it takes to serve, without the training ratings and all that only training needs. Ours.

        A Predictor of that file predicts, recommends and folds in as this one, but for one thing: it does not know what
        a user has rated, and `recommend` leaves nothing out. Ids, titles, how often each was rated, and what the model
        has learnt from the ratings are in the file: it is smaller, not anonymous.

        Raises:
            DataError: the model needs the ratings themselves to predict, as some of RecBole's do.
            CheckpointError: `path` cannot be written.
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
        some, why = np.random.default_rng(0), "it predicts otherwise without them"
        pairs = [some.integers(len(rated), size=10_000) for rated in self._rated.values()]
        try:
            twin = self._of(content, path, size, self._given_class)
            same = np.array_equal(self._predict(*pairs), twin._predict(*pairs))
        except CheckpointError as error:
            same, why = False, str(error)
        if not same:
            raise DataError(f"model {self.name} cannot be exported: it needs the training ratings to predict ({why}).")
        save_checkpoint(path, content, "--output")

    @property
    def rated_users(self) -> list[str]:
        """The users with a training rating."""
        return [user for user, rated in zip(self.users, self._rated["user"][1:], strict=True) if rated]

    @property
    def rated_items(self) -> list[str]:
        """The items with a training rating."""
        return [item for item, rated in zip(self.items, self._rated["item"][1:], strict=True) if rated]

    # Known users and items.

    def predict(self, users: Ids | pd.DataFrame, items: Ids | None = None, strict: bool = False) -> np.ndarray:
        """Ratings of the pairs (P,): (P,) float32, in stars. One user or one item stands for all of the others.

        The same pair has the same prediction, whatever it is asked with. The first time that a pair's user or item has
        no training rating there is a warning; `notes` says which pairs these are, and what they get.

        Args:
            users: ids, or a DataFrame with a user and an item column, called as in any file that convert reads.
            items: ids; none with a DataFrame.
            strict: refuse pairs whose user or item has no training rating.

        Raises:
            DataError: users and items do not go together, a column is missing, or `strict` and such a pair.
        """
        ids = _given(PAIR, users, items)
        pairs = self._pairs(*ids)
        self._say_fallbacks(ids, self._lacks(*pairs), strict)
        return self._predict(*pairs)

    def notes(self, users: Ids | pd.DataFrame, items: Ids | None = None) -> list[str]:
        """For each pair what its prediction lacks: "" or "unknown user", "unrated item" and the like.

        Such a prediction is what the model falls back to: AutoRec's cold_start_rating, offsets that are known, or the
        mean of the training ratings. The arguments are those of `predict`.
        """
        return [NOTES[lack] for lack in self._lacks(*self._pairs(*_given(PAIR, users, items))).tolist()]

    def predict_with_notes(self, users: Ids | pd.DataFrame, items: Ids | None = None) -> tuple[np.ndarray, list[str]]:
        """What `predict` and `notes` give, in one pass and without a warning."""
        pairs = self._pairs(*_given(PAIR, users, items))
        return self._predict(*pairs), [NOTES[lack] for lack in self._lacks(*pairs).tolist()]

    def evaluate(
        self, users: Ids | pd.DataFrame, items: Ids | None = None, ratings: Iterable[Any] | None = None
    ) -> dict[str, Any]:
        """How close the predictions come to ratings.

        Args:
            users: ids, or a DataFrame with a user, an item and a rating column.
            items: ids; none with a DataFrame.
            ratings: in stars, one for each pair; none with a DataFrame.

        Returns:
            rmse and mae of all pairs, in stars; n, their number; n_cold, how many have a user or an item without a
            training rating; coverage, the share of the others; rmse_known and mae_known of the others, None if there
            are none.

        Raises:
            DataError: as `predict`, or there is no rating, or one is no finite number.
        """
        users, items, ratings = _given(FIELDS[:3], users, items, ratings)
        given = pd.Series(ratings)
        stars, pairs = numbers(given), self._pairs(users, items)
        if len(stars) != len(pairs[0]) or not len(stars):
            raise DataError(
                f"{counted(len(pairs[0]), 'pair')} and {counted(len(stars), 'rating')}; expected one of each."
            )
        for place in np.flatnonzero(np.isnan(stars))[:1]:
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
        """The k best items that the user has not rated in training, best first: item, rating in stars, title if known.

        Args:
            user: an id.
            k: the most rows that there are.
            candidates: items; only these are ranked. Those without a training rating are left out, with a warning.
            exclude: items that are not recommended.

        Raises:
            DataError: the user is unknown or has no training rating, or no candidate has one.
        """
        return pd.DataFrame(self._recommended(user, k, self._left_out(candidates, exclude)))

    def best_items(
        self, user: Any, k: int = 10, candidates: Ids | None = None, exclude: Ids | None = None
    ) -> list[dict[str, Any]]:
        """What `recommend` gives, as plain rows and in half the time: for a server."""
        best = self._recommended(user, k, self._left_out(candidates, exclude))
        columns = [values.tolist() if isinstance(values, np.ndarray) else values for values in best.values()]
        return [dict(zip(best, row, strict=True)) for row in zip(*columns, strict=True)]

    def _recommended(self, user: Any, k: int, left_out: np.ndarray) -> dict[str, Any]:
        number = self._number("user", user)
        seen = self._seen[self._starts[number] : self._starts[number + 1]]
        return self._best_items(self._scores(number), np.append(seen, left_out), k)

    def similar_items(self, item: Any, k: int = 10) -> pd.DataFrame:
        """The k items most like this one, most alike first: item, similarity, title if known.

        Similarity is the cosine between the items' codes, each less the mean of all: 1 is alike, 0 is nothing in
        common. The codes are I-AutoRec's hidden layer, U-AutoRec's output weights, BiasedMF's factors.

        Raises:
            DataError: the item is unknown or has no training rating, or the model has no codes of items.
        """
        number = self._number("item", item)
        codes = self._item_codes
        return pd.DataFrame(self._best(codes @ codes[number], "similarity", np.array([number]), k))

    # New users and items, without training.

    def fold_in_user(self, ratings: Mapping[Any, float] | pd.Series, strict: bool = False) -> NewUser:
        """A user that training did not see, from ratings of known items.

        U-AutoRec encodes the ratings and corrects the code by them: see RowAutoRec.solve_new_row. I-AutoRec solves for
        the user's output weights on the items' codes, by ridge regression with the model's own penalty: see
        solve_new_column.

        Args:
            ratings: item -> stars; of a Series, the index has the items. Items without a training rating are left out,
                with a warning; see NewUser.left_out.
            strict: refuse such items.

        Raises:
            DataError: no rating of an item that training has ratings of, a rating outside the training range, or
                another model.
        """
        return NewUser(self, *self._folded("user", "item", ratings, strict))

    def fold_in_item(self, ratings: Mapping[Any, float] | pd.Series, strict: bool = False) -> NewItem:
        """An item that training did not see, from known users' ratings; otherwise as fold_in_user.

        Args:
            ratings: user -> stars.
            strict: see fold_in_user.
        """
        return NewItem(self, *self._folded("item", "user", ratings, strict))

    def _folded(
        self, new: str, known: str, ratings: Mapping[Any, float] | pd.Series, strict: bool
    ) -> tuple[Tensor, np.ndarray, list[str]]:
        """Scores of the new row or column at all of the other side, unclipped; which of them it rated; ids left out."""
        model = self.model
        if not isinstance(model, AutoRec):
            raise DataError(f"model {self.name} takes no new {new}s; AutoRecs do.")
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

    # Inside: numbers instead of ids.

    def _numbers(self, kind: str, ids: Ids) -> np.ndarray:
        """Of one id or many; 0 for one that is unknown."""
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

    def _known(self, kind: str, name: Any) -> int:
        number = int(self._numbers(kind, [name])[0])
        if number == 0:
            raise DataError(f"{kind} {_name(name)!r} is unknown: training had none of that id.")
        return number

    def _number(self, kind: str, name: Any) -> int:
        number = self._known(kind, name)
        if not self._rated[kind][number]:
            raise DataError(f"{kind} {_name(name)!r} has no training rating; nothing is known about it.")
        return number

    def _pairs(self, users: Ids, items: Ids) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the pairs."""
        pair = [self._numbers(kind, ids) for kind, ids in (("user", users), ("item", items))]
        if len(pair[0]) != len(pair[1]) and 1 not in (len(pair[0]), len(pair[1])):
            raise DataError(
                f"{len(pair[0])} users and {len(pair[1])} items; expected as many of each, or one of either."
            )
        both = np.broadcast_arrays(*pair)
        return both[0], both[1]

    def _lacks(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """What each numbered pair lacks, as a place in NOTES; 0 for nothing."""
        user, item = (
            np.where(self._rated[kind][ids], 0, np.where(ids == 0, 2, 1))
            for kind, ids in (("user", users), ("item", items))
        )
        return 3 * user + item

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
            raise DataError(f"{what}: {'; '.join(first)}. strict=False predicts what the model falls back to.")
        self._has_warned = True
        _warn(f"{what}, first {first[0]}: predictions fall back. notes() says which; strict=True refuses them.")

    def _left_out(self, candidates: Ids | None, exclude: Ids | None) -> np.ndarray:
        """Numbers of the items that are not to be ranked."""
        left_out = self._numbers("item", [] if exclude is None else exclude)
        if candidates is None:
            return left_out
        candidates = _several(candidates)
        chosen = self._numbers("item", candidates)
        strange = [_id_at(candidates, place) for place in np.flatnonzero(~self._rated["item"][chosen])]
        if strange:
            what = _few("item", strange, chosen, "candidate")
            if len(strange) == len(chosen):
                raise DataError(f"{what}; none is left.")
            _warn(f"{what}.")
        return np.append(left_out, np.setdiff1d(np.arange(len(self._rated["item"])), chosen))

    @torch.no_grad()
    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Stars of numbered pairs."""
        n, found = len(users), []
        for start in range(0, n, BLOCK):
            block = [np.resize(ids[start : start + BLOCK], BLOCK) for ids in (users, items)]
            pairs = Interaction({
                self._user_field: torch.from_numpy(block[0].astype(np.int64)),
                self._item_field: torch.from_numpy(block[1].astype(np.int64)),
            })  # fmt: skip
            found.append(self.model.predict(pairs).reshape(-1).numpy())
        stars = np.concatenate(found)[:n] if found else np.empty(0, dtype=np.float32)
        if not predicts_stars(type(self.model)):  # RecBole's models keep what was drawn at random for such ids
            rated = self._rated["user"][users] & self._rated["item"][items]
            stars = np.where(rated, stars, np.float32(self._margins.mean))
        return stars

    @torch.no_grad()
    def _scores(self, user: int) -> Tensor:
        """Of all items, unclipped where the model can rank."""
        if predicts_stars(type(self.model)):
            return self.model.full_sort_predict(Interaction({self._user_field: torch.tensor([user])}))
        n = len(self._rated["item"])
        return torch.from_numpy(self._predict(np.full(n, user), np.arange(n)))

    @cached_property
    @torch.no_grad()
    def _item_codes(self) -> Tensor:
        """Each less the mean of the rated ones, of length 1."""
        model = self.model
        if isinstance(model, AutoRec):
            codes = model.item_codes()
        elif isinstance(model, BiasedMF):
            codes = model.item_factors.weight
        else:
            raise DataError(f"model {self.name} has no codes of items to compare; AutoRecs and BiasedMF have.")
        return torch.nn.functional.normalize(codes - codes[torch.from_numpy(self._rated["item"])].mean(0), dim=1)

    def _best_items(self, scores: Tensor, seen: np.ndarray, k: int) -> dict[str, Any]:
        clips = getattr(self.model, "clip_prediction", True)
        return self._best(scores, "rating", seen, k, self.rating_range if clips else None)

    def _best(
        self, scores: Tensor, column: str, left_out: np.ndarray, k: int, bounds: tuple[float, float] | None = None
    ) -> dict[str, Any]:
        """The k rated items with the highest scores, except for some; scores beyond the bounds are shown as those."""
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise DataError(f"k={k!r} (--topk); expected a whole number >= 1.")
        scores = torch.where(torch.from_numpy(self._rated["item"]), scores, -torch.inf)
        scores[torch.from_numpy(left_out.copy())] = -torch.inf
        k = min(k, len(scores))
        among = (scores >= scores.topk(k).values[-1]).nonzero().squeeze(1)  # k, and ties with the last of them
        order = among[torch.argsort(scores[among], descending=True, stable=True)][:k]
        best = order[scores[order] > -torch.inf].tolist()
        shown = scores[best] if bounds is None else scores[best].clamp(*bounds)
        table: dict[str, Any] = {"item": [self.items[n - 1] for n in best], column: shown.numpy()}
        return {**table, "title": [self.titles[n - 1] for n in best]} if self.titles else table


def _row_autorecs(model: torch.nn.Module) -> list[RowAutoRec]:
    return model.row_autorecs() if isinstance(model, AutoRec) else []


class _New:
    """What fold_in_user and fold_in_item have in common.

    Attributes:
        scores: of all of the other side, in stars, unclipped.
        left_out: the ids whose ratings do not count, as training has none of them.
    """

    _other: str

    def __init__(self, predictor: Predictor, scores: Tensor, rated: np.ndarray, left_out: list[str]):
        self._predictor, self._rated, self.scores, self.left_out = predictor, rated, scores, left_out

    def predict(self, ids: Ids) -> np.ndarray:
        """Ratings (P,) float32, in stars; an unknown id gets cold_start_rating, or what the new one's offset says."""
        numbers = self._predictor._numbers(self._other, ids)
        model, rated = self._predictor.model, self._predictor._rated[self._other]
        stars = self.scores.numpy()[numbers]
        clipped = stars.clip(*self._predictor.rating_range) if model.clip_prediction else stars
        cold = model.cold_start_rating
        return clipped if cold is None else np.where(rated[numbers], clipped, np.float32(cold))


class NewUser(_New):
    """A folded-in user: predicts and recommends like a known one."""

    _other = "item"

    def recommend(self, k: int = 10, candidates: Ids | None = None, exclude: Ids | None = None) -> pd.DataFrame:
        """As Predictor.recommend; the items that were given are left out."""
        left_out = np.append(self._rated, self._predictor._left_out(candidates, exclude))
        return pd.DataFrame(self._predictor._best_items(self.scores.clone(), left_out, k))


class NewItem(_New):
    """A folded-in item: predicts like a known one."""

    _other = "user"


# Ids as they were given.


def _given(wanted: Sequence[str], *given: Any) -> list[Any]:
    """What was given of each field: itself, or a column of the one DataFrame."""
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
    """One id as a list, and others so that they can be gone through twice."""
    return [ids] if pd.api.types.is_scalar(ids) else list(ids) if isinstance(ids, Iterator) else ids


def _id_at(ids: Any, place: Any) -> str:
    """One of several, for messages; the only one stands for all."""
    return _name(next(islice(ids, int(place) if len(ids) > 1 else 0, None)))


def _name(value: Any) -> str:
    return id_text(value) or str(value)


def _few(kind: str, left_out: Sequence[str], of: Sequence[Any] | np.ndarray, what: str) -> str:
    return f"{len(left_out):,} of {counted(len(of), what)} left out: no training rating of {kind} {left_out[0]!r}" + (
        " and others" if len(left_out) > 1 else ""
    )


def _warn(text: str) -> None:
    """At the line that called a public method, which called what calls this."""
    warnings.warn(text, UserWarning, stacklevel=4)


def _rmse_and_mae(errors: np.ndarray) -> tuple[float | None, float | None]:
    return (float(np.sqrt(np.mean(errors**2))), float(np.mean(np.abs(errors)))) if len(errors) else (None, None)


def _why_not_here(model_class: type, parameters: Mapping[str, Any], fields: list[str]) -> str | None:
    """Why a model gives no stars for a user and an item alone, in half a sentence; None if it does."""
    more = [field for field in fields if field not in (parameters["USER_ID_FIELD"], parameters["ITEM_ID_FIELD"])]
    if parameters.get("phase", "teacher_training") != "teacher_training":  # KD_DAGFM
        return "its constructor reads its teacher's file"
    if why_no_ratings(model_class):
        return why_no_ratings(model_class)
    if not (compares_ratings(parameters) or predicts_stars(model_class)):
        return "it was trained to rank"
    if more and issubclass(model_class, ContextRecommender):
        return f"it sees {', '.join(more)} besides user and item; load_data_and_model loads it with its data"
    return None
