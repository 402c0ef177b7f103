"""RecBole's Config with our property files over RecBole's, and every value checked before anything runs."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from recbole.config import Config as RecBoleConfig
from recbole.evaluator import metric_types
from recbole.utils import EvaluatorType
from recbole.utils.argument_list import dataset_arguments, evaluation_arguments, general_arguments, training_arguments

from recbole_autorec import registry
from recbole_autorec.errors import ConfigError
from recbole_autorec.model.masked_autoencoder import ACTIVATIONS
from recbole_autorec.trainer.learners import LEARNERS

# Keys that RecBole reads but lists in no property file.
UNLISTED_KEYS = {"model", "dataset", "encoding", "numerical_features", "discretization", "benchmark_filename"}
# Keys that RecBole works out from others; they are no parameters.
DERIVED_KEYS = {"MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "valid_metric_bigger", "device", "single_spec",
                "local_rank", "valid_neg_sample_args", "test_neg_sample_args"}  # fmt: skip


def properties_dir() -> Path:
    """The property files: inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "properties"
    return inside if inside.is_dir() else package.parent / "properties"


class _YamlLoader(yaml.SafeLoader):
    """Plain YAML, where 1e-3 is a number as well (YAML 1.1 wants 1.0e-3)."""


_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_value(text: str) -> Any:
    """A value as YAML reads it; text that is no YAML, or blank, stays text. Nothing is evaluated."""
    try:
        value = yaml.load(text, Loader=_YamlLoader)
    except yaml.YAMLError:
        return text
    return text if value is None and text.strip().lower() not in ("~", "null", "none") else value


def _is_number(value: Any, low: float = -inf, high: float = inf) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _is_weight(value: Any) -> bool:
    return _is_number(value, 0) and value < inf


def _whole(low: int, hint: str = "") -> tuple[Callable[[Any], bool], str]:
    return lambda value: _is_whole(value, low), f"a whole number >= {low}{hint}"


def _one_of(choices: tuple[str, ...]) -> tuple[Callable[[Any], bool], str]:
    return lambda value: isinstance(value, str) and value in choices, f"one of {', '.join(choices)}"


_SWITCH = (lambda value: isinstance(value, bool), "True or False")

# key -> (is it allowed?, what is allowed). Defaults are not here: they stand in properties/*.yaml only.
GENERAL_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": _whole(0),
    "epochs": _whole(1),
    "eval_step": _whole(1),
    "stopping_step": _whole(0),
    "train_batch_size": _whole(1),
    "eval_batch_size": _whole(1),
    "metric_decimal_place": _whole(1),
    "learning_rate": (lambda v: _is_number(v, 0) and 0 < v < inf, "a number > 0"),
    "refit": _SWITCH,
    "saved": _SWITCH,
    "show_progress": _SWITCH,
    "use_gpu": _SWITCH,
    "reproducibility": _SWITCH,
    "state": _one_of(("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
    "checkpoint_dir": (lambda v: isinstance(v, str), "a folder"),
    "data_path": (lambda v: isinstance(v, str), "a folder"),
    "rm_dup_inter": (lambda v: v in ("first", "last"), "first or last: a pair may be rated once only"),
}
AUTOREC_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "hidden_size": (
        lambda v: isinstance(v, list) and len(v) > 0 and all(_is_whole(k, 1) for k in v),
        "a list of whole numbers >= 1, such as [500] (the paper's)",
    ),
    "encoder_activation": _one_of(tuple(ACTIVATIONS)),
    "decoder_activation": _one_of(tuple(ACTIVATIONS)),
    "reg_weight": (
        lambda v: _is_weight(v) or (isinstance(v, list) and len(v) == 2 and all(map(_is_weight, v))),
        "a number >= 0, or a pair [encoder, decoder] of such",
    ),
    "row_scaling": (lambda v: _is_number(v, -1, 1), "a number from -1 to 1; 0 is the paper"),
    "dropout_prob": (lambda v: _is_number(v, 0) and v < 1, "a number from 0 to less than 1"),
    "cold_start_rating": (
        lambda v: v is None or (_is_number(v) and abs(v) < inf),
        "a rating in stars, or ~ for the scale's midpoint",
    ),
    "clip_prediction": _SWITCH,
    "learner": _one_of(LEARNERS),
    "lbfgs_max_iter": _whole(1),
    "lbfgs_history_size": _whole(1),
    "rprop_steps": _whole(1),
    "weight_decay": (lambda v: v == 0, "0: it would penalise the biases as well; use reg_weight"),
}


