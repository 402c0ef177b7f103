"""Download GroupLens's MovieLens archives, and read their item and user tables."""

from __future__ import annotations

import csv
import hashlib
import http.client
import re
import urllib.error
import urllib.request
from contextlib import suppress
from logging import getLogger
from pathlib import Path, PurePosixPath

import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from recbole_autorec.errors import DataError
from recbole_autorec.files import add_to_digest, make_folder
from recbole_autorec.reading.sources import Source, opened

logger = getLogger(__name__)

# name -> MD5 published by GroupLens; None for the archive that changes, whose MD5 is downloaded too.
ARCHIVES = {
    "ml-100k": "0e33842e24a9c977be4e0107933c0723",
    "ml-1m": "c4d9eecfca2ab87c1945afe126590906",
    "ml-10m": "ce571fd55effeba0271552578f2648bd",
    "ml-20m": "cd245b17a1ae2cc31bb14903e1204af3",
    "ml-25m": "6b51fb2759a8657d3bfcbfc42b592ada",
    "ml-latest-small": None,
}
RATINGS = ("ratings.csv", "ratings.dat", "u.data")
LICENCE = (
    "MovieLens data are GroupLens's: for research; no redistribution and no commercial use without permission. Cite "
    "Harper and Konstan, The MovieLens Datasets, TiiS 2015, doi:10.1145/2827872."
)
GROUPLENS = "https://files.grouplens.org/datasets/movielens"
TRIES = 3  # attempts to connect
TIMEOUT = 30  # seconds without data
CHUNK = 1 << 18  # bytes


def download(name: str, folder: Path, url: str | None, show_progress: bool) -> Path:
    """Return the archive in `folder`; download it if it is missing, resuming an interrupted download.

    Raises:
        DataError: the download failed, or is not what GroupLens published.
    """
    url = url or GROUPLENS
    target, address = make_folder(folder) / f"{name}.zip", f"{url.rstrip('/')}/{name}.zip"
    part = target.with_suffix(".zip.part")
    instead = f"Get {name}.zip by other means, put it into '{folder}', and run the same command again."
    with FileLock(folder / f".{name}.zip.lock"):
        if not target.is_file():
            logger.info(f"downloading {address}\n{LICENCE}")
            _download(name, address, part, instead, show_progress)
            part.replace(target)
        elif ARCHIVES[name] and (found := _md5(target)) != ARCHIVES[name]:
            logger.warning(f"'{target}' is not GroupLens's archive: its MD5 is {found}, not {ARCHIVES[name]}")
    return target


