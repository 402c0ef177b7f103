"""What a rating is made of: which column is which; what an id, a number and a date is. For every format and verb."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from recbole_autorec.errors import ConfigError, DataError
from recbole_autorec.reading.options import BYTES, Fault, Options, Say, parts_of, shown

FIELDS = ("user", "item", "rating", "timestamp")  # the timestamp where there is one
PAIR = FIELDS[:2]
FRAME = "the DataFrame"  # a source that is no file, in messages
MELT = (
    "pandas makes that of it, and convert takes the DataFrame. Without the columns that are no items: {frame}.melt("
    "{user!r}, var_name='item', value_name='rating').dropna()"
)

# What the fields are called in well-known files, in lower case without _, - and blanks. A name of the second list
# counts where there is none of the first: several people share a name, and a product has variants.
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
    """The field of a column's name, and whether the name is one of the first list; RecBole's `:type` does not count."""
    plain = re.sub(r"[_\-\s\"#%\[\]]", "", str(text).strip().strip(BYTE_ORDER_MARK).partition(":")[0]).lower()
    return next(((name, plain in first) for name, (first, other) in NAMES.items() if plain in first + other), None)


def by_known_names(names: Sequence[object], wanted: Sequence[str]) -> list[str | None]:
    """The field of each column that is called as in NAMES. Several columns may have the same."""
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
    """The field in each column.

    Args:
        where: the file, for messages.
        names: of the columns; the fields of the first line where it has no names.
        options: what the user says; its `columns` decides.
        wanted: FIELDS, or PAIR.
        named: whether they are names.
        places: whether columns have places; keys have none.
        line: whether the names are the first line of a text, and so may be none.

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
                f"{where} has no header with names; give {flag} by place: {','.join(wanted)}, or "
                f"{options.flag('header')} yes."
            )
        for name, key in given.items():
            if key not in map(str, names):
                raise DataError(f"{where}: {flag} {name}={key}, but there are {shown(', '.join(map(str, names)))}.")
        found = [next((name for name, key in given.items() if key == str(text)), None) for text in names]
    else:
        found = [None if text.strip() in ("-", "") else text.strip() for text in parts_of(columns)]
        unknown = [text for text in found if text is not None and text not in FIELDS]
        if unknown:
            raise ConfigError(f"{flag} {columns!r}: {unknown[0]!r}; expected {', '.join(wanted)}, or - for another.")
        found = [text if text in wanted else None for text in found] + [None] * (len(names) - len(found))
        if len(found) > len(names):
            raise DataError(
                f"{flag} {columns!r} has {len(found)} columns; the first line of {where} has {len(names)}: "
                f"{shown(names)}."
            )
        for chosen_one, called, text in zip(found, by_name, names, strict=True):
            if chosen_one and called and chosen_one != called:
                raise DataError(
                    f"{where}: {flag} {columns!r} takes {text!r} for the {chosen_one}; if that is meant, name it: "
                    f"{chosen_one}={text}."
                )
    twice = [name for name in wanted if found.count(name) > 1]
    missing = [name for name in needed(wanted) if name not in found]
    if twice or missing:
        what = f"two columns for {twice[0]}" if twice else f"no column for {missing[0]}"
        raise DataError(
            f"{where}: {what} in {shown(names)}; {_remedy(where, names, options, wanted, named, places, line)}"
        )
    return found


def _remedy(
    where: str, names: Sequence[object], options: Options, wanted: Sequence[str], named: bool, places: bool, line: bool
) -> str:
    if where == FRAME:
        return f"rename them: frame.rename(columns={{{', '.join(f'NAME: {name!r}' for name in needed(wanted))}}})."
    example = ["-"] * len(names)
    example[: len(needed(wanted))] = needed(wanted)[: len(names)]
    ways = [f"{options.flag('columns')} {','.join(f'{name}=NAME' for name in needed(wanted))}"] if named else []
    if places and len(names) <= 12:
        ways += [f"by place, with - for what is left out: {options.flag('columns')} {','.join(example)}"]
    if named and line and options.header is None and not any(by_known_names(names, FIELDS)):
        ways += [f"or, if this line has no names: {options.flag('header')} no"]
    wide = f" If each column is an item: {MELT.format(frame='frame', user=str(names[0]))}." if len(names) > 12 else ""
    return f"say which they are{': ' if named else ' '}{'; or '.join(ways).replace('; or or,', '; or,')}.{wide}"


