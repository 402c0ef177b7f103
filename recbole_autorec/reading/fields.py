"""Identify columns and parse ids, numbers and dates, for every format and verb."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from recbole_autorec.errors import ConfigError, DataError
from recbole_autorec.reading.options import BYTES, Fault, Options, Say, parts_of, shown

FIELDS = ("user", "item", "rating", "timestamp")  # the timestamp is optional
PAIR = FIELDS[:2]
FRAME = "the DataFrame"  # name of a DataFrame in messages
MELT = (
    "drop the columns that are not items, reshape the table in pandas and convert the DataFrame: {frame}.melt("
    "{user!r}, var_name='item', value_name='rating').dropna()"
)

# Column names in well-known files, in lower case without _, - and blanks. A name of the second list counts only if
# there is none of the first: several people may share a name, and a product has variants.
NAMES = {
    "user": (("user", "userid", "uid", "reviewerid", "customerid", "custid", "memberid", "usermd5"),
             ("profilename", "reviewprofilename", "username", "reviewername")),
    "item": (("item", "itemid", "iid", "movieid", "parentasin", "isbn", "productid", "businessid", "bookid", "songid",
              "animeid", "gameid", "recipeid", "placeid", "jokeid", "beerid", "beerbeerid", "filmid", "trackid",
              "artistid", "restaurantid", "gmapid", "courseid"),
             ("asin", "movie", "book", "product", "game")),
    "rating": (("rating", "score", "stars", "overall", "bookrating", "ratings", "userrating", "reviewscore",
                "movierating"),
               ("reviewoverall",)),
    "timestamp": (("timestamp", "time", "unixreviewtime", "date", "datetime", "unixtime", "ratingtime", "ratetime"),
                  ("reviewtime", "reviewdate", "dateadded", "createdat")),
}  # fmt: skip
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+", re.ASCII)
NO_ID = re.compile("[\t\r\n\0\ud800-\udfff]")
BYTE_ORDER_MARK = "\ufeff"


def needed(wanted: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in wanted if name != "timestamp")


# Which column is which.


def field_named(text: object) -> tuple[str, bool] | None:
    """Return the field of a column name and whether the name is in the first list; ignores RecBole's `:type`."""
    plain = re.sub(r"[_\-\s\"#%\[\]]", "", str(text).strip().strip(BYTE_ORDER_MARK).partition(":")[0]).lower()
    return next(((name, plain in first) for name, (first, other) in NAMES.items() if plain in first + other), None)


def by_known_names(names: Sequence[object], wanted: Sequence[str]) -> list[str | None]:
    """Return the field of each column whose name is in NAMES, else None. Several columns may have the same field."""
    found = [known if (known := field_named(name)) and known[0] in wanted else None for name in names]
    sure = {each[0] for each in found if each and each[1]}
    return [each[0] if each and (each[1] or each[0] not in sure) else None for each in found]


def chosen(
    where: str,
    names: Sequence[object],
    options: Options,
    wanted: Sequence[str],
    named: bool = True,
    places: bool = True,
    line: bool = False,
) -> list[str | None]:
    """Return the field of each column, None for an unused one.

    Args:
        where: name of the file, for messages.
        names: column names; the fields of the first line if there is no header.
        options: the user's options; `columns` overrides what is detected.
        wanted: FIELDS or PAIR.
        named: whether `names` are column names.
        places: whether columns can be given by position; JSON keys cannot.
        line: whether `names` are the first line of a text, which may not be a header.

    Raises:
        DataError, ConfigError: a field has no column, or two.
    """
    columns, flag, found = options.columns, options.flag("columns"), list[str | None]()
    by_name: list[str | None] = by_known_names(names, wanted) if named else [None] * len(names)
    if columns is not None and "=" in columns and named and options.elsewhere:
        given = _named(options, wanted)
        columns = None if not any(name in map(str, names) for name in given.values()) else columns
    if columns is None and named:
        found = by_name
    elif columns is None:
        if len(names) > len(wanted):
            raise DataError(_no_names(where, names, options, wanted))
        found = list(wanted[: len(names)])
    elif "=" in columns:
        given = _named(options, wanted)
        if not named:
            raise DataError(
                f"{where} has no header; give the columns by position, such as {flag} "
                f"{','.join(wanted[: len(names)])}; or {options.flag('header')} yes."
            )
        for name, key in given.items():
            if key not in map(str, names):
                raise DataError(f"{where}: {flag} {name}={key}; expected one of {shown(', '.join(map(str, names)))}.")
        found = [next((name for name, key in given.items() if key == str(text)), None) for text in names]
    else:
        found = [None if text.strip() in ("-", "") else text.strip() for text in parts_of(columns)]
        unknown = [text for text in found if text is not None and text not in FIELDS]
        if unknown:
            raise ConfigError(f"{flag} {columns!r}: {unknown[0]!r}; expected {', '.join(wanted)}, or - for unused.")
        found = [text if text in wanted else None for text in found] + [None] * (len(names) - len(found))
        if len(found) > len(names):
            raise DataError(
                f"{flag} {columns!r} has {len(found)} columns; the first line of {where} has {len(names)}: "
                f"{shown(names)}."
            )
        for chosen_one, called, text in zip(found, by_name, names, strict=True):
            if chosen_one and called and chosen_one != called:
                meant = ",".join(f"{name}={key}" for name, key in zip(found, names, strict=True) if name)
                raise DataError(
                    f"{where}: column {text!r} is given as the {chosen_one}; if you mean it, name the columns: "
                    f"{flag} {meant}"
                )
    twice = [name for name in wanted if found.count(name) > 1]
    missing = [name for name in needed(wanted) if name not in found]
    if twice or missing:
        what = f"two columns for {twice[0]}" if twice else f"no column for {missing[0]}"
        raise DataError(
            f"{where}: {what} in {shown(names)}; {_remedy(where, names, options, wanted, named, places, line)}"
        )
    return found


