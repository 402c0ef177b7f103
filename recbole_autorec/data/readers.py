"""Ratings from files: recognised by their first lines, read in blocks, every bad line named.

Formats  text with a separator (GroupLens's `::` and tabs, csv, tsv), Netflix's files with a line `movie:` over its
         ratings, JSON lines, Parquet where pyarrow is installed; each alone, or in .gz, .zip or a folder.
Speed    a block goes through pandas' C reader; only a block that it refuses is read line by line, by the same rules.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from pandas.core.tools.datetimes import guess_datetime_format  # before pandas 2.2 it is not in pandas.tseries.api

from recbole_autorec.errors import DataError, counted
from recbole_autorec.processes import interrupted, noted_interruptions

FIELDS = ("user", "item", "rating", "timestamp")  # the timestamp where there is one
PAIR = FIELDS[:2]
SEPARATORS = ("::", "\t", ",", ";", "|")
QUOTED = (",", ";")  # separators of files in which a field may stand in double quotes
# For read_csv with categories, which pandas 3.1 reads as numbers where it can: "01", "1" and "1.0" would be one id. It
# does not where thousands have a separator, and this one occurs in no field.
AS_TEXT = {"thousands": "\n"}
BLOCK = 1 << 25  # bytes; a quarter of it for pairs, which are answered as they come
# How files begin that are no text.
PACKED = {b"PK\x03\x04": "a .zip or an Excel file", b"\x1f\x8b": "a .gz", b"BZh": "a .bz2", b"\xfd7zXZ": "an .xz",
          b"\x28\xb5\x2f\xfd": "a .zst", b"7z\xbc\xaf": "a .7z", b"PAR1": "Parquet",
          b"\xff\xfe": "text in UTF-16", b"\xfe\xff": "text in UTF-16"}  # fmt: skip
# What the fields are called in well-known files, in lower case without _ and -.
NAMES = {
    "user": ("user", "userid", "uid", "reviewerid", "customerid", "memberid", "profilename"),
    "item": ("item", "itemid", "iid", "movieid", "asin", "parentasin", "isbn", "productid", "businessid", "bookid",
             "songid", "animeid", "gameid", "recipeid"),
    "rating": ("rating", "score", "stars", "overall", "bookrating", "ratings"),
    "timestamp": ("timestamp", "time", "unixreviewtime", "date", "datetime", "reviewtime", "unixtime"),
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """One file, or one in an archive."""

    name: str
    open: Callable[[], Any]  # gives a binary stream


@dataclass(frozen=True)
class Layout:
    """How a file's lines are to be read.

    Attributes:
        separator: between fields; "json" for JSON lines, "netflix" for Netflix's.
        header: whether the first line has names.
        columns: of text: the field in each column, None for one that is left out; of JSON lines: field -> key.
        dates: the format of timestamps that are dates, as of strptime; None where they are numbers.
        encoding: of the text.
    """

    separator: str
    header: bool
    columns: Sequence[str | None] | Mapping[str, str]
    dates: str | None
    encoding: str

    def __str__(self):
        if isinstance(self.columns, Mapping):
            return "JSON lines: " + ", ".join(f"{name} from {key!r}" for name, key in self.columns.items())
        if self.separator == "netflix":
            return "Netflix's format: user, rating, timestamp, below each item"
        header = "below a header" if self.header else "no header"
        return f"{', '.join(name or '-' for name in self.columns)}; separator {self.separator!r}; {header}"


@dataclass
class BadLines:
    """Lines that are no ratings: an error at once, or kept here.

    Attributes:
        skip: count them and go on.
        hint: how to skip them, in a sentence, for the error.
        count: how many there were.
        first: up to ten of them, each as "file line 3: why".
    """

    skip: bool
    hint: str = ""
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, source: str, line: int, text: str, why: str) -> None:
        message = f"{source} line {line}: {_shown(text)!r}: {why}"
        if not self.skip:
            raise DataError(f"{message}.{self.hint}")
        self.count += 1
        if len(self.first) < 10:
            self.first.append(message)


def sources_of(given: str | Path) -> list[Source]:
    """The files of a folder or a .zip, or the one file.

    Raises:
        DataError: there is nothing to read.
    """
    path = Path(given)
    if given == "":
        raise DataError("the name of the input is empty; give a file, a .zip or a folder.")
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        return [_one(file, file.relative_to(path).as_posix()) for file in files]
    if not path.exists():  # a pipe is as good as a file
        raise DataError(f"'{path}': no such file.")
    if path.suffix.lower() == ".zip":
        try:
            archive = zipfile.ZipFile(path)
            members = [info for info in archive.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
        except Exception as error:  # zipfile fails on a damaged file in a dozen ways
            raise DataError(f"'{path}' is no .zip, or a damaged one: {error}.") from error
        return [Source(info.filename, partial(archive.open, info)) for info in members]
    return [_one(path, path.name)]


def _one(path: Path, name: str) -> Source:
    if path.suffix.lower() == ".gz":
        return Source(name[: -len(".gz")], partial(gzip.GzipFile, path))
    return Source(name, partial(open, path, "rb"))


@contextmanager
def reading(source: Source) -> Iterator[None]:
    """What goes wrong with the file itself, in words."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error) or "it ends too early"
        raise DataError(f"{source.name} cannot be read: {why}.") from error


