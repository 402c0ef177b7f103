"""predict, evaluate and recommend on realistic files."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_autorec import Predictor, cli, run_recbole_autorec
from tests.conftest import QUICK

USERS, ITEMS = [f"u {n}" for n in range(12)], [*(f"i{n}" for n in range(9)), "a, b", '"q"', "-1"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of twelve users and items, trained on all ratings."""
    random = np.random.default_rng(0)
    pairs = [(user, item) for user in USERS for item in ITEMS if random.random() < 0.8]
    frame = pd.DataFrame(pairs, columns=["user", "item"]).assign(rating=random.integers(1, 6, len(pairs)))
    parameters = {**QUICK, "saved": True, "eval_args": {"split": {"RS": [1, 0, 0]}}, "epochs": 1,
                  "checkpoint_dir": str(tmp_path_factory.mktemp("saved"))}  # fmt: skip
    return run_recbole_autorec("IAutoRec", frame, config_dict=parameters)["checkpoint"]


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = cli.main([*map(str, arguments)])
    return code, *capsys.readouterr()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_predict_keeps_the_other_columns_and_their_order(form, suffix, checkpoint, capsys):
    frame = pd.DataFrame({
        "Id": ["7", "8", "9"], "item": ["i1", "a, b", "nobody"], "rating": ["x", "y\nz", 'ü"'], "user": ["u 1", "u 2", "u 3"],
    })  # fmt: skip
    if form == "csv":
        frame.to_csv("pairs.csv", index=False)
    elif form == "jsonl":
        frame.to_json("pairs.jsonl", orient="records", lines=True)
    else:
        pytest.importorskip("pyarrow")
        frame.to_parquet("pairs.parquet")
    assert (
        run(capsys, "predict", "--checkpoint", checkpoint, "--input", f"pairs.{form}", "--output", f"out{suffix}")[0]
        == 0
    )
    if suffix.startswith(".json"):
        table = pd.read_json(f"out{suffix}", lines=suffix == ".jsonl", dtype=False)
    else:
        table = pd.read_csv(
            f"out{suffix}", sep="\t" if suffix == ".tsv" else ",", dtype=str, quoting=3 * (suffix == ".tsv")
        )
    assert list(table) == ["Id", "item", "input_rating", "user", "rating", "note"]
    assert table["Id"].tolist() == frame["Id"].tolist()
    assert table["item"].tolist() == frame["item"].tolist()
    assert table["input_rating"].tolist() == [
        text.replace("\n", " ") if suffix == ".tsv" else text for text in frame["rating"]
    ]
    expected = Predictor.load(checkpoint).predict_with_notes(frame["user"], frame["item"])
    np.testing.assert_allclose(table["rating"].astype(float), expected[0], atol=1e-4)


def test_evaluate_says_error_and_coverage(checkpoint, capsys):
    labelled = pd.DataFrame({"user": ["u 1", "u 2", "x"], "item": ["i1", "i2", "i1"], "rating": [1, 5, 3]})
    labelled.to_csv("labelled.csv", index=False)
    code, out, _ = run(capsys, "evaluate", "--checkpoint", checkpoint, "--input", "labelled.csv", "--output", "s.json")
    scores, errors = json.loads(Path("s.json").read_text()), Predictor.load(checkpoint).predict_with_notes(
        labelled["user"], labelled["item"])[0] - labelled["rating"]  # fmt: skip
    assert code == 0
    assert scores["rmse"] == pytest.approx(float(np.sqrt(np.mean(errors**2))), abs=1e-6)
    assert scores["mae_known"] == pytest.approx(float(np.abs(errors[:2]).mean()), abs=1e-6)
    assert (scores["n"], scores["n_cold"], scores["coverage"]) == (3, 1, pytest.approx(2 / 3))
    assert f"{scores['rmse']:.4f}" in out
    assert "coverage 66.7%: 1 of 3 pairs" in out


def test_evaluate_says_what_is_outside_the_scale(checkpoint, capsys, caplog):
    Path("a.csv").write_text("user,item,rating\nu 1,i1,-1\nu 1,i2,3\nu 2,i2,4\n")
    assert run(capsys, "evaluate", "--checkpoint", checkpoint, "--input", "a.csv")[0] == 0
    assert "1 of 3 ratings outside the range of training, 1 to 5" in caplog.text
    assert "--not_rated -1 leaves it out" in caplog.text
    assert run(capsys, "evaluate", "--checkpoint", checkpoint, "--input", "a.csv", "--not_rated", "-1")[0] == 0


