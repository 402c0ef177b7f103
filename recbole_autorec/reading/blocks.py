"""Split a text into blocks of whole records, one per line, for any line ends and quoted line breaks."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from recbole_autorec.errors import DataError
from recbole_autorec.reading.options import Options

BLOCK = 1 << 25  # bytes; a quarter of it for pairs, whose predictions are written block by block
MARK = "\ufeff".encode()  # byte order mark, at the start of the file or of a file appended to it
WITHIN = b"\r"  # replaces a line end in quotes; a block has no other carriage return


class Block(NamedTuple):
    """Records in UTF-8, one per line.

    Attributes:
        number: line number of the first line in the file.
        text: the lines.
        bare: the same without quoted fields, for counting separators.
    """

    number: int
    text: bytes
    bare: bytes

    @property
    def end(self) -> int:
        """Line number after the last line."""
        return self.number + self.text.count(b"\n") + self.text.count(WITHIN)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield each line with its number in the file; surrogates stand for bytes that are not UTF-8."""
        number = self.number
        for line in self.text.removesuffix(b"\n").decode("utf-8", "surrogateescape").split("\n"):
            yield number, line
            number += 1 + line.count(WITHIN.decode())


class Blocks:
    """Iterate over the blocks of a seekable stream, each time from its start; set `quoted_by` from `head` before.

    Attributes:
        head: the first lines, complete and unchanged, in UTF-8.
        quoted_by: the separator, if fields may be quoted; None if a quote is an ordinary character.
        decide: called with lines that have a quote if `head` does not tell; returns the new `quoted_by`, b"" for None,
            or None if still undecided.
    """

    def __init__(self, name: str, stream: Any, size: int, options: Options, encoding: str | None):
        self._name, self._stream, self._size, self._options = name, stream, size, options
        self._decoder = None
        if codecs.lookup(encoding or "utf-8").name not in ("utf-8", "utf-8-sig", "ascii"):
            # undecodable bytes stay visible as bytes that are not UTF-8
            errors = "replace" if str(encoding).lower().startswith(("utf", "u1", "u3")) else "surrogateescape"
            self._decoder = codecs.getincrementaldecoder(str(encoding))(errors)
        self.quoted_by: bytes | None = None
        self.decide: Callable[[bytes], bytes | None] | None = None
        self._rewind()
        self._first = self._chunk()  # for the first iteration; later ones read it again
        cut = len(self._first) if self._ended else self._first.rfind(b"\n") + 1 or len(self._first)
        self.head = self._first[:cut].replace(MARK, b"")

    def _rewind(self) -> None:
        self._stream.seek(0)
        self._held = b""  # a final carriage return, which a line feed may follow
        if self._decoder is not None:
            self._decoder.reset()

    def _chunk(self) -> bytes:
        r"""Return the next bytes with every line end as \n; empty at the end."""
        while True:
            text = raw = self._stream.read(self._size)
            self._ended = len(raw) < self._size
            if self._decoder is not None:
                text = self._decoder.decode(raw, final=not raw).encode("utf-8", "surrogateescape")
            text, self._held = self._held + text, b""
            if raw and text.endswith(b"\r"):
                text, self._held = text[:-1], b"\r"
            if b"\r" in text:
                text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            if text or not raw:
                return text

    def __iter__(self) -> Iterator[Block]:
        text, self._first = self._first, b""
        if not text:
            self._rewind()
        number, unfinished, ended = 1, b"", False
        while True:
            cut = len(text) if ended else text.rfind(b"\n") + 1
            lines, rest = text[:cut], text[cut:]
            if lines:
                lines += b"" if lines.endswith(b"\n") else b"\n"
                lines = lines.replace(MARK, b"") if MARK in lines else lines
                block, unfinished = self._records(number, lines, ended)
                rest = unfinished + rest
                if block.text:
                    yield block
                    number = block.end
            if len(rest) > 2 * self._size:
                raise DataError(
                    f"{self._name}: the record in line {number} is longer than {2 * self._size >> 20} MB; this is not "
                    f"a text file of ratings.{self._never_closed() if unfinished else ''}"
                )
            if ended:
                return
            new = self._chunk()
            text, ended = rest + new, not new

    def _records(self, number: int, lines: bytes, ended: bool) -> tuple[Block, bytes]:
        """Return a block with one record per line, and the rest, which ends in an open quote."""
        if self.decide is not None and b'"' in lines and (decided := self.decide(lines)) is not None:
            self.quoted_by, self.decide = decided or None, None
        if self.quoted_by is None or b'"' not in lines:
            return Block(number, lines, lines), b""
        bare = re.sub(rb'"[^"\n]*"', b"", lines)
        if b'"' not in bare:  # every line closes its quotes
            return Block(number, lines, bare), b""
        separator = re.escape(self.quoted_by)
        field = re.compile(rb'(?<![^%s\n]) *"([^"]*(?:""[^"]*)*)("|\Z)' % separator)
        texts, bares, place = [], [], 0
        for quoted in field.finditer(lines):
            inside = quoted[0]
            if b"\n" in inside:
                start = lines.rfind(b"\n", 0, quoted.start() + 1) + 1
                if not quoted[2] and not ended:
                    return self._records(number, lines[:start], ended)[0], lines[start:]
                if not quoted[2] and inside.rstrip(b"\n").count(b"\n"):
                    self._malformed(number + lines.count(b"\n", 0, quoted.start()), None)
                if not re.match(rb" *(?:%s|\n|\Z)" % separator, lines[quoted.end() :][:100]):
                    first, last = (number + lines.count(b"\n", 0, end) for end in (quoted.start(), quoted.end()))
                    self._malformed(first, last)
                if quoted[2]:
                    inside = inside.replace(b"\n", WITHIN)
            texts += [lines[place : quoted.start()], inside]
            bares.append(lines[place : quoted.start()])
            place = quoted.end()
        tail = lines[place:]
        return Block(number, b"".join(texts) + tail, b"".join(bares) + tail), b""

    def _malformed(self, first: int, last: int | None) -> None:
        how = "is never closed" if last is None else f"is closed in line {last}, in the middle of a field"
        raise DataError(
            f"{self._name} line {first}: a field begins with a double quote that {how}.{self._never_closed()}"
        )

    def _never_closed(self) -> str:
        return f" {self._options.flag('quotes')} no treats quotes as ordinary characters."