def with_kept(
    columns: Sequence[str | int | None], names: Iterable[object], keep: list[str] | None
) -> Sequence[str | int | None]:
    """Return the columns with their positions for None and fill `keep` with all names; unchanged without `keep`."""
    if keep is None:
        return columns
    keep[:] = map(str, names)
    return [place if column is None else column for place, column in enumerate(columns)]


def say_columns(
    name: str, kind: str, keys: Iterable[tuple[Any, str | int | None]], dates: str | None, say: Say
) -> None:
    """Say which column, by its name or position, holds which field, and the format of dates."""
    mapping = ", ".join(f"{column} from {key!r}" for key, column in keys if isinstance(column, str))
    say(f"{name}: {kind}, {mapping}" + (f"; dates as {dates}" if dates else ""))


def _remedy(
    where: str, names: Sequence[object], options: Options, wanted: Sequence[str], named: bool, places: bool, line: bool
) -> str:
    if where == FRAME:
        return f"rename them: frame.rename(columns={{{', '.join(f'NAME: {name!r}' for name in needed(wanted))}}})."
    example = [*needed(wanted), *["-"] * len(names)][: len(names)]
    ways = [f"{options.flag('columns')} {','.join(f'{name}=NAME' for name in needed(wanted))}"] if named else []
    if places and (len(names) <= 12 or not named):
        what = "by position, in the order of the file, with - for unused columns, such as"
        ways += [f"{what} {options.flag('columns')} {','.join(example)}"]
    may_be_data = named and line and options.header is None and not any(by_known_names(names, FIELDS))
    no_header = f"; or, if this line is not a header: {options.flag('header')} no" if may_be_data else ""
    melt = MELT.format(frame="frame", user=str(names[0]))
    wide = f" If each column is an item, {melt}." if named and len(names) > 12 else ""
    return f"{'name them: ' if named else 'give them '}{'; or '.join(ways)}{no_header}.{wide}"


def _no_names(where: str, names: Sequence[object], options: Options, wanted: Sequence[str]) -> str:
    if len(names) > 12 and sum(math.isfinite(number(str(text))) for text in names) > len(names) // 2:
        melt = MELT.format(frame="frame.rename_axis('user').reset_index()", user="user")
        return (
            f"{where}: {len(names)} columns of numbers look like a row per user and a column per item. Expected one "
            f"rating per line; {melt}."
        )
    example = [*needed(wanted), "-", *wanted[len(needed(wanted)) :]]
    return (
        f"{where}: {len(names)} columns and no header; name them in order, with - for unused columns: "
        f"{options.flag('columns')} {','.join(example)}."
    )


def _named(options: Options, wanted: Sequence[str]) -> dict[str, str]:
    names = dict(part.partition("=")[::2] for part in parts_of(str(options.columns)))
    for name, key in names.items():
        if name not in FIELDS or not key:
            raise ConfigError(
                f"{options.flag('columns')} {options.columns!r}: {name!r}={key!r}; expected FIELD=NAME, FIELD "
                f"one of {', '.join(wanted)}."
            )
    return {name: key for name, key in names.items() if name in wanted}


def is_header(first: Sequence[str], second: Sequence[str], options: Options, wanted: Sequence[str]) -> bool:
    """Return whether the first line of a text is a header."""
    if options.header is not None:
        return options.header
    words = not any(_is_rating(text, options) for text in first)
    if "rating" in wanted:
        return words
    by_name = by_known_names(first, wanted)  # ids may be words
    given = options.columns is not None and "=" in options.columns
    return all(name in by_name for name in wanted) or given or (words and all(is_number(text) for text in second))


