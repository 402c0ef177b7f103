"""RecBole's Config with our property files layered over RecBole's; every value is checked before anything runs."""

from __future__ import annotations

import copy
import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import recbole
import torch
from recbole.config import Config as RecBoleConfig
from recbole.utils.argument_list import dataset_arguments, evaluation_arguments, general_arguments, training_arguments
from scipy.sparse import dok_matrix

from recbole_autorec.config.checks import compares_ratings, find_faults
from recbole_autorec.config.values import YamlLoader, parse_value, properties_dir, property_path, read_yaml
from recbole_autorec.distributed import collectives
from recbole_autorec.errors import ConfigError, is_of
from recbole_autorec.model.registry import get_model, predicts_stars
from recbole_autorec.parameter_roles import NOT_OF_A_FILE

# Keys in RecBole's lists, and those that it reads but that are in neither its lists nor its property files.
LISTED_KEYS = {*general_arguments, *training_arguments, *evaluation_arguments, *dataset_arguments, "encoding"}
# Keys that RecBole lists or computes from others; setting them here has no effect.
IDLE_KEYS = {"config_file", "save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path",
             "valid_metric_bigger", "MODEL_TYPE"}  # fmt: skip
TEXT_KEYS = {"field_separator", "seq_separator"}  # never parsed: YAML reads "|" and "::" as something else
# Parameters of AutoRec that all members of an ensemble share.
MEMBERS_SHARE = {"offsets", "user_damping", "item_damping", "calibration", "clip_prediction", "cold_start_rating"}
# (place where the parameters were given, parameters); later layers override earlier ones.
Layer = tuple[str, Mapping[str, Any]]


