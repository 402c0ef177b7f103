"""What a comparison's table says, from results that were written by hand: no model is trained here."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from recbole_autorec.comparison import tables
from recbole_autorec.comparison.plan import BLEND, Plan, Row
from recbole_autorec.comparison.results import Results
from recbole_autorec.comparison.statistics import bootstrap_scores, half_width, paired_p_value
from recbole_autorec.model.general_recommender.bias import Bias

ROWS = Row("far", "UAutoRec"), Row("near", "IAutoRec"), Row("Bias", Bias)
PLAN = Plan(ROWS, "toy", 2, False, "rmse", None, False, (), {})
QUANTILE = math.tan(math.pi * 0.475)  # of Student's t with one degree of freedom, which is Cauchy's: 12.706


def p_of(t: float) -> float:
    """Two-sided, with one degree of freedom."""
    return 1 - 2 * math.atan(t) / math.pi


@dataclass
class Done:
    """A training that has ended, as Results sees it: the errors of its test predictions, or why it failed."""

    row: Row
    repeat: int
    errors: list
    changes: dict = field(default_factory=dict)
    ratings = property(lambda self: np.arange(len(self.errors), dtype=np.float32))

    def result(self):
        if self.errors is None or isinstance(self.errors, str):
            return self.errors and {"error": self.errors}
        errors = np.array(self.errors)
        test = {"rmse": np.sqrt(np.mean(errors**2)), "mae": np.abs(errors).mean()}
        return {
            "test": test, "best_epoch": 2 * self.repeat, "epochs_run": 5, "train_seconds": 10.0 * self.repeat,
            "eval_seconds": 1.5, "peak_memory_mb": 1234.4, "n_parameters": 5678, "n_train": 8, "n_valid": 2,
            "n_test": len(errors), "split_fingerprint": f"split{self.repeat}", "all_parameters": {"refit": False},
            **self.changes,
        }  # fmt: skip

    def predictions(self):
        return self.ratings + np.array(self.errors)

    def split(self):
        return {"ratings": self.ratings}


def results(errors, plan=PLAN, **changes) -> Results:
    """`errors`: label -> those of each repeat."""
    rows = {row.label: row for row in (*ROWS, BLEND)}
    plan = replace(plan, rows=tuple(rows[label] for label in errors if label != "blend"), blend="blend" in errors)
    tasks = [
        Done(rows[label], n, given, changes)
        for label, of_repeats in errors.items()
        for n, given in enumerate(of_repeats, start=1)
    ]
    return Results(plan, "toy", Path("out"), tasks)


# Two repeats with two test ratings each; every error of a row is as large, so that a resample is as the whole.
TWO = {"far": [[1.3, -1.3], [-1.7, 1.7]], "near": [[1.0, -1.0], [1.2, 1.2]], "Bias": [[1.1, 1.1], [1.0, -1.0]]}


def test_means_intervals_differences_and_p_are_those_worked_out_by_hand():
    table = results(TWO, replace(PLAN, reference="far")).table
    assert list(table.index) == ["Bias", "near", "far"]
    assert list(table["model"]) == ["Bias", "IAutoRec", "UAutoRec"]
    assert list(table["rmse"]) == list(table["mae"]) == pytest.approx([1.05, 1.1, 1.5])
    # s / sqrt(2) of two values is half their distance
    assert list(table["rmse_interval"]) == list(table["mae_interval"])
    assert list(table["rmse_interval"]) == pytest.approx([QUANTILE * half for half in (0.05, 0.1, 0.2)], rel=1e-6)
    far = table.loc["far"]  # on the repeats, 0.2 and 0.7 worse than the best; 2 test ratings for 8 that train
    assert far["best_difference"] == pytest.approx(0.45)
    assert far["best_p"] == pytest.approx(p_of(0.45 / math.sqrt(0.125 * (1 / 2 + 2 / 8))))
    assert (far["best_low"], far["best_high"]) == pytest.approx((0.45, 0.45))
    near = table.loc["near"]  # 0.3 and 0.5 better than far
    assert near["reference_difference"] == pytest.approx(-0.4)
    assert near["reference_p"] == pytest.approx(p_of(0.4 / math.sqrt(0.02 * (1 / 2 + 2 / 8))))
    assert (near["reference_low"], near["reference_high"]) == pytest.approx((-0.4, -0.4))
    assert np.isnan([table["best_difference"]["Bias"], far["reference_difference"]]).all()
    assert list(near[["best_epoch", "train_seconds", "seconds_per_epoch", "eval_seconds"]]) == [3, 15, 3, 1.5]


def test_after_a_refit_validation_ratings_and_the_second_training_count():
    near = results(TWO, replace(PLAN, reference="far"), all_parameters={"refit": True}).table.loc["near"]
    assert near["reference_p"] == pytest.approx(p_of(0.4 / math.sqrt(0.02 * (1 / 2 + 2 / 10))))
    assert near["seconds_per_epoch"] == pytest.approx((10 / 7 + 20 / 9) / 2)


@pytest.mark.parametrize(
    ("far", "expected"),
    [
        ([[1.3, 1.3], [1.301, 1.301]], True),  # interval and p agree
        ([[1.3, 1.3], [1.333, 1.333]], True),  # p = 0.041
        ([[1.3, 1.3], [1.343, 1.343]], False),  # p = 0.052
        ([[0.3, 1.6], [0.3, 1.603]], False),  # p < 0.05, but one of the two ratings is much nearer
        ([[1.3, 1.3], None], True),  # one repeat has no p
        ([[0.3, 1.6], None], False),
    ],
)
def test_a_difference_is_significant_where_the_interval_and_p_say_so(far, expected):
    comparison = results({"far": far, "near": [[1.0, 1.0]] * 2})
    found = comparison.table.loc["far"]
    assert found["best_significant"] is expected
    text = tables.readable(comparison, comparison.table)["significant vs best"]
    assert list(text) == ["", "yes" if expected else "no"]


def test_the_same_model_twice_is_no_significant_difference():
    table = results({"far": [[1.0, 1.0]], "near": [[1.0, 1.0]]}, replace(PLAN, repeats=1)).table
    assert list(table.loc["near", ["best_difference", "best_low", "best_high"]]) == [0, 0, 0]
    assert table["best_significant"]["near"] is False


def test_a_better_row_is_significant_as_well():
    table = results(
        {"far": [[1.3, 1.3], [1.301, 1.301]], "near": [[1.0, 1.0]] * 2}, replace(PLAN, reference="far")
    ).table
    assert table["reference_significant"]["near"] is True


@pytest.mark.parametrize("metric", ["rmse", "mae"])
def test_the_interval_has_the_binomial_distributions_quantiles(metric):
    """Half of 100 errors are 1, the others 0: of a resample 40 to 60 are 1."""
    bounds = stats.binom.ppf([0.025, 0.975], 100, 0.5) / 100
    found = results({"far": [[-1.0, 0.0] * 50], "near": [[0.0] * 100]}, replace(PLAN, repeats=1, metric=metric)).table
    expected = np.sqrt(bounds) if metric == "rmse" else bounds
    assert list(found.loc["far", ["best_low", "best_high"]]) == pytest.approx(expected, abs=0.006)
    assert found.columns[1] == metric


def test_the_interval_leaves_out_25_of_1000_resamples_on_each_side():
    errors = np.random.default_rng(0).normal(1, 0.1, 50)
    found = results({"far": [errors], "near": [np.zeros(50)]}, replace(PLAN, repeats=1)).table.loc["far"]
    scores = np.sort(bootstrap_scores([errors[:, None] ** 2], root=True)[:, 0])
    assert found["best_low"] == pytest.approx(scores[24] + 0.975 * (scores[25] - scores[24]), rel=1e-9)
    assert found["best_high"] == pytest.approx(scores[975] - 0.975 * (scores[975] - scores[974]), rel=1e-9)


def test_the_score_of_a_resample_is_the_mean_over_repeats_of_each_ones_own():
    losses = [np.full((2, 1), 4.0), np.full((3, 1), 16.0)]
    assert np.unique(bootstrap_scores(losses, root=True)) == pytest.approx([3])
    assert np.unique(bootstrap_scores(losses, root=False)) == pytest.approx([10])


def test_p_and_half_width_of_few_repeats():
    assert paired_p_value(np.array([0.3, 0.5]), 0.25) == pytest.approx(p_of(0.4 / math.sqrt(0.015)))
    assert paired_p_value(np.array([-0.3, -0.5]), 0.25) == pytest.approx(p_of(0.4 / math.sqrt(0.015)))
    assert [paired_p_value(np.full(2, value), 0.25) for value in (0.0, 0.5, -0.5)] == [1, 0, 0]
    assert half_width(np.array([1.0, 1.2])) == pytest.approx(0.1 * QUANTILE, rel=1e-6)
    assert np.isnan([paired_p_value(np.array([0.5]), 0.25), half_width(np.array([0.5]))]).all()


def test_only_repeats_that_both_have_are_compared():
    table = results({"near": [[1.0, 1.0], [1.2, 1.2]], "far": [[1.3, 1.3], "no memory"], "Bias": ["why", "not"]}).table
    assert list(table.index) == ["near", "far", "Bias"]
    far = table.loc["far"]
    assert (far["rmse"], far["repeats"], far["error"]) == (pytest.approx(1.3), 1, "no memory")
    assert far["best_difference"] == pytest.approx(0.3)  # of the first repeat, not 1.3 - 1.1
    assert np.isnan([far["best_p"], far["best_low"], far["rmse_interval"]]).all()
    assert far["best_significant"] is None or np.isnan(far["best_significant"])
    assert (table["repeats"]["Bias"], table["error"]["Bias"]) == (0, "why")
    of = {"near": [[1.0, 1.0], [1.2, 1.2]], "far": [[1.3, 1.3], "no memory"]}
    near = results(of, replace(PLAN, reference="far")).table.loc["near"]
    assert near["reference_difference"] == pytest.approx(-0.3)
    assert np.isnan([near["reference_p"], near["reference_low"]]).all()


def test_one_that_failed_comes_last_even_where_it_was_better_and_a_blend_is_never_the_best():
    of = results({"near": [[1.0, 1.0]] * 2, "far": [[0.5, 0.5], "no memory"], "blend": [[0.9, 0.9]] * 2})
    table = of.table
    assert list(table.index) == ["blend", "near", "far"]
    assert list(table["best_difference"])[::2] == pytest.approx([-0.1, -0.5])
    assert np.isnan([table["best_difference"]["near"], table["seconds_per_epoch"]["blend"]]).all()
    assert of.complete_repeats == [1, 2]
    assert of.splits() == {1: "split1", 2: "split2"}


def test_a_repeat_that_a_row_still_lacks_is_not_resampled():
    of = results({"near": [[1.0, 1.0], [1.0, 1.0]], "far": [[1.5, 1.5], None]})
    assert of.complete_repeats == [1]
    assert of.table["best_low"]["far"] == pytest.approx(0.5)
    assert of.error("far") is None
    assert results({"near": [[1.0, 1.0], None], "far": [None, [1.0, 1.0]]}).complete_repeats == []


def test_the_text_has_these_numbers():
    comparison = results({**TWO, "blend": ["of nothing"]}, replace(PLAN, reference="far"), best_epoch=None)
    text = tables.readable(comparison, comparison.table)
    assert list(text.index)[-2:] == ["far (UAutoRec)", "blend (all rows, weighted by validation ratings)"]
    assert dict(text.loc["near (IAutoRec)"]) == {
        "RMSE": "1.1000 ± 1.2706",
        "MAE": "1.1000 ± 1.2706",
        "vs best": "+0.0500 [+0.0500, +0.0500]",
        "p vs best": f"{p_of(0.05 / math.sqrt(0.045 * 0.75)):.3g}",
        "significant vs best": "no",
        "vs far": "-0.4000 [-0.4000, -0.4000]",
        "p vs far": "0.189",
        "significant vs far": "no",
        "best epoch": "",
        "train s": "15.0",
        "s/epoch": "3.00",
        "eval s": "1.5",
        "peak MB": "1,234",
        "parameters": "5,678",
        "repeats": "2",
    }
    assert text["RMSE"].iloc[-1] == "failed"
    assert "blend failed: of nothing" in tables.failures(comparison)
    once = results({"near": [[1.0, 1.0]], "far": [[1.5, 1.5]]}, replace(PLAN, repeats=1))
    text = tables.readable(once, once.table)
    assert list(text["RMSE"]) == ["1.0000", "1.5000"]
    assert list(text["p vs best"]) == ["", ""]
    narrow = tables.terminal(once, once.table)
    assert "vs best" in narrow
    assert not any(name in narrow for name in ("p vs", "s/epoch", "eval s"))


def test_a_row_shows_the_repeats_it_has_and_is_failed_only_if_it_has_none():
    comparison = results({
        "near": [[1.0, 1.0], [1.2, 1.2]], "far": [[1.3, 1.3], "no memory"], "Bias": ["why", "not"],
    })  # fmt: skip
    text = tables.readable(comparison, comparison.table)
    assert list(text["RMSE"]) == ["1.1000 ± 1.2706", "1.3000", "failed"]
    assert list(text["repeats"]) == ["2", "1, then failed", ""]
    halfway = results({"near": [[1.0, 1.0], None], "far": [None, None]})
    text = tables.readable(halfway, halfway.table)
    assert list(text["RMSE"]) == ["1.0000", ""]
    assert list(text["repeats"]) == ["1", "0"]


@pytest.mark.parametrize(("metric", "best", "second"), [("rmse", "1.0000", "1.2000"), ("ndcg@10", "1.5000", "1.2000")])
def test_latex_marks_the_lowest_error_and_the_highest_ranking_score(metric, best, second):
    of = {"far": [[1.5, 1.5]], "near": [[1.0, 1.0]], "Bias": [[1.2, 1.2]]}
    scores = {label: {"test": {metric: given[0][0], "mae": 1.0}} for label, given in of.items()}
    comparison = results(of, replace(PLAN, repeats=1, metric=metric))
    for task in comparison.tasks:
        task.changes = scores[task.row.label]
    table = comparison.table
    assert table[metric].iloc[0] == float(best)
    text = tables.latex(comparison, table)
    assert f"\\textbf{{{best}}}" in text
    assert f"\\underline{{{second}}}" in text
    assert f"\\textbf{{{second}}}" not in text
    if metric == "rmse":
        assert table["best_low"].notna().sum() == 2
    else:
        assert comparison.metrics == [metric]
        assert not comparison.resamples
        assert table["best_low"].isna().all()


def test_latex_marks_nothing_where_there_is_no_number():
    comparison = results({"near": [[1.0, 1.0]], "far": ["why"]}, replace(PLAN, repeats=1))
    text = tables.latex(comparison, comparison.table)
    assert text.count("\\textbf{1.0000}") == 2  # of RMSE and of MAE
    assert "\\underline" not in text
    comparison = results({"near": ["why"], "far": ["why"]}, replace(PLAN, repeats=1))
    text = tables.latex(comparison, comparison.table)
    assert text.count("& failed") == 2
    assert "\\textbf" not in text


def test_each_metric_has_its_own_best_in_latex_and_markdown_is_a_table():
    comparison = results({"near": [[1.0, 1.0]], "far": [[0.0, 2.0]]}, replace(PLAN, repeats=1))
    comparison.tasks[1].changes = {"test": {"rmse": 1.5, "mae": 0.75}}
    table = comparison.table
    latex = tables.latex(comparison, table).splitlines()
    assert latex[-4].startswith("near (IAutoRec) & \\textbf{1.0000} & \\underline{1.0000} & ")
    assert latex[-3].startswith("far (UAutoRec) & \\underline{1.5000} & \\textbf{0.7500} & ")
    head, rule, near, far = [line for line in tables.markdown(comparison, table).splitlines() if line.startswith("|")]
    assert rule == "|" + " --- |" * (head.count("|") - 1)
    assert near.startswith("| near (IAutoRec) | 1.0000 | 1.0000 |  |")
    assert far.startswith("| far (UAutoRec) | 1.5000 | 0.7500 | +0.5000 [")
    assert {line.count("|") for line in (head, rule, near, far)} == {head.count("|")}


@pytest.mark.parametrize(
    ("plan", "there", "not_there"),
    [
        (
            {},
            ("random splits", "same splits (split1, split2)", "in stars", "bootstrap"),
            ("folds", "resampled", "blend"),
        ),
        ({"kfold": True}, ("mean over 2 folds",), ("random",)),
        ({"repeats": 1}, ("same split (",), ("mean over", "resampled")),
        ({"metric": "ndcg@10"}, ("NDCG@10", "corrected"), ("in stars", "bootstrap", "resampled")),
    ],
)
def test_the_explanation_says_where_the_numbers_come_from(plan, there, not_there):
    plan = replace(PLAN, **plan)
    tests = {"test": {plan.metric: 0.5, "mae": 0.4}}
    text = " ".join(tables.explanation(results(TWO, plan, **tests)))
    assert [part for part in there if part not in text] == []
    assert [part for part in not_there if part in text] == []


def test_the_explanation_says_what_a_blend_is_and_where_there_is_no_interval():
    blended = " ".join(tables.explanation(results({**TWO, "blend": [[1.0, 1.0]] * 2})))
    assert "blend: weighted sum of the predictions of all rows" in blended
    one = " ".join(tables.explanation(results({"near": [[1.0]], "far": [[1.5]]}, replace(PLAN, repeats=1))))
    assert "a test part has only one rating" in one
