"""Typed tables: Parquet, Feather, Excel and pandas DataFrames."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from recbole_autorec.errors import DataError
from recbole_autorec.reading import fields
from recbole_autorec.reading.fields import PAIR
from recbole_autorec.reading.options import BadLines, Fault, Options, Say
from recbole_autorec.reading.separated import SHOWN

PART = 1 << 20  # rows per frame


def read(
    name: str, again: Callable[[], Iterator[pd.DataFrame]], options: Options, bad: BadLines, say: Say,
    wanted: Sequence[str], keep: list[str] | None, kind: str,
) -> Iterator[pd.DataFrame]:  # fmt: skip
    """Yield frames of ratings, from frames with the same columns of any type; see ratings.read_ratings.

    Args:
        again: returns the frames from the start; their index holds the row numbers.
    """
    frames = again()
    first = next(frames, None)
    if first is None:
        raise DataError(f"{name} has no rows.")
    columns = fields.with_kept(fields.chosen(name, list(first), options, wanted), first, keep)
    dates = None
    if "timestamp" in columns:
        place = columns.index("timestamp")
        times = first.iloc[:, place]
        typed = pd.api.types.is_numeric_dtype(times) or pd.api.types.is_datetime64_any_dtype(times)
        if not typed or options.date_format is not None:
            texts = [*map(fields.id_text, times.dropna().head(SHOWN))]
            all_texts = (list({*map(fields.id_text, frame.iloc[:, place].dropna())}) for frame in again())
            dates = fields.format_of(name, texts, options, say, all_texts)
    fields.say_columns(name, kind, zip(map(str, first), columns, strict=True), dates, say)
    for frame in chain([first], frames):
        yield _typed(name, frame, columns, dates, options, bad)


def _typed(
    name: str, frame: pd.DataFrame, columns: Sequence[str | int | None], dates: str | None, options: Options,
    bad: BadLines,
) -> pd.DataFrame:  # fmt: skip
    """Return the ratings of a frame; invalid rows go to `bad`."""
    made: dict[Any, Any] = {}
    for place, column in enumerate(columns):
        values = frame.iloc[:, place]
        if column in PAIR:
            made[column] = fields.as_categories(values)
        elif column == "rating":
            made[column] = fields.numbers(values, options.decimal)
        elif column == "timestamp":
            made[column] = fields.in_seconds(values, dates, options.decimal)
        elif column is not None:
            missing = values.isna().to_numpy()
            made[column] = np.where(missing, "", values.astype(str).to_numpy(dtype=object))
    table = pd.DataFrame(made, columns=pd.Index(list(made), dtype=object))
    good = table[[name for name in (*PAIR, "timestamp") if name in table]].notna().all(axis=1).to_numpy()
    if "rating" in table:
        raw = frame.iloc[:, columns.index("rating")]
        coded = np.zeros(len(table), dtype=bool)
        if options.not_rated is not None:
            texts = raw.map(lambda value: "" if pd.isna(value) else str(value).strip())
            coded = (texts == options.not_rated).to_numpy()
        good = good & (table["rating"].notna().to_numpy() | coded)
    faults = []
    for place in np.flatnonzero(~good).tolist():
        row = {column: frame.iloc[place, at] for at, column in enumerate(columns) if isinstance(column, str)}
        text = ", ".join(f"{key}={value}" for key, value in row.items())
        faults.append((int(frame.index[place]), text, _why(row, dates, options)))
    bad.add(name, faults, len(frame), options)
    return table[good]


def _why(row: dict[str, Any], dates: str | None, options: Options) -> Fault:
    for kind in PAIR:
        if not fields.is_id(fields.id_text(row[kind])):
            return fields.why_no_id(kind, fields.id_text(row[kind]), options)
    if "rating" in row and np.isnan(fields.one_number(row["rating"], options.decimal)):
        given, text = row["rating"], str(row["rating"])
        missing = not isinstance(given, str) and text in ("nan", "None", "<NA>", "NaT")
        return fields.why_no_number("rating", "" if missing else text, options)
    time = fields.id_text(row["timestamp"])
    return fields.why_no_date(time, dates, options) if dates else Fault(f"timestamp {time!r} is not a time")


def arrow(name: str, stream: Any, kind: str) -> Iterator[pd.DataFrame]:
    """Yield the frames of a Parquet or Feather (Arrow IPC) file.

    Raises:
        DataError: pyarrow is missing, or the file is damaged.
    """
    module = _imported(f"pyarrow.{kind.lower()}", name, kind, "pyarrow")
    try:
        if kind == "Parquet":
            batches = module.ParquetFile(stream).iter_batches(PART)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about version 1 of the format
                batches = module.read_table(stream).to_batches(PART)
        yield from _numbered(batches)
    except (import_module("pyarrow").ArrowException, OSError) as error:
        raise DataError(f"{name} cannot be read: it is a damaged {kind} file.") from error


def _numbered(batches: Iterable[Any]) -> Iterator[pd.DataFrame]:
    """Yield Arrow batches as frames; integers stay integers despite missing ones, an index becomes columns."""
    kinds = {"int": pd.Int64Dtype(), "uint": pd.UInt64Dtype()}
    number = 1
    for batch in batches:
        frame = batch.to_pandas(
            types_mapper=lambda kind: kinds.get(str(kind).rstrip("0123456789")), ignore_metadata=True
        )
        frame = frame[[name for name in frame if not str(name).startswith("__index_level_")]]
        yield frame.set_axis(range(number, number + len(frame)))
        number += len(frame)


def excel(name: str, stream: Any, options: Options, wanted: Sequence[str], say: Say) -> pd.DataFrame:
    """Return the first sheet of an Excel file; raises like `arrow`."""
    _imported("openpyxl", name, "Excel", "openpyxl")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and the like
            with pd.ExcelFile(stream, engine="openpyxl") as book:
                sheets = book.sheet_names
                table = book.parse(sheets[0], header=None, dtype=object, na_filter=False)
    except Exception as error:  # openpyxl raises many types of errors on a damaged file
        raise DataError(f"{name} cannot be read: it is a damaged Excel file.") from error
    if len(sheets) > 1:
        say(f"{name}: reading sheet {str(sheets[0])!r} only, the first of {len(sheets)}")
    table.index += 1  # rows of a sheet are numbered from 1
    table = table.mask(table.apply(lambda column: column.map(lambda cell: isinstance(cell, str) and not cell.strip())))
    table = table.dropna(how="all").dropna(how="all", axis=1)
    if table.empty:
        raise DataError(f"{name} has no rows.")
    lines = [[str(cell) for cell in row] for row in table.head(2).to_numpy()]
    if fields.is_header(lines[0], lines[-1], options, wanted):
        return table.iloc[1:].set_axis(lines[0], axis=1)
    columns = fields.chosen(name, lines[0], options, wanted, named=False)
    return table.set_axis([column or f"column {place}" for place, column in enumerate(columns, 1)], axis=1)


def _imported(module: str, name: str, kind: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(
            f"{name}: reading {kind} needs {package}: pip install {package}. Or save the table as .csv in UTF-8."
        ) from error
