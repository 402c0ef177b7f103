"""Which class serves a name: models, their trainer, their dataloader."""

from __future__ import annotations

import difflib
from importlib import import_module

from recbole.data.dataloader import FullSortEvalDataLoader, NegSampleEvalDataLoader, TrainDataLoader

from recbole_autorec.errors import ConfigError

MODELS = ("IAutoRec", "UAutoRec")  # each in model/general_recommender/<name in lower case>.py


def get_model(name: str) -> type:
    """The model class called `name`.

    Raises:
        ConfigError: there is none; names what there is.
    """
    if name not in MODELS:
        nearest = difflib.get_close_matches(name.lower(), [m.lower() for m in MODELS], n=1)
        hint = next((f" Did you mean '{m}'?" for m in MODELS if [m.lower()] == nearest), "")
        raise ConfigError(f"unknown model {name!r}; there are {', '.join(MODELS)}.{hint}")
    return getattr(import_module(f"recbole_autorec.model.general_recommender.{name.lower()}"), name)


def is_autorec(model_class: type) -> bool:
    from recbole_autorec.model.autorec import AutoRec

    return issubclass(model_class, AutoRec)


def get_trainer(model_class: type) -> type:
    """The trainer class for a model class."""
    from recbole_autorec.trainer.autorec_trainer import AutoRecTrainer

    return AutoRecTrainer


def get_dataloader(config, phase: str) -> type:
    """The dataloader class for phase "train", "valid" or "test": rows for AutoRec's training, RecBole's otherwise."""
    from recbole_autorec.data.dataloader import RowDataLoader

    if phase == "train":
        return RowDataLoader if is_autorec(config.model_class) else TrainDataLoader
    return FullSortEvalDataLoader if config["eval_args"]["mode"][phase] == "full" else NegSampleEvalDataLoader
