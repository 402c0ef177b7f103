"""Comparisons: identical splits, the numbers of plain runs, nothing mixed up, nothing lost."""

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from scipy import stats

from recbole_autorec import Config, ConfigError, cli, compare, run_recbole_autorec
from recbole_autorec.comparison import statistics, tables
from recbole_autorec.comparison.blend import write_blend
from recbole_autorec.comparison.compare import _time_left
from recbole_autorec.comparison.plan import make_plan
from recbole_autorec.comparison.runner import Task, _train
from recbole_autorec.quick_start import load_and_split, quiet_recbole
from tests.conftest import DATA, QUICK, QUICK_ANY, ROOT
from tests.doomed import Dies, Meets, Raises, RaisesOnceIn

SHARED = {"data_path": str(DATA), "seed": 1, "epochs": 2}
SMALL = {key: QUICK[key] for key in ("hidden_size", "reg_weight", "lbfgs_max_iter")}
MODELS = {"IAutoRec": SMALL, "wide": {"model": "IAutoRec", **SMALL, "hidden_size": [12]}, "Bias": None, "FM": None}


def run(models=MODELS, repeats=2, output="out", **keywords):
    config_dict = {**SHARED, **keywords.pop("config_dict", {})}
    return compare(models, "tiny", repeats, config_dict=config_dict, output=output, show_progress=False, **keywords)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run a comparison of four rows and their blend on two splits, once."""
    return run(blend=True, output=tmp_path_factory.mktemp("comparison") / "out")


def test_the_table_has_a_row_for_each_model_the_best_first(finished):
    table = finished.table
    assert set(table.index) == {*MODELS, "blend"}
    assert list(table["rmse"]) == sorted(table["rmse"])
    assert list(table["repeats"]) == [2] * 5
    assert table["model"]["wide"] == "IAutoRec"
    # V and W, mu, b, a, m, weights of the parts; padding ids included
    assert table["n_parameters"]["wide"] == 11 * 12 * 2 + 12 + 11 + 7 + 1 + 5
    assert np.isnan(table["best_difference"].iloc[0])
    for label in table.index[1:]:
        assert table["best_difference"][label] == pytest.approx(table["rmse"][label] - table["rmse"].iloc[0])


def test_one_test_rating_gives_no_interval_and_no_certainty(write_dataset):
    path = write_dataset([f"u{k % 4}\ti{k // 4}\t{1 + (k * 7) % 5}" for k in range(12)])
    shared = {"data_path": path, "seed": 1, "epochs": 2}
    models = {"Bias": None, "GlobalMean": None}
    once = compare(models, "toy", 1, config_dict=shared, output="one", show_progress=False)
    assert once.table["best_difference"].iloc[1] > 0
    assert once.table[["best_low", "best_high", "best_p", "best_significant"]].isna().all(axis=None)
    text = tables.markdown(once, once.table)
    assert "No bootstrap interval here: a test part has only one rating, which cannot be resampled." in text
    assert "nan" not in text.lower()
    folds = compare(models, "toy", kfold=3, config_dict=shared, output="folds", show_progress=False)  # of 7, 1 and 4
    assert folds.table["best_low"].notna().sum() == 1
    assert [result["n_valid"] for result in folds.results("Bias")] == [1, 1, 1]
    assert "cannot be resampled" not in tables.markdown(folds, folds.table)


def test_its_numbers_are_the_plain_runs_to_the_last_digit(finished):
    for label, given in MODELS.items():
        parameters = dict(given or {})
        model = parameters.pop("model", label)
        for repeat in (1, 2):
            plain = run_recbole_autorec(
                model, "tiny", config_dict={**QUICK_ANY, **SHARED, **parameters, "seed": repeat}
            )
            result = finished.results(label)[repeat - 1]
            for key in ("valid", "test", "best_epoch", "split_fingerprint", "n_parameters"):
                assert result[key] == plain[key]


def test_every_row_of_a_repeat_has_the_same_split_and_repeats_differ(finished):
    fingerprints = [[result["split_fingerprint"] for result in finished.results(label)] for label in MODELS]
    assert all(row == fingerprints[0] for row in fingerprints)
    assert len(set(fingerprints[0])) == 2
    assert list(finished.splits().values()) == fingerprints[0]


def test_the_scores_are_those_of_the_kept_predictions(finished):
    for repeat in (1, 2):
        for label, errors in finished.test_errors(repeat).items():
            rmse = np.sqrt(np.mean(errors**2))
            assert rmse == pytest.approx(finished.results(label)[repeat - 1]["test"]["rmse"], abs=2e-6)


def test_the_folder_holds_everything(finished):
    found = {path.relative_to(finished.folder).as_posix() for path in finished.folder.rglob("[!.]*") if path.is_file()}
    ends = ("json", "npy", "valid.npy", "log")
    runs = {f"runs/{label}-{n}.{end}" for label in MODELS for n in (1, 2) for end in ends}
    runs |= {f"runs/blend-{n}.{end}" for n in (1, 2) for end in ends[:3]}
    tops = {"comparison.json", "result.json", "table.md", "table.tex", "table.csv", "report.html"}
    assert found == tops | runs | {"splits/1.npz", "splits/2.npz"}
    content = json.loads((finished.folder / "result.json").read_text())
    assert {label: len(results) for label, results in content["runs"].items()} == dict.fromkeys([*MODELS, "blend"], 2)
    assert content["runs"]["wide"][0]["all_parameters"]["hidden_size"] == [12]
    assert content["versions"].keys() >= {"torch", "recbole"}
    table = pd.read_csv(finished.folder / "table.csv", index_col="label")
    np.testing.assert_allclose(table["rmse"], finished.table["rmse"])


def test_the_blend_is_the_rows_weighted_by_their_validation_predictions(finished):
    """Check against the plain formula; the test part must not matter."""
    for repeat in (1, 2):
        tasks = [task for task in finished.tasks if task.repeat == repeat and task.row.label in MODELS]
        with quiet_recbole():
            _, parts = load_and_split(finished.plan.config(tasks[0].row, repeat))
        valid, test = (part.inter_feat["rating"].double().numpy() for part in parts[1:])
        (blend,) = finished.results("blend")[repeat - 1 : repeat]
        weights = blend["parameters"]
        assert list(weights) == list(MODELS)
        assert sum(weights.values()) == pytest.approx(1, abs=0.1)
        for part, actual in (("valid", valid), ("test", test)):
            rows = np.stack([task.predictions(part) for task in tasks])
            for task, scores in zip(tasks, rows, strict=True):
                rmse = np.sqrt(np.mean((scores - actual) ** 2))
                assert rmse == pytest.approx(finished.result(task)[part]["rmse"], abs=2e-6)
            expected = valid.mean() + np.array(list(weights.values())) @ (rows - valid.mean())
            kept = next(task for task in finished.tasks if task.repeat == repeat and task.row.label == "blend")
            difference = kept.predictions(part) - expected.clip(0, 5)
            assert np.abs(difference - difference.mean()).max() < 0.05  # clipping and four digits of a weight
            assert abs(difference.mean()) < 0.1  # the level


def test_a_blend_joins_a_finished_comparison_and_grows_with_it(tmp_path):
    two = {"Bias": None, "GlobalMean": None}
    run(two, output=tmp_path)
    blended = run(two, output=tmp_path, blend=True)
    assert set(blended.results("blend")[0]["parameters"]) == set(two)
    more = run({**two, "IAutoRec": SMALL}, output=tmp_path, blend=True)
    assert set(more.results("blend")[1]["parameters"]) == {*two, "IAutoRec"}
    assert "blend (all rows, weighted by validation ratings)" in (tmp_path / "table.md").read_text()
    assert more.table.index[0] == "blend" or np.isnan(more.table["best_difference"].iloc[0])  # best is a model
    assert "blend" not in run(two | {"IAutoRec": SMALL}, output=tmp_path).table.index


def test_no_test_rating_moves_the_blend_and_a_validation_rating_does(tmp_path):
    """Recompute the blend from kept predictions with changed ratings, which nothing else sees."""
    comparison = run({"Bias": None, "GlobalMean": None, "IAutoRec": SMALL}, 1, tmp_path, blend=True)
    *tasks, blend = comparison.tasks
    plain = blend.result()["parameters"]
    split = tasks[0].split()
    for name, moves in (("ratings", False), ("valid_ratings", True)):
        np.savez_compressed(tasks[0].split_file, **{**split, name: 5 - split[name]})
        write_blend(blend, tasks)
        assert (blend.result()["parameters"] != plain) == moves
    assert blend.result()["test"] != comparison.results("Bias")[0]["test"]


def test_a_row_that_fails_is_left_out_of_the_blend(tmp_path):
    found = run({"Bias": None, "GlobalMean": None, "Raises": {"model": Raises}}, output=tmp_path, blend=True)
    assert found.error("Raises")
    assert set(found.results("blend")[0]["parameters"]) == {"Bias", "GlobalMean"}


def test_it_prints_as_its_table_and_a_notebook_shows_the_same_cells(finished):
    assert repr(finished) == f"Comparison(5 rows, 'tiny', {str(finished.folder)!r})"
    best = finished.table.iloc[0]
    first = str(finished).splitlines()[1].split()
    assert first[:4] == [best.name, f"{best['rmse']:.4f}", "±", f"{best['rmse_interval']:.4f}"]
    cells = re.findall("<t[hd]>(.*?)</t[hd]>", finished._repr_html_())
    assert " ".join(cells).split() == str(finished).split()


def test_markdown_and_latex_mark_the_best(finished):
    table = finished.table
    best, second = table.index[:2]
    text = (finished.folder / "table.md").read_text()
    assert text.startswith(
        "# RMSE on tiny\n\n|  | RMSE | MAE | vs best | p vs best | significant vs best | best epoch |"
    )
    assert f"| {table['rmse'][best]:.4f} ± {table['rmse_interval'][best]:.4f} |" in text
    latex = (finished.folder / "table.tex").read_text()
    assert f"\\textbf{{{table['rmse'][best]:.4f} $\\pm$ {table['rmse_interval'][best]:.4f}}}" in latex
    assert f"\\underline{{{table['rmse'][second]:.4f} $\\pm$ {table['rmse_interval'][second]:.4f}}}" in latex
    assert latex.count("\\toprule") == latex.count("\\bottomrule") == 1


def test_latex_escapes_what_it_must():
    assert tables._escape("a_b & 50 % {x} ± ~^\\") == (
        "a\\_b \\& 50 \\% \\{x\\} $\\pm$ \\textasciitilde{}\\textasciicircum{}\\textbackslash{}"
    )


def test_the_same_again_trains_only_what_is_missing(tmp_path):
    first = run()
    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").glob("*.json")}
    (tmp_path / "out" / "runs" / "FM-2.json").unlink()
    second = run()
    assert second.table["rmse"].equals(first.table["rmse"])
    again = {p.name for p, time in changed.items() if p.stat().st_mtime_ns != time}
    assert again == {"FM-2.json"}


def test_rows_and_repeats_may_join(tmp_path):
    run({"Bias": None}, repeats=1)
    before = (tmp_path / "out" / "runs" / "Bias-1.json").read_text()
    table = run({"Bias": None, "GlobalMean": None}, repeats=2).table
    assert list(table["repeats"]) == [2, 2]
    assert (tmp_path / "out" / "runs" / "Bias-1.json").read_text() == before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"repeats": 1}, "repeats was 2 and is now 1"),
        ({"models": {"GlobalMean": None}}, "it has a row 'Bias', which this call leaves out"),
        ({"models": {"Bias": {"user_damping": 3}}}, "Bias: user_damping was None and is now 3"),
        ({"config_dict": {"refit": True}}, "Bias: refit was False and is now True"),
        ({"config_dict": {"seed": 2}}, "Bias: seed was 1 and is now 2"),
        ({"metric": "mae"}, "metric was 'rmse' and is now 'mae'"),
        ({"repeats": None, "kfold": 2}, "kfold was None and is now 2"),
    ],
)
def test_a_folder_of_another_comparison_is_refused(change, expected, tmp_path):
    run({"Bias": None})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError) as caught:
        run(**{"models": {"Bias": None}, **change})
    assert str(caught.value) == f"--output 'out' holds another comparison: {expected}; give another --output."
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_where_and_how_it_runs_may_change():
    before = run({"Bias": None}).table
    after = run({"Bias": None}, config_dict={"worker": 1, "state": "ERROR"}).table
    pd.testing.assert_frame_equal(before, after)  # times included: nothing was trained again


def test_changed_data_are_refused(write_dataset):
    lines = [f"u{u}\ti{i}\t{1 + (u * i) % 5}" for u in range(6) for i in range(6)]
    shared = {"config_dict": {"data_path": write_dataset(lines)}, "output": "out", "show_progress": False}
    compare(["Bias"], "toy", 1, **shared)
    write_dataset([*lines[:-1], "u5\ti5\t5"])
    with pytest.raises(
        ConfigError, match=r"^--output 'out' holds another comparison: the data's digest was '\w{16}' and is"
    ):
        compare(["Bias"], "toy", 1, **shared)


def test_two_comparisons_never_share_a_folder():
    run({"Bias": None}, repeats=1)
    with FileLock("out/.lock"), pytest.raises(ConfigError) as caught:
        run({"Bias": None}, repeats=1)
    assert str(caught.value) == "--output 'out': a comparison is running there; wait for it, or give another."


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError) as caught:
        run({"Bias": None})
    assert str(caught.value) == "--output 'out' is not empty and holds no comparison; give another --output."
    (tmp_path / "out" / "comparison.json").write_text("{")
    with pytest.raises(ConfigError) as caught:
        run({"Bias": None})
    assert str(caught.value) == "'out/comparison.json' is damaged or from another release; give another --output."


def test_a_model_that_fails_is_a_row_that_says_why_and_is_tried_again():
    models = {"Bias": None, "raises": {"model": Raises}, "dies": {"model": Dies}, "diverges": {"model": "BiasedMF", "learning_rate": 1e30}}  # fmt: skip
    comparison = run(models, repeats=1)
    table = comparison.table
    assert list(table["repeats"]) == [1, 0, 0, 0]
    assert table.index[0] == "Bias"
    assert table["error"]["raises"] == "RuntimeError: the reason in two lines"
    assert table["error"]["dies"] == "its process was killed by signal 9 (SIGKILL); did the machine run out of memory?"
    assert table["error"]["diverges"] == (
        "training diverged in epoch 1: a prediction is not finite; lower learning_rate."
    )
    assert "Traceback" in (comparison.folder / "runs" / "raises-1.log").read_text()
    text = tables.readable(comparison, table)
    assert text["RMSE"]["raises (Raises)"] == "failed"
    assert "raises failed: RuntimeError: the reason in two lines" in tables.explanation(comparison)
    stamp = (comparison.folder / "runs" / "raises-1.json").stat().st_mtime_ns
    run(models, repeats=1)
    assert (comparison.folder / "runs" / "raises-1.json").stat().st_mtime_ns != stamp


def test_a_row_that_fails_in_one_repeat_comes_last_and_the_page_is_still_written():
    comparison = run({"half": {"model": RaisesOnceIn}, "GlobalMean": None, "Bias": None})
    table = comparison.table
    assert table.index[-1] == "half"  # though GlobalMean, its equal, may be worse on two splits than on one
    assert (table["repeats"]["half"], table["error"]["half"]) == (1, "RuntimeError: seed 2")
    assert list(tables.readable(comparison, table)["repeats"]) == ["2", "2", "1, then failed"]
    assert comparison.complete_repeats == [1, 2]
    assert (comparison.folder / "report.html").is_file()


def test_where_every_row_fails_the_exit_code_says_so(capsys):
    arguments = ["--dataset", "tiny", "--data_path", str(DATA), "--repeats", "1", "--output", "out"]
    assert cli.main(["compare", "--models", "BiasedMF", "--learning_rate", "1e30", *arguments]) == 2
    assert capsys.readouterr().err.endswith(
        "error: no row has a result:\n"
        "BiasedMF failed: training diverged in epoch 1: a prediction is not finite; lower learning_rate.\n"
    )


def test_jobs_run_at_once():
    comparison = run({"one": {"model": Meets}, "other": {"model": Meets}}, repeats=1, jobs=2)
    assert comparison.table["error"].isna().all()


def test_interrupted_it_leaves_no_process_and_what_was_finished(tmp_path):
    (tmp_path / "script.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from recbole_autorec import compare\n"
        "from tests.doomed import Waits\n"
        f"compare({{'Bias': None, 'waits': {{'model': Waits}}}}, 'tiny', 1, config_dict={SHARED!r}, output='out')\n"
    )
    process = subprocess.Popen([sys.executable, "script.py"], stderr=subprocess.PIPE, text=True)
    said = ""
    while "repeat 1/1  Bias" not in said:
        said = process.stderr.readline()
        assert said, "it ended before Bias was finished"
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)  # a process left behind would hold the pipe open
    finally:
        process.kill()
    assert process.returncode != 0
    assert "interrupted after 1 of 2 trainings; the same command with --output out continues it" in err
    assert "leaked" not in err
    for command in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            assert command.parent.name == str(os.getpid()) or command.resolve() != tmp_path.resolve()
    stamp = (tmp_path / "out" / "runs" / "Bias-1.json").stat().st_mtime_ns
    with pytest.raises(ConfigError, match="it has a row 'waits', which this call leaves out"):
        run({"Bias": None}, repeats=1)
    assert (tmp_path / "out" / "runs" / "Bias-1.json").stat().st_mtime_ns == stamp


def test_in_a_terminal_each_line_stands_alone(tmp_path):
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
    command = [sys.executable, str(ROOT / "run_recbole_autorec.py"), "compare", "--models", "Bias,GlobalMean"]
    arguments = ["--dataset", "tiny", "--data_path", str(DATA), "--repeats", "1", "--output", "out"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    said = b""
    with suppress(OSError):  # a terminal reports in this way that its last writer has gone
        while block := os.read(leader, 4096):
            said += block
    assert process.wait() == 0
    lines = [line.split("\r")[-1].strip() for line in said.decode().split("\r\n")]
    assert [line.split("  ")[1] for line in lines if line.startswith("repeat")] == ["Bias", "GlobalMean"]
    assert "0/2" in said.decode()  # the bar was there


def test_jobs_change_nothing():
    one, two = run({"Bias": None, "GlobalMean": None}), run({"Bias": None, "GlobalMean": None}, output="two", jobs=2)
    assert one.table["rmse"].equals(two.table["rmse"])


def test_refit_is_for_every_model_alike():
    plain, refit = (
        run({"Bias": None, "FM": None}),
        run({"Bias": None, "FM": None}, output="r", config_dict={"refit": True}),
    )
    for label in ("Bias", "FM"):
        assert plain.results(label)[0]["valid"] == refit.results(label)[0]["valid"]
        assert plain.results(label)[0]["test"] != refit.results(label)[0]["test"]


def test_folds_are_one_partition():
    tested = []
    for fold in (1, 2, 3):
        config = Config("Bias", "tiny", config_dict={"data_path": str(DATA), "eval_args": {"split": {"KF": [fold, 3]}}})
        with quiet_recbole():
            _, parts = load_and_split(config)
        assert len(parts[1]) == (50 - len(parts[2])) // 10
        feat = parts[2].inter_feat
        tested += zip(feat["user_id"].tolist(), feat["item_id"].tolist(), strict=True)
    assert len(tested) == len(set(tested)) == 50
    comparison = run({"Bias": None, "GlobalMean": None}, repeats=None, kfold=3)
    assert [result["n_test"] for result in comparison.results("Bias")] == [16, 17, 17]
    assert len(set(comparison.splits().values())) == 3


def test_a_ranking_metric_compares_by_ranking(write_dataset):
    lines = [f"u{u}\ti{i}\t{1 + (u * i) % 5}" for u in range(12) for i in range(15) if (u * 7 + i * 3) % 4]
    comparison = compare(
        {"IAutoRec": SMALL, "BPR": None, "EASE": None, "Bias": None}, "toy", 2, metric="ndcg@3",
        config_dict={**SHARED, "data_path": write_dataset(lines)}, output="out", show_progress=False,
    )  # fmt: skip
    table = comparison.table
    assert list(table["ndcg@3"]) == sorted(table["ndcg@3"], reverse=True)
    assert (table["error"].isna().all(), list(table["repeats"])) == (True, [2, 2, 2, 2])
    assert "vs best" in tables.terminal(comparison, table)
    assert (comparison.folder / "report.html").is_file()


def test_a_named_reference_gets_columns_of_its_own():
    comparison = run({"Bias": None, "GlobalMean": None, "FM": None}, reference="GlobalMean")
    table = comparison.table
    assert np.isnan(table["reference_difference"]["GlobalMean"])
    assert table["reference_difference"]["Bias"] == pytest.approx(table["rmse"]["Bias"] - table["rmse"]["GlobalMean"])
    assert "vs GlobalMean" in tables.readable(comparison, table)


# The statistics, against scipy and against what must hold.


def test_half_width_is_students_interval():
    values = np.array([0.9, 0.95, 0.93, 0.97])
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert statistics.half_width(values) == pytest.approx((high - low) / 2)
    assert np.isnan(statistics.half_width(values[:1]))


def test_p_value_is_the_paired_t_test_where_no_ratings_are_shared_and_larger_otherwise():
    generator = np.random.default_rng(0)
    one, other = generator.normal(0.9, 0.01, 5), generator.normal(0.91, 0.01, 5)
    plain = stats.ttest_rel(one, other).pvalue
    assert statistics.paired_p_value(one - other, 0) == pytest.approx(plain)
    assert statistics.paired_p_value(one - other, 10 / 81) > plain
    assert np.isnan(statistics.paired_p_value(one[:1] - other[:1], 0.1))
    assert statistics.paired_p_value(np.zeros(3), 0.1) == 1


def test_bootstrap_is_paired_and_covers_the_difference():
    generator = np.random.default_rng(0)
    base = generator.normal(0, 1, 4000) ** 2
    losses = [np.stack([base, base, base * 1.1], axis=1)]
    scores = statistics.bootstrap_scores(losses, root=True)
    assert scores.shape == (1000, 3)
    assert np.array_equal(scores[:, 0], scores[:, 1])  # a model never differs from itself
    low, high = np.quantile(scores[:, 2] - scores[:, 0], [0.025, 0.975])
    assert low < np.sqrt(1.1 * base.mean()) - np.sqrt(base.mean()) < high
    unpaired = np.sqrt(base.std() ** 2 / 4000)
    assert (high - low) < unpaired / 2
    assert np.array_equal(scores, statistics.bootstrap_scores(losses, root=True))  # seeded


def test_bootstrap_width_is_the_standard_error():
    base = np.random.default_rng(1).exponential(1, 5000)
    scores = statistics.bootstrap_scores([base[:, None]], root=False)
    assert scores.std() == pytest.approx(base.std() / np.sqrt(5000), rel=0.1)


def test_time_left_is_each_rows_own():
    class Waiting:
        def __init__(self, label):
            self.row = type("Row", (), {"label": label})

    assert _time_left([Waiting("a"), Waiting("a"), Waiting("new")], {"a": [1, 3], "b": [10]}) == 2 + 2 + 6


# Mistakes: one message, exit code 2, nothing written.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--models", "IAutorec,Bias"], "unknown model 'IAutorec'; expected IAutoRec, UAutoRec, AutoRecEnsemble, BiasedMF, Bias, GlobalMean, or one of RecBole's general and context-aware models, such as FM and NeuMF (docs/built-in-models.md). Did you mean IAutoRec or UAutoRec?"),
        (["--models", "Bias,x=NMFF"], "x: unknown model 'NMFF'; expected IAutoRec, UAutoRec, AutoRecEnsemble, BiasedMF, Bias, GlobalMean, or one of RecBole's general and context-aware models, such as FM and NeuMF (docs/built-in-models.md). Did you mean ENMF or NeuMF?"),
        (["--models", "Bias,EASE"], "EASE: model EASE ranks items instead of predicting ratings: it adds up similarities to the items a user has. Compare rankings with compare --metric ndcg@10, or run it with --metrics [NDCG] --valid_metric NDCG@10 --eval_args \"{mode: full}\"."),
        (["--models", "Bias,FM,Bias"], "Bias is a duplicate label; give each row its own, such as Bias,tuned=Bias."),
        ([], "no models given; name some, such as --models IAutoRec,UAutoRec,Bias,FM."),
        (["--models", "Bias", "--repeats", "0"], "repeats=0; expected a whole number >= 1."),
        (["--models", "Bias", "--repeats", "many"], "repeats='many'; expected a whole number >= 1."),
        (["--models", "Bias", "--kfold", "1"], "kfold=1; expected a whole number >= 2."),
        (["--models", "Bias", "--kfold", "3", "--repeats", "2"], "repeats=2 and kfold=3; give only one of them."),
        (["--models", "Bias", "--jobs", "0"], "jobs=0; expected a whole number >= 1."),
        (["--models", "Bias", "--metric", "auc"], "metric='auc'; expected rmse or mae for ratings; for rankings, one of recall, mrr, ndcg, hit, map, precision with a cut-off, such as ndcg@10."),
        (["--models", "Bias", "--metric", "ndcg"], "metric='ndcg'; expected rmse or mae for ratings; for rankings, one of recall, mrr, ndcg, hit, map, precision with a cut-off, such as ndcg@10."),
        (["--models", "Bias", "--reference", "FM"], "reference='FM'; expected one of the rows Bias."),
        (["--models", "Bias", "--config", "FM=a.yaml"], "config for 'FM', which is not a row; expected one of Bias."),
        (["--models", "Bias", "--config", "Bias"], "command line: --config 'Bias'; expected LABEL=FILE, such as FM=fm.yaml."),
        (["--models", "Bias", "--config", "Bias=no.yaml"], "Bias: config file 'no.yaml' cannot be read: No such file or directory."),
        (["--models", "Bias,FM", "--user_damping", "3"], "FM: command line: unknown key 'user_damping'; --help shows where parameters are listed."),
        (["--models", "Bias", "--metrics", "[MAE]"], "command line: metrics='[MAE]'; a comparison has one metric; set --metric instead."),
        (["--models", "Bias,bias=FM"], "bias is a duplicate label; give each row its own, such as bias,tuned=bias."),
        (["--models", "Bias", "--eval_args", "{order: TO}"], "repeats=5, but order TO produces the same split every time, and repeats must differ; use repeats 1."),
        (["ml-100k"], "command line: comparison file 'ml-100k' not found; name a dataset with --dataset, models with --models."),
        (["--model", "Bias"], "command line: unknown flag --model; did you mean --models?"),
        (["--models", "Bias", "--repeat", "2"], "command line: unknown flag --repeat; did you mean --repeats?"),
        (["--models", "IAutoRec,FM,UAutoRec", "--reg_wieght", "2"], "command line: unknown key 'reg_wieght'; did you mean 'reg_weight'?"),
        (["--models", "Bias", "--dataset", "nope"], "dataset 'nope': no file '{data}/nope/nope.inter'; datasets in '{data}': tiny; ml-100k comes with RecBole. Create it: recbole-autorec convert --input FILE --name nope --data_path {data}, or give another --data_path."),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_and_exit_code_2(arguments, expected, capsys, tmp_path, tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    (data / "tiny").symlink_to(DATA / "tiny")
    file = [arguments[0]] if arguments and not arguments[0].startswith("-") else []
    given = arguments[len(file) :]
    dataset = [] if "--dataset" in given else ["--dataset", "tiny"]
    assert cli.main(["compare", *file, *dataset, "--data_path", str(data), *given]) == 2
    out, err = capsys.readouterr()
    assert err == f"error: {expected.replace('{data}', str(data))}\n"
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("models: [Bias]\nrepeat: 3\n", "c.yaml: unknown key 'repeat'; did you mean 'repeats'?"),
        ("models: [Bias, FM]\nparameters: {final: True}\n", "final=True, but a comparison saves no model; leave it out, then train the best model with it."),
        ("models: [Bias, FM]\nparameters: {eval_args: {split: {RS: [9, 0, 1]}}}\n", "split={'RS': [9, 0, 1]} has no valid part to choose the epoch on; give it a share > 0."),
        ("models: [Bias, FM]\nparameters: {eval_args: {split: {RS: [9, 1, 0]}}}\n", "split={'RS': [9, 1, 0]} has no test part to compare on; give it a share > 0."),
        ("models: [Bias]\nqqq: 3\n", "c.yaml: unknown key 'qqq'; expected dataset, models, repeats, kfold, metric, reference, blend, parameters, config_files."),
        ("models: Bias\n", "c.yaml: models='Bias'; expected a list of names, or lines 'label: {parameter: value}'."),
        ("models: {Bias: 3}\n", "c.yaml: Bias: 3; expected parameters, such as {reg_weight: 200}."),
        ("models: {Bias: {config_files: 3}}\n", "c.yaml: Bias: config_files=3; expected a file or a list of files."),
        ("models: {Bias: }\nparameters: {topk: 3}\n", "c.yaml: topk=3; a comparison has one metric; set --metric instead."),
        ("models: {Bias: }\nparameters: 3\n", "c.yaml: parameters=3; expected lines such as 'refit: True'."),
        ("models: {Bias: }\nconfig_files: a.yaml\n", "c.yaml: config_files='a.yaml'; expected a list of files."),
        ("models:\n  Bias:\n  Bias:\n", "config file 'c.yaml': line 3: invalid YAML: duplicate key 'Bias'."),
        ("models: {Bias: , x: {model: Bias, seed: 3}}\n", "x: seed=3, but Bias has 2020; all models must be tested on the same data in the same way: set seed for the whole comparison."),
        ("models: {Bias: , FM: {embedding_sise: 3}}\n", "FM: c.yaml: unknown key 'embedding_sise'; did you mean 'embedding_size'?"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_comparison_file(content, expected, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(content)
    assert cli.main(["compare", "c.yaml", "--dataset", "tiny", "--data_path", str(DATA)]) == 2
    assert capsys.readouterr().err == f"error: {expected}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_later_parameters_beat_earlier_ones(tmp_path):
    """In this order: comparison file, files, row in the file, the row's own file, flags."""
    for name, text in (
        ("c.yaml", "models: {FM: {embedding_size: 32, epochs: 7}}\nparameters: {refit: True, seed: 3, epochs: 5}\n"),
        ("all.yaml", "refit: False\nlearning_rate: 0.5\n"),
        ("fm.yaml", "embedding_size: 8\n"),
    ):
        (tmp_path / name).write_text(text)
    plan = make_plan(
        ["FM", "Bias"], "c.yaml", {"FM": "fm.yaml"}, ["all.yaml"], {"state": "ERROR"}, {"seed": "9"}, kfold=3
    )
    found = plan.config(plan.rows[0], 2)
    assert [found[key] for key in ("embedding_size", "epochs", "refit", "learning_rate", "state", "seed")] == [
        8, 7, False, 0.5, "ERROR", 9,
    ]  # fmt: skip
    assert found["eval_args"]["split"] == {"KF": [2, 3]}
    assert plan.config(plan.rows[1], 1)["epochs"] == 5
    assert found.plain_parameters["eval_args"]["mode"] == "labeled"