class Config(RecBoleConfig):
    """Parameters of one run; read them as `config["learning_rate"]`.

    Precedence is RecBole's: flags over config_dict over config files over property files, later files over
    earlier ones. `eval_args` may be given in part. Unlike RecBole's, this Config never reads sys.argv and never
    evaluates a string: text values are parsed as YAML.

    Args:
        model: name of the model, or its class.
        dataset: name of the dataset, a folder in `data_path`.
        config_file_list: YAML files, later ones override earlier ones; or a pair (source, parameters by name) in place
            of a file.
        config_dict: parameters by name.
        flags: parameters by name, as text from the command line.

    Attributes:
        plain_parameters: all parameters as plain values, for checkpoints.

    Raises:
        ConfigError: one message with all faults.

    Examples:
        >>> config = Config("UAutoRec", "ml-100k", config_dict={"epochs": 3})
        >>> config["epochs"], config["valid_metric"], config.changed_parameters()
        (3, 'RMSE', {'epochs': 3})
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str | Path | Layer] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        flags: Mapping[str, str] | None = None,
    ):
        self._flags = dict(flags or {})
        self._sources: dict[str, str] = {}  # key -> where its value was given
        try:
            super().__init__(model, dataset, config_file_list, dict(config_dict or {}))
        except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:  # RecBole's own checks
            if not is_of(error, "recbole"):
                raise
            raise ConfigError(f"RecBole rejects the configuration: {error}") from error
        if collectives.rank() > 0:  # only the first rank reports
            self["show_progress"], self["state"], self["log_wandb"] = False, "ERROR", False

    # Pickles hold a RecBole model by name: a plain import may fail in RecBole 1.2.0, see registry._recboles.
    model_class: type

    def __getstate__(self):
        theirs = self.model_class.__module__.startswith("recbole.")
        return {**self.__dict__, "model_class": None if theirs else self.model_class}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.model_class = self.model_class or get_model(self.model)

    def compatibility_settings(self):
        # RecBole's version (config/configurator.py) fails on numpy 2, which has no np.float_. These names are used in
        # data/interaction.py, evaluator/metrics.py, model/layers.py, model/abstract_recommender.py and others.
        names = {"bool": np.bool_, "int": np.int_, "float": np.float64, "complex": np.complex128, "object": np.object_,
                 "str": np.str_, "long": np.int_, "unicode": np.str_}  # fmt: skip
        for name, kind in names.items():
            if name not in vars(np):
                setattr(np, name, kind)
        if not hasattr(dok_matrix, "_update"):  # RecBole's graph models call it; scipy dropped it in 1.13
            dok_matrix._update = lambda matrix, data: matrix._dict.update(data)

    def _init_device(self):
        # RecBole's version (config/configurator.py) ignores use_gpu, and always writes gpu_id, "0" by default, over the
        # CUDA_VISIBLE_DEVICES by which a scheduler or the user has chosen a GPU.
        final = self.final_config_dict
        if final["gpu_id"] is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = str(final["gpu_id"])
        final.update(single_spec=True, local_rank=0, device=torch.device("cpu"))
        if final["use_gpu"] and torch.cuda.is_available():
            alone = collectives.world_size() == 1
            final["device"] = torch.device("cuda") if alone else torch.device("cuda", torch.cuda.current_device())

    # Reading: RecBole's layers, with YAML in place of eval, and the source of every value.

    def _build_yaml_loader(self):
        return YamlLoader

    def _load_config_files(self, file_list):
        merged: dict[str, Any] = {}
        for layer in file_list or []:
            source, values = layer if isinstance(layer, tuple) else file_layer(layer)
            merged = _overlay(merged, self._noted(dict(values), source))
        return merged

    def _load_variable_config_dict(self, config_dict):
        return self._noted(parsed(config_dict), "config_dict")

    def _load_cmd_line(self):
        return self._noted(parsed(self._flags), "command line")

    def _merge_external_config_dict(self):
        self.external_config_dict = _overlay(
            _overlay(self.file_config_dict, self.variable_config_dict), self.cmd_config_dict
        )

    def _noted(self, values: dict[str, Any], source: str) -> dict[str, Any]:
        self._sources.update(dict.fromkeys(values, source))
        return values

    def _get_model_and_dataset(self, model, dataset):
        wanted = {**read_yaml(properties_dir() / "overall.yaml"), **self.external_config_dict}
        model = wanted["model"] if model is None else model
        if dataset is None:
            dataset = wanted["dataset"]
        else:
            self._sources["dataset"] = "dataset"
        model_class = get_model(model)
        return model_class.__name__, model_class, str(dataset)

    def _load_internal_config_dict(self, model, model_class, dataset):
        super()._load_internal_config_dict(model, model_class, dataset)
        given, self._sources = self._sources, dict.fromkeys(self.internal_config_dict, "RecBole's defaults")
        for path in (properties_dir() / "overall.yaml", *_files_of_model(model_class)):
            self.internal_config_dict.update(self._noted(read_yaml(path), path.name))
        self._sources.update(given)

    def _get_final_config_dict(self):
        final = _overlay(self.internal_config_dict, self.external_config_dict)
        final.update(model=self.model, dataset=self.dataset)
        defaults: dict[str, Any] = {
            "load_col": {"inter": [final[f"{name}_FIELD"] for name in ("USER_ID", "ITEM_ID", "RATING", "TIME")]}
        }
        if final["features"] is True:
            defaults["load_col"] |= {"user": "*", "item": "*"}
        if compares_ratings(final) or predicts_stars(self.model_class):
            defaults |= {"LABEL_FIELD": final["RATING_FIELD"], "train_neg_sample_args": None}
        else:  # off in RecBole's context-aware.yaml, which is for data with 0/1 labels
            defaults["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": 1}
        for key, value in defaults.items():
            if key not in self.external_config_dict:
                final[key] = self.internal_config_dict[key] = value
        self.plain_parameters = copy.deepcopy({key: final[key] for key in final if key not in IDLE_KEYS})
        return final

    def changed_parameters(self) -> dict[str, Any]:
        """Return the parameters given by the user that differ from the defaults."""
        ours, defaults = self.plain_parameters, self.internal_config_dict
        given = (key for key in self.external_config_dict if key not in ("model", "dataset"))
        return {key: ours[key] for key in given if ours[key] != defaults.get(key)}

    # Ensembles.

    def of_members(self) -> list[Config]:
        """Return the configurations of an ensemble's members: the ensemble's, overridden by each member's parameters.

        Raises:
            ConfigError: one message with all members' faults.
        """
        shared = {key: value for key, value in self.plain_parameters.items() if key != "members"}
        shared |= {"saved": False, "log_wandb": False}
        configs, faults = [], []
        for number, member in enumerate(self.plain_parameters["members"], 1):
            own = dict(member)
            model = own.pop("model")
            place = f"{self._sources['members']}: member {number}"
            known = {key for path in _files_of_model(get_model(model)) for key in read_yaml(path)} - MEMBERS_SHARE
            for key in sorted(own.keys() - known, key=str):
                why = "belongs to the ensemble; set it there" if key in shared else f"is not a parameter of {model}"
                faults.append(f"{place}: {key!r} {why}.")
            own = {key: value for key, value in own.items() if key in known}
            try:
                configs.append(Config(model, self.dataset, [("shared", shared), (place, own)]))
            except ConfigError as error:
                lines = str(error).splitlines()
                faults += [line if line.startswith(place) else f"{place}: {line}" for line in lines]
        if faults:
            raise ConfigError("\n".join(faults))
        return configs

    # Checking: all faults at once.

    def _set_default_parameters(self):
        known = {*self.internal_config_dict, *LISTED_KEYS} - IDLE_KEYS
        faults = []
        for key in sorted(set(self.external_config_dict) - known, key=str):
            nearest = difflib.get_close_matches(str(key), known | {"config_files"}, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "--help shows where parameters are listed."
            faults.append(f"{self._sources[key]}: unknown key {key!r}; {hint}")
        faults += find_faults(
            self.final_config_dict, self.model_class, lambda key: self._sources.get(key, "RecBole's defaults")
        )
        if faults:
            raise ConfigError("\n".join(faults))
        if "members" in self.internal_config_dict:
            self.of_members()
        self.final_config_dict["state"] = self.final_config_dict["state"].upper()
        own = Path(self.final_config_dict["data_path"]) / self.dataset
        super()._set_default_parameters()
        if own.is_dir():  # RecBole prefers its packaged ml-100k to that in data_path
            self.final_config_dict["data_path"] = str(own)


def _files_of_model(model_class: type) -> list[Path]:
    """Return a model's property files; a user's subclass has those of the model it extends."""
    paths = (properties_dir() / f"model/{base.__name__}.yaml" for base in reversed(model_class.__mro__))
    return [path for path in paths if path.is_file()]


def is_parameter(name: str) -> bool:
    """Return whether RecBole, or any model, has a parameter of that name; model and dataset do not count."""
    line = re.compile(rf"^{re.escape(name)}\s*:", re.MULTILINE)
    roots = (properties_dir(), Path(recbole.__file__).parent / "properties")
    texts = (path.read_text(encoding="utf-8") for root in roots for path in root.rglob("*.yaml"))
    return name not in ("model", "dataset") and (name in LISTED_KEYS or any(map(line.search, texts)))


def parsed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert parameters given in Python: text, such as HyperTuning's "[500]", as YAML; the rest to plain values."""
    return {
        key: parse_value(value) if isinstance(value, str) and key not in TEXT_KEYS else _plain(value)
        for key, value in values.items()
    }


def portable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters without paths, addresses and devices."""
    return {key: value for key, value in parameters.items() if key not in NOT_OF_A_FILE}


def of_a_file(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's parameters for Config, without those that a file must not set.

    Text is quoted so that Config reads it back unchanged: "01" must not become a number.
    """
    return {
        key: json.dumps(value) if isinstance(value, str) and key not in TEXT_KEYS else value
        for key, value in portable(parameters).items()
    }


def _plain(value: Any) -> Any:
    """Convert NumPy values, tuples and paths to plain values, which is all that a checkpoint may hold."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `above` over `below`; eval_args key by key, because a mode given alone must not reset the split."""
    merged = {**below, **above}
    if isinstance(below.get("eval_args"), dict) and isinstance(above.get("eval_args"), dict):
        merged["eval_args"] = {**below["eval_args"], **above["eval_args"]}
    return merged


def file_layer(path: str | Path) -> Layer:
    """Return the parameters of a YAML file as a layer; see property_path."""
    path = property_path(path)
    return path.name, read_yaml(path)
