"""Tables with types: Parquet, Feather, Excel and pandas DataFrames."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from recbole_autorec.errors import DataError
from recbole_autorec.reading import fields
from recbole_autorec.reading.fields import PAIR
from recbole_autorec.reading.options import BadLines, Fault, Options, Say

PART = 1 << 20  # rows at once


def read(
    name: str, frames: Iterator[pd.DataFrame], options: Options, bad: BadLines, say: Say,
    wanted: Sequence[str], keep: list[str] | None, kind: str,
) -> Iterator[pd.DataFrame]:  # fmt: skip
    """Frames of the ratings, from frames with the same columns of any type; see ratings.read_ratings."""
    columns: list[str | int | None] | None = None
    number, dates = 1, None
    for frame in frames:
        if columns is None:
            columns = list(fields.chosen(name, list(frame), options, wanted))
            said = ", ".join(
                f"{column} from {str(key)!r}" for key, column in zip(frame, columns, strict=True) if column
            )
            if keep is not None:
                keep[:] = map(str, frame)
                columns = [place if column is None else column for place, column in enumerate(columns)]
            if "timestamp" in columns:
                times = frame.iloc[:, columns.index("timestamp")]
                typed = pd.api.types.is_numeric_dtype(times) or pd.api.types.is_datetime64_any_dtype(times)
                if not typed or options.date_format is not None:
                    texts = times.dropna().head(3000).map(str).tolist()
                    dates = fields.format_of(name, texts, options, say)
            say(f"{name}: {kind}, {said}" + (f"; dates as {dates}" if dates else ""))
        yield _typed(name, number, frame, columns, dates, options, bad)
        number += len(frame)
    if columns is None:
        raise DataError(f"{name} has no row.")


def _typed(
    name: str, number: int, frame: pd.DataFrame, columns: list[str | int | None], dates: str | None, options: Options,
    bad: BadLines,
) -> pd.DataFrame:  # fmt: skip
    """The frame's ratings, without its bad rows."""
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
    good = table[[*PAIR]].notna().all(axis=1).to_numpy()
    if "rating" in table:
        raw = frame.iloc[:, columns.index("rating")]
        coded = np.zeros(len(table), dtype=bool)
        if options.not_rated is not None:
            texts = raw.map(lambda value: "" if pd.isna(value) else str(value).strip())
            coded = (texts == options.not_rated).to_numpy()
        good = good & (table["rating"].notna().to_numpy() | coded)
    if "timestamp" in table:
        good = good & table["timestamp"].notna().to_numpy()
    faults = []
    for place in np.flatnonzero(~good).tolist():
        row = {column: frame.iloc[place, at] for at, column in enumerate(columns) if isinstance(column, str)}
        faults.append((number + place, ", ".join(f"{key}={value}" for key, value in row.items()), _why(row, options)))
    bad.add(name, faults, len(frame), options)
    return table[good]


def _why(row: dict[str, Any], options: Options) -> Fault:
    for kind in PAIR:
        if not fields.is_id(fields.id_text(row[kind])):
            return fields.why_no_id(kind, fields.id_text(row[kind]), options)
    if "rating" in row and np.isnan(fields.one_number(row["rating"], options.decimal)):
        return fields.why_no_number("rating", "" if pd.isna(row["rating"]) else str(row["rating"]), options)
    return Fault(f"timestamp {str(row['timestamp'])!r} is no time")


def parquet(name: str, stream: Any) -> Iterator[pd.DataFrame]:
    """The frames of a Parquet file.

    Raises:
        DataError: pyarrow is missing, or the file is damaged.
    """
    arrow = _imported("pyarrow.parquet", name, "Parquet", "pyarrow")
    try:
        file = arrow.ParquetFile(seekable(stream))
        for batch in file.iter_batches(PART):
            yield _frame_of(batch)
    except _arrow_errors() as error:
        raise DataError(f"{name} cannot be read: it is a damaged Parquet file.") from error


def feather(name: str, stream: Any) -> Iterator[pd.DataFrame]:
    """The frames of a Feather (Arrow IPC) file; raises as `parquet`."""
    arrow = _imported("pyarrow.feather", name, "Feather", "pyarrow")
    try:
        for batch in arrow.read_table(seekable(stream)).to_batches(PART):
            yield _frame_of(batch)
    except _arrow_errors() as error:
        raise DataError(f"{name} cannot be read: it is a damaged Feather file.") from error


def _frame_of(batch: Any) -> pd.DataFrame:
    """Whole numbers stay whole where some are missing."""
    return batch.to_pandas(types_mapper=lambda kind: pd.Int64Dtype() if str(kind).startswith(("int", "uint")) else None)


def _arrow_errors() -> tuple[type[Exception], ...]:
    import pyarrow

    return pyarrow.ArrowException, OSError


def excel(name: str, stream: Any, options: Options, wanted: Sequence[str], say: Say) -> Iterator[pd.DataFrame]:
    """The first sheet of an Excel file, as one frame; raises as `parquet`."""
    _imported("openpyxl", name, "Excel", "openpyxl")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and the like
            with pd.ExcelFile(seekable(stream), engine="openpyxl") as book:
                sheets = book.sheet_names
                table = book.parse(sheets[0], header=None, dtype=object, na_filter=False)
    except Exception as error:  # openpyxl fails on a damaged file in a dozen ways
        raise DataError(f"{name} cannot be read: it is a damaged Excel file.") from error
    if len(sheets) > 1:
        say(f"{name}: sheet {str(sheets[0])!r} is read, the other {len(sheets) - 1} not")
    table = table.mask(table.map(lambda cell: isinstance(cell, str) and not cell.strip()))
    table = table.dropna(how="all").dropna(how="all", axis=1)
    if table.empty:
        raise DataError(f"{name} has no row.")
    lines = [[str(cell) for cell in row] for row in table.head(2).to_numpy()]
    if fields.is_header(lines[0], lines[-1], options, wanted):
        yield table.iloc[1:].set_axis(lines[0], axis=1)
        return
    columns = fields.chosen(name, lines[0], options, wanted, named=False)
    yield table.set_axis([column or f"column {place}" for place, column in enumerate(columns, 1)], axis=1)


def _imported(module: str, name: str, kind: str, package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(
            f"{name}: reading {kind} needs {package}: pip install {package}. Or save the table as .csv in UTF-8."
        ) from error


def seekable(stream: Any) -> Any:
    return stream if stream.seekable() else io.BytesIO(stream.read())