def _no_names(where: str, names: Sequence[object], options: Options, wanted: Sequence[str]) -> str:
    if len(names) > 12 and sum(math.isfinite(number(str(text))) for text in names) > len(names) // 2:
        melt = MELT.format(frame="frame.rename_axis('user').reset_index()", user="user")
        return (
            f"{where}: {len(names)} columns of numbers: a row for each user and a column for each item? What can be "
            f"read is one rating a line; {melt}."
        )
    example = [*needed(wanted), "-", *wanted[len(needed(wanted)) :]]
    return (
        f"{where}: {len(names)} columns and no header; say what they are, with - for what is left out: "
        f"{options.flag('columns')} {','.join(example)}."
    )


def _named(options: Options, wanted: Sequence[str]) -> dict[str, str]:
    names = dict(part.partition("=")[::2] for part in parts_of(str(options.columns)))
    for name, key in names.items():
        if name not in FIELDS or not key:
            raise ConfigError(
                f"{options.flag('columns')} {options.columns!r}: {name!r}={key!r}; expected FIELD=NAME of "
                f"{', '.join(wanted)}."
            )
    return {name: key for name, key in names.items() if name in wanted}


def is_header(first: Sequence[str], second: Sequence[str], options: Options, wanted: Sequence[str]) -> bool:
    """Whether the first line of a text has names."""
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
    """An id as text; "" for what is none. A whole number is itself, whatever type it came in."""
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
        return Fault(f"the byte {byte} of the {kind} is not of {options.encoding or 'UTF-8'}", undecoded=True)
    return Fault(f"{kind} {text!r} is no id")


def as_categories(values: pd.Series) -> pd.Categorical:
    """Ids of any type as categories of their texts; missing where there is none."""
    codes, different = _different(values)
    return renumbered(codes, [id_text(value) for value in different])


def _different(values: pd.Series) -> tuple[np.ndarray, Sequence[Any]]:
    """Number of each value's kind, -1 where it is missing, and the kinds."""
    with suppress(TypeError, ArithmeticError):  # lists and the like, and numbers that signal
        return pd.factorize(values)
    return np.arange(len(values)), values.tolist()


def renumbered(codes: np.ndarray, texts: Sequence[str]) -> pd.Categorical:
    """Codes of texts that may be alike, or no ids, as categories."""
    different = {text: number for number, text in enumerate(dict.fromkeys(filter(is_id, texts)))}
    numbers = np.array([*(different.get(text, -1) for text in texts), -1])  # the last: missing already
    return pd.Categorical.from_codes(numbers[codes], pd.Index([*different], dtype=object))


# Numbers.


def number(text: str, decimal: str | None = None) -> float:
    """A number as text, nan for what is none. Without `decimal`, 3,5 is 3.5; but 1,000 might be a thousand."""
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
    """Of a column of any type, float64; nan for what is none."""
    kind = values.dtype
    if pd.api.types.is_float_dtype(kind) and getattr(kind, "itemsize", 8) < 8:  # 3.3, not 3.29999995
        single, places = np.unique(values.to_numpy(dtype=np.float32, na_value=np.nan), return_inverse=True)
        found = np.array([float(str(value)) for value in single])[places]
        return np.where(np.isfinite(found), found, np.nan)
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) and kind.kind != "c":
        found = values.to_numpy(np.float64, na_value=np.nan)
        return np.where(np.isfinite(found), found, np.nan)
    codes, different = _different(values)
    return np.array([*map(lambda value: one_number(value, decimal), different), math.nan])[codes]


def one_number(value: Any, decimal: str | None = None) -> float:
    """As `numbers`."""
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
    """And the flag that makes one of it."""
    flag, why = options.flag("decimal"), f"{kind} {text!r} is no finite number"
    if options.decimal is None and THOUSANDS.fullmatch(text.strip()):
        return Fault(why, f"Write it without a separator of thousands; if it has decimals: {flag} ,", text)
    for sign in (",", "."):
        if options.decimal not in (None, sign) and not math.isnan(number(text, sign)):
            return Fault(f"{why} with the decimal sign {options.decimal!r}", f"{flag} {sign} reads it.", text)
    return Fault(why, rating=text)


