"""The plan of a comparison: its rows, dataset, repeats and metric, all checked before anything runs."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole.utils.argument_list import dataset_arguments

from recbole_autorec.config.checks import RANKING_METRICS, RATING_METRICS, is_whole, lacks
from recbole_autorec.config.config import Config, Layer, file_layer, parsed, read_yaml
from recbole_autorec.distributed.children import why_not_importable
from recbole_autorec.distributed.launcher import unshared
from recbole_autorec.errors import ConfigError
from recbole_autorec.model.registry import get_model

FILE_KEYS = ("dataset", "models", "repeats", "kfold", "metric", "reference", "blend", "parameters", "config_files")
SETTINGS = ("dataset", "repeats", "kfold", "metric", "reference", "blend")
# May differ between rows: these set what a model sees or how it learns, not what it is tested on.
FREE_DATA_KEYS = {"LABEL_FIELD", "load_col", "unload_col", "unused_col", "numerical_features", "normalize_field",
                  "NEG_PREFIX", "preload_weight", "discretization"}  # fmt: skip
SHARED_KEYS = {"dataset", "data_path", "encoding", "seed", "eval_args", "metrics", "topk", "valid_metric", "refit"}
SHARED_KEYS |= set(dataset_arguments) - FREE_DATA_KEYS
ITEM_KEYS = {"features", "load_col"}  # may add unrated items, which a ranking includes
METRIC_KEYS = ("metrics", "valid_metric", "topk")


@dataclass(frozen=True)
class Row:
    """One row of the table: a model with its own parameters."""

    label: str
    model: str | type
    layers: tuple[Layer, ...] = ()


BLEND = Row("blend", "all rows, weighted by validation ratings")


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        rows: models to compare.
        dataset: name of the dataset.
        repeats: number of splits; repeat n uses seed + n - 1, or fold n if `kfold`.
        kfold: whether the repeats are the folds of one partition.
        metric: rmse, mae or a ranking metric such as ndcg@10; selects the epoch and sorts the table.
        reference: label of a row to compare the others with, in addition to the best.
        blend: whether to add a row that blends all others, with weights fitted to the validation ratings.
        layers, flags: parameters for every model; a row's own parameters override layers, and flags override both.
    """

    rows: tuple[Row, ...]
    dataset: str | None
    repeats: int
    kfold: bool
    metric: str
    reference: str | None
    blend: bool
    layers: tuple[Layer, ...]
    flags: Mapping[str, str]

    @property
    def ranks(self) -> bool:
        return self.metric not in RATING_METRICS

    def config(self, row: Row, repeat: int) -> Config:
        """Return the configuration of one training; `repeat` counts from 1."""
        layers = [("the comparison's default", {"saved": False}), *self.layers, *row.layers]
        protocol, flags = _protocol(self.metric), dict(self.flags)
        first = Config(row.model, self.dataset, layers, protocol, flags).plain_parameters
        for key in ("seed", "eval_args"):
            flags.pop(key, None)  # already in `first`
        config = Config(row.model, self.dataset, layers, {**protocol, **self.drawn(first, repeat)}, flags)
        for part, why in (("valid", "to choose the epoch on"), ("test", "to compare on")):
            if lack := lacks(config, part):
                raise ConfigError(f"{lack} {why}; give it a share > 0.")
        if config["final"]:
            raise ConfigError(
                "final=True, but a comparison saves no model; leave it out, then train the best model with it."
            )
        return unshared(config, "a comparison has --jobs")

    def drawn(self, first: Mapping[str, Any], repeat: int) -> dict[str, Any]:
        """Return the parameters that differ between repeats, given those of the first."""
        if self.kfold:
            split = {"split": {"KF": [repeat, self.repeats]}}
            return {"seed": first["seed"], "eval_args": {**first["eval_args"], **split}}
        return {"seed": first["seed"] + repeat - 1, "eval_args": first["eval_args"]}

    def configs(self) -> dict[str, Config]:
        """Return each row's configuration for the first repeat.

        Raises:
            ConfigError: lists the faults of all rows, or the first parameter that should be shared but differs.
        """
        configs, faults = {}, dict[str, dict[str, str]]()  # faults: problem -> label -> whole message
        for row in self.rows:
            try:
                configs[row.label] = self.config(row, 1)
            except ConfigError as error:
                for line in str(error).splitlines():
                    faults.setdefault(line.partition("; ")[0], {})[row.label] = line
        if faults:
            raise ConfigError("\n".join(line for rows in faults.values() for line in self._merged(rows)))
        first, *others = configs.items()
        for key in sorted(SHARED_KEYS | (ITEM_KEYS if self.ranks else set())):
            ours = first[1].plain_parameters.get(key)
            for label, config in others:
                theirs = config.plain_parameters.get(key)
                if theirs != ours:
                    raise ConfigError(
                        f"{label}: {key}={theirs!r}, but {first[0]} has {ours!r}; all models must be tested on the "
                        f"same data in the same way: set {key} for the whole comparison."
                    )
        by_time, ready = first[1]["eval_args"]["order"] == "TO", first[1]["benchmark_filename"]
        if self.repeats > 1 and (by_time or ready):
            same = "order TO" if by_time else "benchmark_filename"
            raise ConfigError(
                f"repeats={self.repeats}, but {same} produces the same split every time, and repeats must differ; "
                "use repeats 1."
            )
        return configs

    def _merged(self, faults: Mapping[str, str]) -> list[str]:
        """Report a fault of all rows once, in the most common wording, and other faults with their labels."""
        if len(self.rows) > 1 and len(faults) == len(self.rows):
            return [Counter(faults.values()).most_common(1)[0][0]]
        return [f"{label}: {line}" for label, line in faults.items()]


