"""A trained model that serves without its dataset: the checkpoint has all it takes. External ids in, stars out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
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
from recbole_autorec.errors import CheckpointError, ConfigError, DataError
from recbole_autorec.model.autorec import AutoRec, RowAutoRec
from recbole_autorec.model.general_recommender.biasedmf import BiasedMF
from recbole_autorec.model.registry import get_model, predicts_stars, why_no_ratings
from recbole_autorec.quick_start import build_model, quiet_recbole
from recbole_autorec.trainer.checkpoint import (
    load_checkpoint,
    no_forgery,
    other_parameter,
    rebuilt,
    save_checkpoint,
)

BLOCK = 1024  # pairs at once; always so many, so that no prediction depends on the others
# How a model was evaluated, and where, is of no interest here.
SERVING = {"metrics": ["RMSE", "MAE"], "valid_metric": "RMSE", "eval_args": {"mode": "labeled"}, "use_gpu": False}


class Predictor:
    """Predictions of a checkpoint's model, on the CPU. Safe to share between threads.

    Ids are those of the dataset's files, as text; numbers count as their text. An unknown id is no error in `predict`:
    see `notes`.

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

    def predict(self, users: Iterable[Any] | str, items: Iterable[Any] | str) -> np.ndarray:
        """Ratings of the pairs (P,): (P,) float32, in stars. One user or one item stands for all of the others.

        The same pair has the same prediction, whatever it is asked with. See `notes` for ids without training ratings.
        """
        user_numbers, item_numbers = self._pairs(users, items)
        return self._predict(user_numbers, item_numbers)

    def notes(self, users: Iterable[Any] | str, items: Iterable[Any] | str) -> list[str]:
        """For each pair what its prediction lacks: "" or "unknown user", "unrated item" and the like.

        Such a prediction is what the model falls back to: AutoRec's cold_start_rating, offsets that are known, or the
        mean of the training ratings.
        """
        numbers = dict(zip(("user", "item"), self._pairs(users, items), strict=True))
        lacks = {
            kind: np.where(numbers[kind] == 0, f"unknown {kind}",
                           np.where(self._rated[kind][numbers[kind]], "", f"unrated {kind}"))
            for kind in numbers
        }  # fmt: skip
        return [", ".join(filter(None, both)) for both in zip(lacks["user"], lacks["item"], strict=True)]

    def recommend(self, user: Any, k: int = 10) -> pd.DataFrame:
        """The k best items that the user has not rated in training, best first: item, rating in stars, title if known.

        Raises:
            DataError: the user is unknown or has no training rating.
        """
        return pd.DataFrame(self._recommended(user, k))

    def best_items(self, user: Any, k: int = 10) -> list[dict[str, Any]]:
        """What `recommend` gives, as plain rows and in half the time: for a server."""
        best = self._recommended(user, k)
        columns = [values.tolist() if isinstance(values, np.ndarray) else values for values in best.values()]
        return [dict(zip(best, row, strict=True)) for row in zip(*columns, strict=True)]

    def _recommended(self, user: Any, k: int) -> dict[str, Any]:
        number = self._number("user", user)
        seen = self._seen[self._starts[number] : self._starts[number + 1]]
        return self._best_items(self._scores(number), seen, k)

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

    def fold_in_user(self, ratings: Mapping[Any, float]) -> NewUser:
        """A user that training did not see, from ratings of known items.

        U-AutoRec encodes the ratings and corrects the code by them: see RowAutoRec.solve_new_row. I-AutoRec solves for
        the user's output weights on the items' codes, by ridge regression with the model's own penalty: see
        solve_new_column.

        Args:
            ratings: item -> stars.

        Raises:
            DataError: no rating, an unknown item, a rating outside the training range, or another model. Items that are
                known and have no training rating are left out.
        """
        return NewUser(self, *self._folded("user", "item", ratings))

    def fold_in_item(self, ratings: Mapping[Any, float]) -> NewItem:
        """An item that training did not see, from known users' ratings; otherwise as fold_in_user.

        Args:
            ratings: user -> stars.
        """
        return NewItem(self, *self._folded("item", "user", ratings))

    @torch.no_grad()
    def _folded(self, new: str, known: str, ratings: Mapping[Any, float]) -> tuple[Tensor, np.ndarray]:
        """Scores of the new row or column at all of the other side, unclipped, and which of them it has rated."""
        model = self.model
        if not isinstance(model, AutoRec):
            raise DataError(f"model {self.name} takes no new {new}s; AutoRecs do.")
        if not isinstance(ratings, Mapping) or not ratings:
            raise DataError(f"a new {new} needs ratings: give at least one, as {{{known}: stars}}.")
        low, high = self.rating_range
        plain = {key: stars.item() if isinstance(stars, np.generic) else stars for key, stars in ratings.items()}
        for key, stars in plain.items():
            if not is_number(stars, low, high):
                raise DataError(
                    f"a new {new}'s rating {stars!r} of {known} {str(key)!r}; expected {low:g} to {high:g}."
                )
        keys = [str(key) for key in ratings]
        if len(set(keys)) < len(keys):
            raise DataError(f"a new {new}'s ratings name a {known} twice.")
        for key in keys:
            self._known(known, key)
        numbers_given = self._numbers(known, keys)
        there = self._rated[known][numbers_given]
        numbers = torch.from_numpy(numbers_given[there])
        values = torch.tensor([float(stars) for stars in plain.values()])[torch.from_numpy(there)]
        if not len(numbers):
            raise DataError(f"a new {new} needs a rating of {known}s that training has ratings of; these have none.")
        return model.rate_as_new(new, numbers, values), numbers.numpy()

    # Inside: numbers instead of ids.

    def _numbers(self, kind: str, ids: Iterable[Any] | str) -> np.ndarray:
        """Of one id or many; 0 for one that is unknown."""
        if isinstance(ids, str | int | np.integer):
            ids = [ids]
        known = self._numbers_of[kind]
        if isinstance(ids, pd.Series) and isinstance(ids.dtype, pd.CategoricalDtype):
            return np.append(self._numbers(kind, ids.cat.categories), 0)[ids.cat.codes]  # -1: missing
        return np.array([known.get(str(each), 0) for each in ids], dtype=np.int64)

    def _known(self, kind: str, name: Any) -> int:
        number = self._numbers_of[kind].get(str(name), 0)
        if number == 0:
            raise DataError(f"{kind} {str(name)!r} is unknown: training had none of that id.")
        return number

    def _number(self, kind: str, name: Any) -> int:
        number = self._known(kind, name)
        if not self._rated[kind][number]:
            raise DataError(f"{kind} {str(name)!r} has no training rating; nothing is known about it.")
        return number

    def _pairs(self, users: Iterable[Any] | str, items: Iterable[Any] | str) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the pairs."""
        pair = [self._numbers(kind, ids) for kind, ids in (("user", users), ("item", items))]
        if len(pair[0]) != len(pair[1]) and 1 not in (len(pair[0]), len(pair[1])):
            raise DataError(
                f"{len(pair[0])} users and {len(pair[1])} items; expected as many of each, or one of either."
            )
        both = np.broadcast_arrays(*pair)
        return both[0], both[1]

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
    """

    _other: str

    def __init__(self, predictor: Predictor, scores: Tensor, rated: np.ndarray):
        self._predictor, self._rated, self.scores = predictor, rated, scores

    def predict(self, ids: Iterable[Any] | str) -> np.ndarray:
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

    def recommend(self, k: int = 10) -> pd.DataFrame:
        """As Predictor.recommend; the items that were given are left out."""
        return pd.DataFrame(self._predictor._best_items(self.scores.clone(), self._rated, k))


class NewItem(_New):
    """A folded-in item: predicts like a known one."""

    _other = "user"


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
