"""Which class serves a model's name."""

from __future__ import annotations

import difflib
from importlib import import_module

from recbole_autorec.errors import ConfigError

MODELS = ("IAutoRec", "UAutoRec")  # each in model/general_recommender/<name in lower case>.py


def get_model(model: str | type) -> type:
    """The model class called `model`; a class passes if it extends AutoRec.

    Raises:
        ConfigError: there is none; names what there is.
    """
    if isinstance(model, type):
        from recbole_autorec.model.autorec import AutoRec

        if not issubclass(model, AutoRec):
            raise ConfigError(
                f"model class {model.__name__} predicts no ratings; expected a subclass of IAutoRec or UAutoRec."
            )
        return model
    if model not in MODELS:
        close = difflib.get_close_matches(str(model).lower(), [name.lower() for name in MODELS], n=1)
        hint = "".join(f" Did you mean {name!r}?" for name in MODELS if name.lower() in close)
        raise ConfigError(f"unknown model {model!r}; there are {', '.join(MODELS)}.{hint}")
    return getattr(import_module(f"recbole_autorec.model.general_recommender.{model.lower()}"), model)
