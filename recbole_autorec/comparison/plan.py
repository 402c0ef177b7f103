"""What is compared: models under labels, on which data, how often, by which metric. Checked before anything runs."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole.utils.argument_list import dataset_arguments

from recbole_autorec.checks import RANKING_METRICS, RATING_METRICS, is_whole
from recbole_autorec.config import Config, read_yaml
from recbole_autorec.errors import ConfigError
from recbole_autorec.registry import get_model

FILE_KEYS = ("dataset", "models", "repeats", "kfold", "metric", "reference", "parameters", "config_files")
# These may differ between rows: they say what a model sees or how it learns, not what it is tested on.
FREE_DATA_KEYS = {"LABEL_FIELD", "load_col", "unload_col", "unused_col", "numerical_features", "normalize_field",
                  "NEG_PREFIX", "preload_weight", "discretization"}  # fmt: skip
SHARED_KEYS = (
    {"seed", "eval_args", "metrics", "topk", "valid_metric", "refit"} | set(dataset_arguments)
) - FREE_DATA_KEYS


@dataclass(frozen=True)
class Row:
    """One row of the table: a model with its own parameters."""

    label: str
    model: str | type
    config_files: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        rows: what is compared.
        dataset: name of the dataset.
        repeats: how many splits; repeat n has seed + n - 1, or is fold n of `kfold`.
        kfold: whether the repeats are the folds of one partition.
        metric: rmse, mae, or ndcg@10 and the like; chooses the epoch and orders the table.
        reference: label that the others are compared with, besides the best.
        config_files, parameters, flags: of every model; see Config.
    """

    rows: tuple[Row, ...]
    dataset: str | None
    repeats: int
    kfold: bool
    metric: str
    reference: str | None
    config_files: tuple[str, ...]
    parameters: Mapping[str, Any]
    flags: Mapping[str, str]

    @property
    def ranks(self) -> bool:
        return self.metric not in RATING_METRICS

    @property
    def bigger_is_better(self) -> bool:
        return self.ranks

    def config(self, row: Row, repeat: int) -> Config:
        """The configuration of one training; `repeat` counts from 1."""
        in_row_files = {key for file in row.config_files for key in read_yaml(Path(file))}
        shared = {key: value for key, value in self.parameters.items() if key not in in_row_files}
        parameters = {"saved": False, **shared, **row.parameters, **_protocol(self.metric)}
        files, flags = [*self.config_files, *row.config_files], dict(self.flags)
        if self.ranks:
            parameters["eval_args"] = {**dict(parameters.get("eval_args") or {}), "mode": "full"}
        first = Config(row.model, self.dataset, files, parameters, flags)
        if self.kfold:
            parameters["eval_args"] = {**first["eval_args"], "split": {"KF": [repeat, self.repeats]}}
        else:
            parameters["seed"] = first["seed"] + repeat - 1
        for key in ("seed", "eval_args"):
            if key in parameters:
                flags.pop(key, None)  # contained in `first`
        return Config(row.model, self.dataset, files, parameters, flags)

    def configs(self) -> dict[str, Config]:
        """The configuration of each row's first repeat.

        Raises:
            ConfigError: with every row's faults, or because rows differ in what all must share.
        """
        configs, faults = {}, []
        for row in self.rows:
            try:
                configs[row.label] = self.config(row, 1)
            except ConfigError as error:
                faults += [f"{row.label}: {line}" for line in str(error).splitlines()]
        if faults:
            raise ConfigError("\n".join(faults))
        first, *others = configs.items()
        for key in sorted(SHARED_KEYS):
            ours = first[1].plain_parameters.get(key)
            for label, config in others:
                theirs = config.plain_parameters.get(key)
                if theirs != ours:
                    raise ConfigError(
                        f"{label}: {key}={theirs!r}, but {first[0]} has {ours!r}; every model is tested on the same "
                        f"data in the same way: give {key} for the whole comparison."
                    )
        return configs


