"""Searches: selection by validation only, reproducible with the same seed, nothing lost."""

import configparser
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from recbole.trainer import HyperTuning

from recbole_autorec import AutoRecError, ConfigError, cli, objective_function, run_recbole_autorec, tune
from recbole_autorec.config.config import parse_value, properties_dir
from recbole_autorec.quick_start import load_and_split, quiet_recbole
from recbole_autorec.tuning import search as search_module
from recbole_autorec.tuning.hyper_tuning import HyperTuning as OurHyperTuning
from recbole_autorec.tuning.hyper_tuning import every_combination
from recbole_autorec.tuning.search import Search, Setting, Trials, run_trial
from recbole_autorec.tuning.space import hyperopt_space, parameters_of, read_space, space_from
from recbole_autorec.tuning.tune import NEEDED, _progress
from tests.conftest import DATA, QUICK, ROOT
from tests.doomed import Raises

SHARED = {**QUICK, "data_path": str(DATA), "epochs": 2}
SPACE = {
    "loguniform": {"reg_weight": [-2, 3]},
    "uniform": {"row_scaling": [0, 0.8]},
    "choice": {"hidden_size": [[4], [8]]},
}


def run(space=SPACE, output="out", max_evals=4, config_dict=None, **keywords):
    shared = {**SHARED, **(config_dict or {})}
    return tune("IAutoRec", "tiny", space, max_evals=max_evals, config_dict=shared, output=output,
                show_progress=False, **keywords)  # fmt: skip


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / "trials.jsonl").read_text().splitlines()]


def test_a_space_of_the_package_is_found_from_any_folder():
    assert not Path("properties").exists()
    assert "init_std" in run("properties/hyper/IAutoRec.hyper", max_evals=1).best
    with pytest.raises(ConfigError, match=r"'properties/hyper/none\.hyper' cannot be read: No such file"):
        run("properties/hyper/none.hyper", output="other")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(output=tmp_path_factory.mktemp("tuning") / "out", max_evals=6)


def test_the_folder_holds_everything(finished):
    assert {path.name for path in finished.folder.glob("[!.]*")} == {
        "tuning.json", "trials.jsonl", "trials.csv", "tuning.html", "best.yaml", "result.json",
    }  # fmt: skip
    assert len(lines(finished.folder)) == len(finished.trials) == 6
    assert json.loads((finished.folder / "result.json").read_text())["test"] == finished.result["test"]


def test_the_best_has_the_lowest_validation_error(finished):
    assert finished.result["valid"]["rmse"] == finished.trials["rmse"].min()
    row = finished.trials.loc[finished.result["search"]["trial"]]
    assert row["rmse"] == finished.trials["rmse"].min()
    assert {name: row[name] for name in finished.best} == finished.best
    first = (finished.folder / "best.yaml").read_text().splitlines()[0]
    assert first == f"# trial {row.name} of 6: validation RMSE {row['rmse']}"


def test_the_best_alone_is_trained_on_every_rating(monkeypatch):
    import recbole_autorec.quick_start as module

    sizes, build = [], module.build_trainer
    for place in (module, search_module):
        monkeypatch.setattr(place, "build_trainer", lambda c, part: sizes.append(len(part)) or build(c, part))
    assert run(max_evals=2, config_dict={"final": True}).result["final"]
    assert sizes == [41, 41, 41, 50]


@pytest.mark.parametrize("search", [run, lambda config_dict: objective_function({**SHARED, **config_dict})])
def test_a_search_needs_validation_ratings(search):
    with pytest.raises(ConfigError) as caught:
        search(config_dict={"eval_args": {"split": {"RS": [0.9, 0, 0.1]}}})
    assert str(caught.value) == (
        "split={'RS': [0.9, 0, 0.1]} has no valid part to choose parameters on; give it a share > 0."
    )


def test_best_yaml_gives_the_reported_numbers_back_to_the_last_digit(finished, capsys):
    arguments = ["--config_files", str(finished.folder / "best.yaml"), "--output", "again"]
    assert cli.main(arguments) == 0
    again = json.loads(Path("again/result.json").read_text())
    assert again["valid"] == finished.result["valid"] == finished.result["search"]["valid"]
    assert again["test"] == finished.result["test"]
    assert again["split_fingerprint"] == finished.result["split_fingerprint"]


