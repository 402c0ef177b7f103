"""What the user says about a file, and what becomes of lines that are no ratings."""

from __future__ import annotations

import codecs
import csv
import io
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import getLogger
from typing import NamedTuple

from recbole_autorec.errors import ConfigError, DataError, counted

logger = getLogger(__name__)

Say = Callable[[str], object]  # is told how a file is read
BYTES = re.compile("[\udc80-\udcff]")  # surrogates in place of bytes that are not of the encoding


# Encodings of Python's that are no files'.
NO_TEXT = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape")


@dataclass(frozen=True)
class Options:
    """How a file is to be read; what is None is found out.

    Attributes:
        columns: "user,item,rating,timestamp" by place with - for others, or "user=NAME,...".
        separator: between fields: a text, "tab", or "blanks" in runs.
        encoding: of text.
        header: whether the first line has names.
        quotes: whether a field may stand in double quotes; otherwise a quote is a letter.
        decimal: the decimal sign of ratings, "." or ",".
        date_format: of timestamps, as of strptime.
        not_rated: a rating that stands for none; left out.
        skips: whether the verb has --skip_bad_lines.
        prefix: of the flags, as messages name them; of a function in Python, which has arguments.
        elsewhere: another file is read by the same columns; names that this one has not may be that one's.
    """

    columns: str | None = None
    separator: str | None = None
    encoding: str | None = None
    header: bool | None = None
    quotes: bool | None = None
    decimal: str | None = None
    date_format: str | None = None
    not_rated: str | None = None
    skips: bool = False
    prefix: str = ""
    elsewhere: bool = False

    def __post_init__(self):
        spelt: dict[str | None, str] = {"tab": "\t", "\\t": "\t", "blanks": " ", "space": " "}
        object.__setattr__(self, "separator", spelt.get(self.separator) or self.separator)
        if self.separator == "":
            raise ConfigError(f"{self.flag('separator')} is empty; expected the text between two fields, such as ;")
        if self.decimal not in (None, ".", ","):
            raise ConfigError(f"{self.flag('decimal')} {self.decimal!r}; expected . or ,")
        if self.encoding is not None:
            try:
                known = codecs.lookup(self.encoding).name
                known = "" if known in NO_TEXT or "\n".encode(known).decode(known) != "\n" else known
            except (LookupError, UnicodeError):
                known = ""
            if not known:
                raise ConfigError(
                    f"{self.flag('encoding')} {self.encoding!r}; expected one that Python knows, such as utf-8, cp1252 "
                    "(Western European Windows) or utf-16."
                )
        if self.date_format is not None and "%" not in self.date_format and self.date_format != "ISO8601":
            raise ConfigError(
                f"{self.flag('date_format')} {self.date_format!r}; expected strptime's codes, such as %d/%m/%Y %H:%M, "
                "or ISO8601."
            )

    def flag(self, name: str) -> str:
        return f"{self.prefix}{name}" if self.prefix.endswith(" ") else f"--{self.prefix}{name}"


FOUND_OUT = Options()


def columns_text(columns: str | Sequence[str] | Mapping[str, str] | None) -> str | None:
    """Columns as a flag has them, from what Python has: places, or names by field."""
    if columns is None or isinstance(columns, str):
        return columns
    line = io.StringIO()
    parts = [f"{name}={key}" for name, key in columns.items()] if isinstance(columns, Mapping) else columns
    csv.writer(line, lineterminator="").writerow([part or "-" for part in parts])
    return line.getvalue()


def parts_of(columns: str) -> list[str]:
    """Of --columns: a name with a comma in it stands in quotes with its field, as "user=who, is"."""
    return next(csv.reader([columns], skipinitialspace=True), [])


class Fault(NamedTuple):
    """Why a line is no rating.

    Attributes:
        why: in half a sentence.
        cure: the flag that makes a rating of it, in a sentence; such a line is never skipped.
        hint: what may be wrong where many lines have this fault, in a sentence.
        rating: the text that is no number, if that is the fault.
        undecoded: whether bytes are not of the encoding.
    """

    why: str
    cure: str = ""
    hint: str = ""
    rating: str | None = None
    undecoded: bool = False


