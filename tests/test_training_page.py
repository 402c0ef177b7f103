"""The page that a single training writes: its numbers, and which parts it has."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from recbole_autorec import AutoRecError, quick_start, run_recbole_autorec
from recbole_autorec.report.figures import error_by_activity, errors, learning_curves, predicted_and_actual
from tests.conftest import DATA, quick

COLOURS = {"A": "#123456"}
TESTED = pd.DataFrame(
    {
        "ratings": [1.0, 1.0, 3.0, 3.0],
        "user_counts": [1, 1, 9, 9],
        "item_counts": [5, 5, 5, 5],
        "predicted A": [1.0, 2.0, 5.0, 1.0],
    }
)


def page_of(folder, model="IAutoRec", **parameters):
    given = {**quick(model), "data_path": str(DATA), **parameters}
    result = run_recbole_autorec(model, "tiny", config_dict=given, output=folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)[1])
    return result, text, figures


def numbers(values) -> list[float]:
    """Decode an array of a figure: plotly writes some of them in base64."""
    if isinstance(values, dict):
        import base64

        return np.frombuffer(base64.b64decode(values["bdata"]), np.dtype(values["dtype"])).tolist()
    return list(values)


def test_error_by_activity_is_the_rmse_of_each_bin():
    (line,) = error_by_activity(TESTED, ["A"], "user_counts", COLOURS).data
    assert list(line.y) == [0.5**0.5, 4**0.5]  # errors 0, 1 of users with one rating; 2, -2 of the others
    (line,) = error_by_activity(TESTED, ["A"], "item_counts", COLOURS).data  # all counts are equal
    assert list(line.y) == [1.5]


def test_predicted_and_actual_has_means_and_the_middle_of_the_predictions():
    perfect, low, high, mean = predicted_and_actual(TESTED, ["A"], COLOURS).data
    assert list(perfect.x) == list(perfect.y) == [1, 3]
    assert list(mean.y) == [1.5, 3.0]
    np.testing.assert_allclose([low.y, high.y], [[1.1, 1.4], [1.9, 4.6]])  # a tenth of the way between two values


def test_errors_are_prediction_minus_rating_and_their_shares_add_up_to_one():
    (bars,) = errors(TESTED, "A", "#123456").data
    filled = {round(float(x), 1): y for x, y in zip(bars.x, bars.y, strict=True) if y}
    assert sorted(filled.values()) == [0.25] * 4
    np.testing.assert_allclose(sorted(filled), [-2, 0, 1, 2], atol=0.06)  # middles of bins 0.1 wide


def test_the_star_of_a_learning_curve_is_at_the_best_epoch():
    result = {"curve": [[0, 0.0, 0.9], [1, 0.5, 0.8], [2, 1.5, 0.85]], "best_epoch": 1}
    line, star = learning_curves({"A": result}, "RMSE", COLOURS, by_seconds=True).data
    assert (list(line.x), list(line.y)) == ([0, 0.5, 1.5], [0.9, 0.8, 0.85])
    assert (list(star.x), list(star.y)) == ([0.5], [0.8])


@pytest.mark.parametrize("model", ["IAutoRec", "Bias", "FM"])
def test_a_page_shows_scores_split_and_parameters(tmp_path, model):
    result, text, figures = page_of(tmp_path / "out", model, refit=True)
    cells = re.findall(r"<td>(.*?)</td>", text)
    assert f"{result['test']['rmse']:.4f}" in cells
    assert f"{result['valid']['mae']:.4f}" in cells
    assert {"41", "82.0%", "10.0%"} <= set(cells)
    assert f"split {result['split_fingerprint']}" in text
    assert "retrained on train + valid" in text
    assert "refit: true" in text
    assert set(figures) == {"by_epoch", "by_seconds", "calibration", "errors", "by_item", "by_user"}
    curve = figures["by_epoch"]["data"][0]
    np.testing.assert_allclose(numbers(curve["y"]), [score for *_, score in result["curve"]])


def test_the_figures_are_of_the_tested_model_also_after_a_final_training(tmp_path):
    plain, final = (
        page_of(tmp_path / name, refit=True, final=name == "final")[2]["calibration"] for name in ("plain", "final")
    )
    assert numbers(plain["data"][-1]["y"]) == numbers(final["data"][-1]["y"])


@pytest.mark.parametrize(
    ("shares", "kept"),
    [
        ([0.8, 0, 0.2], {"calibration", "errors", "by_item", "by_user"}),
        ([0.8, 0.2, 0], {"by_epoch", "by_seconds"}),
    ],
)
def test_a_part_that_is_missing_has_no_figures(tmp_path, shares, kept):
    _, text, figures = page_of(tmp_path / "out", eval_args={"split": {"RS": shares}})
    assert set(figures) == kept
    assert ("There is no validation part" in text) == (not shares[1])


def test_a_ranking_has_no_figures_of_stars(tmp_path):
    ranking = {"metrics": ["NDCG"], "valid_metric": "NDCG@3", "topk": 3, "eval_args": {"mode": "full"}}
    _, text, figures = page_of(tmp_path / "out", "BPR", **ranking)
    assert set(figures) == {"by_epoch", "by_seconds"}
    assert "<button>NDCG@3</button>" in text


def test_a_page_that_cannot_be_written_leaves_the_result(tmp_path, monkeypatch):
    def full(path, text, hint):
        raise AutoRecError(f"'{path}' cannot be written: no space; {hint}")

    monkeypatch.setattr(quick_start, "write_text", full)
    with pytest.raises(AutoRecError, match=r"report\.html' cannot be written: no space; give another --output"):
        page_of(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "result.json").read_text())["model"] == "IAutoRec"
