"""Serve files in constant memory; an output file is written completely or not at all."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np
import pandas as pd

from recbole_autorec.conversion.convert import one_file
from recbole_autorec.errors import AutoRecError, ConfigError, DataError, counted
from recbole_autorec.files import make_folder, without_formulas, write_json, write_whole
from recbole_autorec.reading import fields
from recbole_autorec.reading.blocks import WITHIN
from recbole_autorec.reading.fields import PAIR
from recbole_autorec.reading.options import FOUND_OUT, BadLines, Options, parts_of, shown
from recbole_autorec.reading.ratings import collected, hint_of_code, read_ratings
from recbole_autorec.reading.sources import opened
from recbole_autorec.serving.predictor import NewItem, NewUser, Predictor

logger = getLogger(__name__)

SUFFIXES = (".tsv", ".csv", ".json", ".jsonl")
# A .tsv has no quotes, like GroupLens's and RecBole's; only the ids of a forged checkpoint need escapechar.
STYLES: dict[str, dict[str, Any]] = {
    ".tsv": {"sep": "\t", "quoting": csv.QUOTE_NONE, "quotechar": "\0", "escapechar": "\1"}, ".csv": {},
}  # fmt: skip
PART = 1 << 17  # pairs written at once


def predict_file(
    checkpoint: str | Path,
    input: str | Path,
    output: str | Path | None = None,
    new_ratings: str | Path | None = None,
    options: Options = FOUND_OUT,
    new_options: Options = FOUND_OUT,
) -> str:
    """Predict the pairs of `input`; write its columns, the rating in stars and a note, one line per pair, in its order.

    Args:
        checkpoint: file of the model.
        input: user-item pairs in any format that convert reads.
        output: .tsv, .csv, .json (one array) or .jsonl; None prints the pairs as .tsv.
        new_ratings: ratings of new users or items to fold in first.
        options, new_options: how to read the input and the new ratings.

    Returns:
        A summary, empty if the predictions were printed.
    """
    _check_output(output, input)
    predictor = Predictor.load(checkpoint)
    if new_ratings is not None:
        options, new_options = replace(options, elsewhere=True), replace(new_options, elsewhere=True)
    new_users, new_items = _folded_in(predictor, new_ratings, new_options)
    notes = 0

    def tables() -> Iterator[pd.DataFrame]:
        nonlocal notes
        for source in one_file(input):
            names: list[str] = []
            for frame in read_ratings(source, options, BadLines(), logger.info, PAIR, names):
                for start in range(0, len(frame), PART):
                    pairs = frame.iloc[start : start + PART]
                    answers = _predicted(predictor, pairs, new_users, new_items)
                    notes += int((answers["note"] != "").sum())
                    yield _beside(pairs, names, answers)

    text = f"{counted(_write(tables(), output), 'pair')} predicted"
    return "" if output is None else f"{output}: {text}" + (f", {notes:,} with a note" if notes else "")


def evaluate_file(
    checkpoint: str | Path,
    input: str | Path,
    output: str | Path | None = None,
    options: Options = FOUND_OUT,
    skip_bad_lines: bool = False,
) -> str:
    """Score a model on the ratings in a file and return a table of the scores; see Predictor.evaluate.

    Args:
        checkpoint, input, options: see predict_file.
        output: .json file for the scores.
        skip_bad_lines: skip invalid lines.
    """
    _check_output(output, input, suffixes=(".json",))
    predictor = Predictor.load(checkpoint)
    ratings = collected(one_file(input), options, BadLines(skip_bad_lines))
    outside = _outside(ratings, predictor)
    if len(outside):
        low, high = predictor.rating_range
        flag = options.flag("not_rated")
        hint = hint_of_code(ratings["rating"].to_numpy(), lambda code, others: f"{flag} {code:g} leaves it out")
        logger.warning(
            f"{len(outside):,} of {counted(len(ratings), 'rating')} outside the range of training, {low:g} to {high:g}"
            + (f"; {hint}" if hint else "")
        )
    scores = predictor.evaluate(ratings["user"], ratings["item"], ratings["rating"])
    if output is not None:
        write_json(Path(output), scores, "give another --output.")
    known = scores["n"] - scores["n_cold"]
    rows = {"all pairs": ("rmse", "mae", scores["n"]), "known user and item": ("rmse_known", "mae_known", known)}
    table = pd.DataFrame(
        {name: [f"{scores[rmse]:.4f}", f"{scores[mae]:.4f}", f"{n:,}"] for name, (rmse, mae, n) in rows.items() if n},
        index=["RMSE", "MAE", "pairs"],
    ).T
    return (
        f"\n{table.to_string()}\n\ncoverage {scores['coverage']:.1%}: {scores['n_cold']:,} of "
        f"{counted(scores['n'], 'pair')} have a user or an item without training ratings"
        + ("" if output is None else f"\n{output}")
    )


def recommend_to(
    checkpoint: str | Path,
    users: str | None,
    k: int = 10,
    output: str | Path | None = None,
    new_ratings: str | Path | None = None,
    options: Options = FOUND_OUT,
    candidates: str | Path | None = None,
    exclude: str | Path | None = None,
) -> str:
    """Recommend the k best unseen items to each user: columns user, rank, item, rating, title.

    Args:
        users: comma-separated ids, or "all" with a training rating; None: the users of `new_ratings`.
        checkpoint, output, new_ratings: see predict_file.
        options: how to read the new ratings.
        candidates: file with the only items to recommend, one id per line.
        exclude: file with items never to recommend, one id per line, or with user-item pairs.
    """
    _check_output(output)
    if not users and new_ratings is None:
        raise ConfigError("recommend: give --users 196,22, --users all, or --new_ratings FILE with new users' ratings.")
    predictor = Predictor.load(checkpoint)
    only = None if candidates is None else _candidates(predictor, candidates)
    never = {None: []} if exclude is None else _items_by_user(exclude)
    new_users, new_items = _folded_in(predictor, new_ratings, options)
    if new_items:
        logger.warning(
            f"{Path(str(new_ratings)).name}: {counted(len(new_items), 'new item')} left out, first "
            f"{next(iter(new_items))!r}: recommend takes new users' ratings of known items only"
        )
    known = _chosen(users, predictor.rated_users) if users else []
    if known and not predictor.knows_ratings:
        logger.warning("the model was exported without ratings: recommendations may include rated items")
    new = list(new_users) if users in (None, "all") else []
    if not known and not new:
        raise DataError(f"{new_ratings}: no new user has rated a known item; give --users.")

    def tables() -> Iterator[pd.DataFrame]:
        for user in (*known, *new):
            out = [*never.get(None, ()), *never.get(user, ())]
            if user in new_users:
                best = new_users[user].recommend(k, only, out)
            else:
                best = predictor.recommend(user, k, only, out)
            yield _ranked("user", user, best)

    return _answer(tables(), output)


def export_model(checkpoint: str | Path, output: str | Path) -> str:
    """Write what serving needs from a checkpoint and return a summary; see Predictor.save."""
    _check_output(output, checkpoint, "the checkpoint", suffixes=())
    predictor = Predictor.load(checkpoint)
    predictor.save(make_folder(Path(output).parent) / Path(output).name)
    sizes = " of ".join(f"{os.path.getsize(path) / 1e6:.1f}" for path in (output, checkpoint))
    return f"{output}: {predictor.name} for serving, {sizes} MB; without ratings and optimiser state"


def similar_to(checkpoint: str | Path, items: str, k: int = 10, output: str | Path | None = None) -> str:
    """List the k items most similar to each of `items`, comma-separated ids or "all": item, rank, similar, ..."""
    _check_output(output)
    predictor = Predictor.load(checkpoint)
    chosen = _chosen(items, predictor.rated_items)
    tables = (
        _ranked("item", item, predictor.similar_items(item, k).rename(columns={"item": "similar"})) for item in chosen
    )
    return _answer(tables, output)


def _chosen(ids: str, everybody: list[str]) -> list[str]:
    """Return each id once, in order."""
    chosen = everybody if ids == "all" else [*dict.fromkeys(filter(None, map(str.strip, parts_of(ids))))]
    if not chosen:
        raise ConfigError(f"{ids!r} contains no ids; give comma-separated ids, or all.")
    return chosen


def _items_by_user(file: str | Path) -> dict[str | None, list[str]]:
    """Return the items of a file with one per line, under None; or of user-item pairs, under the user."""
    found: dict[str | None, list[str]] = {None: []}
    for source in one_file(file):
        with opened(source) as stream:
            decoded = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")
            lines = [line for line in decoded if line.strip()]
        first = next(csv.reader(lines[:1]), [])
        if "user" not in fields.by_known_names(first, PAIR):
            place = next(
                (place for place, text in enumerate(first) if fields.field_named(text) == ("item", True)), None
            )
            for row in csv.reader(lines[place is not None :]):  # a list of ids, or a table with a column of them
                text = ",".join(row) if place is None or len(first) == 1 else "".join(row[place : place + 1])
                found[None] += filter(None, [fields.id_text(text)])
            continue
        for frame in read_ratings(source, Options(), BadLines(), logger.info, PAIR):
            for user, item in zip(frame["user"], frame["item"], strict=True):
                found.setdefault(user, []).append(item)
    return found


def _candidates(predictor: Predictor, file: str | Path) -> list[str]:
    """Return the items of a file with one per line, without those that have no training rating."""
    given, rated = _items_by_user(file)[None], set(predictor.rated_items)
    known = [item for item in given if item in rated]
    if not known:
        raise DataError(
            f"--candidates '{file}': expected one item id per line; "
            + (f"none of {shown(given)} has a training rating." if given else "the file has none.")
        )
    if len(known) < len(given):
        first = next(item for item in given if item not in rated)
        logger.warning(
            f"{Path(file).name}: {counted(len(given) - len(known), 'candidate')} left out, first {first!r}: "
            "no training rating"
        )
    return known


def _folded_in(
    predictor: Predictor, file: str | Path | None, options: Options
) -> tuple[dict[str, NewUser], dict[str, NewItem]]:  # fmt: skip
    """Fold in the new users and items of a file of ratings; ratings of no use are left out."""
    if file is None:
        return {}, {}
    ratings, name = collected(one_file(file), options, BadLines()), Path(file).name
    known = {kind: ratings[kind].isin(ids) for kind, ids in
             (("user", predictor.rated_users), ("item", predictor.rated_items))}  # fmt: skip
    neither, both = ~known["user"] & ~known["item"], known["user"] & known["item"]
    for useless, what in ((neither, "neither has training ratings"), (both, "both have training ratings")):
        if useless.any():
            first = ratings[useless].iloc[0]
            logger.warning(
                f"{name}: {counted(int(useless.sum()), 'rating')} left out, first user {first['user']!r}, item "
                f"{first['item']!r}: {what}"
            )
    parts = {"user": ratings[~known["user"] & known["item"]], "item": ratings[known["user"] & ~known["item"]]}
    if not len(parts["user"]) and not len(parts["item"]):
        raise DataError(
            f"{name}: no new user has rated a known item, and no known user a new item; check that the ids are those "
            "of the training data."
        )
    try:
        users = {
            user: predictor.fold_in_user(theirs.set_index("item")["rating"])
            for user, theirs in parts["user"].groupby("user", sort=False)
        }
        items = {
            item: predictor.fold_in_item(its.set_index("user")["rating"])
            for item, its in parts["item"].groupby("item", sort=False)
        }
    except DataError as error:
        outside = _outside(ratings, predictor)
        code = f"{outside.iloc[0]:g}" if len(outside) else ""
        hint = f" If {code} means 'not rated', {options.flag('not_rated')} {code} leaves it out." if code else ""
        raise DataError(f"{name}: {error}{hint}") from error
    return users, items


def _outside(ratings: pd.DataFrame, predictor: Predictor) -> pd.Series:
    """Return the ratings outside the range of training."""
    low, high = predictor.rating_range
    return ratings["rating"][(ratings["rating"] < low) | (ratings["rating"] > high)]


def _predicted(
    predictor: Predictor, pairs: pd.DataFrame, new_users: dict[str, NewUser], new_items: dict[str, NewItem]
) -> pd.DataFrame:
    """Return rating and note of each pair."""
    ratings, notes = predictor.predict_with_notes(pairs["user"], pairs["item"])
    table = pd.DataFrame({"rating": ratings, "note": notes})
    for new, mine, other in ((new_users, "user", "item"), (new_items, "item", "user")):
        categories = pairs[mine].cat.categories
        known = ~pairs[other].isin(list(new_items if other == "item" else new_users)).to_numpy()
        for code in np.flatnonzero(categories.isin(list(new))):
            rows = np.flatnonzero((pairs[mine].cat.codes == code).to_numpy() & known)  # both new: fallback stays
            table.loc[rows, "rating"] = new[categories[code]].predict(pairs[other].iloc[rows])
            table.loc[rows, "note"] = (
                table["note"].iloc[rows].str.replace(f"un(known|rated) {mine}", "folded in", regex=True)
            )
    return table


def _beside(pairs: pd.DataFrame, names: list[str], answers: pd.DataFrame) -> pd.DataFrame:
    """Append the answers to the input's columns, which keep their names except for user and item."""
    table, called = pairs.reset_index(drop=True).astype(object), list[str]()
    for place, name in enumerate(pairs):
        text = name if isinstance(name, str) else names[name]
        if name not in PAIR:
            table.isetitem(place, table[name].map(_restored))
        text = f"input_{text}" if name not in PAIR and text in (*PAIR, *answers) else text
        called.append(text if text not in called else f"{text} ({place + 1})")
    return pd.concat([table.set_axis(called, axis=1), answers], axis=1)


