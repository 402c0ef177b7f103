"""Look up model classes, ours first, then RecBole's; and tell which of them can predict ratings."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import recbole

from recbole_autorec.errors import ConfigError

# Each in model/general_recommender/<name in lower case>.py
OURS = ("IAutoRec", "UAutoRec", "AutoRecEnsemble", "BiasedMF", "Bias", "GlobalMean")

_PAIRS = "it learns which of two items a user prefers, not how much either is liked"
_WHICH = "it learns which items a user has, not how they were rated"
_SIMILAR = "it adds up similarities to the items a user has"
# RecBole's general and context-aware models -> why the model predicts no ratings; None if it does.
# docs/built-in-models.md shows how each behaved in tests.
RECBOLE: dict[str, str | None] = {
    "DMF": None, "FISM": None, "NAIS": None, "NeuMF": None, "NNCF": None,
    "AFM": None, "AutoInt": None, "DCN": None, "DCNV2": None, "DeepFM": None, "DSSM": None, "EulerNet": None,
    "FFM": None, "FiGNN": None, "FM": None, "FNN": None, "FwFM": None, "KD_DAGFM": None, "LR": None, "NFM": None,
    "PNN": None, "WideDeep": None, "xDeepFM": None,
    "BPR": _PAIRS, "ConvNCF": _PAIRS, "DGCF": _PAIRS, "GCMC": _PAIRS, "LightGCN": _PAIRS, "LINE": _PAIRS, "NCL": _PAIRS,
    "NGCF": _PAIRS, "SGL": _PAIRS, "SimpleX": _PAIRS, "SpectralCF": _PAIRS,
    "CDAE": _WHICH, "DiffRec": _WHICH, "ENMF": _WHICH, "LDiffRec": _WHICH, "MacridVAE": _WHICH, "MultiDAE": _WHICH,
    "MultiVAE": _WHICH, "NCEPLRec": _WHICH, "RaCT": _WHICH, "RecVAE": _WHICH,
    "ADMMSLIM": _SIMILAR, "AsymKNN": _SIMILAR, "EASE": _SIMILAR, "ItemKNN": _SIMILAR, "SLIMElastic": _SIMILAR,
    "Pop": "it counts how often an item was rated", "Random": "it scores at random",
}  # fmt: skip
MODELS = (*OURS, *RECBOLE)
# How to get what RecBole 1.2.0 lacks; without --no-deps, RecBole 1.2.1 pulls in a Ray of 2023.
NEWER = "RecBole 1.2.1 has it: pip install --no-deps recbole==1.2.1"


def get_model(model: str | type) -> type:
    """Return the model class called `model`; a class is returned as it is if RecBole can train it on users and items.

    Raises:
        ConfigError: there is no such model; the message lists the known ones.
    """
    if isinstance(model, type):
        from recbole.model.abstract_recommender import ContextRecommender, GeneralRecommender

        if not issubclass(model, GeneralRecommender | ContextRecommender):
            raise ConfigError(
                f"model class {model.__name__}; expected a subclass of IAutoRec, UAutoRec, or RecBole's "
                "GeneralRecommender or ContextRecommender."
            )
        return model
    if model in OURS:
        return getattr(import_module(f"recbole_autorec.model.general_recommender.{model.lower()}"), model)
    if model == "RaCT":
        raise ConfigError("model 'RaCT' is trained in three stages; run it with RecBole's own run_recbole.py.")
    if model == "NCL" and find_spec("faiss") is None:
        raise ConfigError("model 'NCL' needs the package faiss: pip install faiss-cpu.")
    if model in RECBOLE:
        kind = next((kind for kind in ("general", "context_aware") if _recbole_has(kind, model)), None)
        if kind is None:
            raise ConfigError(f"model {model!r} is not in RecBole {recbole.__version__}. {NEWER}.")
        return _recboles(kind, model)

    for kind in ("sequential", "knowledge_aware", "exlib"):
        if _recbole_has(kind, model):
            raise ConfigError(
                f"model {model!r} is one of RecBole's {kind.replace('_', '-')} models; this project runs only general "
                "and context-aware ones. Run it with RecBole's own run_recbole.py."
            )
    by_lower_case = {name.lower(): name for name in MODELS}
    close = difflib.get_close_matches(str(model).lower(), by_lower_case, n=2)
    hint = f" Did you mean {' or '.join(by_lower_case[name] for name in close)}?" if close else ""
    raise ConfigError(
        f"unknown model {model!r}; expected {', '.join(OURS)}, or one of RecBole's general and context-aware models, "
        f"such as FM and NeuMF (docs/built-in-models.md).{hint}"
    )


def _recboles(kind: str, model: str) -> type:
    """Import a model class of RecBole's.

    RecBole 1.2.0 (model/general_recommender/__init__.py) imports LDiffRec last, which imports a package that RecBole
    does not require. If that import fails, all other models are loaded by then.
    """
    name = f"recbole.model.{kind}_recommender.{model.lower()}"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "kmeans_pytorch":
            raise
        if model == "LDiffRec":
            raise ConfigError(
                f"model {model!r} needs the package kmeans_pytorch: pip install kmeans_pytorch."
            ) from error
        module = import_module(name)
    return getattr(module, model)


def _recbole_has(kind: str, model: object) -> bool:
    """Return whether RecBole has the model's file; importing the kind would import all its models."""
    return (Path(recbole.__file__).parent / "model" / f"{kind}_recommender" / f"{str(model).lower()}.py").is_file()


def why_no_ratings(model_class: Any) -> str | None:
    """Say why a model predicts no ratings, in half a sentence; None if it does predict them."""
    from recbole.utils import InputType, ModelType

    if predicts_stars(model_class):
        return None
    for base in model_class.__mro__:  # a user's subclass behaves like the model it extends
        if base.__name__ in RECBOLE and base.__module__.startswith("recbole."):
            return RECBOLE[base.__name__]
    if model_class.type not in (ModelType.GENERAL, ModelType.CONTEXT):
        return f"its type is {model_class.type.name}, so it learns no label"
    learns_labels = getattr(model_class, "input_type", None) == InputType.POINTWISE
    return None if learns_labels else "its input_type is not POINTWISE, so it learns no label"


def predicts_stars(model_class: type) -> bool:
    """Return True for our models and their subclasses; RecBole's other models predict a probability."""
    from recbole_autorec.model.rating_recommender import RatingRecommender

    return issubclass(model_class, RatingRecommender)
