"""Convert rating files to RecBole's atomic files, in a folder that is written completely or not at all."""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path, PurePosixPath
from shlex import quote

import numpy as np
import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from recbole_autorec.conversion.movielens import ARCHIVES, RATINGS, download, features, lowest
from recbole_autorec.errors import AutoRecError, ConfigError, DataError, counted
from recbole_autorec.files import make_folder
from recbole_autorec.reading.fields import FRAME
from recbole_autorec.reading.options import BadLines, Options, columns_text
from recbole_autorec.reading.ratings import Ratings, hint_of_code, last_of_each_pair
from recbole_autorec.reading.sources import Source, sources_of

logger = getLogger(__name__)

PARTS = ("train", "valid", "test")  # parts of a split


@dataclass(frozen=True)
class Converted:
    """Summary of a conversion.

    Attributes:
        folder: folder of the atomic files.
        n_users: number of users in these files.
        n_items: number of items.
        n_ratings: number of ratings.
        rating_range: lowest and highest rating.
        n_duplicates: number of ratings left out because their pair was rated again.
        bad_lines: number of invalid lines that were skipped.
        not_rated: number of ratings left out because they mean "not rated".
        parts: names for benchmark_filename, of a predefined split.
    """

    folder: Path
    n_users: int
    n_items: int
    n_ratings: int
    rating_range: tuple[float, float]
    n_duplicates: int
    bad_lines: int
    not_rated: int = 0
    parts: tuple[str, ...] = ()


def convert(
    input: str | Path | pd.DataFrame,
    name: str,
    data_path: str | Path = "dataset",
    *,
    columns: str | Sequence[str] | Mapping[str, str] | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    quotes: bool | None = None,
    decimal: str | None = None,
    date_format: str | None = None,
    not_rated: str | float | None = None,
    split: str | Sequence[str] | None = None,
    seed: int = 2020,
    skip_bad_lines: bool = False,
    download_url: str | None = None,
    show_progress: bool = True,
) -> Converted:
    """Write the dataset `name` in RecBole's format into `data_path`.

    Args:
        input: a file, a .zip, a folder, or the name of a MovieLens archive, which is downloaded; or a pandas DataFrame.
        name: name of the dataset.
        data_path: folder that holds the datasets.
        columns: "user,item,rating,timestamp" by position with - for unused ones, or "user=NAME,..."; None to detect
            them. Also a list of fields by position, or a mapping field -> name.
        separator: between the fields of text: a text, "tab", or "blanks" for runs of blanks. This and the next five
            are detected if None.
        encoding: of text, such as "cp1252".
        header: whether the first line names the columns.
        quotes: whether fields may be in double quotes; if not, a quote is an ordinary character.
        decimal: decimal mark of ratings, "." or ",".
        date_format: of timestamps, in strptime's codes, such as "%d/%m/%Y".
        not_rated: rating that means "not rated", such as -1; left out.
        split: predefined split: train and test files, or train, valid and test, within `input`. Without a valid file, a
            random tenth of train becomes one.
        seed: seed of that tenth.
        skip_bad_lines: skip invalid lines and list the first ten; otherwise they are errors.
        download_url: base URL of the archives; None for GroupLens's.
        show_progress: show a progress bar on stderr.

    Returns:
        A summary: the folder, the numbers of users, items and ratings, and what was left out.

    Raises:
        AutoRecError: the input is not a file of ratings, or the dataset already exists. Nothing is left behind.

    Examples:
        >>> films = pd.DataFrame({"user": ["ann", "ann", "ben"], "movie": ["Up", "Heat", "Up"], "stars": [5, 2.5, 4]})
        >>> converted = convert(films, "films")
        >>> converted.n_ratings, converted.n_items, converted.rating_range
        (3, 2, (2.5, 5.0))
    """
    root = Path(data_path)
    options = Options(
        columns_text(columns), separator, encoding, header, quotes, decimal, date_format,
        None if not_rated is None else str(not_rated), skips=True,
        prefix="convert's " if isinstance(input, pd.DataFrame) else "",
    )  # fmt: skip
    if not name or PurePosixPath(name).name != name or name.startswith("."):
        raise ConfigError(f"--name {name!r}; expected a dataset name that can name a folder.")
    if (root / name).exists():
        raise ConfigError(f"'{root / name}' already exists; give another --name, or delete it first.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed={seed!r}; expected a whole number >= 0.")
    sources: list[Source] = []
    files: list[Source] | list[pd.DataFrame]
    if isinstance(input, pd.DataFrame):
        path, files = Path(FRAME), [input]
    else:
        path = Path(input)
        if str(input) in ARCHIVES and not path.exists():
            path = download(str(input), root, download_url, show_progress)
        sources = sources_of(path if str(input) else "")
        files = _with_ratings(sources, path) if split is None else _of_split(split, sources, path)
    bad = BadLines(skip_bad_lines)
    with _placed(root, name) as folder:
        with tqdm(unit=" ratings", unit_scale=True, leave=False, disable=None if show_progress else True) as bar:
            ratings = Ratings.of(files, f"'{path}'", options, bad, bar.update)
            bar.set_description_str("writing")
            arrays = ratings.arrays()
            kept = last_of_each_pair(arrays, len(ratings.items))
            n_duplicates = len(kept) - int(kept.sum())
            if split is None:
                _write(folder / f"{name}.inter", ratings, arrays, np.flatnonzero(kept))
            elif n_duplicates:
                raise DataError(
                    f"--split: {counted(n_duplicates, 'duplicate rating')}; in a predefined split each pair of "
                    "user and item may be rated once."
                )
            else:
                for part, chosen in zip(PARTS, _parts(ratings.ends, seed), strict=True):
                    _write(folder / f"{name}.{part}.inter", ratings, arrays, chosen)
        for kind, table in features(sources).items():
            table.to_csv(folder / f"{name}.{kind}", sep="\t", index=False, quoting=csv.QUOTE_NONE)
    converted = Converted(
        root / name, len(ratings.users), len(ratings.items), int(kept.sum()),
        (arrays["rating"].min().item(), arrays["rating"].max().item()), n_duplicates, bad.count, bad.not_rated,
        PARTS if split is not None else (),
    )  # fmt: skip
    bad.report(path.name, n_duplicates, "timestamp" in arrays)
    if hint := hint_of_code(arrays["rating"], lambda code, others: f"--not_rated {code:g} leaves it out"):
        logger.warning(f"{path.name}: {hint}")
    return converted


