"""Delimited text: csv and the like, GroupLens's `::` and tabs, runs of blanks, Netflix's format.

pandas' C reader reads each block; a block with irregular lines is read line by line, by the same rules.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from recbole_autorec.errors import DataError, counted
from recbole_autorec.interruptions import delayed_interruptions
from recbole_autorec.reading import fields
from recbole_autorec.reading.blocks import WITHIN, Block, Blocks
from recbole_autorec.reading.fields import FIELDS, PAIR, needed
from recbole_autorec.reading.options import BYTES, BadLines, Fault, Options, Say, decoded, other_encoding, shown

SEPARATORS = ("::", "\t", ",", ";", "|", "\1", " ")  # "\1" is Hive's; " " means runs of blanks
QUOTED = (",", ";")  # with these, fields may be in double quotes; with others, that is detected
# pandas 3.1's read_csv reads categories as numbers if it can: "01", "1" and "1.0" would become one id. A thousands
# separator prevents that; this one occurs in no field.
AS_TEXT = {"thousands": "\n"}
SHOWN = 3000  # records used to detect a layout
HEAD = 100_000  # bytes used to detect a file's layout
csv.field_size_limit(1 << 27)  # a review may be long


@dataclass(frozen=True)
class Layout:
    """How to read a file's lines.

    Attributes:
        separator: field separator.
        header: whether the first line names the columns.
        columns: the field of each column; None if it is dropped, its position if it is kept as text.
        dates: the format of timestamps that are dates; None if they are numbers.
        quoted: whether fields may be in double quotes.
        decimal: decimal mark of the first ratings.
        start: number of the first line with a rating, below comments, titles, `sep=` and the header.
        netflix: whether a line `movie:` precedes the ratings of each movie.
    """

    separator: str
    header: bool
    columns: Sequence[str | int | None]
    dates: str | None = None
    quoted: bool = False
    decimal: str = "."
    start: int = 1
    netflix: bool = False

    def __str__(self):
        called = {"\t": "tab", " ": "blanks"}.get(self.separator, self.separator)
        names = ", ".join(name if isinstance(name, str) else "-" for name in self.columns)
        return (
            "Netflix's format: user, rating, timestamp, below each item" if self.netflix else
            f"{names}; separator {called}; " + ("with a header" if self.header else "no header")
            + ("; decimal comma" if self.decimal == "," else "")
        ) + (f"; dates as {self.dates}" if self.dates else "")  # fmt: skip


def read(
    name: str, blocks: Blocks, options: Options, bad: BadLines, say: Say, wanted: Sequence[str], keep: list[str] | None
) -> Iterator[pd.DataFrame]:
    """Yield frames of ratings; see ratings.read_ratings."""
    layout, times = find_layout(name, blocks.head, options, wanted, keep)
    _set_quotes(blocks, layout, options)
    if times is not None:
        place = layout.columns.index("timestamp")
        all_times = (_column(block, layout, place) for block in blocks)
        layout = replace(layout, dates=fields.format_of(name, times, options, say, all_times))
    say(f"{name}: {layout}")
    movie = [""]
    for block in blocks:
        if blocks.quoted_by and not layout.quoted:
            layout = replace(layout, quoted=True)
        yield read_block(name, block, layout, options, bad, movie)


def _set_quotes(blocks: Blocks, layout: Layout, options: Options) -> None:
    """Set `quoted_by` as in the first lines; if these have no quote, decide at the first lines with one."""
    separator = layout.separator
    blocks.quoted_by = separator.encode() if layout.quoted else None

    def decide(lines: bytes) -> bytes | None:
        found = re.search(rb'(?m)(?:^|%s)"' % re.escape(separator.encode()), lines)
        if found is None:
            return None
        start = lines.rfind(b"\n", 0, found.end()) + 1
        text = lines[start : start + HEAD].decode("utf-8", "surrogateescape")
        return separator.encode() if _is_quoted(text, separator, options) else b""

    if not layout.quoted and options.quotes is None and len(separator) == 1 and not layout.netflix:
        blocks.decide = decide


# Detecting the layout.


def find_layout(
    name: str, head: bytes, options: Options, wanted: Sequence[str], keep: list[str] | None
) -> tuple[Layout, list[str] | None]:
    """Detect the layout from the first lines; return it and the first timestamps, if any.

    The names of all columns go into `keep`, if given.

    Raises:
        DataError: there is no rating, or the layout is ambiguous.
    """
    what = "rating" if "rating" in wanted else "pair of user and item"
    text = (head[:HEAD].rpartition(b"\n")[0] + b"\n" if len(head) > HEAD else head).decode("utf-8", "surrogateescape")
    if len(text.split("\n", 3)) < 4 or len(_rows(text, ",", True)) < 2:  # a longer line or record
        text = head.decode("utf-8", "surrogateescape")
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        raise DataError(f"{name} has no line with a {what}.")
    if wanted == FIELDS and len(lines) > 1 and options.separator is None and re.fullmatch(r"[^,:]*:\s*", lines[0]):
        days = [line.rpartition(",")[2] for line in lines if "," in line]
        return Layout(",", False, ("user", "rating", "timestamp"), netflix=True), days
    separator, above, text = _table(name, text, options, wanted)
    quoted = _is_quoted(text, separator, options)
    rows = _rows(text, separator, quoted)
    first, second = rows[0], rows[min(1, len(rows) - 1)]
    if options.encoding is None and any(map(BYTES.search, first)):
        raise DataError(f"{name}: the first line is not valid UTF-8. {other_encoding(options)}")
    header = fields.is_header(first, second, options, wanted)
    if header and len(rows) < 2:
        raise DataError(f"{name} has a header but no {what}.")
    names = _names(name, text, rows, options) if header else first
    columns: Sequence[Any] = fields.chosen(name, names, options, wanted, named=header, line=True)
    whole = [row for row in rows[header:] if len(row) == len(columns)]
    ratings = [row[columns.index("rating")] for row in whole if "rating" in columns]
    commas = sum("," in rating and fields.is_number(rating) for rating in ratings)
    decimal = options.decimal or ("," if commas and not any("." in rating for rating in ratings) else ".")
    times = [row[columns.index("timestamp")] for row in whole] if "timestamp" in columns else None
    called = (text.strip() if header else f"column {place}" for place, text in enumerate(names, start=1))
    columns = fields.with_kept(columns, called, keep)
    start = 1 + above + (1 + "".join(first).count("\n") if header else 0)
    return Layout(separator, header, columns, None, quoted, decimal, start), times


def _table(name: str, text: str, options: Options, wanted: Sequence[str]) -> tuple[str, int, str]:
    """Return the separator, the number of lines above the table (comments, title, `sep=`), and the table's text."""
    says = re.match(r"\s*\"?sep=(\S|\t)\"?[ \t]*\n", text, re.IGNORECASE)
    above = says[0] if says else ""
    comments = re.match(r"(?:[ \t]*\n|[#%][^\n]*\n)*", text[len(above) :])[0]  # type: ignore[index]
    if not text[len(above + comments) :].strip():
        comments = ""  # every line starts like a comment
    table = text[len(above + comments) :]
    first = next(line for line in table.split("\n") if line.strip())
    separator = options.separator or (says[1] if says else _separator(table, len(needed(wanted)), options))
    if separator is None:
        raise DataError(
            f"{name}: found no separator that splits {shown(first)!r} into {', '.join(needed(wanted))}; expected a "
            f"tab, blanks, or one of :: , ; | between the fields, or give {options.flag('separator')}."
        )
    counts = [len(row) for row in _rows(table, separator, _is_quoted(table, separator, options))]
    counts = [count for count in counts if count > 1]  # a title or a ruled line has one field
    width = max(set(counts), key=counts.count, default=1)
    if width == 1:
        raise DataError(
            f"{name}: no separator {separator!r} in {shown(first)!r}; omit {options.flag('separator')} to detect it."
        )
    for line in comments.split("\n"):
        parts = _split(line, separator)
        if len(parts) == width and any(map(fields.is_number, parts)):
            comments, table = "", comments + table  # ids that start like a comment
            break
    last = comments.rstrip().rpartition("\n")[2]
    names = _split(last.lstrip("#% "), separator)
    if len(names) == width and {*PAIR} <= {*fields.by_known_names(names, PAIR)}:
        comments, table = comments[: len(comments.rstrip()) - len(last)], separator.join(names) + "\n" + table
    above += comments
    while "\n" in table:
        line, _, below = table.partition("\n")
        if len(_split(line, separator)) > 1 and line.strip(f'{separator} \t"'):
            break
        above, table = f"{above}{line}\n", below  # a title, a ruled or an empty line
    return separator, above.count("\n"), table