def make_plan(
    models: Sequence[str | type] | Mapping[str, Any] | None,
    file: str | Path | None = None,
    configs: Mapping[str, str | Path | Mapping[str, Any]] | None = None,
    config_files: Sequence[str | Path] = (),
    config_dict: Mapping[str, Any] | None = None,
    flags: Mapping[str, str] | None = None,
    **settings: Any,
) -> Plan:
    """A plan from a comparison file and from arguments, which beat the file's.

    Args:
        models: names, "label=name", or classes; or label -> parameters as in a comparison file.
        file: YAML with any of FILE_KEYS.
        configs: label -> a YAML file, or parameters, for that row alone.
        config_files, config_dict, flags: for every row.
        settings: dataset, repeats, kfold, metric, reference; None where not given.

    Raises:
        ConfigError: in words.
    """
    content = _read_file(Path(file)) if file is not None else {}
    beside = Path(file).parent if file is not None else Path()
    given = {key: value for key, value in settings.items() if value is not None}
    if "repeats" in given:
        content.pop("kfold", None)
    if "kfold" in given:
        content.pop("repeats", None)
    chosen = {key: content.get(key) for key in ("dataset", "repeats", "kfold", "metric", "reference")} | given
    repeats, kfold = chosen["repeats"], chosen["kfold"]
    if repeats is not None and kfold is not None:
        raise ConfigError(f"repeats={repeats!r} and kfold={kfold!r}; give one of them.")
    if kfold is not None and not is_whole(kfold, 2):
        raise ConfigError(f"kfold={kfold!r}; expected a whole number >= 2 of folds.")
    if repeats is not None and not is_whole(repeats, 1):
        raise ConfigError(f"repeats={repeats!r}; expected a whole number >= 1.")

    rows = _rows(content.get("models") if models is None else models, beside if models is None else Path())
    for label, extra in (configs or {}).items():
        known = [row.label for row in rows]
        if label not in known:
            raise ConfigError(f"config for {label!r}, but the rows are {', '.join(known)}.")
        rows = [_with_extra(row, extra) if row.label == label else row for row in rows]
    reference = chosen["reference"]
    if reference is not None and reference not in [row.label for row in rows]:
        raise ConfigError(f"reference={reference!r}; expected one of the rows {', '.join(row.label for row in rows)}.")
    return Plan(
        rows=tuple(rows),
        dataset=chosen["dataset"],
        repeats=kfold or (5 if repeats is None else repeats),
        kfold=kfold is not None,
        metric=_metric(chosen["metric"] or "rmse"),
        reference=reference,
        config_files=(*(_beside(beside, f) for f in content.get("config_files") or ()), *map(str, config_files)),
        parameters={**(content.get("parameters") or {}), **(config_dict or {})},
        flags=dict(flags or {}),
    )


def data_digest(config: Config) -> str:
    """16 hex digits of the dataset's atomic files."""
    digest = hashlib.sha256()
    for path in sorted(Path(config["data_path"]).glob(f"{config['dataset']}.*")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _protocol(metric: str) -> dict[str, Any]:
    name, _, k = metric.partition("@")
    if name in RATING_METRICS:
        return {"metrics": ["RMSE", "MAE"], "valid_metric": name.upper()}
    return {"metrics": [name.upper()], "valid_metric": metric.upper(), "topk": [int(k)]}


def _metric(metric: Any) -> str:
    name, _, k = str(metric).lower().partition("@")
    cut = [known for known in RANKING_METRICS if known != "gauc"]  # gauc has no cut-off
    if (name in RATING_METRICS and not k) or (name in cut and k.isdigit() and int(k) >= 1):
        return str(metric).lower()
    raise ConfigError(
        f"metric={metric!r}; expected {' or '.join(RATING_METRICS)} for ratings; for rankings, ndcg@10 and the like of "
        f"{', '.join(cut)}."
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


def _rows(models: Sequence[str | type] | Mapping[str, Any] | None, beside: Path) -> list[Row]:
    if not models:
        raise ConfigError("no model is named; give some, such as --models IAutoRec,UAutoRec,Bias,FM.")
    rows: list[Row] = []
    if isinstance(models, Mapping):
        for label, given in models.items():
            parameters = given if given is not None else {}
            if not isinstance(parameters, Mapping):
                raise ConfigError(f"models: {label}: {given!r}; expected parameters, such as {{reg_weight: 200}}.")
            parameters = dict(parameters)
            model, files = parameters.pop("model", str(label)), parameters.pop("config_files", None) or []
            files = [files] if isinstance(files, str) else files
            rows.append(Row(str(label), model, tuple(_beside(beside, file) for file in files), parameters))
    else:
        for model in models:
            if isinstance(model, type):
                rows.append(Row(model.__name__, model))
            else:
                label, equals, name = str(model).partition("=")
                rows.append(Row(label.strip(), (name if equals else label).strip()))
    labels = [row.label for row in rows]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ConfigError(
            f"{', '.join(twice)} stands there twice; give each row a label of its own, such as "
            f"{twice[0]},tuned={twice[0]}."
        )
    faults = []
    for row in rows:
        if isinstance(row.model, type) and row.model.__module__ == "__main__":
            faults.append(f"{row.label}: the class is defined in the script that runs; put it in a module of its own.")
        try:
            get_model(row.model)
        except ConfigError as error:
            faults.append(str(error) if row.label == row.model else f"{row.label}: {error}")
    if faults:
        raise ConfigError("\n".join(faults))
    return rows


def _with_extra(row: Row, extra: str | Path | Mapping[str, Any]) -> Row:
    if isinstance(extra, Mapping):
        return Row(row.label, row.model, row.config_files, {**row.parameters, **extra})
    return Row(row.label, row.model, (*row.config_files, str(extra)), row.parameters)


def _beside(folder: Path, file: str) -> str:
    """A path in a comparison file is relative to that file."""
    return str(folder / file)