def test_a_fault_of_the_model_is_not_taken_for_a_full_disk(checkpoint, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(Predictor, "predict_with_notes", broken)
    Path("pairs.csv").write_text("user,item\nu 1,i1\n")
    with pytest.raises(RuntimeError, match=r"^shapes cannot be multiplied$"):
        cli.main(["predict", "--checkpoint", checkpoint, "--input", "pairs.csv", "--output", "out.csv"])
    assert not Path("out.csv").exists()


def test_candidates_and_exclude_are_files_of_ids(checkpoint, capsys):
    Path("some").write_text('item\ni1\n"a, b"\n"""q"""\n-1\nnobody\n')
    Path("never").write_text("title,movieId\nSomething,i1\n")
    Path("by user.csv").write_text("user,item\nnew,-1\nother,i1\n")
    Path("new.csv").write_text("user,item,rating\nnew,i2,5\nnew,i3,1\n")
    base = ["recommend", "--checkpoint", checkpoint, "--new_ratings", "new.csv", "--output", "out.csv"]

    def items(*flags) -> set[str]:
        assert run(capsys, *base, *flags)[0] == 0
        return set(pd.read_csv("out.csv", dtype=str)["item"])

    assert items("--candidates", "some") == {"i1", "a, b", '"q"', "-1"}
    assert items("--candidates", "some", "--exclude", "never") == {"a, b", '"q"', "-1"}
    assert items("--candidates", "some", "--exclude", "by user.csv") == {"i1", "a, b", '"q"'}


@pytest.mark.parametrize("verb", ["predict", "recommend"])
def test_advice_about_new_ratings_names_flags_for_that_file(verb, checkpoint, capsys):
    Path("new.csv").write_text("userID,placeCode,rating,food_rating\nnéw,i2,5,1\n", encoding="cp1252")
    Path("pairs.csv").write_text("user,item\nu 1,i3\n")
    base = [verb, "--checkpoint", checkpoint, "--new_ratings", "new.csv"]
    base += ["--input", "pairs.csv"] if verb == "predict" else []
    code, _, message = run(capsys, *base)
    flag = re.search(r"--\w*columns", message)[0]
    names = "user=userID,item=placeCode,rating=rating"
    code, _, message = run(capsys, *base, flag, names)
    encoding = re.search(r"--\w*encoding \w+", message)[0].split()
    assert (code, run(capsys, *base, flag, names, *encoding)[0]) == (2, 0)
    assert run(capsys, *base, "--columns", names, *encoding)[0] == 0  # the pairs keep their own column names


def test_what_training_lacks_is_left_out_and_the_rest_answered(checkpoint, capsys, caplog):
    Path("new.csv").write_text("user,item,rating\nn1,i1,5\nn1,7777,1\nn2,8888,2\nu 1,i1,3\nu 1,new item,4\n")
    assert run(capsys, "recommend", "--checkpoint", checkpoint, "--new_ratings", "new.csv")[0] == 0
    assert "2 ratings left out, first user 'n1', item '7777': neither has training ratings" in caplog.text
    assert "1 rating left out, first user 'u 1', item 'i1': both have training ratings" in caplog.text
    assert "1 new item left out, first 'new item'" in caplog.text
    Path("new.csv").write_text("user,item,rating\nn2,8888,2\n")
    code, _, message = run(capsys, "recommend", "--checkpoint", checkpoint, "--new_ratings", "new.csv")
    assert (code, "check that the ids are those of the training data." in message) == (2, True)


def test_a_code_in_new_ratings_is_named_with_its_flag(checkpoint, capsys):
    Path("new.csv").write_text("user,item,rating\nn1,i1,5\nn1,i2,-1\n")
    base = ["recommend", "--checkpoint", checkpoint, "--new_ratings", "new.csv"]
    code, _, message = run(capsys, *base)
    assert (code, "--not_rated -1" in message) == (2, True)
    assert run(capsys, *base, "--not_rated", "-1")[0] == 0
