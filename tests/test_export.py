"""Exported files give the same predictions and hold no ratings, optimiser, paths or formulas."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_autorec import CheckpointError, DataError, Predictor, cli, load_data_and_model, run_recbole_autorec
from recbole_autorec.files import without_formulas
from recbole_autorec.trainer.checkpoint import SERVING_SCHEMA, load_checkpoint
from tests.conftest import AT_HOME, DATA, QUICK_ANY, quick

AUTOREC = {
    "IAutoRec": {"calibration": True}, "UAutoRec": {"hidden_size": [4, 3], "decoder_activation": "identity"},
    "AutoRecEnsemble": {"calibration": True}, "paper": {"offsets": False, "decoder_activation": "sigmoid"},
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a function that gives (checkpoint, exported file) of a model."""
    made = {}

    def of(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("export")
            model = "IAutoRec" if name == "paper" else name
            parameters = {**quick(model), **AUTOREC.get(name, {}), "data_path": str(DATA), "saved": True,
                          "checkpoint_dir": str(folder), "state": "ERROR"}  # fmt: skip
            checkpoint = run_recbole_autorec(model, "tiny", config_dict=parameters)["checkpoint"]
            Predictor.load(checkpoint).save(folder / "model.pth")
            made[name] = checkpoint, folder / "model.pth"
        return made[name]

    return of


@pytest.mark.parametrize("name", [*AUTOREC, "BiasedMF", "Bias", "GlobalMean", "NeuMF", "FM"])
def test_it_predicts_and_ranks_what_the_checkpoint_does_to_the_bit(name, exported):
    whole, small = map(Predictor.load, exported(name))
    pairs = np.repeat(whole.users, len(whole.items)), np.tile(whole.items, len(whole.users))
    assert np.array_equal(whole.predict(*pairs), small.predict(*pairs))
    assert whole.notes(*pairs) == small.notes(*pairs)
    assert np.array_equal(whole.predict("nobody", whole.items), small.predict("nobody", whole.items))
    assert (whole.rating_range, whole.rated_items, whole.users) == (small.rating_range, small.rated_items, small.users)
    assert whole.knows_ratings
    assert not small.knows_ratings
    user = whole.rated_users[0]
    everything = small.recommend(user, 99)
    assert sorted(everything["item"]) == sorted(whole.rated_items)
    left = set(whole.recommend(user, 99)["item"])
    pd.testing.assert_frame_equal(
        everything[everything["item"].isin(left)].reset_index(drop=True), whole.recommend(user, 99)
    )


@pytest.mark.parametrize("name", AUTOREC)
def test_it_folds_in_and_compares_what_the_checkpoint_does_to_the_bit(name, exported):
    whole, small = map(Predictor.load, exported(name))
    for new, known in (("fold_in_user", whole.rated_items), ("fold_in_item", whole.rated_users)):
        ratings = {known[0]: 1, known[2]: 5, known[3]: 4}
        assert torch.equal(getattr(whole, new)(ratings).scores, getattr(small, new)(ratings).scores)
    pd.testing.assert_frame_equal(whole.similar_items(whole.rated_items[0]), small.similar_items(whole.rated_items[0]))


@pytest.mark.parametrize("name", [*AUTOREC, "NeuMF"])
def test_it_has_neither_ratings_nor_optimiser_nor_paths(name, exported):
    checkpoint, small = exported(name)
    content, whole = load_checkpoint(small, serving=True), load_checkpoint(checkpoint)
    assert content.keys() == {"format", "version", *SERVING_SCHEMA}
    assert content["data"].keys() == {"users", "items", "titles", "fields", "margins"}
    tensors = [value for part in (content["data"]["margins"], content["state_dict"]) for value in part.values()]
    ratings = whole["data"]["rating"]
    assert not any(torch.is_tensor(each) and each.numel() == len(ratings) for each in tensors)
    assert small.stat().st_size < 0.6 * Path(checkpoint).stat().st_size
    assert whole["parameters"]["checkpoint_dir"] == str(small.parent)
    with zipfile.ZipFile(small) as archive:
        assert not any(str(small.parent).encode() in archive.read(entry) for entry in archive.infolist())


def test_an_exported_file_exports_itself(exported, tmp_path):
    Predictor.load(exported("IAutoRec")[1]).save(tmp_path / "again.pth")
    theirs, ours = (load_checkpoint(file, serving=True) for file in (exported("IAutoRec")[1], tmp_path / "again.pth"))
    assert torch.equal(theirs["learnt"][0][0], ours["learnt"][0][0])
    assert theirs["parameters"] == ours["parameters"]


def test_it_does_not_train_on_and_says_so(exported):
    small = exported("IAutoRec")[1]
    expected = r"was exported for serving only: .*\. Use the checkpoint it was exported from\.$"
    with pytest.raises(CheckpointError, match=expected):
        load_data_and_model(small, AT_HOME)
    parameters = {**quick("IAutoRec"), **AUTOREC["IAutoRec"], **AT_HOME}
    with pytest.raises(CheckpointError, match=expected):
        run_recbole_autorec("IAutoRec", "tiny", config_dict=parameters, resume=small)


def test_a_model_that_predicts_from_the_ratings_themselves_is_refused(tmp_path):
    parameters = {**QUICK_ANY, "data_path": str(DATA), "saved": True, "epochs": 1}
    checkpoint = run_recbole_autorec("DMF", "tiny", config_dict=parameters)["checkpoint"]
    with pytest.raises(DataError, match=r"^model DMF cannot be exported: it needs the training ratings to predict \("):
        Predictor.load(checkpoint).save(tmp_path / "x.pth")
    assert not (tmp_path / "x.pth").exists()


def test_the_verb(exported, capsys, caplog):
    checkpoint = exported("IAutoRec")[0]
    caplog.set_level("WARNING", "recbole_autorec")  # state sets the level of the whole process
    assert cli.main(["export", "--checkpoint", checkpoint, "--output", "new/model.pth"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("new/model.pth: IAutoRec for serving, 0.0 of 0.0 MB; without ratings and optimiser state")
    assert cli.main(["recommend", "--checkpoint", "new/model.pth", "--users", "all"]) == 0
    assert "exported without ratings: recommendations may include rated items" in caplog.text
    for output in (checkpoint, "new"):
        assert cli.main(["export", "--checkpoint", checkpoint, "--output", output]) == 2
        assert "give another name." in capsys.readouterr().err
    assert cli.main(["export", "--checkpoint", "none.pth", "--output", "x.pth"]) == 2
    assert capsys.readouterr().err == "error: checkpoint 'none.pth': no such file.\n"


def test_the_first_checkpoint_says_what_it_holds(caplog):
    run_recbole_autorec("IAutoRec", "tiny", config_dict={**quick("IAutoRec"), **AT_HOME, "saved": True, "refit": True})
    assert caplog.text.count("contains the training ratings; the export command leaves them out") == 1


FORMULAS = ["\n=1", "\uff1d1", "=1+1", "+SUM(A1)", "-2+3", "@x", "\t=1", "\r=1", "=", "-", "+a", "-1-", "=HYPERLINK(1)"]
PLAIN = ["1", "-1", "+1.5", "-1e5", "-.5", "a=b", "", "user 1", "'=1", " =1"]


def test_no_cell_of_a_csv_file_is_a_formula():
    table = pd.DataFrame({"id": [*FORMULAS, *PLAIN], "rating": -1.5})
    safe = without_formulas(table)
    assert safe["id"].tolist() == [*(f"'{text}" for text in FORMULAS), *PLAIN]
    assert safe["rating"].tolist() == table["rating"].tolist()
    assert table["id"].tolist() == [*FORMULAS, *PLAIN]


def test_ids_that_look_like_formulas_are_text_in_csv_and_themselves_elsewhere(write_dataset):
    path = write_dataset([f"=u{u}\t@i{i}\t{1 + (u * i) % 5}" for u in range(8) for i in range(8)])
    parameters = {**quick("Bias"), "data_path": path, "saved": True}
    checkpoint = run_recbole_autorec("Bias", "toy", config_dict=parameters)["checkpoint"]
    for suffix, mark in ((".csv", "'"), (".tsv", ""), (".json", "")):
        assert cli.main(["recommend", "--checkpoint", checkpoint, "--users", "=u1", "--output", f"out{suffix}"]) == 0
        read = {".csv": pd.read_csv, ".tsv": lambda file: pd.read_csv(file, sep="\t"), ".json": pd.read_json}[suffix]
        table = read(f"out{suffix}")
        assert set(table["user"]) == {f"{mark}=u1"}
        assert all(item.startswith(f"{mark}@i") for item in table["item"])