def _restored(text: str) -> str:
    """Return a copied field as it was in the file, with replacement characters for invalid UTF-8."""
    text = text.replace(WITHIN.decode(), "\n")
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _ranked(kind: str, name: str, best: pd.DataFrame) -> pd.DataFrame:
    best.insert(0, kind, name)
    best.insert(1, "rank", np.arange(1, len(best) + 1))
    return best


def _answer(tables: Iterable[pd.DataFrame], output: str | Path | None) -> str:
    """Write the tables to a file and return a summary, or return them as text."""
    if output is None:
        return "\n" + pd.concat(list(tables)).to_string(index=False, float_format="%.4f")
    return f"{output}: {counted(_write(tables, output), 'line')}"


def _check_output(
    output: str | Path | None, source: str | Path | None = None, what: str = "the input",
    suffixes: tuple[str, ...] = SUFFIXES,
) -> None:  # fmt: skip
    """Refuse an output of another suffix, or one that is a folder or overwrites `source`, which is `what`."""
    if output is None:
        return
    if suffixes and Path(output).suffix not in suffixes:
        raise ConfigError(f"--output '{output}'; expected a name that ends in {', '.join(suffixes)}.")
    if os.path.isdir(output):
        raise ConfigError(f"--output '{output}' is a folder; give another name.")
    if source is not None and os.path.exists(output) and os.path.exists(source) and os.path.samefile(output, source):
        raise ConfigError(f"--output '{output}' is {what}; give another name.")


