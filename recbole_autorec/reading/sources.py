"""Open files, compressed or not, as byte streams, and refuse files that are not text."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Any

from recbole_autorec.errors import DataError

PACKED: dict[str, Callable[[Any], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
AS_CSV = "save the table as .csv in UTF-8"
IN_PYTHON = "pass it as a pandas DataFrame to recbole_autorec.convert(frame, 'NAME')"
R_DATA = ("R data", "export it in R: write.csv(ratings, 'ratings.csv', row.names = FALSE)")
PICKLE = ("a Python pickle",
          f"a pickle can run code, so it is not loaded; load it yourself if you trust it; {IN_PYTHON}")  # fmt: skip
# First bytes of a file that is not a table in text, those of a text in lower case -> what the file is, and what to do.
KINDS = {
    b"SQLite format 3\0": ("an SQLite database",
                           "export its table: sqlite3 -header -csv FILE 'select user, item, rating from TABLE'"),
    b"MATLAB 5.0": ("a MATLAB file", f"load it with scipy.io.loadmat; {IN_PYTHON}"),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file (MATLAB or pandas)", f"load it with pandas.read_hdf or h5py; {IN_PYTHON}"),
    b"\x93NUMPY": ("a numpy array", f"load it with numpy.load; {IN_PYTHON}"),
    b"%%MatrixMarket": ("a MatrixMarket file",
                        f"load it with scipy.io.mmread; its row, col and data are the columns; {IN_PYTHON}"),
    b"%PDF": ("a PDF", AS_CSV),
    b"<stata_dta>": ("a Stata file", f"load it with pandas.read_stata; {IN_PYTHON}"),
    b"$FL2": ("an SPSS file", f"load it with pandas.read_spss; {IN_PYTHON}"),
    b"RDX": R_DATA,
    b"ORC": ("an ORC file", f"load it with pandas.read_orc; {IN_PYTHON}"),
    b"Obj\1": ("an Avro file", AS_CSV),
    b"\xd0\xcf\x11\xe0": ("an old Excel file (.xls)", f"{AS_CSV} or as .xlsx"),
    b"(\xb5/\xfd": ("a .zst archive", "unpack it: zstd -d FILE"),
    b"7z\xbc\xaf": ("a .7z archive", "unpack it"),
    b"Rar!": ("a .rar archive", "unpack it"),
    b"\x1f\x8b": ("a .gz archive", "unpack it, or name it .gz"),
    b"BZh": ("a .bz2 archive", "unpack it, or name it .bz2"),
    b"\xfd7zXZ": ("an .xz archive", "unpack it, or name it .xz"),
    b"@relation": ("an ARFF file", f"load it with scipy.io.arff.loadarff; {IN_PYTHON}"),
    **dict.fromkeys((b"insert into", b"create table", b"drop table", b"-- mysql", b"-- phpmyadmin"),
                    ("an SQL dump", "load it into its database and export the table as .csv")),
    **dict.fromkeys((b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"), PICKLE),
}  # fmt: skip
# Endings of files that are known by name only.
ENDINGS = {".rds": R_DATA, ".rda": R_DATA, ".rdata": R_DATA, ".pkl": PICKLE, ".pickle": PICKLE}


@dataclass(frozen=True)
class Source:
    """A file, or a file in an archive."""

    name: str
    open: Callable[[], Any]  # returns a binary stream


def sources_of(given: str | Path) -> list[Source]:
    """Return the files in a folder or .zip, or the file itself; archives inside are opened too.

    Raises:
        DataError: the input does not exist or is a damaged archive.
    """
    path = Path(given)
    if str(given) == "":
        raise DataError("the name of the input is empty; give a file, a .zip or a folder.")
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        named = [(file.relative_to(path).as_posix(), file) for file in files]
        return [
            source for name, file in named if not _hidden(name) for source in _opened(name, partial(open, file, "rb"))
        ]
    if not path.exists():  # not is_file(): a pipe will do
        raise DataError(f"'{path}': no such file.")
    return _opened(path.name, partial(open, path, "rb"), path)


def _hidden(name: str) -> bool:
    """Return whether a file is hidden, or left behind by a file manager or Spark."""
    parts = PurePosixPath(name).parts
    return any(part.startswith((".", "_SUCCESS", "__MACOSX")) for part in parts) or parts[-1].lower() in (
        "thumbs.db", "desktop.ini",
    )  # fmt: skip


def _opened(name: str, open_it: Callable[[], Any], path: Path | None = None) -> list[Source]:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in PACKED:
        return [Source(name[: -len(suffix)], lambda: PACKED[suffix](open_it()))]
    if suffix != ".zip":
        return [Source(name, open_it)]
    try:
        archive = zipfile.ZipFile(path if path is not None else open_it())
        members = [info for info in archive.infolist() if not info.is_dir() and not _hidden(info.filename)]
    except Exception as error:  # zipfile raises many types of errors on a damaged file
        raise DataError(f"'{path or name}' is not a .zip file, or it is damaged.") from error
    return [source for info in members for source in _opened(info.filename, partial(archive.open, info))]


@contextmanager
def opened(source: Source) -> Iterator[Any]:
    """Yield the source as a seekable stream, a copy if it is a pipe; turn errors with the file into a DataError."""
    try:
        with source.open() as stream:
            if stream.seekable():
                yield stream
                return
            with TemporaryFile() as copy:
                shutil.copyfileobj(stream, copy)
                copy.seek(0)
                yield copy
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError) as error:
        damage = "it is truncated" if isinstance(error, EOFError) else "it is damaged"
        why = getattr(error, "strerror", None) or damage
        if "password" in str(error):
            why = "it is encrypted; unpack it first"
        raise DataError(f"{source.name} cannot be read: {why}.") from error


def check_kind(name: str, head: bytes, encoding: str | None) -> None:
    """Refuse a file that is not text.

    Raises:
        DataError: the file is not text; says what it is and what to do.
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:200].lower()
    if start.startswith((b"<!doctype", b"<html", b"<table", b"<?xml", b"<head", b"<body", b"<meta")):
        raise DataError(
            f"{name} is an HTML or XML page, not a table: perhaps a download that requires a login, or a page saved "
            "from a browser. Open it and save the table as .csv."
        )
    kinds = (kind for begin, kind in KINDS.items() if head.startswith(begin) or start.startswith(begin))
    found = ENDINGS.get(PurePosixPath(name).suffix.lower()) or next(kinds, None)
    if found is None and head[257:262] == b"ustar":
        found = "a .tar archive", "unpack it: tar -xf FILE"
    controls = sum((byte < 9 and byte != 1) or 13 < byte < 32 for byte in head[:1000])  # 1 is Hive's separator
    if found is None and controls * 50 > len(head[:1000]) and encoding is None:
        found = "a binary file", AS_CSV
    if found:
        raise DataError(f"{name} is {found[0]}, which cannot be read as ratings: {found[1]}.")


def check_zip(name: str, stream: IO[bytes]) -> None:
    """Refuse a file with the signature of a .zip that is not from Excel; raises like check_kind."""
    names = []
    with suppress(Exception):  # zipfile raises many types of errors on a damaged file
        names = zipfile.ZipFile(stream).namelist()
    stream.seek(0)
    if {"xl/workbook.xml", "xl/workbook.bin"} & {*names} or name.lower().endswith((".xlsx", ".xlsm")):
        return
    what, do = "a .zip archive", "unpack it, or name it .zip"
    if names and all(inside.endswith(".npy") for inside in names):
        do = f"load it with scipy.sparse.load_npz or numpy.load; its row, col and data are the columns; {IN_PYTHON}"
        what = "a numpy or scipy archive (.npz)"
    elif "content.xml" in names:
        what, do = "an OpenDocument table (.ods)", AS_CSV
    raise DataError(f"{name} is {what}, which cannot be read as ratings: {do}.")