def one_file(path: str | Path) -> list[Source]:
    """Return the files with the ratings or pairs of a path: one, or several parts."""
    return _with_ratings(sources_of(path), Path(path))


def _with_ratings(sources: list[Source], path: Path) -> list[Source]:
    """Return the file with the ratings, or its parts from Netflix, Spark or dask."""
    named = {pattern: [source for source in sources if PurePosixPath(source.name).match(pattern)]
             for pattern in (*RATINGS, "mv_*.txt", "combined_data_*.txt")}  # fmt: skip
    for found in (sources, *(lowest(named[name]) for name in RATINGS)):
        if len(found) == 1:
            return found
    if netflix := named["mv_*.txt"] or named["combined_data_*.txt"]:
        return netflix
    if all(re.match(r"part[-._]?\d", PurePosixPath(source.name).name) for source in sources):  # Spark, dask
        return sources
    names = ", ".join(source.name for source in sources[:8]) + (", ..." if len(sources) > 8 else "")
    raise DataError(
        f"'{path}' contains {names or 'no files'}; expected one file, or {', '.join(RATINGS)}, or Netflix's mv_*.txt. "
        "Give the file with the ratings as --input, or name the files of a --split."
    )


def _of_split(split: str | Sequence[str], sources: list[Source], path: Path) -> list[Source]:
    names = split.split(",") if isinstance(split, str) else list(split)
    if len(names) not in (2, 3):
        raise ConfigError(f"--split {','.join(names)!r}; expected two files, train,test, or three: train,valid,test.")
    found = []
    for name in names:
        matching = lowest([source for source in sources if f"/{source.name}".endswith(f"/{name}")])
        if not matching:
            raise DataError(f"--split: {name!r} not found in '{path}'.")
        found.append(matching[0])
    return found


def _parts(ends: list[int], seed: int) -> tuple[np.ndarray, ...]:
    """Return the ratings of train, valid and test of files that end at `ends`; a tenth of train if valid is missing."""
    if len(ends) == 3:
        return tuple(np.arange(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True))
    train, validates = np.arange(ends[0]), np.zeros(ends[0], dtype=bool)
    validates[np.random.default_rng(seed).choice(ends[0], ends[0] // 10, replace=False)] = True
    return train[~validates], train[validates], np.arange(ends[0], ends[1])


def _write(path: Path, ratings: Ratings, arrays: dict[str, np.ndarray], chosen: np.ndarray) -> None:
    """Write the chosen ratings as an atomic file."""
    ids = {"user": pd.Index(list(ratings.users)), "item": pd.Index(list(ratings.items))}
    header = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")[: len(arrays)]  # as in FIELDS
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("\t".join(header) + "\n")
        for start in range(0, len(chosen), 1 << 20):
            part = chosen[start : start + (1 << 20)]
            columns = {
                name: pd.Categorical.from_codes(values[part], ids[name]) if name in ids else _plain(values[part])
                for name, values in arrays.items()
            }
            pd.DataFrame(columns).to_csv(file, sep="\t", header=False, index=False, quoting=csv.QUOTE_NONE)


def _plain(values: np.ndarray) -> pd.Categorical | np.ndarray:
    """Return whole numbers as integers, others as categories, so that each distinct value is formatted once."""
    if (np.abs(values) < 2**53).all() and (values == np.floor(values)).all():
        return values.astype(np.int64)
    different, codes = np.unique(values, return_inverse=True)
    return pd.Categorical.from_codes(codes, [f"{value:.15g}" for value in different])


@contextmanager
def _placed(root: Path, name: str) -> Iterator[Path]:
    """Yield a folder to write in, which becomes root/name on success and is removed otherwise."""
    make_folder(root)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as temporary:
        folder = Path(temporary) / name
        folder.mkdir()
        try:
            yield folder
            folder.rename(root / name)
        except OSError as error:
            raise AutoRecError(f"'{root / name}' cannot be written: {error.strerror}.") from error


def fetch(name: str, root: Path, url: str | None, show_progress: bool) -> None:
    """Download and convert a MovieLens archive, unless another process has done so meanwhile."""
    with FileLock(make_folder(root) / f".{name}.lock"):
        if not (root / name).exists():
            archive = download(name, root, url, show_progress)
            logger.info(report(convert(archive, name, root, show_progress=show_progress)))


def report(converted: Converted) -> str:
    """Describe a conversion, with the flags to train on it."""
    low, high = converted.rating_range
    head = (
        f"{converted.folder}: {counted(converted.n_ratings, 'rating')} from {low:g} to {high:g}, "
        f"{counted(converted.n_users, 'user')}, {counted(converted.n_items, 'item')}, in "
        + ", ".join(sorted(path.name for path in converted.folder.iterdir()))
    )
    flags = f"--dataset {quote(converted.folder.name)} --data_path {quote(str(converted.folder.parent))}"
    ready = f' --benchmark_filename "[{", ".join(converted.parts)}]"' if converted.parts else ""
    return f"{head}\ntrain with: {flags}{ready}"