def _separator(text: str, least: int, options: Options) -> str | None:
    """Return the one that splits the largest share of records into equally many fields, at least `least`."""
    best, share = None, 0.0
    for separator in SEPARATORS:
        rows = _rows(text, separator, _is_quoted(text, separator, options))
        often, usual = max((often, count) for count, often in Counter(map(len, rows)).items())
        if usual >= least and often / len(rows) > share:
            best, share = separator, often / len(rows)
    return best


def _rows(text: str, separator: str, quoted: bool) -> list[list[str]]:
    """Return the fields of the first records."""
    if not quoted:
        return [_split(line, separator) for line in text.split("\n") if line.strip()][:SHOWN]
    rows = list(islice(_quoted_rows(text, separator, strict=True), SHOWN))  # without a record cut off at the end
    return rows if len(rows) > 1 and rows[-1] else list(islice(_quoted_rows(text, separator), SHOWN)) or [[text]]


def _quoted_rows(text: str, separator: str, strict: bool = False) -> Iterator[list[str]]:
    lines = re.sub(r"(?m)^ +| +$", "", text) if separator == " " else text
    reader = csv.reader(io.StringIO(lines, newline="\n"), delimiter=separator, skipinitialspace=True, strict=strict)
    try:
        yield from (row for row in reader if any(map(str.strip, row)))
    except csv.Error as error:  # a field over the limit, a malformed quote or, if strict, an end inside a field
        if strict and "unexpected end" not in str(error):
            yield []