@pytest.mark.parametrize("algo", ["random", "bayes"])
def test_the_same_seed_searches_the_same(algo):
    once, again = run(algo=algo, output="a"), run(algo=algo, output="b")
    other = run(algo=algo, output="c", config_dict={"seed": 2})
    parameters = [[line["parameters"] for line in lines(folder)] for folder in ("a", "b", "c")]
    assert parameters[0] == parameters[1] != parameters[2]
    assert once.best == again.best
    assert other.result["seed"] == 2


def test_an_exhaustive_search_tries_every_combination_once():
    space = {"choice": {"hidden_size": [[4], [8]], "reg_weight": [1, 2, "[3, 4]"]}}
    tuning = run(space, algo="exhaustive", max_evals=None)
    found = [(line["parameters"]["hidden_size"], line["parameters"]["reg_weight"]) for line in lines("out")]
    assert found == [(size, weight) for size in ([4], [8]) for weight in (1, 2, [3, 4])]
    assert len(tuning.trials) == 6


@pytest.mark.parametrize("at_once", [1, 4])
def test_every_combination_is_suggested_once_however_many_are_asked_for_at_once(at_once):
    from hyperopt import fmin

    space, tried = space_from({"choice": {"hidden_size": [4, 8], "reg_weight": [1, 2, 3]}}), []
    fmin(
        lambda drawn: tried.append(tuple(drawn.values())) or 0.0, hyperopt_space(space), every_combination, 99,
        max_queue_len=at_once, rstate=np.random.default_rng(0), show_progressbar=False,
    )  # fmt: skip
    assert tried == [(size, weight) for size in (0, 1) for weight in (0, 1, 2)]


@pytest.mark.parametrize("bigger", [False, True])
def test_hyperopt_minimises_the_error_or_the_negative_score_and_learns_what_failed(bigger, tmp_path):
    trials = Trials(tmp_path / "trials.jsonl", "rmse", bigger)
    trials.add(trial("done", 1, rmse=0.9))
    trials.add(trial("failed", 2))
    space = space_from({"choice": {"reg_weight": [1, 2]}})
    tuning = OurHyperTuning(Search(None, space, None, [], trials, "bayes", 2, 1, None, print))
    assert tuning.trial({"reg_weight": 0}) == {"status": "ok", "loss": -0.9 if bigger else 0.9}
    assert tuning.trial({"reg_weight": 1}) == {"status": "fail"}


def test_max_evals_ends_an_exhaustive_search_too():
    assert len(run({"choice": {"reg_weight": [1, 2, 3]}}, algo="exhaustive", max_evals=2).trials) == 2


@pytest.mark.parametrize(
    ("algo", "max_evals", "expected"),
    [("bayes", None, 50), ("random", None, 50), ("random", 99, 99), ("exhaustive", None, 6), ("exhaustive", 99, 6)],
)
def test_50_configurations_are_tried_unless_told_otherwise_or_every_combination(algo, max_evals, expected, monkeypatch):
    found, space = [], {"choice": {"hidden_size": [[4], [8]], "reg_weight": [1, 2, 3]}}
    monkeypatch.setattr("recbole_autorec.tuning.tune._search", lambda search, *_: found.append(search.max_evals))
    with pytest.raises(
        AutoRecError,
        match=r"^no trial has a result: the time budget ran out; see 'results/tune-IAutoRec-tiny-\d{8}-\d{6}'",
    ):
        run(space, algo=algo, max_evals=max_evals, output=None)
    assert found == [expected]


def test_a_configuration_is_trained_once():
    assert len(run({"choice": {"reg_weight": [1, 2]}}, algo="random", max_evals=8).trials) == 2


def poisoned(write_dataset, part: int) -> str:
    """Write tiny as dataset 'toy' with the ratings of one part reversed; return the data folder."""
    with quiet_recbole():
        _, parts = load_and_split(Setting("IAutoRec", "tiny", (("", SHARED),), {}).config())
    inter, data = parts[part].inter_feat, parts[part]
    pairs = {
        (str(data.id2token("user_id", user)), str(data.id2token("item_id", item)))
        for user, item in zip(inter["user_id"].tolist(), inter["item_id"].tolist(), strict=True)
    }
    header, *rows = (DATA / "tiny" / "tiny.inter").read_text().splitlines()
    changed = []
    for row in rows:
        user, item, rating, *rest = row.split("\t")
        rating = f"{5 - float(rating):g}" if (user, item) in pairs else rating
        changed.append("\t".join([user, item, rating, *rest]))
    assert changed != rows
    return write_dataset(changed, header)