def make_plan(
    models: Sequence[str | type] | Mapping[str, Any] | None,
    file: str | Path | None = None,
    configs: Mapping[str, str | Path | Mapping[str, Any]] | None = None,
    config_files: Sequence[str | Path] = (),
    config_dict: Mapping[str, Any] | None = None,
    flags: Mapping[str, str] | None = None,
    **settings: Any,
) -> Plan:
    """Build a plan from a comparison file and from arguments, which override the file.

    Args:
        models: names, "label=name" or classes; or label -> parameters, as in a comparison file.
        file: YAML file with any of FILE_KEYS.
        configs: label -> YAML file or parameters for that row only.
        config_files, config_dict, flags: parameters for every row.
        settings: any of SETTINGS, None if not given. Defaults: 5 repeats, metric rmse, no blend.

    Raises:
        ConfigError: a setting, a row or a file is invalid.
    """
    content, beside, source = dict[str, Any](), Path(), "models"
    if file is not None:
        content, beside, source = _read_file(Path(file)), Path(file).parent, Path(file).name
    given = {key: value for key, value in settings.items() if value is not None}
    if "repeats" in given:
        content.pop("kfold", None)
    if "kfold" in given:
        content.pop("repeats", None)
    chosen = {key: content.get(key) for key in SETTINGS} | given
    repeats, kfold = chosen["repeats"], chosen["kfold"]
    if repeats is not None and kfold is not None:
        raise ConfigError(f"repeats={repeats!r} and kfold={kfold!r}; give only one of them.")
    for key, least in (("kfold", 2), ("repeats", 1)):
        if chosen[key] is not None and not is_whole(chosen[key], least):
            raise ConfigError(f"{key}={chosen[key]!r}; expected a whole number >= {least}.")

    in_file = _rows(content.get("models") or [], beside, source, {})
    rows = in_file if models is None else _rows(models, Path(), "models", {row.label: row for row in in_file})
    labels = [row.label for row in rows]
    _check_rows(rows)
    for label, extra in (configs or {}).items():
        if label not in labels:
            raise ConfigError(f"config for {label!r}, which is not a row; expected one of {', '.join(labels)}.")
        layer = ("config", parsed(extra)) if isinstance(extra, Mapping) else _file_of_row(label, extra)
        rows = [Row(row.label, row.model, (*row.layers, layer)) if row.label == label else row for row in rows]
    reference = chosen["reference"]
    if reference is not None and reference not in labels:
        raise ConfigError(f"reference={reference!r}; expected one of the rows {', '.join(labels)}.")
    metric, blend = _metric(chosen["metric"] or "rmse"), chosen["blend"] or False
    if not isinstance(blend, bool):
        raise ConfigError(f"blend={blend!r}; expected True or False.")
    if blend and metric not in RATING_METRICS:
        raise ConfigError(f"blend with metric {metric}; expected {' or '.join(RATING_METRICS)}: it blends ratings.")
    if BLEND.label in (label.casefold() for label in labels):
        raise ConfigError(f"label {BLEND.label!r} is reserved for the row of --blend; choose another label.")
    plan = Plan(
        rows=tuple(rows),
        dataset=chosen["dataset"],
        repeats=kfold or (5 if repeats is None else repeats),
        kfold=kfold is not None,
        metric=metric,
        reference=reference,
        blend=blend,
        layers=(
            *(file_layer(beside / name) for name in content.get("config_files") or ()),
            (source, content.get("parameters") or {}),
            *map(file_layer, config_files),
            ("config_dict", parsed(config_dict or {})),
        ),
        flags=dict(flags or {}),
    )
    of_rows = [layer for row in rows for layer in row.layers]
    for name, values in (*plan.layers, *of_rows, ("command line", plan.flags)):
        for key in METRIC_KEYS:
            if key in values:
                raise ConfigError(f"{name}: {key}={values[key]!r}; a comparison has one metric; set --metric instead.")
    return plan