def decoded(
    faults: list[tuple[int, str, Fault]], texts: Callable[[], Iterable[str]], options: Options
) -> list[tuple[int, str, Fault]]:
    """The faults with bytes shown as such; and `--encoding` is the cure, unless other lines show that it is right.

    Args:
        texts: gives the lines around, with surrogates for bytes that are not of the encoding.
    """
    wrong = sum(fault.undecoded for *_, fault in faults)
    if not wrong:
        return faults
    right = sum(not text.isascii() and not BYTES.search(text) for text in texts())
    cure = "" if options.encoding is not None or right >= wrong else (
        f"{options.flag('encoding')} cp1252 reads text of a Western European Windows; others have other names."
    )  # fmt: skip
    return [
        (number, BYTES.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text),
         fault._replace(cure=cure) if fault.undecoded else fault)
        for number, text, fault in faults
    ]  # fmt: skip


@dataclass
class BadLines:
    """Lines that are no ratings: an error at once, or kept here.

    Attributes:
        skip: count them and go on.
        count: how many there were.
        first: up to ten of them, each as "file line 3: why".
        not_rated: ratings left out, since they stand for none.
    """

    skip: bool = False
    count: int = 0
    not_rated: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, source: str, faults: Sequence[tuple[int, str, Fault]], n_lines: int, options: Options) -> None:
        """The faults of `n_lines` lines of a file: number, text and fault of each.

        Raises:
            DataError: a line has a cure, or lines are not to be skipped.
        """
        curable = [each for each in faults if each[2].cure]
        for number, text, fault in curable or faults:
            message = f"{source} line {number}: {shown(text)!r}: {fault.why}"
            if curable or not self.skip:
                raise DataError(f"{message}.{self._advice(fault, faults, n_lines, options)}")
            self.count += 1
            if len(self.first) < 10:
                self.first.append(message)

    def report(self, name: str, n_duplicates: int, by_time: bool) -> None:
        """Say what was left out."""
        for line in self.first:
            logger.warning(f"left out: {line}")
        if self.count > len(self.first):
            logger.warning(f"... and {counted(self.count - len(self.first), 'bad line')} more")
        if self.not_rated:
            logger.warning(f"{name}: {counted(self.not_rated, 'rating')} left out that stand for none")
        if n_duplicates:
            order = "time" if by_time else "line"
            logger.warning(
                f"{name}: {counted(n_duplicates, 'rating')} left out: the pair was rated again; the last by {order} is "
                "kept"
            )

    def _advice(self, fault: Fault, faults: Sequence[tuple[int, str, Fault]], n_lines: int, options: Options) -> str:
        like = "" if len(faults) == 1 else f" So are {len(faults):,} of {n_lines:,} lines."
        if fault.cure:
            return f"{like} {fault.cure}"
        alike = sum(each.rating == fault.rating is not None for *_, each in faults)
        code = (fault.rating or "").strip()
        is_code = code.lower() not in ("true", "false") and not code.startswith(("{", "["))
        if 1 < alike < 0.9 * n_lines and fault.rating is not None and is_code:
            return (
                f" So is the rating in {alike:,} of {n_lines:,} lines: if it stands for 'not rated', "
                f"{options.flag('not_rated')} {shlex.quote(code)} leaves it out."
            )
        if len(faults) > max(1, n_lines // 10):
            if fault.hint:
                return f"{like} {fault.hint}"
            return f"{like} {options.flag('columns')} says what the columns are, where that was found out wrongly."
        skip = f" {options.flag('skip_bad_lines')} leaves such lines out and lists the first ten."
        return skip if options.skips else like


def shown(what: str | Sequence[object]) -> object:
    """Short enough for a message."""
    if not isinstance(what, str):
        return [shown(str(text)) for text in what[:12]] + (["..."] if len(what) > 12 else [])
    return what if len(what) <= 80 else what[:77] + "..."