def test_no_test_rating_moves_the_search(write_dataset):
    clean = run(output="clean")
    trials = lines("clean")
    path = poisoned(write_dataset, part=2)
    poison = tune("IAutoRec", "toy", SPACE, max_evals=4, config_dict={**SHARED, "data_path": path}, output="poison",
                  show_progress=False)  # fmt: skip
    for line in (*trials, *(others := lines("poison"))):
        del line["seconds"]
    assert trials == others
    assert poison.best == clean.best
    assert poison.result["valid"] == clean.result["valid"]
    assert poison.result["test"] != clean.result["test"]  # the change took effect


def test_a_validation_rating_does_move_it(write_dataset):
    run(output="clean")
    path = poisoned(write_dataset, part=1)
    tune("IAutoRec", "toy", SPACE, max_evals=4, config_dict={**SHARED, "data_path": path}, output="poison",
         show_progress=False)  # fmt: skip
    assert [line["valid"] for line in lines("clean")] != [line["valid"] for line in lines("poison")]


@pytest.mark.parametrize("algo", ["random", "bayes", "exhaustive"])
def test_resumed_it_goes_on_as_if_it_had_never_stopped(algo):
    space = SPACE if algo != "exhaustive" else {"choice": {"reg_weight": [1, 2, 3], "hidden_size": [[4], [8]]}}
    whole = run(space, algo=algo, output="whole", max_evals=6)
    run(space, algo=algo, output="part", max_evals=3)
    with open("part/trials.jsonl", "a") as file:
        file.write('{"trial": 4, "param')  # killed while writing
    before = lines_as_text("part")[:3]
    resumed = run(space, algo=algo, output="part", max_evals=6, resume=True)
    assert lines_as_text("part")[:3] == before
    assert [line["parameters"] for line in lines("part")] == [line["parameters"] for line in lines("whole")]
    assert [line["valid"] for line in lines("part")] == [line["valid"] for line in lines("whole")]
    assert resumed.best == whole.best


def lines_as_text(folder) -> list[str]:
    return (Path(folder) / "trials.jsonl").read_text().splitlines()


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on():
    space = {"choice": {"learner": ["lbfgs", "adam"], "dropout_prob": [0.0, 0.2]}}  # lbfgs does not allow dropout
    tuning = run(space, algo="exhaustive", max_evals=None)
    failed = tuning.trials[tuning.trials["status"] == "failed"]
    assert len(tuning.trials) == 4
    found = tuning.result["search"]
    assert (found["trials"], found["failed"], tuning.trials["status"][found["trial"]]) == (4, 1, "done")
    assert list(failed["error"]) == [
        "the search: dropout_prob=0.2 with learner 'lbfgs', whose line search needs a deterministic loss; set it to 0, or "
        "use learner adam."
    ]
    assert (
        f"Trial {failed.index[0]} failed: the search: dropout_prob=0.2" in (tuning.folder / "tuning.html").read_text()
    )


def test_a_trial_that_failed_is_tried_again_when_the_search_resumes(monkeypatch):
    from recbole_autorec.tuning import hyper_tuning

    def full(setting, data, parts, parameters):
        return {"parameters": parameters, "status": "failed", "error": "no memory", "seconds": 0.1}

    real, space = hyper_tuning.run_trial, {"choice": {"reg_weight": [1, 2]}}
    monkeypatch.setattr(hyper_tuning, "run_trial", full)
    with pytest.raises(AutoRecError, match=r"^no trial has a result: no memory; see 'out'.$"):
        run(space, algo="exhaustive", max_evals=None)
    monkeypatch.setattr(hyper_tuning, "run_trial", real)
    tuning = run(space, algo="exhaustive", max_evals=None, resume=True)
    assert list(tuning.trials["status"]) == ["done", "done"]