def _write(tables: Iterable[pd.DataFrame], output: str | Path | None) -> int:
    """Write the tables to a file, or print them as .tsv; return the number of their rows."""
    if output is None:
        return _fill(sys.stdout, tables, ".tsv")
    path = Path(output)
    make_folder(path.parent)

    def write(binary: IO[bytes]) -> int:
        file = io.TextIOWrapper(binary, encoding="utf-8", newline="", write_through=True)
        n_rows = _fill(file, tables, path.suffix)
        file.detach()
        return n_rows

    return write_whole(path, write, AutoRecError, "free some space, or give another --output.")


def _without_line_ends(table: pd.DataFrame) -> pd.DataFrame:
    """Replace tabs and line ends in texts with blanks: .tsv has no quotes."""
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{name: table[name].astype(str).str.replace(r"[\t\r\n]", " ", regex=True) for name in texts})


def _fill(file: TextIO, tables: Iterable[pd.DataFrame], suffix: str) -> int:
    n_rows, written = 0, False
    file.write("[\n" if suffix == ".json" else "")
    for table in tables:
        if suffix in (".tsv", ".csv"):
            table = without_formulas(table) if suffix == ".csv" else _without_line_ends(table)
            table.to_csv(file, index=False, header=not written, float_format="%.4f", **STYLES[suffix])
        elif len(table):
            lines = table.to_json(orient="records", lines=True, double_precision=4, force_ascii=False).rstrip("\n")
            between = ",\n" if suffix == ".json" else "\n"
            file.write((between if written else "") + lines.replace("\n", between))
        else:
            continue
        n_rows, written = n_rows + len(table), True
    file.write({".json": "\n]\n", ".jsonl": "\n"}.get(suffix, ""))
    return n_rows
