"""Read ratings from any file with the reader for its format, and collect one rating per pair."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from logging import getLogger

import numpy as np
import pandas as pd

from recbole_autorec.errors import DataError
from recbole_autorec.reading import fields, json_text, separated, tables
from recbole_autorec.reading.blocks import BLOCK, Blocks
from recbole_autorec.reading.fields import FIELDS, PAIR
from recbole_autorec.reading.options import BadLines, Options, Say
from recbole_autorec.reading.sources import Source, check_kind, check_zip, opened

logger = getLogger(__name__)


def read_ratings(
    source: Source | pd.DataFrame, options: Options, bad: BadLines, say: Say,
    wanted: Sequence[str] = FIELDS, keep: list[str] | None = None,
) -> Iterator[pd.DataFrame]:  # fmt: skip
    """Yield frames of ratings: user and item as categories, rating in stars, timestamp in seconds if there is one.

    Args:
        source: the file, or a DataFrame.
        options: how to read it.
        bad: handles invalid lines.
        say: receives messages on how the file is read.
        wanted: FIELDS, or PAIR for a file of pairs.
        keep: list to fill with the names of all columns; None drops other columns. If given, the frames have all
            columns in the file's order, the other ones as text under their positions.

    Raises:
        DataError: a line is invalid, or a column is missing; names it.
    """
    for frame in _frames(source, options, bad, say, wanted, keep):
        if "rating" in frame and options.not_rated is not None:
            left_out = (frame["rating"].isna() | (frame["rating"] == fields.number(options.not_rated))).to_numpy()
            bad.not_rated += int(left_out.sum())
            frame = frame[~left_out]
            for name in PAIR:
                frame[name] = frame[name].cat.remove_unused_categories()
        yield frame


def _frames(
    source: Source | pd.DataFrame, options: Options, bad: BadLines, say: Say, wanted: Sequence[str],
    keep: list[str] | None,
) -> Iterator[pd.DataFrame]:  # fmt: skip
    rest = (options, bad, say, wanted, keep)
    if isinstance(source, pd.DataFrame):
        yield from tables.read(fields.FRAME, lambda: iter([_of_pandas(source)]), *rest, "pandas")
        return
    name = source.name
    with opened(source) as stream:
        head = stream.read(1 << 16)
        stream.seek(0)
        if not head:
            raise DataError(f"{name} is empty.")
        if head.startswith(b"PAR1"):
            yield from tables.read(name, lambda: tables.arrow(name, stream, "Parquet"), *rest, "Parquet")
        elif head.startswith((b"ARROW1", b"FEA1")):
            yield from tables.read(name, lambda: tables.arrow(name, stream, "Feather"), *rest, "Feather")
        elif head.startswith(b"PK\3\4"):
            check_zip(name, stream)
            sheet = tables.excel(name, stream, options, wanted, say)
            yield from tables.read(name, lambda: iter([sheet]), *rest, "Excel")
        else:
            encoding = _encoding(name, head, options)
            check_kind(name, head, encoding)
            size = BLOCK if wanted == FIELDS else BLOCK // 4
            blocks = Blocks(name, stream, size, options, encoding)
            reader = json_text if json_text.is_json(blocks.head) else separated
            yield from reader.read(name, blocks, *rest)


def _of_pandas(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn named index levels into columns and number the rows from 1."""
    levels = [level for level in frame.index.names if level is not None and level not in frame]
    plain = frame.reset_index(levels) if levels else frame
    return plain.set_axis(range(1, len(plain) + 1))


def _encoding(name: str, head: bytes, options: Options) -> str | None:
    """Return the user's encoding, or UTF-16 or 32 by byte order mark or zero bytes; None for UTF-8."""
    marks = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
             codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
    found = next((kind for mark, kind in marks.items() if head.startswith(mark)), None)
    if found is None:
        zeros = [head[start:1000:2].count(b"\0") * 3 > len(head[:1000]) for start in (0, 1)]
        found = ("utf-16-be", "utf-16-le")[zeros[1]] if any(zeros) else None
    given = options.encoding and codecs.lookup(options.encoding).name
    if given in ("utf-16", "utf-32") and not (found or "").startswith(given):
        raise DataError(f"{name} is not {options.encoding} text; omit {options.flag('encoding')} to detect it.")
    return found if given in (None, "utf-16", "utf-32") else options.encoding