# Dates.

ISO = "ISO8601"  # with and without time, fractions and zone
DAYS = ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m.%d.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%b-%Y",
        "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%m %d, %Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y",
        "%d-%b-%y")  # fmt: skip
TIMES = ("", " %H:%M:%S", " %H:%M", " %I:%M %p", " %I:%M:%S %p", ", %H:%M:%S", ", %H:%M", " %H:%M:%S.%f", "T%H:%M:%S",
         " %H:%M:%S %z", " %H:%M:%S%z")  # fmt: skip
FORMATS = (ISO, *map("".join, product(DAYS, TIMES)), "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y",
           "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y", "%a, %b %d, %Y")  # fmt: skip
SAMPLE = 10_000  # dates by which a format is found


def seconds(texts: Iterable[str], form: str) -> np.ndarray:
    """Of dates, since 1970, float64; nan for what is none."""
    # a date has a digit: pandas knows "today"
    index = pd.Index([text.strip() if re.search(r"\d", text) else None for text in texts], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user is told by us
        return _since_1970(pd.DatetimeIndex(pd.to_datetime(index, format=form, errors="coerce", utc=True)))


def _since_1970(dates: pd.DatetimeIndex) -> np.ndarray:
    """Seconds, float64; nan for what is none. Without pandas' difference, which ends with the year 2262."""
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[dates.unit]
    return np.where(dates.isna(), np.nan, dates.asi8 / per_second)


def checked_format(form: str, options: Options) -> str:
    try:
        pd.to_datetime("", format=form, errors="coerce")
    except ValueError as error:
        raise ConfigError(f"{options.flag('date_format')} {form!r} is no format of strptime.") from error
    return form


def date_formats(texts: Sequence[str]) -> list[str]:
    """The formats of dates that are no numbers: those that read as many as any other does, the likelier first.

    Empty where nothing does, or where they are numbers.
    """
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
    """The same with day and month the other way round."""
    return form.translate(str.maketrans("dm", "md")) if "%d" in form and "%m" in form else ""


def format_of(
    where: str, texts: Sequence[str], options: Options, say: Say, later: Callable[[], Iterable[list[str]]] | None = None
) -> str | None:
    """The format of dates, None where they are numbers.

    Args:
        texts: the first ones.
        later: gives further ones, which are looked at where the first leave it open which number is the day.
    """
    if options.date_format is not None:
        return checked_format(options.date_format, options)
    formats = date_formats(texts)
    words = [text for text in texts if text.strip() and not is_number(text)]
    if not formats and len(words) > len(texts) // 2:
        raise DataError(
            f"{where}: timestamp {shown(words[0])!r} is no number, nor a date of a known format; "
            f"{options.flag('date_format')} names it, such as '%d/%m/%Y %H:%M', or {options.flag('columns')} leaves "
            "the column out."
        )
    form = formats[0] if formats else None
    other = swapped(form) if form else ""
    if form is None or other not in formats:
        return form
    for more in later() if later else ():
        counts = [int(np.isfinite(seconds(more, each)).sum()) for each in (form, other)]
        if counts[0] != counts[1]:
            return form if counts[0] > counts[1] else other
    say(
        f"{where}: dates such as {texts[0]} are read as {form}; if the day is the other number: "
        f"{options.flag('date_format')} '{other}'"
    )
    return form


def why_no_date(text: str, form: str, options: Options) -> Fault:
    """And the flag that makes one of it."""
    other = swapped(form)
    read = bool(other) and bool(np.isfinite(seconds([text], other))[0])
    cure = f"{options.flag('date_format')} '{other}' reads it." if read else ""
    why, flag = f"timestamp {text!r} is no date like {form}", options.flag("date_format")
    return Fault(why, cure) if options.date_format is None else Fault(why, hint=f"Without {flag} it is found out.")


def in_seconds(values: pd.Series, form: str | None, decimal: str | None) -> np.ndarray:
    """A column of timestamps of any type; nan for what is none."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return _since_1970(pd.DatetimeIndex(values))
    if form is None:
        return numbers(values, decimal)
    codes, different = _different(values)
    return np.append(seconds(map(id_text, different), form), np.nan)[codes]
