"""JSON: one object or list per line, an array of them, or pretty-printed; also Python dictionaries."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any

import pandas as pd

from recbole_autorec.errors import DataError
from recbole_autorec.reading import fields
from recbole_autorec.reading.blocks import Blocks
from recbole_autorec.reading.fields import PAIR
from recbole_autorec.reading.options import BadLines, Fault, Options, Say, decoded, shown
from recbole_autorec.reading.separated import SHOWN, of_texts

PART = 1 << 17  # objects per frame
LONGEST = 1 << 26  # characters of one object
Record = tuple[int, str, Any]  # line, text for messages, content: a dict or a list, None if invalid


def is_json(head: bytes) -> bool:
    """Return whether a text starts like JSON or a Python literal, and not with an id in brackets."""
    return re.match(rb"""\s*(\{\s*($|["'}]|u["'])|\[\s*($|[\[{"\d-]))""", head[:1000]) is not None


def read(
    name: str, blocks: Blocks, options: Options, bad: BadLines, say: Say, wanted: Sequence[str], keep: list[str] | None
) -> Iterator[pd.DataFrame]:
    """Yield frames of ratings; see ratings.read_ratings."""
    first = [content for *_, content in islice(_records(name, blocks), SHOWN)]
    columns, names = _columns(name, first, options, wanted)
    columns = fields.with_kept(columns, names, keep)
    keys = [(key, column) for key, column in zip(names, columns, strict=True) if column is not None]
    dates, time = None, next((key for key, column in keys if column == "timestamp"), None)
    if time is not None:
        times = [_text(_value(content, time)) for content in first]
        all_times = (
            list({_text(_value(content, time)) for *_, content in part}) for part in _parts(_records(name, blocks))
        )
        dates = fields.format_of(name, times, options, say, all_times)
    fields.say_columns(name, "JSON", keys, dates, say)
    for part in _parts(_records(name, blocks)):
        yield _frame(name, part, keys, dates, options, bad)


def _parts(records: Iterator[Record]) -> Iterator[list[Record]]:
    while part := list(islice(records, PART)):
        yield part


def _records(name: str, blocks: Blocks) -> Iterator[Record]:
    line = blocks.head.lstrip().partition(b"\n")[0].decode("utf-8", "surrogateescape").strip()
    content = _content(line)
    whole = isinstance(content, dict) or _is_row(content) or (isinstance(content, list) and not line.startswith('[{"'))
    return _lines(blocks) if whole else _stream(name, blocks)


def _content(text: str) -> Any:
    """Parse a line as JSON or as a Python literal; None if it is neither."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    if re.match(r"\s*\[?\s*\{\s*u?'", text):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return ast.literal_eval(text.strip())
    return None


def _is_row(content: Any) -> bool:
    return isinstance(content, list) and len(content) > 1 and not any(isinstance(cell, dict | list) for cell in content)


def _lines(blocks: Blocks) -> Iterator[Record]:
    for block in blocks:
        for number, line in block.lines():
            if line.strip():
                content = _content(line)
                several = isinstance(content, list) and content and not _is_row(content)
                yield from ((number, line, each) for each in (content if several else [content]))


def _stream(name: str, blocks: Blocks) -> Iterator[Record]:
    """Yield the objects of arrays, or of a text of consecutive objects."""
    decoder, text, number, depth = json.JSONDecoder(), "", 1, 0
    for block in chain(blocks, [None]):
        text += "" if block is None else block.text.decode("utf-8", "surrogateescape")
        place = 0
        while True:
            start = re.compile(r"[\s,]*").match(text, place).end()  # type: ignore[union-attr]
            number, place = number + text.count("\n", place, start), start
            sign = text[start : start + 1]
            if sign == "":
                break
            if (sign == "[" and not depth and not _is_row(_try(decoder, text, start))) or (sign == "]" and depth):
                depth += 1 if sign == "[" else -1
                place = start + 1
                continue
            try:
                content, place = decoder.raw_decode(text, start)
            except (ValueError, RecursionError) as error:
                if block is None or len(text) - start > LONGEST:
                    line = number + text.count("\n", start, getattr(error, "pos", start))
                    raise DataError(
                        f"{name} line {line}: invalid JSON. Expected one object per rating, such as "
                        '{"user": "u1", "item": "i1", "rating": 5}, one per line or in an array.'
                    ) from error
                break
            yield number, text[start : min(place, start + 200)], content
            number += text.count("\n", start, place)
        text = text[place:]


def _try(decoder: json.JSONDecoder, text: str, start: int) -> Any:
    with suppress(ValueError, RecursionError):
        return decoder.raw_decode(text, start)[0]
    return None


def _columns(
    name: str, contents: list[Any], options: Options, wanted: Sequence[str]
) -> tuple[Sequence[str | int | None], list[Any]]:
    """Return the field of each key or position, and the keys or positions."""
    known = [content for content in contents if isinstance(content, dict) or _is_row(content)]
    if not known:
        raise DataError(f"{name} has no JSON object in its first lines; expected one per rating.")
    first = known[0]
    if isinstance(first, list):
        return fields.chosen(name, [*map(_text, first)], options, wanted, named=False), list(range(len(first)))
    nested = [value for value in first.values() if isinstance(value, dict | list)]
    if len(known) == 1 and nested and (len(nested) == len(first) or any(len(value) > 1 for value in nested)):
        raise DataError(
            f"{name} is one JSON object with {shown(', '.join(first))}; expected one per rating, as pandas "
            "writes with frame.to_json(FILE, orient='records', lines=True)."
        )
    names = list(dict.fromkeys(key for content in known if isinstance(content, dict) for key in content))
    if options.columns is not None and "=" not in options.columns:
        raise DataError(
            f"{name} contains JSON objects; name the keys: {options.flag('columns')} "
            f"{','.join(f'{field}=KEY' for field in wanted)}."
        )
    return fields.chosen(name, names, options, wanted, places=False), names


def _value(content: Any, key: Any) -> Any:
    if isinstance(content, dict):
        return content.get(key)
    return content[key] if isinstance(content, list) and isinstance(key, int) and key < len(content) else None


def _text(value: Any) -> str:
    """Return a value as its text in a csv."""
    if isinstance(value, str):
        return value
    return "" if value is None else repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _frame(
    name: str, records: list[Record], keys: list[tuple[Any, Any]], dates: str | None, options: Options, bad: BadLines
) -> pd.DataFrame:
    rows, faults = [], []
    for number, text, content in records:
        if not isinstance(content, dict) and not _is_row(content):
            faults.append((number, text, Fault("not a JSON object")))
            continue
        cells = ((column, _value(content, key)) for key, column in keys)
        texts = {column: fields.id_text(cell) if column in PAIR else _text(cell) for column, cell in cells}
        row = of_texts(texts, dates, options)
        if isinstance(row, Fault):
            faults.append((number, text, row))
        else:
            rows.append(row)
    bad.add(name, decoded(faults, lambda: (text for _, text, _ in records), options), len(records), options)
    frame = pd.DataFrame(rows, columns=pd.Index([column for _, column in keys], dtype=object))
    return frame.astype({"user": "category", "item": "category"})