def trial(status, reg_weight, **scores):
    return {"parameters": {"reg_weight": reg_weight}, "status": status, "valid": scores or None}


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([("done", 0.95), ("stopped", 0.90), ("done", 0.94)], 3),  # a stopped one might have become worse
        ([("stopped", 0.95), ("stopped", 0.90), ("failed", None)], 2),  # none was trained to its end
        ([("failed", None), ("done", 0.94), ("done", 0.94)], 2),  # the first of equals
        ([("failed", None)], None),
    ],
)
@pytest.mark.parametrize("bigger", [False, True])
def test_the_best_is_one_that_was_trained_to_its_end(scores, best, bigger, tmp_path):
    trials = Trials(tmp_path / "trials.jsonl", "ndcg@10" if bigger else "rmse", bigger)
    for number, (status, score) in enumerate(scores):
        given = {} if score is None else {"ndcg@10": 1 - score} if bigger else {"rmse": score}
        trials.add(trial(status, number, **given))
    found = trials.best
    assert (found and found["trial"]) == best
    assert [trials.loss(each) for each in trials.trials] == [
        float("inf") if score is None else pytest.approx(score - 1 if bigger else score) for _, score in scores
    ]
    again = Trials(trials.file, trials.metric, bigger)  # what failed is forgotten, the others keep their numbers
    assert (again.best and again.best["trial"]) == best
    assert again.add(trial("done", 9))["trial"] == max((each["trial"] for each in again.trials[:-1]), default=0) + 1
    assert (again.known({"reg_weight": 9}) or {})["trial"] == again.trials[-1]["trial"]
    assert again.known({"reg_weight": 10}) is None
    assert list(again.table["status"]) == [status for status, _ in scores if status != "failed"] + ["done"]


def test_a_trial_that_cannot_be_written_leaves_those_before_it(monkeypatch):
    run(max_evals=2)
    before = Path("out/trials.jsonl").read_bytes()
    trials = Trials(Path("out/trials.jsonl"), "rmse", False)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        AutoRecError, match=r"^'out/trials.jsonl' cannot be written: No space left on device; free some"
    ):
        trials.add({"parameters": {"reg_weight": 1}, "status": "done"})
    assert Path("out/trials.jsonl").read_bytes() == before
    assert len(trials.trials) == 2


def test_a_damaged_line_is_named_and_nothing_is_thrown_away():
    run(max_evals=2)
    file = Path("out/trials.jsonl")
    damaged = "{half a line\n" + file.read_text()
    file.write_text(damaged)
    with pytest.raises(ConfigError) as error:
        run(max_evals=2, resume=True)
    assert str(error.value) == "'out/trials.jsonl' line 1 is not a trial; fix or delete it, then resume again."
    assert file.read_text() == damaged


def test_two_searches_never_share_a_folder():
    run(max_evals=1)
    with FileLock("out/.lock"), pytest.raises(ConfigError) as error:
        run(max_evals=2, resume=True)
    assert str(error.value) == "--output 'out': a search is running there; wait for it, or give another."


def test_a_choice_may_be_none():
    tuning = run({"choice": {"cold_start_rating": [None, 3]}}, algo="exhaustive", max_evals=None)
    assert len(tuning.trials) == 2
    assert (tuning.folder / "tuning.html").is_file()


def test_whatever_a_model_raises_is_recorded_in_one_line():
    config_dict = {"data_path": str(DATA), "seed": 1}
    setting = Setting(Raises, "tiny", (("", config_dict),), {})
    with quiet_recbole():
        data, parts = load_and_split(setting.config())
    started = time.perf_counter()
    trial = run_trial(setting, data, parts, {})
    assert trial["status"] == "failed"
    assert trial["error"] == "RuntimeError: the reason in two lines"
    assert 0 < trial["seconds"] < time.perf_counter() - started + 0.001


def test_a_trial_has_its_own_seconds():
    started = time.perf_counter()
    seconds = run(max_evals=2).trials["seconds"]
    assert (seconds > 0).all()
    assert seconds.sum() < time.perf_counter() - started


def test_where_every_trial_fails_the_message_says_why(capsys):
    arguments = ["tune", "--dataset", "tiny", "--data_path", str(DATA), "--output", "out", "--space", "space.hyper"]
    Path("space.hyper").write_text("learning_rate choice [1e30, 1e31]\nlearner choice ['sgd']\n")
    assert cli.main([*arguments, "--max_evals", "2", "--seed", "1", "--epochs", "5"]) == 2
    assert "no trial has a result: training diverged in epoch " in capsys.readouterr().err
    assert {line["status"] for line in lines("out")} == {"failed"}