def _protocol(metric: str) -> dict[str, Any]:
    name, _, k = metric.partition("@")
    if name in RATING_METRICS:
        return {"metrics": ["RMSE", "MAE"], "valid_metric": name.upper()}
    return {
        "metrics": [name.upper()],
        "valid_metric": metric.upper(),
        "topk": [int(k)],
        "eval_args": {"mode": "full"},
    }


def _metric(metric: Any) -> str:
    name, _, k = str(metric).lower().partition("@")
    cut = [known for known in RANKING_METRICS if known != "gauc"]  # gauc has no cut-off
    if (name in RATING_METRICS and not k) or (name in cut and k.isdigit() and int(k) >= 1):
        return str(metric).lower()
    raise ConfigError(
        f"metric={metric!r}; expected {' or '.join(RATING_METRICS)} for ratings; for rankings, one of "
        f"{', '.join(cut)} with a cut-off, such as ndcg@10."
    )


def _read_file(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    faults = []
    for key in content:
        if key not in FILE_KEYS:
            nearest = difflib.get_close_matches(str(key), FILE_KEYS, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"expected {', '.join(FILE_KEYS)}."
            faults.append(f"{path.name}: unknown key {key!r}; {hint}")
    for key, kinds, expected in (
        ("parameters", dict, "lines such as 'refit: True'"),
        ("config_files", list, "a list of files"),
        ("models", (dict, list), "a list of names, or lines 'label: {parameter: value}'"),
    ):
        if content.get(key) is not None and not isinstance(content[key], kinds):
            faults.append(f"{path.name}: {key}={content[key]!r}; expected {expected}.")
    if faults:
        raise ConfigError("\n".join(faults))
    return content


def _rows(
    models: Sequence[str | type] | Mapping[str, Any], beside: Path, source: str, known: Mapping[str, Row]
) -> list[Row]:
    """Return the rows that `models` names; a label in `known` refers to that row."""
    rows = []
    if not isinstance(models, Mapping):
        for model in models:
            text = model.__name__ if isinstance(model, type) else str(model)
            label, equals, name = map(str.strip, text.partition("="))
            named = name if equals else label
            row = Row(label, model if isinstance(model, type) else named)
            rows.append(row if equals else known.get(label, row))
        return rows
    for label, given in models.items():
        if not isinstance(given or {}, Mapping):
            raise ConfigError(f"{source}: {label}: {given!r}; expected parameters, such as {{reg_weight: 200}}.")
        parameters = dict(given or {})
        model, files = parameters.pop("model", str(label)), parameters.pop("config_files", None) or []
        files = [files] if isinstance(files, str) else files
        if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
            raise ConfigError(f"{source}: {label}: config_files={files!r}; expected a file or a list of files.")
        own = (source, parsed(parameters) if source == "models" else parameters)
        rows.append(Row(str(label), model, (*(_file_of_row(label, beside / name) for name in files), own)))
    return rows


def _file_of_row(label: str, path: str | Path) -> Layer:
    try:
        return file_layer(path)
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}") from error


def _check_rows(rows: list[Row]) -> None:
    if not rows:
        raise ConfigError("no models given; name some, such as --models IAutoRec,UAutoRec,Bias,FM.")
    labels = [row.label.casefold() for row in rows]  # labels name files, and some file systems ignore case
    twice = [row.label for number, row in enumerate(rows) if row.label.casefold() in labels[:number]]
    if twice:
        raise ConfigError(
            f"{', '.join(twice)} is a duplicate label; give each row its own, such as {twice[0]},tuned={twice[0]}."
        )
    faults = []
    for row in rows:
        if reason := why_not_importable(row.model):
            faults.append(f"{row.label}: {reason}")
        try:
            get_model(row.model)
        except ConfigError as error:
            faults.append(str(error) if row.label == row.model else f"{row.label}: {error}")
    if faults:
        raise ConfigError("\n".join(faults))