def _is_rating(text: str, options: Options) -> bool:
    plain = text.strip()
    code = plain != "" and plain == options.not_rated
    return code or not math.isnan(number(text, options.decimal)) or THOUSANDS.fullmatch(plain) is not None


# Ids.


def id_text(value: Any) -> str:
    """Return an id as text; "" if the value is not an id. A whole number has the same text in every type."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        value = (int(value) if value == int(value) else repr(value)) if math.isfinite(value) else ""
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if value is None or isinstance(value, bool | list | dict | tuple | set) or value is pd.NA or value is pd.NaT:
        return ""
    return str(value).strip().strip(BYTE_ORDER_MARK).strip()


def is_id(text: str) -> bool:
    return text not in ("", "[PAD]") and NO_ID.search(text) is None


def why_no_id(kind: str, text: str, options: Options) -> Fault:
    if bad := BYTES.search(text):
        byte = f"0x{ord(bad[0]) - 0xDC00:02x}"
        return Fault(f"byte {byte} in the {kind} is not valid {options.encoding or 'UTF-8'}", undecoded=True)
    return Fault(f"{kind} {text!r} is not a valid id")


def as_categories(values: pd.Series) -> pd.Categorical:
    """Return ids of any type as categories of their texts; missing if a value is not an id."""
    codes, different = _different(values)
    return renumbered(codes, [id_text(value) for value in different])


def _different(values: pd.Series) -> tuple[np.ndarray, Sequence[Any]]:
    """Return the code of each value, -1 if it is missing, and the distinct values."""
    with suppress(TypeError, ArithmeticError):  # unhashable values such as lists; signalling NaNs
        return pd.factorize(values)
    return np.arange(len(values)), values.tolist()


def renumbered(codes: np.ndarray, texts: Sequence[str]) -> pd.Categorical:
    """Return codes of texts as categories; equal texts are merged, invalid ids are missing."""
    different = {text: number for number, text in enumerate(dict.fromkeys(filter(is_id, texts)))}
    numbers = np.array([*(different.get(text, -1) for text in texts), -1])  # the last for code -1
    return pd.Categorical.from_codes(numbers[codes], pd.Index([*different], dtype=object))


# Numbers.


def number(text: str, decimal: str | None = None) -> float:
    """Parse a finite number; nan if it is none. Without `decimal`, 3,5 is 3.5, but 1,000 is ambiguous and so nan."""
    text = text.strip()
    if "," in text:
        if decimal == "." or text.count(",") > 1 or "." in text or (decimal is None and THOUSANDS.fullmatch(text)):
            return math.nan
        text = text.replace(",", ".")
    elif decimal == "," and "." in text:
        return math.nan
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else math.nan


def is_number(text: str) -> bool:
    return not math.isnan(number(text))


def numbers(values: pd.Series, decimal: str | None = None) -> np.ndarray:
    """Return a column of any type as float64; nan if a value is not a finite number."""
    kind = values.dtype
    if pd.api.types.is_float_dtype(kind) and getattr(kind, "itemsize", 8) < 8:  # 3.3, not 3.29999995
        single, places = np.unique(values.to_numpy(dtype=np.float32, na_value=np.nan), return_inverse=True)
        found = np.array([float(str(value)) for value in single])[places]
    elif pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) and kind.kind != "c":
        found = values.to_numpy(np.float64, na_value=np.nan)
    else:
        codes, different = _different(values)
        found = np.array([*(one_number(value, decimal) for value in different), math.nan])[codes]
    return np.where(np.isfinite(found), found, np.nan)


def one_number(value: Any, decimal: str | None = None) -> float:
    """Return one value as `numbers` does."""
    if isinstance(value, str):
        return number(value, decimal)
    if isinstance(value, bool | np.bool_ | complex | np.complexfloating) or value is None:
        return math.nan
    try:
        found = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def why_no_number(kind: str, text: str, options: Options) -> Fault:
    """Return the fault, with the flag that makes the text a number, if any."""
    flag, why = options.flag("decimal"), f"{kind} {text!r} is not a finite number"
    if options.decimal is None and THOUSANDS.fullmatch(text.strip()):
        return Fault(why, f"Write it without a thousands separator; if the comma is a decimal mark: {flag} ,", text)
    for sign in (",", "."):
        if options.decimal not in (None, sign) and not math.isnan(number(text, sign)):
            return Fault(f"{why} with decimal mark {options.decimal!r}", f"{flag} {sign} reads it.", text)
    return Fault(why, rating=text)


# Dates.

ISO = "ISO8601"  # with or without time, fractions of a second and time zone
DAYS = ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m.%d.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%b-%Y",
        "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%m %d, %Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y",
        "%d-%b-%y")  # fmt: skip
TIMES = ("", " %H:%M:%S", " %H:%M", " %I:%M %p", " %I:%M:%S %p", ", %H:%M:%S", ", %H:%M", " %H:%M:%S.%f", "T%H:%M:%S",
         " %H:%M:%S %z", " %H:%M:%S%z")  # fmt: skip
FORMATS = (ISO, *map("".join, product(DAYS, TIMES)), "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y",
           "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y", "%a, %b %d, %Y")  # fmt: skip
SAMPLE = 10_000  # dates used to detect a format


def seconds(texts: Iterable[str], form: str) -> np.ndarray:
    """Parse dates as seconds since 1970, float64; nan if a text does not match `form`."""
    # a date has a digit; pandas would accept "today"
    index = pd.Index([text.strip() if re.search(r"\d", text) else None for text in texts], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # we report faults ourselves
        return _since_1970(pd.DatetimeIndex(pd.to_datetime(index, format=form, errors="coerce", utc=True)))


def _since_1970(dates: pd.DatetimeIndex) -> np.ndarray:
    """Return seconds, float64; nan if missing. pandas' time differences would end with the year 2262."""
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[dates.unit]
    return np.where(dates.isna(), np.nan, dates.asi8 / per_second)