def test_a_flag_moves_the_split_of_a_ranking_as_well():
    plan = make_plan(["BPR"], flags={"eval_args": "{split: {RS: [0.6, 0.2, 0.2]}}", "seed": "4"}, metric="ndcg@3")
    found = plan.config(plan.rows[0], 2)
    assert found["eval_args"]["split"] == {"RS": [0.6, 0.2, 0.2]}
    assert (found["eval_args"]["mode"]["test"], found["seed"], found["topk"]) == ("full", 5, [3])


def test_parameters_that_change_while_it_runs_are_not_mixed(tmp_path):
    (tmp_path / "bias.yaml").write_text("user_damping: 15\n")
    plan = make_plan(["Bias"], configs={"Bias": "bias.yaml"}, config_dict=SHARED, dataset="tiny")
    row = plan.rows[0]
    parameters = {**plan.config(row, 1).plain_parameters, "user_damping": 3}
    task = Task(plan, row, 1, parameters, tmp_path, 0, str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        _train(task)
    assert str(caught.value) == "user_damping was 3 when the comparison began and is 15 now."


def test_a_class_of_the_running_script_is_refused():
    mine = type("Mine", (Raises,), {"__module__": "__main__"})
    with pytest.raises(ConfigError) as caught:
        make_plan([mine])
    assert str(caught.value) == (
        "Mine: the class is defined in the running script or in a function; move it to a module."
    )


def test_a_comparison_file_is_a_whole_comparison(tmp_path, capsys):
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "fm.yaml").write_text("embedding_size: 3\nepochs: 1\n")
    (tmp_path / "paper" / "c.yaml").write_text(
        "dataset: tiny\nrepeats: 2\nmetric: mae\nreference: Bias\n"
        f"parameters: {{data_path: {DATA}, seed: 4, epochs: 2}}\n"
        "models:\n  Bias:\n  small FM: {model: FM, config_files: fm.yaml}\n  FM: {embedding_size: 5}\n"
    )
    assert cli.main(["compare", "paper/c.yaml", "--repeats", "1", "--output", "out"]) == 0
    content = json.loads((tmp_path / "out" / "result.json").read_text())
    sizes = {label: runs[0]["all_parameters"].get("embedding_size") for label, runs in content["runs"].items()}
    assert sizes == {"Bias": None, "small FM": 3, "FM": 5}
    assert [runs[0]["epochs_run"] for runs in content["runs"].values()] == [1, 1, 2]
    assert {runs[0]["seed"] for runs in content["runs"].values()} == {4}
    assert (content["metric"], content["reference"], content["repeats"]) == ("mae", "Bias", 1)
    out = capsys.readouterr().out
    assert "vs Bias" in out
    assert out.endswith("out: report.html, table.md, table.tex, table.csv, result.json\n")


