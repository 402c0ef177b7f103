"""JSON: an object or a list on each line, an array of them, pretty-printed ones; and Python's dictionaries."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import pandas as pd

from recbole_autorec.errors import DataError
from recbole_autorec.reading import fields
from recbole_autorec.reading.blocks import Block, Blocks
from recbole_autorec.reading.options import BadLines, Fault, Options, Say, shown
from recbole_autorec.reading.separated import of_texts

PART = 1 << 17  # objects in a frame
LONGEST = 1 << 26  # characters of one object
Record = tuple[int, str, Any]  # line, text for messages, content: a dict or a list; None if it is neither


def is_json(head: bytes) -> bool:
    return head.lstrip().startswith((b"{", b"["))


def read(
    name: str, blocks: Blocks, options: Options, bad: BadLines, say: Say, wanted: Sequence[str],
    keep: list[str] | None,
) -> Iterator[pd.DataFrame]:  # fmt: skip
    """Frames of the ratings; see ratings.read_ratings."""
    line = blocks.head.lstrip().partition(b"\n")[0].decode("utf-8", "surrogateescape").strip()
    by_line = isinstance(_content(line), dict) or _is_row(_content(line))
    records = _lines(blocks) if by_line else _stream(name, blocks)
    first = list(_first(records))
    columns, names = _columns(name, [content for *_, content in first], options, wanted)
    if keep is not None:
        keep[:] = map(str, names)
        columns = [place if column is None else column for place, column in enumerate(columns)]
    keys = [(key, column) for key, column in zip(names, columns, strict=True) if column is not None]
    dates = _dates(name, first, keys, options, say)
    said = ", ".join(f"{column} from {key!r}" for key, column in keys if isinstance(column, str))
    say(f"{name}: JSON, {said}" + (f"; dates as {dates}" if dates else ""))
    rest = chain(first, records)
    while part := [record for record, _ in zip(rest, range(PART), strict=False)]:
        yield _frame(name, part, keys, dates, options, bad)


def _first(records: Iterator[Record]) -> Iterator[Record]:
    """Enough to find out the layout: some, and more until one is a rating's."""
    for count, record in enumerate(records):
        yield record
        if count >= 3000:
            return


def _content(text: str) -> Any:
    """Of a line, as JSON or as Python has it; None if it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if not re.match(r"\s*\{\s*u?'", text):
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _is_row(content: Any) -> bool:
    return isinstance(content, list) and len(content) > 1 and not any(isinstance(cell, dict | list) for cell in content)


def _lines(blocks: Blocks) -> Iterator[Record]:
    for block in blocks:
        for number, line in enumerate(_texts(block), start=block.number):
            if line.strip():
                yield number, line, _content(line)


def _texts(block: Block) -> list[str]:
    return block.text.removesuffix(b"\n").decode("utf-8", "surrogateescape").split("\n")


def _stream(name: str, blocks: Blocks) -> Iterator[Record]:
    """The objects of an array, or of a text in which they stand one after the other."""
    decoder, text, number = json.JSONDecoder(), "", 1
    for block in chain(blocks, [None]):
        text += "" if block is None else block.text.decode("utf-8", "surrogateescape")
        place = 0
        while True:
            start = place + len(re.match(r"[\s,]*", text[place : place + 1000])[0])  # type: ignore[index]
            if (
                number == 1
                and place == 0
                and text[start : start + 1] == "["
                and not _is_row(_try(decoder, text, start))
            ):
                start += 1  # the array's
                start += len(re.match(r"\s*", text[start:])[0])  # type: ignore[index]
            if text[start : start + 1] in ("]", ""):
                number += text.count("\n", place, start)
                place = start
                break
            try:
                content, end = decoder.raw_decode(text, start)
            except (ValueError, RecursionError) as error:
                if block is None or len(text) - start > LONGEST:
                    line = number + text.count("\n", place, getattr(error, "pos", start))
                    raise DataError(
                        f"{name} line {line}: this is no JSON. Expected an object a rating, such as "
                        '{"user": "u1", "item": "i1", "rating": 5}, on a line each or in an array.'
                    ) from error
                break
            number += text.count("\n", place, start)
            yield number, text[start : min(end, start + 200)], content
            number += text.count("\n", start, end)
            place = end
        text = text[place:]


def _try(decoder: json.JSONDecoder, text: str, start: int) -> Any:
    try:
        return decoder.raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def _columns(
    name: str, contents: list[Any], options: Options, wanted: Sequence[str]
) -> tuple[list[str | int | None], list[Any]]:
    """The field of each key or place, and the keys."""
    known = [content for content in contents if isinstance(content, dict) or _is_row(content)]
    if not known:
        raise DataError(f"{name} has no JSON object in its first lines; expected one for each rating.")
    first = known[0]
    if isinstance(first, list):
        return list(fields.chosen(name, [*map(_text, first)], options, wanted, named=False)), list(range(len(first)))
    if len(known) == 1 and first and all(isinstance(value, dict | list) for value in first.values()):
        raise DataError(
            f"{name} is one JSON object with {shown(', '.join(first))}; expected one for each rating. pandas writes "
            "such: frame.to_json(FILE, orient='records', lines=True)."
        )
    names = list(dict.fromkeys(key for content in known[:100] if isinstance(content, dict) for key in content))
    if options.columns is not None and "=" not in options.columns:
        raise DataError(
            f"{name} has JSON objects; name the keys: {options.flag('columns')} "
            f"{','.join(f'{field}=KEY' for field in wanted)}."
        )
    return list(fields.chosen(name, names, options, wanted, places=False)), names


def _dates(name: str, records: list[Record], keys: list[tuple[Any, Any]], options: Options, say: Say) -> str | None:
    key = next((key for key, column in keys if column == "timestamp"), None)
    texts = [_text(_value(content, key)) for *_, content in records if key is not None]
    return fields.format_of(name, texts, options, say)


def _value(content: Any, key: Any) -> Any:
    if isinstance(content, dict):
        return content.get(key)
    return content[key] if isinstance(content, list) and isinstance(key, int) and key < len(content) else None


def _text(value: Any) -> str:
    """A value as the text that a csv has."""
    if isinstance(value, str):
        return value
    return repr(value) if isinstance(value, float) else fields.id_text(value)


def _frame(
    name: str, records: list[Record], keys: list[tuple[Any, Any]], dates: str | None, options: Options, bad: BadLines
) -> pd.DataFrame:
    rows, faults = [], []
    for number, text, content in records:
        if not isinstance(content, dict) and not _is_row(content):
            faults.append((number, text, Fault("it is no JSON object")))
            continue
        values = {column: _text_for(column, _value(content, key)) for key, column in keys}
        row = of_texts(values, dates, options)
        if isinstance(row, Fault):
            faults.append((number, text, row))
        else:
            rows.append(row)
    bad.add(name, faults, len(records), options)
    frame = pd.DataFrame(rows, columns=pd.Index([column for _, column in keys], dtype=object))
    return frame.astype({"user": "category", "item": "category"})


def _text_for(column: str | int, value: Any) -> str:
    if column in fields.PAIR:
        return fields.id_text(value)
    return _kept(value) if isinstance(column, int) else _text(value)


def _kept(value: Any) -> str:
    """Of another column, for the output."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