def date_formats(texts: Sequence[str]) -> list[str]:
    """Return the formats that parse the most dates, likelier ones first; empty if none does or they are numbers."""
    different = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    words = [text for text in different if not is_number(text)]
    if len(words) <= len(different) // 2:
        return []
    few = words[:3] + words[-2:]
    candidates = [form for form in FORMATS if np.isfinite(seconds(few, form)).any()]
    read = {form: int(np.isfinite(seconds(words[:SAMPLE], form)).sum()) for form in candidates}
    return [form for form in candidates if read[form] == max(read.values())]


@lru_cache
def swapped(form: str) -> str:
    """Return the format with day and month swapped; "" if it lacks either."""
    return form.translate(str.maketrans("dm", "md")) if "%d" in form and "%m" in form else ""


def format_of(
    where: str, texts: Sequence[str], options: Options, say: Say, all_texts: Iterable[list[str]]
) -> str | None:
    """Return the date format of timestamps; None if they are numbers.

    Args:
        texts: the first timestamps.
        all_texts: all of them in parts, used if the first do not tell day from month.
    """
    if (given := options.date_format) is not None:
        try:
            pd.to_datetime("", format=given, errors="coerce")
        except ValueError as error:
            raise ConfigError(f"{options.flag('date_format')} {given!r} is not a strptime format.") from error
        return given
    formats = date_formats(texts)
    words = [text for text in texts if text.strip() and not is_number(text)]
    if not formats and len(words) > len(texts) // 2:
        raise DataError(
            f"{where}: timestamp {shown(words[0])!r} is neither a number nor a date in a known format; give "
            f"{options.flag('date_format')}, such as '%d/%m/%Y %H:%M', or leave the column out of "
            f"{options.flag('columns')}."
        )
    form = formats[0] if formats else None
    other = swapped(form) if form else ""
    if form is None or other not in formats:
        return form
    for part in all_texts:
        counts = [int(np.isfinite(seconds(part, each)).sum()) for each in (form, other)]
        if counts[0] != counts[1]:
            return form if counts[0] > counts[1] else other
    say(
        f"{where}: dates such as {texts[0]} are read as {form}; if day and month are swapped: "
        f"{options.flag('date_format')} '{other}'"
    )
    return form


def why_no_date(text: str, form: str, options: Options) -> Fault:
    """Return the fault, with the flag that makes the text a date, if any."""
    other = swapped(form)
    read = bool(other) and bool(np.isfinite(seconds([text], other))[0])
    cure = f"{options.flag('date_format')} '{other}' reads it." if read else ""
    why, flag = f"timestamp {text!r} does not match the date format {form}", options.flag("date_format")
    return Fault(why, cure) if options.date_format is None else Fault(why, hint=f"Omit {flag} to detect the format.")


def in_seconds(values: pd.Series, form: str | None, decimal: str | None) -> np.ndarray:
    """Return timestamps of any type as seconds since 1970; nan if a value is not a time."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return _since_1970(pd.DatetimeIndex(values))
    if form is None:
        return numbers(values, decimal)
    codes, different = _different(values)
    return np.append(seconds(map(id_text, different), form), np.nan)[codes]