def _is_quoted(text: str, separator: str, options: Options) -> bool:
    """Return whether fields may be in double quotes.

    With a tab and the like: if a quoted field needs its quotes, or the first records quote equally many fields.
    """
    if len(separator) > 1:
        return False
    if options.quotes is not None or separator in QUOTED:
        return options.quotes is not False
    sign = re.escape(separator)
    fields_in_quotes = re.findall(rf'(?:^|{sign}) *"([^"]*(?:""[^"]*)*)"(?= *(?:{sign}|$))', text, re.MULTILINE)
    rows = list(islice(_quoted_rows(text, separator, strict=True), SHOWN))
    counts = {len(row) for row in rows[1:] or rows}  # a header may lack a name
    if not fields_in_quotes or len(counts) != 1 or counts & {0, 1}:
        return False
    needed_them = any(separator in field or "\n" in field or '""' in field for field in fields_in_quotes)
    return needed_them or (len(rows) > 1 and len(fields_in_quotes) % len(rows) == 0 and '"' in text.partition("\n")[0])


def _split(line: str, separator: str) -> list[str]:
    return line.split() if separator == " " else line.split(separator)


def _names(name: str, text: str, rows: list[list[str]], options: Options) -> list[str]:
    """Return one name per field; the header may lack one, for R's row names or after the last."""
    first, others = rows[0], rows[1:]
    widths = {len(row) for row in others}
    if len(widths) > 1 or (width := widths.pop()) <= len(first):
        return first
    if width == len(first) + 1 and all(row[-1].strip() == "" for row in others):
        return [*first, ""]
    if width == len(first) + 1 and re.match(r"\s*[^\n]*\n\s*\"1\"", text):
        return ["", *first]
    if options.columns is None or "=" in options.columns:
        raise DataError(
            f"{name}: the header has {counted(len(first), 'name')}, but the lines have {width} fields, such as "
            f"{shown(others[0])}. If a field contains the separator, like 3,5, quote it or use another separator. If a "
            f"name is missing, give all {width} columns by position with {options.flag('columns')}."
        )
    return [""] * width


def _column(block: Block, layout: Layout, place: int) -> list[str]:
    """Return the distinct texts in a column of a block."""
    rows = (_fields(line, layout) for _, line in block.lines())
    return list(dict.fromkeys(row[place] for row in rows if len(row) == len(layout.columns)))


# Reading.


def read_block(
    source: str, block: Block, layout: Layout, options: Options, bad: BadLines, movie: list[str]
) -> pd.DataFrame:
    """Return the ratings of a block; nan if one means "not rated"."""
    number, text, bare = block
    while number < layout.start and text:
        line, _, text = text.partition(b"\n")
        bare = bare.partition(b"\n")[2]
        number += 1 + line.count(WITHIN)
    frame = (_fast_netflix if layout.netflix else _fast)(Block(number, text, bare), layout, options, movie)
    return _line_by_line(source, Block(number, text, bare), layout, options, bad, movie) if frame is None else frame


