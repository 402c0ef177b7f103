"""Explicit rating prediction in RecBole with AutoRec. Names load on first use, so importing is instant."""

import sys

# Checked before importing code that an old Python cannot parse; this file itself has no newer syntax for that reason.
if not (3, 10) <= sys.version_info < (3, 15):
    sys.stderr.write(
        "error: recbole_autorec needs Python 3.10 to 3.14; this is {0}.{1}. In a checkout, choose one: "
        "make run PYTHON=python3.12\n".format(*sys.version_info)
    )
    sys.exit(2)

import os
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"

# By default, idle OpenMP threads spin for a millisecond and starve the busy ones. OpenMP reads this when torch is
# loaded, here or in a child process.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}.intersection(os.environ):
    os.environ["GOMP_SPINCOUNT"] = "10000"

if TYPE_CHECKING:
    from recbole_autorec.comparison.compare import compare
    from recbole_autorec.config.config import Config
    from recbole_autorec.conversion.convert import convert
    from recbole_autorec.errors import AutoRecError, CheckpointError, ConfigError, DataError
    from recbole_autorec.model.general_recommender.autorecensemble import AutoRecEnsemble
    from recbole_autorec.model.general_recommender.iautorec import IAutoRec
    from recbole_autorec.model.general_recommender.uautorec import UAutoRec
    from recbole_autorec.quick_start import load_data_and_model, run_recbole_autorec
    from recbole_autorec.serving.predictor import Predictor
    from recbole_autorec.tuning.hyper_tuning import objective_function
    from recbole_autorec.tuning.tune import tune

__all__ = [
    "AutoRecEnsemble",
    "AutoRecError",
    "CheckpointError",
    "Config",
    "ConfigError",
    "DataError",
    "IAutoRec",
    "Predictor",
    "UAutoRec",
    "__version__",
    "compare",
    "convert",
    "load_data_and_model",
    "objective_function",
    "run_recbole_autorec",
    "tune",
]
_HOME = {
    "AutoRecEnsemble": "model.general_recommender.autorecensemble",
    "AutoRecError": "errors",
    "CheckpointError": "errors",
    "Config": "config.config",
    "ConfigError": "errors",
    "DataError": "errors",
    "IAutoRec": "model.general_recommender.iautorec",
    "Predictor": "serving.predictor",
    "UAutoRec": "model.general_recommender.uautorec",
    "compare": "comparison.compare",
    "convert": "conversion.convert",
    "load_data_and_model": "quick_start",
    "objective_function": "tuning.hyper_tuning",
    "run_recbole_autorec": "quick_start",
    "tune": "tuning.tune",
}

if not TYPE_CHECKING:  # type checkers use the imports above and reject other names

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))
        if _HOME[name] not in ("errors", "conversion.convert"):  # these do not need RecBole
            import_module("recbole_autorec.installation").check_recbole()
        return getattr(import_module("{}.{}".format(__name__, _HOME[name])), name)


def __dir__():
    return __all__