@dataclass
class Ratings:
    """Collect ratings as they are read; each id is stored once and numbered.

    Attributes:
        users, items: id -> number, in order of appearance.
        columns: user, item (int32), rating, timestamp (float64); a list of arrays for each.
        ends: number of ratings up to the end of each file.
    """

    users: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    columns: dict[str, list[np.ndarray]] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)

    @classmethod
    def of(
        cls, sources: Iterable[Source | pd.DataFrame], name: str, options: Options, bad: BadLines,
        progress: Callable[[int], object] = lambda count: None,
    ) -> Ratings:  # fmt: skip
        """Read some files, called `name` together; `progress` receives the number of ratings as they are read."""
        ratings = cls()
        for number, source in enumerate(sources):
            say = logger.debug if number else logger.info  # Netflix has 17,770 files
            for frame in read_ratings(source, options, bad, say):
                ratings.add(frame, getattr(source, "name", fields.FRAME))
                progress(len(frame))
            ratings.ends.append(ratings.count)
        if not ratings.count:
            raise DataError(f"{name} contains no ratings.")
        return ratings

    def add(self, frame: pd.DataFrame, source: str) -> None:
        names = [name for name in FIELDS if name in frame]
        if self.columns and set(names) != set(self.columns):
            raise DataError(f"{source} has columns {', '.join(names)}; earlier files have {', '.join(self.columns)}.")
        for name in names:
            values = frame[name]
            if name in PAIR:
                ids = self.users if name == "user" else self.items
                numbers = np.array([ids.setdefault(text, len(ids)) for text in values.cat.categories], dtype=np.int32)
                self.columns.setdefault(name, []).append(numbers[values.cat.codes])
            else:
                self.columns.setdefault(name, []).append(values.to_numpy(np.float64))

    @property
    def count(self) -> int:
        return sum(map(len, self.columns.get("user", ())))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return each column as one array, and empty this object."""
        return {name: np.concatenate(self.columns.pop(name)) for name in list(self.columns)}


def last_of_each_pair(arrays: dict[str, np.ndarray], n_items: int) -> np.ndarray:
    """Return a mask of the ratings to keep: the last of each pair by time, and of equal times the last in the file."""
    pairs = arrays["user"].astype(np.int64) * n_items + arrays["item"]
    order = np.lexsort((arrays["timestamp"], pairs)) if "timestamp" in arrays else np.argsort(pairs, kind="stable")
    ordered = pairs[order]
    kept = np.empty(len(pairs), dtype=bool)
    kept[order] = np.append(ordered[1:] != ordered[:-1], True)
    return kept


def collected(sources: Sequence[Source], options: Options, bad: BadLines) -> pd.DataFrame:
    """Return the ratings of some files as one frame, each pair once, and log what was left out."""
    name = sources[-1].name if sources else "the input"
    ratings = Ratings.of(sources, name, options, bad)
    ids = {"user": list(ratings.users), "item": list(ratings.items)}
    arrays = ratings.arrays()
    kept = last_of_each_pair(arrays, len(ids["item"]))
    bad.report(name, len(kept) - int(kept.sum()), "timestamp" in arrays)
    return pd.DataFrame({
        key: np.array(ids[key], dtype=object)[values[kept]] if key in ids else values[kept]
        for key, values in arrays.items()
    })  # fmt: skip


def code_for_not_rated(ratings: np.ndarray) -> tuple[float, float] | None:
    """Return a value that may mean "not rated", and its share: an outlier at either end, or a peak at 0.

    Examples: -1 beside 1 to 10, 99 beside -10 to 10, a frequent 0 beside 1 to 10. This heuristic is ours.
    """
    values, counts = np.unique(ratings, return_counts=True)
    if len(values) < 3:
        return None
    for place, next_to_it, others in ((0, 1, values[1:]), (-1, -2, values[:-1])):
        gap, gaps, span = abs(values[place] - values[next_to_it]), np.diff(others), others[-1] - others[0]
        beyond = values[place] <= 0 < values[next_to_it] or (
            len(ratings) >= 5 and gap > span * (1 + (len(ratings) < 20))
        )
        below = values[place] < 0 <= values[next_to_it] and values[-1] > 2 * -values[place]  # -1, 0, 1 is a scale
        apart = (gap > 1.5 * gaps.max() and beyond) or below
        share = counts[place] / counts.sum()
        peak = values[place] <= 0 < values[next_to_it] and counts[place] > 2 * counts[next_to_it] and share > 0.05
        if apart or (peak and place == 0):
            return float(values[place]), float(share)
    return None


def hint_of_code(ratings: np.ndarray, cure: Callable[[float, np.ndarray], str]) -> str:
    """Return a hint about such a value; "" if there is none. `cure` takes the value and the other ratings."""
    found = code_for_not_rated(ratings)
    if found is None:
        return ""
    value, share = found
    others = ratings[ratings != value]
    return (
        f"{share:.1%} of the ratings are {value:g}, outside the others' range ({others.min():g} to {others.max():g}); "
        f"if it means 'not rated', {cure(value, others)}"
    )