def test_recboles_models_are_tuned_in_stars():
    space = {"choice": {"embedding_size": [2, 4]}}
    config_dict = {"data_path": str(DATA), "seed": 1, "epochs": 2, "saved": False, "show_progress": False}
    tuning = tune("FM", "tiny", space, algo="exhaustive", config_dict=config_dict, output="fm", show_progress=False)
    assert tuning.trials["rmse"].between(0.1, 3).all()
    assert tuning.result["model"] == "FM"


def test_a_ranking_metric_is_tuned_upwards():
    config_dict = {
        **SHARED, "metrics": ["NDCG"], "valid_metric": "NDCG@3", "topk": [3], "eval_args": {"mode": "full"},
    }  # fmt: skip
    tuning = tune("IAutoRec", "tiny", SPACE, max_evals=4, config_dict=config_dict, output="out", show_progress=False)
    assert tuning.result["valid"]["ndcg@3"] == tuning.trials["ndcg@3"].max()


def test_a_time_budget_ends_the_search():
    started = time.monotonic()
    tuning = run(max_evals=100_000, time_budget=2)
    assert 1 <= len(tuning.trials) < 1000
    assert time.monotonic() - started < 60


def test_killed_in_the_midst_it_keeps_what_has_ended():
    code = (
        "from recbole_autorec import tune\n"
        "import sys\n"
        f"tune('IAutoRec', 'tiny', {SPACE!r}, max_evals=500, config_dict={SHARED!r}, output='out')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    file = Path("out/trials.jsonl")
    deadline = time.monotonic() + 120
    while not (file.is_file() and file.read_text().count("\n") >= 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = file.read_text().count("\n")
    tuning = run(output="out", max_evals=done + 2, resume=True)
    assert len(tuning.trials) == done + 2


def test_interrupted_it_says_how_to_go_on_and_leaves_the_best(monkeypatch, caplog):
    from recbole_autorec.tuning import hyper_tuning

    real, calls = hyper_tuning.run_trial, []

    def third_time_unlucky(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(hyper_tuning, "run_trial", third_time_unlucky)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert "interrupted after 2 trials; the same command with --output out --resume continues it" in caplog.text
    assert Path("out/best.yaml").is_file()
    assert Path("out/tuning.html").is_file()


# RecBole's own way.


def test_recboles_hypertuning_takes_our_objective_function():
    Path("fixed.yaml").write_text(
        "model: IAutoRec\ndataset: tiny\n" + "".join(f"{name}: {json.dumps(value)}\n" for name, value in SHARED.items())
    )
    Path("space.hyper").write_text("hidden_size choice ['[4]','[8]']\nreg_weight choice [1,2]\n")
    tuning = HyperTuning(objective_function, params_file="space.hyper", fixed_config_file_list=["fixed.yaml"])
    tuning.run()
    assert len(tuning.params2result) == 4
    best = tuning.params2result[tuning.params2str(tuning.best_params)]
    plain = run_recbole_autorec(config_file_list=["fixed.yaml"], config_dict=tuning.best_params)
    assert best["best_valid_result"] == plain["valid"]
    assert best["best_valid_score"] == tuning.best_score == pytest.approx(min(tuning.score_list))
    assert best["valid_score_bigger"] is False
    assert best["model"] == "IAutoRec"
    assert best["test_result"] == {}
    tuning.export_result("found.txt")
    assert Path("found.txt").read_text().count("Valid result") == 4


@pytest.mark.parametrize("path", sorted((ROOT / "properties" / "hyper").glob("*.hyper")), ids=lambda path: path.stem)
def test_our_spaces_are_read_by_recbole_as_by_us(path):
    ours = read_space(path)
    theirs = HyperTuning._build_space_from_file(path)
    assert list(theirs) == [dimension.name for dimension in ours]
    from hyperopt import pyll

    for seed in range(20):
        drawn = pyll.stochastic.sample(pyll.as_apply(hyperopt_space(ours)), rng=np.random.default_rng(seed))
        other = pyll.stochastic.sample(pyll.as_apply(theirs), rng=np.random.default_rng(seed))
        for name, value in parameters_of(ours, drawn).items():
            expected = parse_value(other[name]) if isinstance(other[name], str) else other[name]
            assert value == (pytest.approx(expected, rel=1e-3) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("model", ["IAutoRec", "UAutoRec", "BiasedMF"])
def test_each_space_is_one_that_the_model_takes(model):
    assert (properties_dir() / "hyper" / f"{model}.hyper").is_file()
    config_dict = {"data_path": str(DATA), "seed": 1, "epochs": 1, "saved": False, "show_progress": False}
    tuning = tune(model, "tiny", max_evals=2, config_dict=config_dict, output="out", show_progress=False)
    assert list(tuning.trials["status"]) == ["done", "done"]


# Spaces.


def test_values_stay_inside_the_bounds_and_are_whole_where_the_steps_are():
    (dimension,) = space_from({"quniform": {"train_batch_size": [50, 500, 100]}})
    assert [dimension.value(drawn) for drawn in (0.0, 100.0, 500.0)] == [50, 100, 500]
    assert all(isinstance(dimension.value(drawn), int) for drawn in (0.0, 100.0))
    (dimension,) = space_from({"quniform": {"train_batch_size": [256, 40960, 256]}})
    assert dimension.value(12544.0) == 12544
    (dimension,) = space_from({"quniform": {"dropout_prob": [0, 0.5, 0.1]}})
    assert [repr(dimension.value(drawn)) for drawn in (0.0, 0.1 * 3, 0.6)] == ["0.0", "0.3", "0.5"]
    (dimension,) = space_from({"quniform": {"dropout_prob": [0.25, 2, 1]}})
    assert [repr(dimension.value(drawn)) for drawn in (0.0, 1.0)] == ["0.25", "1"]
    (dimension,) = space_from({"loguniform": {"learning_rate": [-3, 0]}})
    assert dimension.extremes() == [0.04979, 1.0]
    assert dimension.value(0.123456789) == 0.1235


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "search space 'space.hyper' is empty; give a line for each parameter, such as 'reg_weight loguniform 4,7'."),
        ("\n# nothing\n", "search space 'space.hyper' is empty; give a line for each parameter, such as 'reg_weight "
         "loguniform 4,7'."),
        ("reg_weight", "space.hyper line 1: 'reg_weight'; expected a name, one of choice, uniform, quniform, loguniform, "
         "and values."),
        ("reg_weight normal 0,1", "space.hyper line 1: 'reg_weight normal'; expected a name, one of choice, uniform, "
         "quniform, loguniform, and values."),
        ("\nreg_weight uniform 3,1", "space.hyper line 2: uniform 3,1; expected low < high."),
        ("reg_weight uniform 1", "space.hyper line 1: uniform 1; expected two numbers: low,high."),
        ("reg_weight logunifrom 1,2", "space.hyper line 1: 'reg_weight logunifrom'; did you mean loguniform?"),
        ("reg_weight uniform a,b", "space.hyper line 1: uniform a,b; expected two numbers: low,high."),
        ("reg_weight uniform 0,inf", "space.hyper line 1: uniform 0,inf; expected two numbers: low,high."),
        ("reg_weight quniform 1,5,0", "space.hyper line 1: quniform 1,5,0: the step is 0; expected a number > 0."),
        ("reg_weight loguniform 1,1000", "space.hyper line 1: loguniform 1,1000; expected two numbers: the natural "
         "logarithms of low and high, such as -7,0 for 0.0009 to 1."),
        ("learner choice [adam]", "space.hyper line 1: choice [adam]; expected a list such as [100, 200, 500], with text "
         "in quotes."),
        ("learner choice []", "space.hyper line 1: choice []; expected a list such as [100, 200, 500], with text in "
         "quotes."),
        ("learner choice __import__('os').getcwd()", "space.hyper line 1: choice __import__('os').getcwd(); expected a "
         "list such as [100, 200, 500], with text in quotes."),
        ("init_std uniform 0.1,0.2\ninit_std uniform 0.1,0.3", "space.hyper line 2: init_std was already given in "
         "space.hyper line 1."),
        ("reg_wieght uniform 1,2", "space.hyper line 1: unknown key 'reg_wieght'; did you mean 'reg_weight'?"),
        ("row_scaling uniform 0,2", "space.hyper line 1: row_scaling=2.0; expected a number from -1 to 1 (the "
         "paper: 0)."),
        ("seed choice [1,2]", "space.hyper line 1: seed cannot be searched: all trials must be validated on the same "
         "ratings in the same way; remove it."),
        ("epochs choice [1,2]", "space.hyper line 1: epochs is searched, but the command line sets it to '1'; remove one "
         "of them."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_space_is_one_message_and_exit_code_2(text, expected, capsys):
    Path("space.hyper").write_text(text)
    arguments = ["tune", "--dataset", "tiny", "--data_path", str(DATA), "--space", "space.hyper", "--epochs", "1"]
    assert cli.main([*arguments, "--output", "out"]) == 2
    assert capsys.readouterr().err == f"error: {expected}\n"
    assert not Path("out").exists()


def test_every_faulty_line_is_named_at_once(capsys):
    Path("space.hyper").write_text("reg_wieght uniform 1,2\nseed choice [1]\nrow_scaling uniform -3,2\n")
    assert cli.main(["tune", "--dataset", "tiny", "--data_path", str(DATA), "--space", "space.hyper"]) == 2
    error = capsys.readouterr().err
    assert [number for number in (1, 2, 3) if f"space.hyper line {number}:" in error] == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--space", "nowhere.hyper"], "search space 'nowhere.hyper' cannot be read: No such file or directory."),
        (["--model", "FM"], "model FM has no default search space (BiasedMF, IAutoRec, UAutoRec have); give --space "
         "FILE with lines such as 'learning_rate loguniform -7,-4'."),
        (["--max_eval", "3"], "command line: unknown flag --max_eval; did you mean --max_evals?"),
        (["a.hyper"], "command line: unexpected argument 'a.hyper'; did you mean '--space a.hyper'?"),
        (["--engine", "optuna"], "engine='optuna'; expected one of hyperopt, ray."),
        (["--algo", "tpe"], "algo='tpe'; expected one of bayes, random, exhaustive."),
        (["--max_evals", "0"], "max_evals=0; expected a whole number >= 1."),
        (["--time_budget", "soon"], "time_budget='soon'; expected a number of seconds >= 1."),
        (["--ray_address", "auto"], "ray_address='auto' requires engine ray; add --engine ray."),
        (["--engine", "ray", "--cpus_per_trial", "0"], "cpus_per_trial=0; expected a number > 0."),
        (["--resume"], "resume without output; name the folder of the search to continue: --output DIR --resume."),
        (["--resume", "--output", "nowhere"], "--output 'nowhere' holds no search to resume; leave --resume out."),
        (["--algo", "exhaustive"], "IAutoRec.hyper line 2: row_scaling uniform; an exhaustive search takes only choices: "
         "give a choice, or use --algo random or bayes."),
        (["--model", "BPR", "--space", "rank.hyper"], "model BPR ranks items instead of predicting ratings:"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_and_exit_code_2(arguments, expected, capsys):
    Path("rank.hyper").write_text("embedding_size choice [8]\n")
    assert cli.main(["tune", "--dataset", "tiny", "--data_path", str(DATA), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {expected}")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"resume": False}, "already holds a search; add --resume to continue it, or give another --output."),
        ({"space": {"loguniform": {"reg_weight": [-2, 2]}}}, "holds another search: space hidden_size was "
         "['choice', [4], [8]] and is now None; resume with the same, or give another --output."),
        ({"space": {**SPACE, "loguniform": {"reg_weight": [-2, 2]}}}, "holds another search: space reg_weight was "
         "['loguniform', -2.0, 3.0] and is now ['loguniform', -2.0, 2.0]; resume with the same, or give another "
         "--output."),
        ({"config_dict": {"epochs": 3}}, "holds another search: parameter epochs was 2 and is now 3; resume with the same, "
         "or give another --output."),
        ({"algo": "random"}, "holds another search: algo was 'bayes' and is now 'random'; resume with the same, or "
         "give another --output."),
    ],
)  # fmt: skip
def test_a_folder_of_another_search_is_refused_and_left_as_it_is(change, expected):
    run(max_evals=1)
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    with pytest.raises(ConfigError) as error:
        run(**{"resume": True, **change})
    assert str(error.value) == f"--output 'out' {expected}"
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


def test_what_the_best_is_refit_on_and_where_it_runs_may_change_when_a_search_resumes():
    before = run(max_evals=1)
    after = run(max_evals=1, resume=True, config_dict={"refit": True, "eval_batch_size": 7})
    assert len(lines("out")) == 1
    assert (after.best, after.result["valid"]) == (before.best, before.result["valid"])
    assert after.result["test"] != before.result["test"]


def test_another_model_is_named_before_its_other_defaults():
    run(max_evals=1)
    with pytest.raises(
        ConfigError, match=r"^--output 'out' holds another search: model was 'IAutoRec' and is now 'UAutoRec'"
    ):
        tune("UAutoRec", "tiny", SPACE, config_dict=SHARED, output="out", resume=True, show_progress=False)


def test_a_search_that_never_had_a_trial_leaves_its_folder_free():
    run(max_evals=1)
    Path("out/trials.jsonl").unlink()
    assert len(run({"choice": {"reg_weight": [1]}}, max_evals=1).trials) == 1


def test_a_folder_with_other_things_is_refused():
    Path("out").mkdir()
    Path("out", "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"^--output 'out' is not empty and holds no search; give another --output.$"):
        run()


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    versions = {"ray": "2.6.3", "pyarrow": "20.0.0", "tensorboardX": "2.6"}

    def version(package):
        if package not in versions:
            raise PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr("recbole_autorec.installation.version", version)
    how = "pip install 'recbole-autorec[tune]', or in a checkout pip install -e '.[tune]'\n"
    arguments = ["tune", "--dataset", "tiny", "--data_path", str(DATA)]
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == f"error: engine hyperopt needs hyperopt: {how}"
    assert cli.main([*arguments, "--engine", "ray"]) == 2
    assert capsys.readouterr().err == (
        f"error: engine ray needs hyperopt, ray {NEEDED['ray']['ray']} or later (found 2.6.3), requests, pydantic: {how}"
    )


def test_the_bounds_of_the_extra_are_those_of_setup_cfg():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.extras_require"]["tune"].splitlines()
    bounds = dict(re.findall(r"(\w+)(?:\[tune\])? >= ([\d.]+)", "\n".join(lines)))
    assert bounds == {package: oldest for package, oldest in NEEDED["ray"].items() if oldest}


def test_each_trial_has_a_line_with_its_score_and_the_best_so_far_is_marked(tmp_path, capsys):
    trials = Trials(tmp_path / "trials.jsonl", "rmse", False)
    trials.add({**trial("done", 1, rmse=0.97), "best_epoch": 1, "epochs_run": 1, "seconds": 1.0})
    space = space_from({"uniform": {"reg_weight": [1, 9]}})
    with _progress(space, trials, 6, True) as ended:
        for status, score in (("done", 0.95), ("stopped", 0.9), ("failed", None), ("done", 0.95), ("done", 0.9412)):
            scores = {} if score is None else {"rmse": score}
            ended(trials.add({
                **trial(status, 2, **scores), "best_epoch": 3, "epochs_run": 5, "seconds": 71.25, "error": "no memory",
            }))  # fmt: skip
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith(("1 trial", "searched", "  reg_weight", "trial "))] == [
        f"1 trial found in '{tmp_path}'",
        "searched:",
        "  reg_weight 1.0 to 9.0 (uniform)",
        "trial   2/6  RMSE 0.9500  best epoch   3     71.2 s  reg_weight 2  best so far",
        "trial   3/6  RMSE 0.9000  stopped at epoch   5     71.2 s  reg_weight 2",  # and not trained to its end
        "trial   4/6  failed: no memory  (reg_weight 2)",
        "trial   5/6  RMSE 0.9500  best epoch   3     71.2 s  reg_weight 2",
        "trial   6/6  RMSE 0.9412  best epoch   3     71.2 s  reg_weight 2  best so far",
    ]


def test_trials_are_told_as_they_end(capsys):
    Path("space.hyper").write_text("reg_weight choice [1]\n")
    arguments = ["tune", "--dataset", "tiny", "--data_path", str(DATA), "--space", "space.hyper", "--seed", "1"]
    more = ["--epochs", "1", "--saved", "False", "--output", "out", "--algo", "exhaustive", "--hidden_size", "[4]"]
    assert cli.main([*arguments, *more]) == 0
    out, err = capsys.readouterr()
    assert "trial   1/1  RMSE " in err
    assert out.splitlines()[1] == "reg_weight: 1"
    assert out.rstrip().endswith("out: best.yaml, trials.csv, trials.jsonl, tuning.html, result.json")