def _fast(block: Block, layout: Layout, options: Options, movie: list[str] | None = None) -> pd.DataFrame | None:
    """Read the block with pandas' C reader; None if any line is irregular."""
    separator, text, bare = layout.separator, block.text, block.bare
    if separator == " ":
        if layout.quoted:
            return None
        text = bare = re.sub(rb"(?m)^\t+|\t+$", b"", re.sub(rb"[ \t]+", b"\t", text))
        separator = "\t"
    elif len(separator) > 1:
        if b"\t" in text:
            return None
        text = bare = text.replace(separator.encode(), b"\t")
        separator = "\t"
    if b"\0" in text or len(separator.encode()) > 1:  # pandas ends a field at NUL and takes one-byte separators only
        return None
    n_lines = _lines_of(bare, separator, len(layout.columns))
    if n_lines is None:
        return None
    names = [name if isinstance(name, str) else f"column {place}" for place, name in enumerate(layout.columns)]
    used = [name for name, column in zip(names, layout.columns, strict=True) if column is not None]
    kinds: dict[str, Any] = dict.fromkeys(used, "category") | {"rating": np.float64}
    kinds["timestamp"] = "category" if layout.dates else np.float64
    words = [name for name in ("rating", "timestamp") if kinds[name] is np.float64 and _TRUTHS.search(text)]
    words = words or (["rating"] if layout.decimal == "," else [])
    kinds |= dict.fromkeys(words, "category")
    code = options.not_rated if options.not_rated is not None and not fields.is_number(options.not_rated) else None
    try:
        with delayed_interruptions():  # pandas would take one for a fault in the file, or for its end
            frame = pd.read_csv(
                io.BytesIO(text),
                sep=separator,
                header=None,
                names=names,
                index_col=False,
                usecols=used,
                dtype={name: kinds[name] for name in used},
                encoding="utf-8",
                encoding_errors="surrogateescape",
                quoting=csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE,
                skipinitialspace=layout.quoted,
                na_filter=code is not None,
                na_values={"rating": [code]},
                keep_default_na=False,
                skip_blank_lines=False,
                on_bad_lines="error",
                low_memory=False,
                **AS_TEXT,
            )
    except (ValueError, LookupError, OverflowError):  # ParserError and UnicodeDecodeError are ValueErrors
        return None
    if len(frame) != n_lines or not all(is_text(frame[name]) for name in used if kinds[name] == "category"):
        return None
    for name in {*words} & {*used}:
        values = fields.numbers(pd.Series(frame[name].cat.categories, dtype=object), options.decimal)
        if np.isnan(values).any():
            return None
        frame[name] = np.append(values, np.nan)[frame[name].cat.codes]
    if "rating" in frame and not (np.isfinite(frame["rating"]) | (frame["rating"].isna() & (code is not None))).all():
        return None
    for name in (name for name in PAIR if name in frame):
        texts = list(map(str.strip, frame[name].cat.categories))
        if not all(map(fields.is_id, texts)):
            return None
        if texts != list(frame[name].cat.categories):
            frame[name] = fields.renumbered(frame[name].cat.codes.to_numpy(), texts)
    if "timestamp" in frame:
        if layout.dates:
            since = fields.seconds(frame["timestamp"].cat.categories, layout.dates)
            frame["timestamp"] = since[frame["timestamp"].cat.codes]
        if not np.isfinite(frame["timestamp"]).all():
            return None
    frame.columns = pd.Index([column for column in layout.columns if column is not None], dtype=object)
    return frame


_TRUTHS = re.compile(rb"true|false", re.IGNORECASE)  # pandas reads them as 1 and 0


def is_text(column: pd.Series) -> bool:
    """Return whether categories are still text: pandas 3.1 reads "true", "True" and "false" as booleans."""
    return column.cat.categories.inferred_type in ("string", "empty")


