"""RecBole's Dataset, made strict about ratings: errors and warnings where RecBole would fill in, drop or crash."""

from __future__ import annotations

import csv
import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction, cat_interactions
from recbole.utils import EvaluatorType, FeatureSource, FeatureType, init_seed

from recbole_autorec.config.checks import LARGEST, lacks
from recbole_autorec.config.config import Config
from recbole_autorec.conversion.convert import PARTS, fetch
from recbole_autorec.conversion.movielens import ARCHIVES
from recbole_autorec.errors import DataError, counted, is_of
from recbole_autorec.files import add_to_digest
from recbole_autorec.interruptions import delayed_interruptions
from recbole_autorec.invocation import command_line
from recbole_autorec.model.margins import Margins, margins_of
from recbole_autorec.reading import fields
from recbole_autorec.reading.ratings import hint_of_code
from recbole_autorec.reading.separated import AS_TEXT, is_text

logger = getLogger(__name__)

PART = 1 << 24  # lines of an .inter file read at once
LEAST_RANGE, LEAST_SHARE = 1e-3, 1e-5  # minimum range of the ratings, absolute and relative to the largest


class RatingDataset(Dataset):
    """A RecBole dataset whose interactions carry a rating.

    Attributes:
        rating_field: column of the rating, in stars.
        n_duplicates: number of ratings dropped because their pair was rated more than once.

    Raises:
        DataError: no such dataset, no rating column, a rating that is not finite or is too large, ratings that hardly
            differ, a single rating value, an empty part of the split, or anything that RecBole rejects.
    """

    inter_feat: Any  # a DataFrame until the split, then an Interaction

    def __init__(self, config: Config):
        self.rating_field = config["RATING_FIELD"]
        self.n_duplicates = 0
        with _refusals(config["dataset"]):
            super().__init__(config)

    def _load_data(self, token, dataset_path):
        folder, names = Path(dataset_path), self.config["benchmark_filename"]
        fetch_known(self.config)
        given = self.config.changed_parameters().get("data_path")
        if given is not None and not Path(given).is_dir():  # RecBole would silently use its own ml-100k
            raise DataError(f"dataset {token!r}: data_path {given!r} is not a folder; give the one with the dataset.")
        for file in [f"{token}.{name}.inter" for name in names] if names else [f"{token}.inter"]:
            if not (folder / file).is_file():
                raise DataError(_no_dataset(token, folder, file))
        super()._load_data(token, dataset_path)

    def _load_inter_feat(self, token, dataset_path):
        super()._load_inter_feat(token, dataset_path)
        values = self.inter_feat[self.rating_field]
        if len(values) < 2:
            few = "only one rating" if len(values) else "no ratings"
            raise DataError(f"dataset '{token}': it contains {few}; give more data.")
        if values.min() == values.max():
            raise DataError(
                f"dataset '{token}': every rating is {values.iloc[0]:g}; expected explicit ratings with at least two "
                "different values. For clicks or purchases, use RecBole's ranking models."
            )
        low, high = values.min(), values.max()
        if high - low < max(LEAST_RANGE, LEAST_SHARE * max(abs(low), abs(high))):
            raise DataError(
                f"dataset '{token}': its ratings range only from {low:.10g} to {high:.10g}, a difference lost in "
                f"single precision or in a metric's {self.config['metric_decimal_place']} decimal places; rescale the "
                "ratings, or subtract a constant."
            )

        def cure(code: float, others: np.ndarray) -> str:
            return f"--val_interval \"{{{self.rating_field}: '[{others.min():g},{others.max():g}]'}}\" leaves it out"

        known = self.rating_field in (self.config["val_interval"] or {})
        if not known and (hint := hint_of_code(values.to_numpy(), cure)):
            logger.warning(f"dataset '{token}': {hint}")
        if self.benchmark_filename_list:
            repeated = int(self.inter_feat.duplicated([self.uid_field, self.iid_field]).sum())
            if repeated:
                raise DataError(
                    f"dataset '{token}': {counted(repeated, 'repeated user-item pair')} in the files of "
                    f"benchmark_filename {self.benchmark_filename_list}; keep each pair once, in one file."
                )

    def _load_feat(self, filepath, source):
        # RecBole reads with pandas' Python engine: ten times slower, and its errors name no line. We hold one part of
        # the file as text at a time, and each id only once.
        if source != FeatureSource.INTERACTION:
            return self._load_features(Path(filepath), source)
        path, separator = Path(filepath), self.config["field_separator"]
        encoding = self.config["encoding"] or "utf-8-sig"
        try:
            names = _header(path, self.config)
            kinds = dict(names)
            columns = self._columns_to_load(path, names)
            loaded: dict[str, list[Any]] = {column: [] for column in columns}
            tokens: dict[str, dict[str, int]] = {column: {} for column in columns if kinds[column] != "float"}
            read = partial(
                _read_csv,
                path,
                sep=separator,
                encoding=encoding,
                quoting=csv.QUOTE_NONE,
                keep_default_na=False,
                skip_blank_lines=False,  # so that row numbers follow line numbers
                low_memory=False,
            )
            texts = [f"{c}:{kind}" for c, kind in kinds.items() if kind == FeatureType.TOKEN.value]
            parts = read(dtype=dict.fromkeys(texts, "category"), chunksize=PART, **AS_TEXT)
            while (part := _next(parts)) is not None:
                if not isinstance(part.index, pd.RangeIndex):  # pandas takes surplus fields for row names
                    raise DataError(f"{path.name} line 2: more fields than the header {self._joined(names)}.")
                for text in (text for text in texts if not is_text(part[text])):
                    lines = {"skiprows": range(1, part.index[0] + 1), "nrows": len(part)}
                    part[text] = pd.Categorical(read(dtype=object, usecols=[text], **lines)[text])
                part = part[[f"{column}:{kinds[column]}" for column in columns]].set_axis(columns, axis=1)
                self._add_part(part, loaded, tokens, path)
        except (pd.errors.ParserError, UnicodeError, LookupError) as error:
            raise DataError(_why_no_table(path, error, separator, encoding)) from error
        frame = {}
        for column in columns:
            self.field2source[column] = source
            self.field2type[column] = FeatureType(kinds[column])
            self.field2seqlen[column] = 1
            values = np.concatenate(loaded.pop(column) or [np.empty(0)])
            if column in tokens:
                frame[column] = pd.Categorical.from_codes(values.astype(np.int32, copy=False), list(tokens[column]))
            else:
                self.field2bucketnum[column] = 2
                frame[column] = values
        return pd.DataFrame(frame, copy=False)

    def _load_features(self, path: Path, source: FeatureSource | str) -> pd.DataFrame | None:
        """Read the columns of a .user or .item file, or of another file beside the ratings.

        RecBole's version (data/dataset/dataset.py, _load_feat) fills missing sequences in place, which pandas 3 does
        not support, and takes the id "NA" for a missing one.
        """
        separator, encoding = self.config["field_separator"], self.config["encoding"] or "utf-8-sig"
        allowed = [each.value for each in FeatureType]
        kinds = {}
        for field, kind in self._to_load(_header(path, self.config), source):
            if kind not in allowed:
                raise DataError(f"{path.name}: column '{field}:{kind}'; expected type {', '.join(allowed)}.")
            kinds[field] = FeatureType(kind)
        if not kinds:
            return None
        read = partial(pd.read_csv, path, sep=separator, encoding=encoding, engine="python")
        columns = [f"{field}:{kind.value}" for field, kind in kinds.items()]
        frame = read(usecols=columns, dtype=object)[columns].set_axis([*kinds], axis=1)
        for field in {self.uid_field, self.iid_field} & kinds.keys():
            column = f"{field}:{kinds[field].value}"
            frame[field] = read(usecols=[column], dtype=object, na_values=[""], keep_default_na=False)[column]
        for field, kind in kinds.items():
            if source != "link":
                self.field2source[field], self.field2type[field] = source, kind
                if kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
                    self.field2bucketnum[field] = 2
            self.field2seqlen[field] = 1
            if kind == FeatureType.FLOAT:
                numeric = pd.to_numeric(frame[field], errors="coerce").astype(np.float64)
                _check_lines(numeric.notna() | frame[field].isna(), frame[field], path, "a number")
                frame[field] = numeric
            elif kind != FeatureType.TOKEN:
                limit = (self.config["seq_len"] or {}).get(field)
                texts = (text.split(self.config["seq_separator"]) for text in frame[field].fillna(""))
                lists = pd.Series([np.array([part for part in parts if part][:limit]) for parts in texts], dtype=object)
                if kind == FeatureType.FLOAT_SEQ:
                    lists = lists.map(_floats)
                    _check_lines(lists.notna(), frame[field], path, "numbers")
                frame[field] = lists
                self.field2seqlen[field] = max(map(len, lists), default=1)
        return _Features(frame)

    def _add_part(
        self, part: pd.DataFrame, loaded: dict[str, list[Any]], tokens: dict[str, dict[str, int]], path: Path
    ) -> None:
        """Check a part's columns and append their numbers to `loaded`; a token becomes its number in `tokens`."""
        no_ids = part[(part[self.uid_field] == "") & (part[self.iid_field] == "")]
        blank = no_ids.index[no_ids[self.rating_field].astype(str).isin(["", "nan"])]
        part = part.drop(blank) if len(blank) else part
        for column in loaded:
            values = part[column]
            if column in tokens:
                known, texts = tokens[column], list(values.cat.categories)
                if column in (self.uid_field, self.iid_field):
                    texts = list(map(fields.id_text, texts))
                    good = np.array([*map(fields.is_id, texts)], dtype=bool)
                    _check_lines(pd.Series(good[values.cat.codes], values.index), values, path, "an id")
                numbers = np.array([known.setdefault(text, len(known)) for text in texts], dtype=np.int32)
                loaded[column].append(numbers[values.cat.codes])
            else:
                numeric = pd.Series(fields.numbers(values), values.index)
                if column in (self.rating_field, self.time_field):
                    what = "a finite number" + " (convert turns dates into numbers)" * (column == self.time_field)
                    _check_lines(numeric.abs() < np.inf, values, path, what)
                if column == self.rating_field:
                    small = numeric.abs() <= LARGEST
                    _check_lines(small, values, path, f"a rating from -{LARGEST:g} to {LARGEST:g}: use another unit")
                loaded[column].append(numeric.to_numpy())

    def _remap(self, remap_list):
        # RecBole compares all texts with one another again; _load_feat has numbered them already.
        if len(remap_list) != 1 or not isinstance(remap_list[0][0][remap_list[0][1]].dtype, pd.CategoricalDtype):
            super()._remap(remap_list)
            return
        ((feat, field, _),) = remap_list
        texts = feat[field].cat.categories
        numbers, in_order = pd.factorize(feat[field].cat.codes.to_numpy())  # by first appearance, as RecBole does
        feat[field] = numbers + 1
        names = np.array(["[PAD]", *texts[in_order]])
        self.field2id_token[field] = names
        self.field2token_id[field] = {name: number for number, name in enumerate(names)}

    def _fill_nan(self):
        # RecBole's version (data/dataset/dataset.py) fills columns in place, which pandas 3 does not support.
        for name in self.feat_name_list:
            feat = getattr(self, name)
            for field in (field for field in feat if feat[field].isna().any()):
                kind = self.field2type[field]
                if kind in (FeatureType.TOKEN, FeatureType.FLOAT):
                    feat[field] = feat[field].fillna(0 if kind == FeatureType.TOKEN else feat[field].mean())
                else:
                    empty = np.array([], dtype=np.int64 if kind == FeatureType.TOKEN_SEQ else np.float64)
                    feat[field] = feat[field].map(lambda cell, empty=empty: empty if isinstance(cell, float) else cell)
            if name != "inter_feat":
                setattr(self, name, _Features(feat))  # merging has made it a plain frame

    def _joined(self, names: list[tuple[str, str]]) -> str:
        """Quote a header for messages."""
        return repr(self.config["field_separator"].join(":".join(name).removeprefix(":") for name in names))

    def _to_load(self, names: list[tuple[str, str]], source: FeatureSource | str) -> list[tuple[str, str]]:
        """Return the columns that load_col and unload_col leave."""
        loaded, unloaded = self._get_load_and_unload_col(source)
        return [
            (field, kind)
            for field, kind in names
            if (loaded is None or field in loaded) and (unloaded is None or field not in unloaded)
        ]

    def _columns_to_load(self, path: Path, names: list[tuple[str, str]]) -> list[str]:
        """Return the columns to load from an .inter file, after checking their types."""
        kinds, header = dict(names), self._joined(names)
        typed = [name for name in names if name[0]]
        if len(dict(typed)) < len(typed):
            raise DataError(f"{path.name}: duplicate column in the header {header}.")
        needed = {self.uid_field: "token", self.iid_field: "token", self.rating_field: "float"}
        expected = "expected " + ", ".join(f"'{field}:{kind}'" for field, kind in needed.items())
        columns = [field for field, _ in self._to_load(names, FeatureSource.INTERACTION)]
        for field in needed:
            if field not in kinds:
                why = _why_no_column(path, field, names, self.config["field_separator"])
                raise DataError(f"{path.name}: no column {field!r} in the header {header}; {expected}.{why}")
            if field not in columns:
                raise DataError(
                    f"dataset '{self.dataset_name}': field {field!r} is not loaded; "
                    f"add it to load_col: {{inter: [{', '.join(needed)}]}}."
                )
        for field in columns:
            allowed = (
                ["float"] if field == self.time_field else [needed[field]] if field in needed else ["token", "float"]
            )
            if kinds[field] not in allowed:
                remedy = "" if field in needed else ", or leave it out of load_col"
                raise DataError(
                    f"{path.name}: column '{field}:{kinds[field]}'; expected '{field}:{' or '.join(allowed)}'{remedy}."
                )
        return columns

    def _remove_duplication(self):
        users, items = (self.inter_feat[field] for field in (self.uid_field, self.iid_field))
        pairs = users.cat.codes.to_numpy().astype(np.int64) * len(items.cat.categories) + items.cat.codes.to_numpy()
        pairs.sort()
        if (pairs[1:] != pairs[:-1]).all():
            return
        # RecBole first sorts everything by time, with an unstable sort; we keep the order of the file.
        by_time = self.time_field in self.inter_feat
        ordered = self.inter_feat.sort_values(self.time_field, kind="stable") if by_time else self.inter_feat
        repeated = ordered.duplicated([self.uid_field, self.iid_field], keep=self.config["rm_dup_inter"])
        self.n_duplicates = int(repeated.sum())
        self.inter_feat = self.inter_feat.drop(ordered.index[repeated])
        logger.warning(
            f"dataset '{self.dataset_name}': {counted(self.n_duplicates, 'repeated rating')} dropped; each pair of "
            f"user and item keeps its {self.config['rm_dup_inter']} one {'by time' if by_time else 'in the file'}."
        )

    def _filter_inter_by_user_or_item(self):
        # RecBole silently drops ratings whose user or item is missing from the .user or .item file.
        before = len(self.inter_feat)
        super()._filter_inter_by_user_or_item()
        lost = before - len(self.inter_feat)
        if lost and lost == before:
            raise DataError(
                f"dataset '{self.dataset_name}': its .user and .item files match no rating; do their ids differ? "
                "--features False ignores these files."
            )
        if lost:
            logger.warning(
                f"dataset '{self.dataset_name}': {lost:,} of {before:,} ratings dropped: their user or item is missing "
                "from the .user or .item file. --features False ignores these files instead."
            )

    def _filter_by_inter_num(self):
        # RecBole counts id by id in Python, even if, as by default, any number of ratings is allowed.
        for side, field, feat in (("user", self.uid_field, self.user_feat), ("item", self.iid_field, self.item_feat)):
            intervals = self._parse_intervals_str(self.config[f"{side}_inter_num_interval"])
            if intervals:
                counts = np.bincount(self.inter_feat[field].cat.codes)
                unrated = feat is not None and intervals[0][1] > 0
                if unrated or not self._within_intervals(counts[counts > 0], intervals).all():
                    super()._filter_by_inter_num()
                    return

    def build(self) -> list[RatingDataset]:
        """Split into train, valid and test. The split depends only on the data, eval_args and the seed."""
        eval_args = self.config["eval_args"]
        if self.time_field not in self.inter_feat and (eval_args["order"] == "TO" or "TS" in eval_args["split"]):
            raise DataError(
                f"dataset '{self.dataset_name}': eval_args need ratings in order of time, but there is no column "
                f"'{self.time_field}:float'; use order RO, or name the column with --TIME_FIELD."
            )
        if self.config["eval_type"] == EvaluatorType.RANKING and max(self.config["topk"]) >= self.item_num:
            raise DataError(
                f"dataset '{self.dataset_name}': topk={self.config['topk']}, but there are only {self.item_num - 1} "
                "items; give a smaller topk."
            )
        init_seed(self.config["seed"], self.config["reproducibility"])
        with _refusals(self.dataset_name):
            fold = None if self.benchmark_filename_list else eval_args["split"].get("KF")
            parts = super().build() if fold is None else self._split_by_fold(*fold)
        for name, part in zip(PARTS, parts, strict=True):
            if len(part) == 0 and not lacks(self.config, name):
                other = "other shares" if {"RS", "TS"} & eval_args["split"].keys() else "another split"
                raise DataError(
                    f"dataset '{self.dataset_name}': the {name} part of the split is empty "
                    f"({sum(map(len, parts))} ratings in all); set {other} in eval_args, or give more data."
                )
        values = parts[0].inter_feat[self.rating_field]
        if values.min() == values.max():
            raise DataError(
                f"dataset '{self.dataset_name}': every rating in the train part is {values[0]:g}; there is nothing to "
                "learn. Use another --seed, set other shares in eval_args, or give more data."
            )
        return parts

    def split_by_ratio(self, ratios, group_by=None):
        if group_by is not None:
            return super().split_by_ratio(ratios, group_by)
        # RecBole makes a Python list of all rating numbers, but the parts are consecutive ranges.
        ends = self._calcu_split_ids(tot=len(self), ratios=[ratio / sum(ratios) for ratio in ratios])
        self._drop_unused_col()
        return [
            self.copy(self.inter_feat[start:end]) for start, end in zip([0, *ends], [*ends, len(self)], strict=True)
        ]

    def _split_by_fold(self, fold: int, folds: int) -> list[RatingDataset]:
        """Split off fold `fold` of 1 ... `folds` as test part and a tenth of the rest for validation, as in the paper.

        The folds of one seed form a partition. RecBole has no cross-validation.
        """
        self._change_feat_format()
        self.shuffle()
        self._drop_unused_col()
        start, end = (len(self) * number // folds for number in (fold - 1, fold))
        rest = torch.cat([torch.arange(start), torch.arange(end, len(self))])
        n_valid = max(len(rest) // 10, 1)
        parts = (rest[n_valid:], rest[:n_valid], torch.arange(start, end))
        columns = self.inter_feat.interaction
        return [self.copy(Interaction({name: values[index] for name, values in columns.items()})) for index in parts]


class _Feature(pd.Series):
    """A column of features: agg(len) returns the length of each cell, as before pandas 3.

    RecBole relies on it (data/dataset/dataset.py, _remap and _discretization).
    """

    _constructor = property(lambda self: _Feature)

    def agg(self, func=None, *arguments, **keywords):
        return self.map(len) if func is len else super().agg(func, *arguments, **keywords)


class _Features(pd.DataFrame):
    _constructor = property(lambda self: _Features)
    _constructor_sliced = property(lambda self: _Feature)


def fetch_known(config: Config) -> None:
    """Download the dataset if it is one of MovieLens's and not in data_path yet."""
    folder = Path(config["data_path"])
    if config["dataset"] in ARCHIVES and not folder.exists():
        fetch(config["dataset"], folder.parent, config["download_url"], config["show_progress"])


@contextmanager
def _refusals(name: str):
    """Turn RecBole's own errors into DataErrors."""
    try:
        yield
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        if not is_of(error, "recbole"):
            raise
        raise DataError(f"dataset '{name}': RecBole rejects it: {error}") from error


def _no_dataset(name: str, folder: Path, file: str) -> str:
    root = folder.parent
    found = sorted(d.name for d in root.iterdir() if (d / f"{d.name}.inter").is_file()) if root.is_dir() else []
    if file == f"{name}.inter" and all((folder / f"{name}.{part}.inter").is_file() for part in PARTS):
        return f'dataset {name!r} is split already: add --benchmark_filename "[{", ".join(PARTS)}]".'
    return (
        f"dataset {name!r}: no file '{folder / file}'; datasets in '{root}': {', '.join(found) or 'none'}; ml-100k "
        f"comes with RecBole. Create it: {command_line()} convert --input FILE --name {name} --data_path {root}, or "
        "give another --data_path."
    )


@delayed_interruptions()  # pandas' C engine takes one for a fault in the file
def _read_csv(*arguments, **keywords):
    return pd.read_csv(*arguments, **keywords)


@delayed_interruptions()
def _next(parts: Iterator[pd.DataFrame]) -> pd.DataFrame | None:
    return next(parts, None)


def _opened(path: Path, config: Config) -> IO[str]:
    return path.open(encoding=config["encoding"] or "utf-8-sig", errors="replace")


def _header(path: Path, config: Config) -> list[tuple[str, str]]:
    """Return name and type of each column of an atomic file."""
    with _opened(path, config) as file:
        names = file.readline().rstrip("\r\n").split(config["field_separator"])
    return [name.rpartition(":")[::2] for name in names]


def _why_no_column(path: Path, field: str, names: list[tuple[str, str]], separator: str) -> str:
    """Say what is wrong with a header, if known, and what to do."""
    line = separator.join(":".join(name).removeprefix(":") for name in names)
    for other in (",", ";", "|", "\t", " "):
        if other != separator and f"{field}:" in [name.partition(":")[0] + ":" for name in line.split(other)]:
            return f" Its fields are separated by {other!r}; add --field_separator {shlex.quote(other)}."
    if not any(name for name, _ in names):
        return (
            " It has no types; add them, or convert the file: "
            f"{command_line()} convert --input {shlex.quote(str(path))} --name NEW."
        )
    return ""


def _why_no_table(path: Path, error: Exception, separator: str, encoding: str) -> str:
    """Explain an error of pandas about a file that it cannot read."""
    if isinstance(error, UnicodeError):
        byte = f"the byte 0x{error.object[error.start]:02x}" if isinstance(error, UnicodeDecodeError) else "a byte"
        known = encoding.removesuffix("-sig")
        return f"{path.name}: {byte} is not valid {known}; give the right --encoding, such as cp1252."
    if isinstance(error, LookupError):
        return f"{path.name}: unknown encoding {encoding!r}; expected one that Python has, such as utf-8 or cp1252."
    found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
    if found:
        n_header, line, n_fields = found.groups()
        return f"{path.name} line {line}: {n_fields} fields with separator {separator!r}; the header has {n_header}."
    return f"{path.name}: not a table with separator {separator!r}; is the file damaged?"


def _floats(texts: np.ndarray) -> np.ndarray | None:
    with suppress(ValueError):
        return texts.astype(np.float64)
    return None


def _check_lines(good: pd.Series, column: pd.Series, path: Path, expected: str) -> None:
    """Raise DataError for the first line that is not good."""
    bad = column[~good]
    if len(bad):
        line = bad.index[0] + 2  # the header is line 1
        more = f" ({len(bad)} such lines{' so far' if len(column) == PART else ''})" if len(bad) > 1 else ""
        raise DataError(f"{path.name} line {line}: {column.name}={str(bad.iloc[0])!r}; expected {expected}{more}.")


def merge(first: RatingDataset, second: RatingDataset) -> RatingDataset:
    """Merge two parts of a split into one dataset."""
    return first.copy(cat_interactions([first.inter_feat, second.inter_feat]))


def split_fingerprint(parts: list[RatingDataset]) -> str:
    """Return 16 hex digits, equal for two splits iff the same ratings are in the same parts, in any order.

    Users and items are compared by their order in the file, not by their names.
    """
    digest = hashlib.sha256()
    for part in parts:
        users, items = part.inter_feat[part.uid_field], part.inter_feat[part.iid_field]
        pairs = (users << 32) + items  # independent of ids that a feature file adds
        order = torch.argsort(pairs)
        for column in (pairs, part.inter_feat[part.rating_field]):
            digest.update(column[order].numpy().tobytes())
    return digest.hexdigest()[:16]


def tested_pairs(parts: list[RatingDataset]) -> dict[str, np.ndarray]:
    """Return users, items and ratings of the test part, and how often each user and item is rated in the train part.

    Returns:
        users, items (RecBole's ids), ratings, user_counts, item_counts; all (n_test,).
    """
    train, test = parts[0].inter_feat, parts[2].inter_feat
    found = {"ratings": test[parts[0].rating_field]}
    for kind, field in (("user", parts[0].uid_field), ("item", parts[0].iid_field)):
        found[f"{kind}s"] = test[field]
        found[f"{kind}_counts"] = torch.bincount(train[field], minlength=parts[0].num(field))[test[field]]
    return {name: values.numpy() for name, values in found.items()}


def part_sizes(part: RatingDataset) -> dict[str, int]:
    """Count the ratings of a part, and its users and items, those without a rating there left out."""
    users, items = (part.inter_feat[field].unique() for field in (part.uid_field, part.iid_field))
    return {"ratings": len(part), "users": len(users), "items": len(items)}


def served_data(part: RatingDataset) -> dict[str, Any]:
    """Return what predictions need of a training part, as plain values and tensors, for a checkpoint.

    Keys: users, items (id of each number; 0 is padding), titles (of the items, or None), user, item, rating (of each
    training rating: (M,) int32, int32, float32), fields (the columns that a model may see, in order).
    """
    users, items = (list(map(str, part.field2id_token[field])) for field in (part.uid_field, part.iid_field))
    ratings = part.inter_feat
    return {
        "users": users,
        "items": items,
        "titles": _titles(part, items),
        "user": ratings[part.uid_field].int(),
        "item": ratings[part.iid_field].int(),
        "rating": ratings[part.rating_field].float().clone(),  # a view would save the test ratings too
        "fields": [field for field in part.field2type if field not in (part.rating_field, part.time_field)],
    }


def without_ratings(data: Mapping[str, Any], margins: Margins) -> dict[str, Any]:
    """Return the result of served_data with margins in place of the ratings."""
    return {**{key: data[key] for key in ("users", "items", "titles", "fields")}, "margins": margins._asdict()}


def _titles(part: RatingDataset, items: list[str]) -> list[str] | None:
    """Read the items' titles from the .item file, if it has them."""
    path = Path(part.config["data_path"]) / f"{part.dataset_name}.item"
    if not path.is_file():
        return None
    columns = [field for field, _ in _header(path, part.config)]
    title = next((name for name in ("movie_title", "title", "name") if name in columns), None)
    if title is None or part.iid_field not in columns:
        return None
    places = columns.index(part.iid_field), columns.index(title)
    with _opened(path, part.config) as file:
        rows = (line.rstrip("\r\n").split(part.config["field_separator"]) for line in file)
        titles = {row[places[0]]: row[places[1]].replace("\t", " ") for row in rows if len(row) > max(places)}
    return [titles.get(item, "") for item in items]


class ServedDataset(RatingDataset):
    """A dataset made of the training ratings in a checkpoint: enough to build a model on.

    Args:
        config: configuration of the model.
        data: result of served_data or without_ratings.
    """

    def __init__(self, config: Config, data: Mapping[str, Any]):
        self.config, self.dataset_name, self.n_duplicates = config, config["dataset"], 0
        self.logger = logger
        self._get_preset()
        self._get_field_from_config()
        self.rating_field, self.user_feat, self.item_feat = config["RATING_FIELD"], None, None
        ids = {self.uid_field: data["users"], self.iid_field: data["items"]}
        sources = {self.uid_field: FeatureSource.USER_ID, self.iid_field: FeatureSource.ITEM_ID}
        for field in (*data["fields"], self.rating_field):
            token = field in ids
            self.field2type[field] = FeatureType.TOKEN if token else FeatureType.FLOAT
            self.field2source[field] = sources.get(field, FeatureSource.INTERACTION)
            self.field2seqlen[field] = 1
        self.field2id_token = {field: np.array(names) for field, names in ids.items()}
        users, items, ratings = (data.get(key, torch.zeros(0)) for key in ("user", "item", "rating"))
        self.inter_feat = Interaction({
            self.uid_field: users.long(), self.iid_field: items.long(), self.rating_field: ratings,
        })  # fmt: skip
        self.margins = margins_of(self, self.rating_field) if len(ratings) else Margins(**data["margins"])
        self.feat_name_list = ["inter_feat"]


def data_digest(config: Config) -> str:
    """Return 16 hex digits of a hash of the dataset's atomic files."""
    digest = hashlib.sha256()
    folder = Path(config["data_path"])  # may be from another machine
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in (file for file in files if file.name.startswith(f"{config['dataset']}.")):
        digest.update(path.name.encode())
        add_to_digest(digest, path)
    return digest.hexdigest()[:16]