def read_ratings(
    source: Source, columns: str | None, separator: str | None, encoding: str, bad: BadLines,
    say: Callable[[str], object], wanted: tuple[str, ...] = FIELDS,
) -> Iterator[pd.DataFrame]:  # fmt: skip
    """Frames of the ratings: user and item as categories, rating in stars, timestamp in seconds where there is one.

    Args:
        source: the file.
        columns: "user,item,rating,timestamp" by place, - for what is left out, or "user=name,..."; None to find out.
        separator: of a text file; None to find out.
        encoding: of a text file.
        bad: what becomes of bad lines.
        say: told how the file is read.
        wanted: FIELDS, or PAIR for a file of pairs.

    Raises:
        DataError: with the line, or what is missing.
    """
    with reading(source):
        if source.name.lower().endswith(".parquet"):
            yield from _read_parquet(source, columns, bad, say, wanted)
            return
        with source.open() as stream:
            layout = None
            for number, block in _blocks(stream, BLOCK if wanted == FIELDS else BLOCK // 4):
                if layout is None:
                    layout = _layout(source.name, block, columns, separator, encoding, wanted)
                    say(f"{source.name}: {layout}")
                    movie = [""]
                yield _read_block(source.name, number, block, layout, bad, movie)
            if layout is None:
                raise DataError(f"{source.name} is empty.")


def _blocks(stream: IO[bytes], size: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines, and the number of the first."""
    number, rest = 1, b""
    while chunk := stream.read(size):
        lines, newline, tail = chunk.rpartition(b"\n")
        if newline:
            block, rest = rest + lines + newline, tail
            yield number, block
            number += block.count(b"\n")
        else:
            rest += tail
            if len(rest) > size:
                raise DataError(f"line {number} is longer than {size >> 20} MB; that is no text file with ratings.")
    if rest:
        yield number, rest


# Finding out how a file is to be read.


def _layout(
    name: str, block: bytes, columns: str | None, separator: str | None, encoding: str, wanted: tuple[str, ...]
) -> Layout:
    try:
        packed = next((kind for start, kind in PACKED.items() if block.startswith(start)), None)
        if packed or block[257:262] == b"ustar":
            raise DataError(f"{name} is {packed or 'a tar archive'}, which cannot be read as it is: unpack it, or save "
                            "the table as .csv in UTF-8.")  # fmt: skip
        head = block[:100_000].rpartition(b"\n")[0] or block[:100_000]
        lines = [line for line in head.decode(encoding).splitlines() if line.strip()][:20]
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(f"{name} is no text in {encoding}: {error}. --encoding names another.") from error
    if "a\n".encode(encoding) != b"a\n" and encoding != "utf-8-sig":
        raise DataError(f"{name}: {encoding} has no lines of bytes; write the file anew in UTF-8.")
    what = "rating" if "rating" in wanted else "pair of user and item"
    if not lines:
        raise DataError(f"{name} has no line with a {what}.")
    if lines[0].lstrip().startswith("["):
        raise DataError(f"{name} begins with '[', as one JSON array; expected JSON lines: one {{...}} in each line.")
    if lines[0].lstrip().startswith("{"):
        return _json_layout(name, lines[0], columns, encoding, wanted)
    if wanted == FIELDS and lines[0].rstrip().endswith(":") and lines[0].count(":") == 1 and len(lines) > 1:
        dates = _date_format(lines[1].rpartition(",")[2])
        return Layout("netflix", False, ("user", "rating", "timestamp"), dates, encoding)
    separator = separator or _separator(lines, len(_needed(wanted)))
    if separator is None:
        raise DataError(
            f"{name}: no separator found in {_shown(lines[0])!r} that gives {', '.join(_needed(wanted))}; expected a "
            "tab or one of :: , ; | between the fields, or --separator."
        )
    first, second = _fields(lines[0], separator), _fields(lines[min(1, len(lines) - 1)], separator)
    if len(first) == 1:
        raise DataError(f"{name}: no separator {separator!r} in {_shown(lines[0])!r}.")
    by_place, header = _columns(name, first, second, columns, wanted)
    if len(lines) < 1 + header:
        raise DataError(f"{name} has a header and no {what}.")
    sample = _fields(lines[int(header)], separator)
    place = by_place.index("timestamp") if "timestamp" in by_place else len(sample)
    return Layout(separator, header, by_place, _date_format(sample[place]) if place < len(sample) else None, encoding)


def _needed(wanted: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(field for field in wanted if field != "timestamp")


def _separator(lines: list[str], least: int) -> str | None:
    """The one that splits most lines into the same number of fields, so many at least."""
    best, agreeing = None, 0
    for separator in SEPARATORS:
        counts = [len(_fields(line, separator)) for line in lines]
        usual = max((counts.count(count), count) for count in counts)[1]
        if usual >= least and counts.count(usual) > agreeing:
            best, agreeing = separator, counts.count(usual)
    return best


def _fields(line: str, separator: str) -> list[str]:
    if separator in QUOTED:
        with suppress(csv.Error):  # a lone carriage return
            return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    return line.split(separator)


def _columns(
    name: str, first: list[str], second: list[str], columns: str | None, wanted: tuple[str, ...]
) -> tuple[list[str | None], bool]:
    """The field in each column, and whether the first line is a header."""
    by_name = [found if (found := _field_named(text)) in wanted else None for text in first]
    header = not any(_is_number(text) for text in first)
    if "rating" not in wanted:  # ids may be words
        named = all(field in by_name for field in wanted) or (columns is not None and "=" in columns)
        header = named or (header and all(_is_number(text) for text in second))
    if columns is None and header:
        by_place = by_name
    elif columns is None:
        if len(first) > len(wanted):
            raise DataError(
                f"{name}: {len(first)} columns and no header; say what they are, with - for what is left out: "
                f"--columns {','.join((*_needed(wanted), '-', *wanted[len(_needed(wanted)) :]))}."
            )
        by_place = list(wanted[: len(first)])
    elif "=" in columns:
        names = _named(columns, wanted)
        if not header:
            raise DataError(f"{name} has no header with names; give --columns by place: {','.join(wanted)}.")
        _check_there(name, names, first)
        by_place = [next((field for field, key in names.items() if key == text), None) for text in first]
    else:
        by_place = [None if text.strip() in ("-", "") else text.strip() for text in columns.split(",")]
        unknown = [text for text in by_place if text is not None and text not in wanted]
        if unknown:
            raise DataError(f"--columns {columns!r}: {unknown[0]!r}; expected {', '.join(wanted)}, or - for another.")
        by_place += [None] * (len(first) - len(by_place))
        if len(by_place) > len(first):
            raise DataError(f"--columns {columns!r} has {len(by_place)} columns; the first line of {name} has "
                            f"{len(first)}: {_shown(first)}.")  # fmt: skip
        for field, called, text in zip(by_place, by_name, first, strict=True):
            if header and field and called and field != called:
                raise DataError(f"{name}: --columns {columns!r} takes {text!r} for the {field}; if that is meant, name "
                                f"it: {field}={text}.")  # fmt: skip
    twice = [field for field in FIELDS if by_place.count(field) > 1]
    missing = [field for field in _needed(wanted) if field not in by_place]
    if twice or missing:
        what = f"two columns for {twice[0]}" if twice else f"no column for {missing[0]}"
        by_name_of = f"by name: --columns {','.join(f'{field}=NAME' for field in wanted)}, or " if header else ""
        raise DataError(
            f"{name}: {what} in {_shown(first)}; say which they are, {by_name_of}by place, with - for what is left "
            f"out: --columns {','.join(wanted)}."
        )
    return by_place, header


def _json_layout(name: str, line: str, columns: str | None, encoding: str, wanted: tuple[str, ...]) -> Layout:
    try:
        first = json.loads(line)
    except ValueError as error:
        raise DataError(f"{name} line 1: no JSON object: {error}.") from error
    if columns is not None and "=" not in columns:
        raise DataError(
            f"{name} has JSON lines; name the keys: --columns {','.join(f'{field}=KEY' for field in wanted)}."
        )
    keys = _keys(name, list(first), columns, wanted)
    return Layout("json", False, keys, _date_format(str(first.get(keys.get("timestamp"), 0))), encoding)


def _keys(name: str, names: list[str], columns: str | None, wanted: tuple[str, ...]) -> dict[str, str]:
    """field -> what it is called among `names`."""
    if columns is None:
        keys = {field: key for key in reversed(names) if (field := _field_named(key))}
    else:
        keys = _named(columns, wanted)
        _check_there(name, keys, names)
    missing = [field for field in _needed(wanted) if field not in keys]
    if missing:
        raise DataError(
            f"{name}: nothing called {missing[0]} in {_shown(names)}; name them: "
            f"--columns {','.join(f'{field}=NAME' for field in wanted)}."
        )
    return {field: keys[field] for field in wanted if field in keys}


def _named(columns: str, wanted: tuple[str, ...]) -> dict[str, str]:
    names = dict(part.partition("=")[::2] for part in columns.split(","))
    for name, key in names.items():
        if name not in wanted or not key:
            raise DataError(f"--columns {columns!r}: {name!r}={key!r}; expected FIELD=NAME of {', '.join(wanted)}.")
    return names


def _check_there(name: str, keys: Mapping[str, str], names: list[str]) -> None:
    for what, key in keys.items():
        if key not in names:
            raise DataError(f"{name}: --columns {what}={key}, but there are {_shown(', '.join(map(str, names)))}.")


def _shown(what: str | list[str]) -> Any:
    """Short enough for a message."""
    if isinstance(what, list):
        return [_shown(text) for text in what[:12]] + (["..."] if len(what) > 12 else [])
    return what if len(what) <= 80 else what[:77] + "..."


def _field_named(text: str) -> str | None:
    plain = text.strip().strip('"').partition(":")[0].lower().replace("_", "").replace("-", "").replace(" ", "")
    return next((field for field, names in NAMES.items() if plain in names), None)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _date_format(text: str) -> str | None:
    """Of a date, such as %Y-%m-%d; None for anything else."""
    return None if _is_number(text) else guess_datetime_format(text.strip())


def _seconds(texts: Any, form: str) -> np.ndarray:
    """Of dates (n,), since 1970; nan for what is none."""
    dates = pd.to_datetime(pd.Index(texts), format=form, errors="coerce", utc=True)
    return np.asarray((dates - pd.Timestamp(0, tz="utc")).total_seconds(), dtype=np.float64)


# Reading.


def _read_block(
    source: str, number: int, block: bytes, layout: Layout, bad: BadLines, movie: list[str]
) -> pd.DataFrame:
    header = layout.header and number == 1
    while header:
        head, _, block = block.partition(b"\n")
        number += 1
        header = not head.strip()  # blank lines may come first
    if layout.separator == "json":
        frame = None
    elif layout.separator == "netflix":
        frame = _fast_netflix(block, layout, movie)
    else:
        frame = _fast(block, layout)
    return _line_by_line(source, number, block, layout, bad, movie) if frame is None else frame


def _fast(block: bytes, layout: Layout) -> pd.DataFrame | None:
    """The block by pandas' C reader; None if any line of it is not as it should be."""
    separator = layout.separator
    if len(separator) > 1:
        if b"\t" in block:
            return None
        block, separator = block.replace(separator.encode(), b"\t"), "\t"
    if b"\0" in block or b"\r" in block.replace(b"\r\n", b""):  # pandas ends a field at the one, a line at the other
        return None
    if not block.endswith(b"\n"):
        block += b"\n"
    n_lines = _lines_of(block, separator, len(layout.columns))
    if n_lines is None:
        return None
    names = [name or f"column {place}" for place, name in enumerate(layout.columns)]
    kinds: dict[str, Any] = {"user": "category", "item": "category", "rating": np.float64}
    kinds["timestamp"] = "category" if layout.dates else np.float64
    try:
        with _uninterrupted():
            frame = pd.read_csv(
                io.BytesIO(block),
                sep=separator,
                header=None,
                names=names,
                index_col=False,
                usecols=names,
                dtype={name: kinds.get(name, "category") for name in names},
                encoding=layout.encoding,
                quoting=csv.QUOTE_MINIMAL if separator in QUOTED else csv.QUOTE_NONE,
                skipinitialspace=separator in QUOTED,
                na_filter=False,
                skip_blank_lines=False,
                on_bad_lines="error",
                low_memory=False,
                **AS_TEXT,
            )
    except (ValueError, LookupError, OverflowError):  # ParserError and UnicodeDecodeError are ValueErrors
        return None
    if len(frame) != n_lines or not ("rating" not in frame or np.isfinite(frame["rating"]).all()):
        return None
    ids = [frame[name] for name in ("user", "item") if name in frame]
    if not all(map(is_text, ids)) or not all(map(_is_id, chain.from_iterable(each.cat.categories for each in ids))):
        return None
    if "timestamp" in frame:
        if layout.dates:
            seconds = _seconds(frame["timestamp"].cat.categories, layout.dates)
            if not np.isfinite(seconds).all():
                return None
            frame["timestamp"] = seconds[frame["timestamp"].cat.codes]
        elif not np.isfinite(frame["timestamp"]).all():
            return None
    return frame[[name for name in FIELDS if name in frame]]


def is_text(column: pd.Series) -> bool:
    """Whether categories have stayed text: pandas 3.1 makes two truth values of "true", "True" and "false"."""
    return column.cat.categories.inferred_type in ("string", "empty")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C counts at the end: pandas would take it for a fault of the file, or for its end."""
    with noted_interruptions() as noted:
        try:
            yield
        finally:
            if noted:
                interrupted(noted[0])


def _lines_of(block: bytes, separator: str, n_fields: int) -> int | None:
    """How many lines there are, if each has so many fields: pandas would fill or cut."""
    if separator in QUOTED and b'"' in block:
        block = re.sub(rb'"[^"\n]*"', b"", block)
    text = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    until = np.cumsum(text == ord(separator), dtype=np.int32)[ends]
    return len(ends) if (np.diff(until, prepend=np.int32(0)) == n_fields - 1).all() else None


def _fast_netflix(block: bytes, layout: Layout, movie: list[str]) -> pd.DataFrame | None:
    """Likewise: the lines `movie:` are taken out, and each movie repeated for the ratings below it."""
    before, *parts = re.split(rb"^([^,\n]*):[ \r]*\n", block if block.endswith(b"\n") else block + b"\n", flags=re.M)
    movies = [movie[0], *(part.decode(layout.encoding, "replace") for part in parts[::2])]
    bodies = [before, *parts[1::2]]
    if not all(_is_id(name) for name, body in zip(movies, bodies, strict=True) if body):
        return None
    frame = _fast(b"".join(bodies), replace(layout, separator=","))
    if frame is None:
        return None
    names = pd.Index(movies).unique()
    codes = np.repeat(names.get_indexer(movies), [body.count(b"\n") for body in bodies])
    frame.insert(1, "item", pd.Categorical.from_codes(codes, names).remove_unused_categories())
    movie[0] = movies[-1]
    return frame


def _is_id(text: str) -> bool:
    return text not in ("", "[PAD]") and text == text.strip() and not any(character in text for character in "\t\r\n\0")


def _line_by_line(
    source: str, number: int, block: bytes, layout: Layout, bad: BadLines, movie: list[str]
) -> pd.DataFrame:
    rows = []
    for count, line in enumerate(block.removesuffix(b"\n").split(b"\n"), start=number):
        try:
            text = line.decode(layout.encoding).rstrip("\r")
        except UnicodeDecodeError:
            bad.add(source, count, repr(line)[2:-1], f"it is not {layout.encoding}; --encoding names another")
            continue
        if layout.separator == "netflix" and text.rstrip().endswith(":"):
            movie[0] = text.strip()[:-1]
        elif text.strip():
            row, why = _parsed(text, layout, movie[0])
            if why:
                bad.add(source, count, text, why)
            else:
                rows.append(row)
    there = {*layout.columns, *(["item"] if layout.separator == "netflix" else [])}
    frame = pd.DataFrame(rows, columns=[name for name in FIELDS if name in there])
    numbers = {name: np.float64 for name in frame.columns if name in ("rating", "timestamp")}
    return frame.astype({"user": "category", "item": "category", **numbers})


def _parsed(text: str, layout: Layout, movie: str) -> tuple[tuple | None, str]:
    """(user, item, rating[, timestamp]) of a line, or why there is none."""
    if isinstance(layout.columns, Mapping):
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            return None, "it is no JSON object"
        given = ((name, content.get(key)) for name, key in layout.columns.items())
        values = {name: str(value) if type(value) in (str, int, float) else "" for name, value in given}
    else:
        fields = _fields(text, "," if layout.separator == "netflix" else layout.separator)
        if len(fields) != len(layout.columns):
            return None, f"{counted(len(fields), 'field')} instead of {len(layout.columns)}"
        values = {name: value for name, value in zip(layout.columns, fields, strict=True) if name is not None}
        if layout.separator == "netflix":
            values["item"] = movie
    for name in ("user", "item"):
        if not _is_id(values[name]):
            return None, f"{name} {values[name]!r} is no id"
    row: tuple = values["user"], values["item"]
    if "rating" not in values:
        return row, ""
    if not _is_number(values["rating"]):
        return None, f"rating {values['rating']!r} is no finite number"
    row += (float(values["rating"]),)
    if "timestamp" not in values:
        return row, ""
    time = values["timestamp"]
    if layout.dates:
        seconds = _seconds([time], layout.dates)[0]
        return (
            (None, f"timestamp {time!r} is no date like {layout.dates}") if np.isnan(seconds) else ((*row, seconds), "")
        )
    return ((*row, float(time)), "") if _is_number(time) else (None, f"timestamp {time!r} is no number")


def _read_parquet(
    source: Source, columns: str | None, bad: BadLines, say: Callable[[str], object], wanted: tuple[str, ...]
) -> Iterator[pd.DataFrame]:
    if find_spec("pyarrow") is None:
        raise DataError(f"{source.name}: reading Parquet needs pyarrow: pip install pyarrow.")
    import pyarrow
    from pyarrow import parquet

    with source.open() as stream:
        try:
            file = parquet.ParquetFile(io.BytesIO(stream.read()) if not stream.seekable() else stream)
            names = file.schema_arrow.names
            keys = _keys(source.name, names, columns, wanted)
            say(f"{source.name}: Parquet, " + ", ".join(f"{field} from {key!r}" for field, key in keys.items()))
            number = 1
            for batch in file.iter_batches(1 << 20, columns=list(keys.values())):
                texts = {name: batch.column(keys[name]).cast(pyarrow.string()) for name in PAIR}  # an id of 1 stays "1"
                others = [name for name in keys if name not in PAIR]
                frame = pd.DataFrame({name: column.to_pandas() for name, column in texts.items()})
                frame[others] = batch.select([keys[name] for name in others]).to_pandas()
                yield _checked(source.name, number, frame, bad)
                number += len(frame)
        except pyarrow.ArrowException as error:
            raise DataError(f"{source.name} cannot be read: {' '.join(str(error).split())[:200]}") from error


def _checked(source: str, number: int, frame: pd.DataFrame, bad: BadLines) -> pd.DataFrame:
    """A frame of a typed file, without its bad rows."""
    there = frame[["user", "item"]].notna().all(axis=1)
    for name in PAIR:
        there &= frame[name].map(lambda text: isinstance(text, str) and _is_id(text))
    if "rating" in frame:
        frame["rating"] = pd.to_numeric(frame["rating"], errors="coerce").astype(np.float64)
        there &= np.isfinite(frame["rating"])
    if "timestamp" in frame:
        time = frame["timestamp"]
        if not pd.api.types.is_numeric_dtype(time):
            numbers = pd.to_numeric(time.astype(str), errors="coerce")
            if numbers.isna().all():
                since = pd.to_datetime(time, errors="coerce", utc=True) - pd.Timestamp(0, tz="utc")
                numbers = since.dt.total_seconds()
            time = numbers
        frame["timestamp"] = time.astype(np.float64)
        there &= np.isfinite(frame["timestamp"])
    for place in np.flatnonzero(~there.to_numpy()):
        bad.add(source, number + int(place), str(frame.iloc[place].to_dict()), "no rating")
    return frame[there].astype({"user": "category", "item": "category"})