def _lines_of(bare: bytes, separator: str, n_fields: int) -> int | None:
    """Count the lines if each has `n_fields` fields, else None: pandas would pad or cut them."""
    text = np.frombuffer(bare, dtype=np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    until = np.cumsum(text == ord(separator), dtype=np.int32)[ends]
    return len(ends) if (np.diff(until, prepend=np.int32(0)) == n_fields - 1).all() else None


def _fast_netflix(block: Block, layout: Layout, options: Options, movie: list[str]) -> pd.DataFrame | None:
    """Like _fast: remove the lines `movie:` and repeat each movie for the ratings below it."""
    before, *parts = re.split(rb"^([^,\n]*): *\n", block.text, flags=re.M)
    movies = [movie[0], *(part.decode("utf-8", "surrogateescape").strip() for part in parts[::2])]
    bodies = [before, *parts[1::2]]
    if not all(fields.is_id(name) for name, body in zip(movies, bodies, strict=True) if body):
        return None
    text = b"".join(bodies)
    frame = _fast(Block(block.number, text, text), layout, options)
    if frame is None:
        return None
    names = pd.Index(movies, dtype=object).unique()
    codes = np.repeat(names.get_indexer(movies), [body.count(b"\n") for body in bodies])
    frame.insert(1, "item", pd.Categorical.from_codes(codes, names).remove_unused_categories())
    movie[0] = movies[-1]
    return frame


def _line_by_line(
    source: str, block: Block, layout: Layout, options: Options, bad: BadLines, movie: list[str]
) -> pd.DataFrame:
    rows, faults, n_lines = [], [], 0
    for number, text in block.lines():
        if layout.netflix and text.rstrip().endswith(":"):
            movie[0] = text.strip()[:-1]
        elif text.replace(layout.separator, "").strip():  # spreadsheets write rows of separators
            n_lines += 1
            found = parsed(text, layout, options, movie[0])
            if isinstance(found, Fault):
                faults.append((number, text, found))
            else:
                rows.append(found)
    bad.add(source, _explained(faults, block, n_lines, layout, options), n_lines, options)
    columns = [column for column in layout.columns if column is not None]
    columns[1:1] = ["item"] if layout.netflix else []
    frame = pd.DataFrame(rows, columns=pd.Index(columns, dtype=object))
    return frame.astype({"user": "category", "item": "category"})


def parsed(text: str, layout: Layout, options: Options, movie: str = "") -> tuple | Fault:
    """Return the fields of a line in the order of its columns, or its fault."""
    given = _fields(text, layout)
    if len(given) != len(layout.columns):
        return Fault(f"{counted(len(given), 'field')} instead of {len(layout.columns)}")
    values = {name: value for name, value in zip(layout.columns, given, strict=True) if name is not None}
    if layout.netflix:
        values = {"user": values.pop("user"), "item": movie, **values}
    return of_texts(values, layout.dates, options)


def of_texts(values: dict[Any, Any], dates: str | None, options: Options) -> tuple | Fault:
    """Parse the fields of a rating, or return its fault; the rating is nan if it means "not rated"."""
    is_code = "rating" in values and options.not_rated is not None and values["rating"].strip() == options.not_rated
    for name in PAIR:
        values[name] = fields.id_text(values[name])
        if not fields.is_id(values[name]):
            return fields.why_no_id(name, values[name], options)
    if "rating" in values:
        rating = float("nan") if is_code else fields.number(values["rating"], options.decimal)
        if np.isnan(rating) and not is_code:
            return fields.why_no_number("rating", values["rating"], options)
        values["rating"] = rating
    if "timestamp" in values:
        time = values["timestamp"]
        since = fields.seconds([time], dates)[0] if dates else fields.number(time, options.decimal)
        if np.isnan(since):
            return fields.why_no_date(time, dates, options) if dates else Fault(f"timestamp {time!r} is not a number")
        values["timestamp"] = since
    return tuple(values.values())


def _fields(line: str, layout: Layout) -> list[str]:
    if layout.quoted:
        with suppress(csv.Error):  # a field over the limit
            text = line.strip() if layout.separator == " " else line
            return next(csv.reader([text], delimiter=layout.separator, skipinitialspace=True), [])
    return _split(line, layout.separator)


def _explained(
    faults: list[tuple[int, str, Fault]], block: Block, n_lines: int, layout: Layout, options: Options
) -> list[tuple[int, str, Fault]]:
    """Add a cure to the faults if most lines have the same wrong number of fields."""
    if not faults:
        return []
    faults = decoded(faults, lambda: (text for _, text in block.lines()), options)
    usual, often = Counter(len(_fields(text, layout)) for _, text, _ in faults).most_common(1)[0]
    if usual != len(layout.columns) and often > n_lines / 2 and usual > 1:
        places = [*FIELDS[:3], *["-"] * usual][:usual]
        cure = (
            f"Most lines have {usual} fields: name them in order, such as {options.flag('columns')} "
            f"{','.join(places)}; or give another {options.flag('separator')}."
        )
        faults = [(number, text, fault._replace(cure=cure)) for number, text, fault in faults]
    return faults
