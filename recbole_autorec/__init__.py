"""Explicit rating prediction in RecBole with AutoRec. Names load on first use, so that importing is instant."""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "IAutoRec": "model.general_recommender.iautorec",
    "UAutoRec": "model.general_recommender.uautorec",
    "Config": "config",
    "run_recbole_autorec": "quick_start",
    "compare": "comparison.compare",
    "tune": "tuning.tune",
    "convert": "data.convert",
    "Predictor": "predictor",
    "objective_function": "tuning.hyper_tuning",
    "load_data_and_model": "quick_start",
    "AutoRecError": "errors",
    "ConfigError": "errors",
    "DataError": "errors",
    "CheckpointError": "errors",
}
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__():
    return __all__