class Config(RecBoleConfig):
    """Parameters of one run; read them as `config["learning_rate"]`.

    Precedence is RecBole's: flags over config_dict over config files over property files, later files over
    earlier ones. `eval_args` may be given in part. Unlike RecBole's, this Config never reads sys.argv and never
    evaluates a string: text values are read as YAML.

    Args:
        model: name of the model, or its class.
        dataset: name of the dataset, a folder in `data_path`.
        config_file_list: YAML files.
        config_dict: parameters by name.
        flags: parameters by name, as text from the command line.

    Raises:
        ConfigError: one message with every fault.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: list[str] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        flags: Mapping[str, str] | None = None,
    ):
        self._flags = dict(flags or {})
        self._sources: dict[str, str] = {}  # key -> where its value was given
        super().__init__(model, dataset, config_file_list, dict(config_dict or {}))
        if not self["use_gpu"]:  # RecBole 1.2.1 reads gpu_id only
            self["device"] = torch.device("cpu")

    # Reading: same layers as RecBole's, with YAML for eval, and a record of who said what.

    def _build_yaml_loader(self):
        return _YamlLoader

    def _convert_config_dict(self, config_dict):
        return {key: _plain(value) for key, value in config_dict.items()}

    def _load_config_files(self, file_list):
        merged: dict[str, Any] = {}
        for file in file_list or []:
            content = _read_yaml(Path(file))
            self._sources.update(dict.fromkeys(content, Path(file).name))
            merged = _overlay(merged, content)
        return merged

    def _load_variable_config_dict(self, config_dict):
        return self._convert_config_dict(config_dict)

    def _load_cmd_line(self):
        return self._convert_config_dict(self._flags)

    def _merge_external_config_dict(self):
        self._sources.update(dict.fromkeys(self.variable_config_dict, "config_dict"))
        self._sources.update(dict.fromkeys(self.cmd_config_dict, "command line"))
        self.external_config_dict = _overlay(
            _overlay(self.file_config_dict, self.variable_config_dict), self.cmd_config_dict
        )

    def _get_model_and_dataset(self, model, dataset):
        wanted = {**_read_yaml(properties_dir() / "overall.yaml"), **self.external_config_dict}
        model = wanted["model"] if model is None else model
        dataset = wanted["dataset"] if dataset is None else dataset
        model_class = registry.get_model(model) if isinstance(model, str) else model
        return model_class.__name__, model_class, str(dataset)

    def _load_internal_config_dict(self, model, model_class, dataset):
        super()._load_internal_config_dict(model, model_class, dataset)
        for file in ("overall.yaml", f"model/{model}.yaml"):
            self.internal_config_dict.update(_read_yaml(properties_dir() / file))

    def _get_final_config_dict(self):
        final = _overlay(self.internal_config_dict, self.external_config_dict)
        final.update(model=self.model, dataset=self.dataset)
        self.plain_parameters = {k: copy.deepcopy(v) for k, v in final.items() if k not in DERIVED_KEYS}
        return final

    def changed_parameters(self) -> dict[str, Any]:
        """Parameters given by the user that differ from the defaults."""
        given, defaults = self.external_config_dict, self.internal_config_dict
        changed = (key for key in given if key not in ("model", "dataset") and given[key] != defaults.get(key))
        return {key: self.plain_parameters[key] for key in changed}

    # Checking: all faults at once.

    def _set_default_parameters(self):
        faults = self._faults()
        if faults:
            raise ConfigError("\n".join(faults))
        data_path = self.final_config_dict["data_path"]
        super()._set_default_parameters()
        if "data_path" in self.external_config_dict:  # RecBole takes its packaged ml-100k whatever was asked for
            self.final_config_dict["data_path"] = str(Path(data_path) / self.dataset)

    def _where(self, key: str) -> str:
        return self._sources.get(key, f"{self.model}.yaml")

    def _faults(self) -> list[str]:
        final = self.final_config_dict
        faults = self._unknown_keys()
        checks = {**GENERAL_CHECKS, **(AUTOREC_CHECKS if registry.is_autorec(self.model_class) else {})}
        for key, (allowed, expected) in checks.items():
            if not allowed(final.get(key)):
                faults.append(f"{self._where(key)}: {key}={final.get(key)!r}; expected {expected}.")
        if not faults and final["learner"] == "lbfgs":
            if final.get("dropout_prob"):
                faults.append(
                    f"{self._where('dropout_prob')}: dropout_prob={final['dropout_prob']!r} with learner 'lbfgs', "
                    "whose line search needs the same loss twice; set it to 0, or use learner adam."
                )
            if final.get("clip_grad_norm"):
                faults.append(
                    f"{self._where('clip_grad_norm')}: clip_grad_norm={final['clip_grad_norm']!r} with learner "
                    "'lbfgs', which needs the gradient as it is; remove it, or use learner adam."
                )
        return faults + self._evaluation_faults()

    def _unknown_keys(self) -> list[str]:
        known = set(self.internal_config_dict) | UNLISTED_KEYS
        for names in (general_arguments, training_arguments, evaluation_arguments, dataset_arguments):
            known |= set(names)
        faults = []
        for key in sorted(set(self.external_config_dict) - known):
            nearest = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "--help tells where parameters are listed."
            faults.append(f"{self._where(key)}: unknown key {key!r}; {hint}")
        return faults

    def _evaluation_faults(self) -> list[str]:
        final, faults = self.final_config_dict, []
        metrics = [final["metrics"]] if isinstance(final["metrics"], str) else final["metrics"]
        where = self._where("metrics")
        if not isinstance(metrics, list) or not metrics or not all(isinstance(m, str) for m in metrics):
            return [f"{where}: metrics={metrics!r}; expected a list of names, such as [RMSE, MAE]."]
        unknown = [m for m in metrics if m.lower() not in metric_types]
        if unknown:
            return [f"{where}: unknown metric {m!r}; there are {', '.join(sorted(metric_types))}." for m in unknown]
        kinds = {metric_types[m.lower()] for m in metrics}
        if len(kinds) > 1:
            return [
                f"{where}: metrics={metrics!r} mixes rating metrics (RMSE, MAE) and ranking metrics; choose one kind."
            ]

        eval_args = final["eval_args"]
        if not isinstance(eval_args, dict):
            return [f"{self._where('eval_args')}: eval_args={eval_args!r}; expected keys split, group_by, order, mode."]
        for key in sorted(set(eval_args) - {"split", "group_by", "order", "mode"}):
            faults.append(
                f"{self._where('eval_args')}: unknown key {key!r} in eval_args; expected split, group_by, order, mode."
            )
        mode = eval_args.get("mode")
        modes = set(mode.values()) if isinstance(mode, dict) else {mode}
        where = self._where("eval_args")
        if not all(isinstance(m, str) and re.fullmatch(r"labeled|full|(uni|pop)[1-9]\d*", m) for m in modes):
            faults.append(f"{where}: mode={mode!r}; expected labeled, full, or uni100 and the like.")
        elif kinds == {EvaluatorType.VALUE} and modes != {"labeled"}:
            faults.append(
                f"{where}: mode={mode!r} ranks items, but metrics={metrics!r} compare ratings; "
                "use mode labeled, or ranking metrics such as [NDCG, Recall]."
            )
        elif kinds == {EvaluatorType.RANKING} and "labeled" in modes:
            faults.append(
                f"{self._where('metrics')}: metrics={metrics!r} rank items, but mode 'labeled' has rated pairs only; "
                "add --eval_args \"{'mode': 'full'}\", or use RMSE and MAE."
            )
        for key, choices, expected in (
            ("order", ("RO", "TO"), "RO (random) or TO (by time)"),
            ("group_by", ("none", "user", None), "none or user"),
        ):
            if eval_args.get(key) not in choices:
                faults.append(f"{where}: {key}={eval_args.get(key)!r}; expected {expected}.")
        faults += _split_faults(eval_args, where)

        topk = [final["topk"]] if isinstance(final["topk"], int) else final["topk"]
        if not isinstance(topk, list) or not topk or not all(_is_whole(k, 1) for k in topk):
            return [
                *faults,
                f"{self._where('topk')}: topk={final['topk']!r}; expected whole numbers >= 1, such as [10].",
            ]
        names = [m.lower() for m in metrics]
        if kinds == {EvaluatorType.RANKING}:
            names = [m if m in ("gauc",) else f"{m}@{k}" for m in names for k in topk]
        if str(final["valid_metric"]).lower() not in names:
            faults.append(
                f"{self._where('valid_metric')}: valid_metric={final['valid_metric']!r} is not computed; "
                f"expected one of {', '.join(names)}."
            )
        return faults


def _plain(value: Any) -> Any:
    """Text as YAML reads it, a NumPy number as a Python one: a checkpoint holds plain values only."""
    if isinstance(value, str):
        return parse_value(value)
    return value.item() if isinstance(value, np.generic) else value


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`; eval_args key by key, since a mode given alone must not reset the split."""
    merged = {**below, **above}
    if isinstance(below.get("eval_args"), dict) and isinstance(above.get("eval_args"), dict):
        merged["eval_args"] = {**below["eval_args"], **above["eval_args"]}
    return merged


def _split_faults(eval_args: Mapping[str, Any], where: str) -> list[str]:
    split = eval_args.get("split")
    expected = "{RS: [0.81, 0.09, 0.1]} and the like, {TS: [...]}, or {LS: valid_and_test}"
    if not isinstance(split, dict) or len(split) != 1 or next(iter(split)) not in ("RS", "TS", "LS"):
        return [f"{where}: split={split!r}; expected {expected}."]
    shares = split.get("RS", split.get("TS"))
    if shares is None:
        return [] if split["LS"] == "valid_and_test" else [f"{where}: split={split!r}; expected {expected}."]
    if not isinstance(shares, list) or len(shares) != 3 or not all(_is_number(s, 0) and 0 < s < inf for s in shares):
        return [f"{where}: split={split!r}; expected three shares > 0: train, valid, test."]
    return []


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_YamlLoader)
    except OSError as error:
        raise ConfigError(f"config file '{path}' cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "it is not text"
        raise ConfigError(f"config file '{path}':{line} not YAML: {problem}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"config file '{path}': expected lines such as 'learning_rate: 0.001', got {type(content).__name__}."
        )
    return content
