"""Options for reading a file, and handling of invalid lines."""

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

Say = Callable[[str], object]  # receives messages on how a file is read
BYTES = re.compile("[\udc80-\udcff]")  # surrogates that stand for undecodable bytes
# Python codecs in which no file is written.
NO_TEXT = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape")


@dataclass(frozen=True)
class Options:
    """How to read a file; None means that it is detected.

    Attributes:
        columns: "user,item,rating,timestamp" by position with - for unused ones, or "user=NAME,...".
        separator: field separator: a text, "tab", or "blanks" for runs of blanks.
        encoding: text encoding.
        header: whether the first line names the columns.
        quotes: whether fields may be in double quotes; if not, a quote is an ordinary character.
        decimal: decimal mark of ratings, "." or ",".
        date_format: strptime format of timestamps.
        not_rated: rating that means "not rated"; left out.
        skips: whether the verb has --skip_bad_lines.
        prefix: prefix of the flags in messages; "FUNCTION's " if a Python function was called.
        elsewhere: whether `columns` also applies to another file; names missing in this file may belong to that one.
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
    """Return the text of --columns for fields by position, or for a mapping from field to name."""
    if columns is None or isinstance(columns, str):
        return columns
    line = io.StringIO()
    parts = [f"{name}={key}" for name, key in columns.items()] if isinstance(columns, Mapping) else columns
    csv.writer(line, lineterminator="").writerow([part or "-" for part in parts])
    return line.getvalue()


def parts_of(columns: str) -> list[str]:
    """Split --columns at commas; a part whose name has a comma is quoted, as "user=who, is"."""
    return next(csv.reader([columns], skipinitialspace=True), [])


class Fault(NamedTuple):
    """Why a line is not a valid rating.

    Attributes:
        why: half a sentence.
        cure: a sentence with the flag that makes the line valid; such a line is never skipped.
        hint: a sentence on the likely cause if many lines have this fault.
        rating: the text of the rating, if the fault is that it is not a number.
        undecoded: whether some bytes could not be decoded.
    """

    why: str
    cure: str = ""
    hint: str = ""
    rating: str | None = None
    undecoded: bool = False


def decoded(
    faults: list[tuple[int, str, Fault]], texts: Callable[[], Iterable[str]], options: Options
) -> list[tuple[int, str, Fault]]:
    """Show undecodable bytes as hex, with --encoding as the cure unless other lines show that it is right.

    Args:
        texts: returns all lines of the block, with surrogates for undecodable bytes.
    """
    wrong = sum(fault.undecoded for *_, fault in faults)
    if not wrong:
        return faults
    right = sum(not text.isascii() and not BYTES.search(text) for text in texts())
    cure = "" if options.encoding is not None or right >= wrong else other_encoding(options)
    return [
        (number, BYTES.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text),
         fault._replace(cure=cure) if fault.undecoded else fault)
        for number, text, fault in faults
    ]  # fmt: skip


def other_encoding(options: Options) -> str:
    return f"Give the encoding, such as {options.flag('encoding')} cp1252 for Western European Windows."


@dataclass
class BadLines:
    """Handle invalid lines: raise at once, or count them.

    Attributes:
        skip: whether to count invalid lines and go on.
        count: number of invalid lines.
        first: up to ten of them, each as "file line 3: why".
        not_rated: number of ratings left out because they mean "not rated".
    """

    skip: bool = False
    count: int = 0
    not_rated: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, source: str, faults: Sequence[tuple[int, str, Fault]], n_lines: int, options: Options) -> None:
        """Add the faults found in `n_lines` lines of a file, each with its line number and text.

        Raises:
            DataError: a fault has a cure, or invalid lines are not skipped.
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
        """Log what was left out."""
        for line in self.first:
            logger.warning(f"left out: {line}")
        if self.count > len(self.first):
            logger.warning(f"... and {counted(self.count - len(self.first), 'more bad line')}")
        if self.not_rated:
            logger.warning(f"{name}: {counted(self.not_rated, 'rating')} left out as 'not rated'")
        if n_duplicates:
            order = "time" if by_time else "line"
            logger.warning(
                f"{name}: {counted(n_duplicates, 'duplicate rating')} left out; the last of a pair by {order} is kept"
            )

    def _advice(self, fault: Fault, faults: Sequence[tuple[int, str, Fault]], n_lines: int, options: Options) -> str:
        like = "" if len(faults) == 1 else f" {len(faults):,} of {n_lines:,} lines are invalid."
        if fault.cure:
            return f"{like} {fault.cure}"
        alike = sum(each.rating == fault.rating is not None for *_, each in faults)
        code = (fault.rating or "").strip()
        is_code = code.lower() not in ("true", "false") and not code.startswith(("{", "["))
        if 1 < alike < 0.9 * n_lines and fault.rating is not None and is_code:
            return (
                f" {alike:,} of {n_lines:,} lines have this rating; if it means 'not rated', "
                f"{options.flag('not_rated')} {shlex.quote(code)} leaves it out."
            )
        if len(faults) > max(1, n_lines // 10):
            if fault.hint:
                return f"{like} {fault.hint}"
            return f"{like} If the columns were detected wrongly, give {options.flag('columns')}."
        skip = f" {options.flag('skip_bad_lines')} skips such lines and lists the first ten."
        return skip if options.skips else like


def shown(what: str | Sequence[object]) -> object:
    """Shorten a text or a list of texts for a message."""
    if not isinstance(what, str):
        return [shown(str(text)) for text in what[:12]] + (["..."] if len(what) > 12 else [])
    return what if len(what) <= 80 else what[:77] + "..."