def _download(name: str, address: str, part: Path, instead: str, show_progress: bool) -> None:
    """Download the archive into `part`; `instead` tells the user what else to do."""
    try:
        expected = ARCHIVES[name] or _published_sum(f"{address}.md5")
        _fetch(address, part, show_progress)
    except urllib.error.HTTPError as error:
        raise DataError(f"{address}: the server answered {error.code} {error.reason}. {instead}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        there = part.stat().st_size if part.is_file() else 0
        goes_on = f" {there:,} bytes are kept; the same command resumes from there." if there else ""
        raise DataError(f"{address} cannot be downloaded: {why}.{goes_on} {instead}") from error
    found = _md5(part)
    if found != expected:
        part.unlink()
        raise DataError(
            f"{address} is damaged or a different file: its MD5 is {found}, GroupLens publishes {expected}. {instead}"
        )


def _published_sum(address: str) -> str:
    with urllib.request.urlopen(address, timeout=TIMEOUT) as response:
        text = response.read(1000).decode("ascii", "replace")
    found = re.search(r"\b[0-9a-f]{32}\b", text)
    if not found:
        raise ValueError(f"{address} contains no MD5")
    return found.group()


def _fetch(address: str, part: Path, show_progress: bool) -> None:
    """Append to `part` until it is complete; reconnect after an interruption, up to TRIES attempts in all."""
    for left in reversed(range(TRIES)):
        there = part.stat().st_size if part.is_file() else 0
        try:
            request = urllib.request.Request(address, headers={"Range": f"bytes={there}-"} if there else {})
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                if response.status != 206:  # the server sends the whole file
                    there = 0
                size = there + int(response.headers["Content-Length"] or 0)
                with part.open("ab" if there else "wb") as file, tqdm(
                    total=size or None, initial=there, unit="B", unit_scale=True, desc=part.stem,
                    disable=None if show_progress else True,
                ) as bar:  # fmt: skip
                    while chunk := response.read(CHUNK):
                        file.write(chunk)
                        bar.update(len(chunk))
            if part.stat().st_size >= size:
                return
            raise http.client.HTTPException("the connection was interrupted")
        except urllib.error.HTTPError as error:
            if error.code != 416:  # `part` is complete, or not the server's file
                raise
            return
        except (OSError, http.client.HTTPException):
            if not left:
                raise


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    add_to_digest(digest, path)
    return digest.hexdigest()


# Item and user tables.


def features(sources: list[Source]) -> dict[str, pd.DataFrame]:
    """Return RecBole's .item and .user tables of a MovieLens archive, if it has them."""
    there = {PurePosixPath(source.name).name: source for source in reversed(lowest(sources))}
    tables = {}
    for kind, readers in (("item", ITEM_READERS), ("user", USER_READERS)):
        for name, read in readers.items():
            if name in there and any(ratings in there for ratings in RATINGS):
                with suppress(ValueError, LookupError, csv.Error):  # a different file of that name
                    tables[kind] = read(there, _lines(there[name]))
                break
    return tables


def lowest(sources: list[Source]) -> list[Source]:
    """Return the sources in the outermost folder."""
    depth = min((source.name.count("/") for source in sources), default=0)
    return [source for source in sources if source.name.count("/") == depth]


def _lines(source: Source) -> list[str]:
    with opened(source) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return [line.replace("\t", " ") for line in text.splitlines() if line.strip()]


def _items(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    """Return the .item table of rows (id, title followed by the year, genres)."""
    table = []
    for item, title, genres in rows:
        found = re.fullmatch(r"(.*?)\s*\((\d{4})\)\s*", title)
        name, year = found.groups() if found else (title.strip(), "")
        table.append((item, name, year, "" if genres == "(no genres listed)" else genres))
    header = ["item_id:token", "movie_title:token_seq", "release_year:token", "genre:token_seq"]
    return pd.DataFrame(table, columns=header)


def _movies_dat(there: dict[str, Source], lines: list[str]) -> pd.DataFrame:
    rows = []
    for line in lines:
        item, _, rest = line.partition("::")
        title, _, genres = rest.rpartition("::")
        rows.append((item, title, genres.replace("|", " ")))
    return _items(rows)


def _movies_csv(there: dict[str, Source], lines: list[str]) -> pd.DataFrame:
    header, *rows = csv.reader(lines)
    places = [header.index(name) for name in ("movieId", "title", "genres")]
    return _items([(row[places[0]], row[places[1]], row[places[2]].replace("|", " ")) for row in rows])


def _u_item(there: dict[str, Source], lines: list[str]) -> pd.DataFrame:
    genres = [line.split("|")[0] for line in _lines(there["u.genre"])] if "u.genre" in there else []
    rows = []
    for line in lines:
        item, title, *_ = fields = line.split("|")
        flags = fields[len(fields) - len(genres) :]
        rows.append((item, title, " ".join(name for name, flag in zip(genres, flags, strict=True) if flag == "1")))
    return _items(rows)


def _users(rows: list[list[str]], order: tuple[int, ...]) -> pd.DataFrame:
    header = ["user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"]
    return pd.DataFrame([[row[place] for place in order] for row in rows], columns=header)


ITEM_READERS = {"movies.dat": _movies_dat, "movies.csv": _movies_csv, "u.item": _u_item}
USER_READERS = {
    "users.dat": lambda there, lines: _users([line.split("::") for line in lines], (0, 2, 1, 3, 4)),
    "u.user": lambda there, lines: _users([line.split("|") for line in lines], (0, 1, 2, 3, 4)),
}
