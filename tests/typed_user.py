"""The public names as a user's type checker sees them; `make check` checks this file, nothing runs it."""

import numpy as np
import pandas as pd
from typing_extensions import assert_type

from recbole_autorec import Predictor, compare, run_recbole_autorec, tune
from recbole_autorec.comparison.compare import Comparison
from recbole_autorec.serving.predictor import NewUser

predictor = Predictor.load("saved/model.pth")
assert_type(predictor, Predictor)
assert_type(predictor.users, list[str])
assert_type(predictor.predict(["a"], ["b"]), np.ndarray)
assert_type(predictor.predict(pd.DataFrame(), strict=True), np.ndarray)
assert_type(predictor.predict_with_notes("a", [1, 2.0]), tuple[np.ndarray, list[str]])
assert_type(predictor.recommend("a", candidates=["b"], exclude="c"), pd.DataFrame)
assert_type(predictor.fold_in_user({"b": 5}), NewUser)
assert_type(predictor.fold_in_user(pd.Series({"b": 5}), strict=True).left_out, list[str])
assert_type(compare(["IAutoRec", "Bias"]), Comparison)
assert_type(tune("IAutoRec").trials, pd.DataFrame)
run_recbole_autorec(model="IAutoRec")["test"]
