"""A predictor's answers to files and tables: in constant memory, and written whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from recbole_autorec.data.convert import one_file
from recbole_autorec.data.readers import PAIR, BadLines, read_ratings
from recbole_autorec.errors import AutoRecError, ConfigError, DataError, counted
from recbole_autorec.files import make_folder, without_formulas, write_whole
from recbole_autorec.predictor import NewItem, NewUser, Predictor

logger = getLogger(__name__)

SUFFIXES = (".tsv", ".csv", ".json", ".jsonl")
# A .tsv has no quotes, as GroupLens's and RecBole's have none; escapechar is for a forged checkpoint's ids only.
STYLES: dict[str, dict[str, Any]] = {
    ".tsv": {"sep": "\t", "quoting": csv.QUOTE_NONE, "quotechar": "\0", "escapechar": "\1"}, ".csv": {},
}  # fmt: skip
PART = 1 << 17  # pairs written at once


def predict_file(
    checkpoint: str | Path,
    input: str | Path,
    output: str | Path | None = None,
    new_ratings: str | Path | None = None,
    columns: str | None = None,
    separator: str | None = None,
    encoding: str = "utf-8-sig",
) -> str:
    """Predict the pairs of `input`: user, item, rating in stars, note, a line each, in their order.

    Args:
        checkpoint: of the model.
        input: any file with a user and an item that convert could read.
        output: .tsv, .csv, .json (one array) or .jsonl; None prints the pairs as .tsv.
        new_ratings: ratings of users or items to fold in first.
        columns, separator, encoding: of the input, as of convert.

    Returns:
        What was done, for people.
    """
    _check_output(output, input)
    predictor = Predictor.load(checkpoint)
    new_users, new_items = _folded_in(predictor, new_ratings)
    count, notes = 0, 0

    def tables() -> Iterator[pd.DataFrame]:
        nonlocal count, notes
        for source in one_file(input):
            for frame in read_ratings(source, columns, separator, encoding, BadLines(skip=False), logger.info, PAIR):
                for start in range(0, len(frame), PART):
                    table = _predicted(predictor, frame.iloc[start : start + PART], new_users, new_items)
                    count, notes = count + len(table), notes + int((table["note"] != "").sum())
                    yield table

    _write(tables(), output)
    text = f"{counted(count, 'pair')} predicted"
    return "" if output is None else f"{output}: {text}" + (f", {notes:,} with a note" if notes else "")


def recommend_to(
    checkpoint: str | Path,
    users: str | None,
    k: int = 10,
    output: str | Path | None = None,
    new_ratings: str | Path | None = None,
) -> str:
    """The k best unseen items of each user: user, rank, item, rating, title.

    Args:
        users: ids with commas between them, or "all" with a training rating; None: those of `new_ratings`.
        checkpoint, output, new_ratings: see predict_file.
    """
    _check_output(output)
    if not users and new_ratings is None:
        raise ConfigError("recommend: give --users 196,22, or all, or --new_ratings FILE with new users' ratings.")
    predictor = Predictor.load(checkpoint)
    new_users, new_items = _folded_in(predictor, new_ratings)
    if new_items:
        raise ConfigError(
            f"--new_ratings: training had no item {next(iter(new_items))!r}; recommend takes new users' ratings of "
            "known items only."
        )
    known = _chosen(users, predictor.rated_users) if users else []
    if known and not predictor.knows_ratings:
        logger.warning("the model was exported without ratings: what users have rated is among their recommendations")
    new = list(new_users) if users in (None, "all") else []

    def tables() -> Iterator[pd.DataFrame]:
        for user in (*known, *new):
            best = new_users[user].recommend(k) if user in new_users else predictor.recommend(user, k)
            yield _ranked("user", user, best)

    return _answer(tables(), output)


def export_model(checkpoint: str | Path, output: str | Path) -> str:
    """Write what a checkpoint takes to serve; see Predictor.save. What was done, for people."""
    _check_place(output, checkpoint, "the checkpoint")
    predictor = Predictor.load(checkpoint)
    predictor.save(make_folder(Path(output).parent) / Path(output).name)
    sizes = " of ".join(f"{os.path.getsize(path) / 1e6:.1f}" for path in (output, checkpoint))
    return f"{output}: {predictor.name} for predictions, {sizes} MB; without ratings and optimiser"


def similar_to(checkpoint: str | Path, items: str, k: int = 10, output: str | Path | None = None) -> str:
    """The k most similar items of each of `items`, ids with commas between them, or "all": item, rank, similar, ..."""
    _check_output(output)
    predictor = Predictor.load(checkpoint)
    chosen = _chosen(items, predictor.rated_items)
    tables = (
        _ranked("item", item, predictor.similar_items(item, k).rename(columns={"item": "similar"})) for item in chosen
    )
    return _answer(tables, output)


def _chosen(ids: str, everybody: list[str]) -> list[str]:
    """Each id once, in order."""
    named = next(csv.reader([ids], skipinitialspace=True), [])  # "Smith, John",22
    chosen = everybody if ids == "all" else [*dict.fromkeys(filter(None, map(str.strip, named)))]
    if not chosen:
        raise ConfigError(f"{ids!r} names nobody; give ids with commas between them, or all.")
    return chosen


def _folded_in(
    predictor: Predictor, file: str | Path | None
) -> tuple[dict[str, NewUser], dict[str, NewItem]]:  # fmt: skip
    """The users and items of a file of ratings that the predictor does not know."""
    if file is None:
        return {}, {}
    frames = [
        frame.astype({"user": str, "item": str})
        for source in one_file(file)
        for frame in read_ratings(source, None, None, "utf-8-sig", BadLines(skip=False), logger.info)
    ]
    ratings = pd.concat(frames)
    if "timestamp" in ratings:
        ratings = ratings.sort_values("timestamp", kind="stable")
    again = ratings.duplicated(["user", "item"], keep="last")
    if again.any():
        logger.warning(f"{Path(file).name}: {counted(int(again.sum()), 'rating')} left out: the pair was rated again")
        ratings = ratings[~again]
    known = {"user": set(predictor.rated_users), "item": set(predictor.rated_items)}
    is_new = {kind: ~ratings[kind].isin(ids) for kind, ids in known.items()}
    for user, item, both in zip(ratings["user"], ratings["item"], is_new["user"] == is_new["item"], strict=True):
        if both:
            what = "training knew both" if user in known["user"] else "training knew neither"
            raise DataError(
                f"{Path(file).name}: user {user!r} and item {item!r}: {what}; a new rating is of a known item by a new "
                "user, or of a new item by a known user."
            )
    with _named(Path(file).name):
        users = {
            user: predictor.fold_in_user(dict(zip(theirs["item"], theirs["rating"], strict=True)))
            for user, theirs in ratings[is_new["user"]].groupby("user", sort=False)
        }
        items = {
            item: predictor.fold_in_item(dict(zip(its["user"], its["rating"], strict=True)))
            for item, its in ratings[is_new["item"]].groupby("item", sort=False)
        }
    return users, items


@contextmanager
def _named(file: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _predicted(
    predictor: Predictor, pairs: pd.DataFrame, new_users: dict[str, NewUser], new_items: dict[str, NewItem]
) -> pd.DataFrame:
    users, items = pairs["user"], pairs["item"]
    table = pd.DataFrame({
        "user": users.to_numpy(), "item": items.to_numpy(), "rating": predictor.predict(users, items),
        "note": predictor.notes(users, items),
    })  # fmt: skip
    for new, mine, other in ((new_users, "user", "item"), (new_items, "item", "user")):
        categories = pairs[mine].cat.categories
        known = ~pairs[other].isin(list(new_items if other == "item" else new_users)).to_numpy()
        for code in np.flatnonzero(categories.isin(list(new))):
            rows = np.flatnonzero((pairs[mine].cat.codes == code).to_numpy() & known)  # two new ones say nothing yet
            table.loc[rows, "rating"] = new[categories[code]].predict(table[other].iloc[rows])
            table.loc[rows, "note"] = (
                table["note"].iloc[rows].str.replace(f"un(known|rated) {mine}", "folded in", regex=True)
            )
    return table


def _ranked(kind: str, name: str, best: pd.DataFrame) -> pd.DataFrame:
    best.insert(0, kind, name)
    best.insert(1, "rank", np.arange(1, len(best) + 1))
    return best


def _answer(tables: Iterable[pd.DataFrame], output: str | Path | None) -> str:
    """The tables as a file, or as text."""
    if output is None:
        return "\n" + pd.concat(list(tables)).to_string(index=False, float_format="%.4f")
    count = 0

    def counting() -> Iterator[pd.DataFrame]:
        nonlocal count
        for table in tables:
            count += len(table)
            yield table

    _write(counting(), output)
    return f"{output}: {counted(count, 'line')}"


def _check_place(output: str | Path, source: str | Path | None, what: str) -> None:
    """Refuse to write over `source`, which is `what`, or a folder."""
    if os.path.isdir(output):
        raise ConfigError(f"--output '{output}' is a folder; give another name.")
    if source is not None and os.path.exists(output) and os.path.exists(source) and os.path.samefile(output, source):
        raise ConfigError(f"--output '{output}' is {what}; give another name.")


def _check_output(output: str | Path | None, input: str | Path | None = None) -> None:
    if output is None:
        return
    if Path(output).suffix not in SUFFIXES:
        raise ConfigError(f"--output '{output}'; expected a name that ends in {', '.join(SUFFIXES)}.")
    _check_place(output, input, "the input")


def _write(tables: Iterable[pd.DataFrame], output: str | Path | None) -> None:
    if output is None:
        for number, table in enumerate(tables):
            table.to_csv(sys.stdout, index=False, header=number == 0, float_format="%.4f", **STYLES[".tsv"])
        return
    path = Path(output)
    make_folder(path.parent)
    hint = "free some space, or give another --output."
    write_whole(path, lambda file: _fill(tables, file, path.suffix), AutoRecError, hint)


def _fill(tables: Iterable[pd.DataFrame], binary: IO[bytes], suffix: str) -> None:
    file = io.TextIOWrapper(binary, encoding="utf-8", newline="", write_through=True)
    written = False
    file.write("[\n" if suffix == ".json" else "")
    for table in tables:
        if suffix in (".tsv", ".csv"):
            table = without_formulas(table) if suffix == ".csv" else table
            table.to_csv(file, index=False, header=not written, float_format="%.4f", **STYLES[suffix])
        elif len(table):
            lines = table.to_json(orient="records", lines=True, double_precision=4, force_ascii=False).rstrip("\n")
            between = ",\n" if suffix == ".json" else "\n"
            file.write((between if written else "") + lines.replace("\n", between))
        else:
            continue
        written = True
    file.write({".json": "\n]\n", ".jsonl": "\n"}.get(suffix, ""))
    file.detach()