def test_from_a_script_without_a_main_guard(tmp_path):
    (tmp_path / "script.py").write_text(
        "from recbole_autorec import compare\n"
        f"c = compare(['Bias', 'GlobalMean'], 'tiny', 1, config_dict={{'data_path': {str(DATA)!r}}}, output='out')\n"
        "print(len(c.table))\n"
    )
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


@pytest.mark.parametrize(("given", "expected"), [({}, "10000"), ({"OMP_WAIT_POLICY": "active"}, "None")])
def test_from_python_too_waiting_threads_of_a_training_hardly_spin(given, expected, tmp_path):
    (tmp_path / "spying.py").write_text(
        "import os\nfrom recbole_autorec.model.general_recommender.globalmean import GlobalMean\n"
        "class Spy(GlobalMean):\n    def __init__(self, config, dataset):\n        super().__init__(config, dataset)\n"
        "        open('seen', 'w').write(str(os.environ.get('GOMP_SPINCOUNT')))\n"
    )
    (tmp_path / "script.py").write_text(
        "from recbole_autorec import compare\nfrom spying import Spy\n"
        f"compare([Spy], 'tiny', 1, config_dict={{'data_path': {str(DATA)!r}}}, output='out')\n"
    )
    subprocess.run([sys.executable, "script.py"], check=True, env={"PYTHONPATH": str(ROOT), **given})
    assert (tmp_path / "seen").read_text() == expected


def test_rows_that_were_given_another_split_fail(tmp_path):
    run({"Bias": None}, repeats=1)
    split = dict(np.load(tmp_path / "out" / "splits" / "1.npz"))
    np.savez_compressed(tmp_path / "out" / "splits" / "1.npz", **{**split, "fingerprint": "0123456789abcdef"})
    comparison = run({"Bias": None, "GlobalMean": None}, repeats=1)
    assert comparison.table["error"]["GlobalMean"] == (
        f"its split is {comparison.splits()[1]}, but the other rows have 0123456789abcdef."
    )
