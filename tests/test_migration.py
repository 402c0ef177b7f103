"""Checkpoints that release 0.1.0 wrote (format version 2) predict what that release predicted, and nothing else.

tests/release_0_1_0/ has what it trained on dataset/tiny, whose ratings go from 0 to 5; the figures below are its own.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_autorec import CheckpointError, IAutoRec, Predictor, cli, load_data_and_model, run_recbole_autorec
from recbole_autorec.trainer.checkpoint import load_checkpoint
from tests.conftest import AT_HOME, DATA, written_by_0_1_0

USERS, ITEMS = ["a", "b", "g", "j", "nobody"], ["x2", "y1", "x1", "y3", "x2"]
# U-AutoRec is deep, with a sigmoid on its output, and has a reg_weight; I-AutoRec takes its reg_weight's default.
PREDICTED = {
    "IAutoRec": [4.977253, 1.2031734, 1.2080029, 4.9003859, 2.5],
    "UAutoRec": [4.8375373, 1.3071244, 1.3490611, 4.736444, 2.5],
    "BiasedMF": [5.0, 1.4429085, 1.2112572, 5.0, 3.3577178],
}
RECOMMENDED = {
    "IAutoRec": ("y1", 1.128004550933838), "UAutoRec": ("y1", 1.3089392185211182),
    "BiasedMF": ("y1", 1.4457470178604126),
}  # fmt: skip
SIMILAR = {
    "IAutoRec": [["x2", 0.9900825023651123], ["x3", 0.7388057112693787]],
    "UAutoRec": [["x3", 0.9943987131118774], ["x2", 0.9857193827629089]],
    "BiasedMF": [["x3", 0.9922380447387695], ["x2", 0.9903942346572876]],
}
NEW_USER = {"IAutoRec": [4.7157745, 5.0, 0.19058824], "UAutoRec": [4.8211498, 4.9690714, 0.14410071]}
NEW_ITEM = {"IAutoRec": [3.2395766, 3.3810046, 2.3795519], "UAutoRec": [3.0005484, 2.9982665, 3.8309007]}
CLOSE = {"rtol": 2e-5}  # a sigmoid's fold-in is a search, with torch's tolerance


def exported(path: Path) -> Path:
    Predictor.load(path).save(path.with_stem("exported"))
    return path.with_stem("exported")


@pytest.mark.parametrize("given", [lambda path: path, exported], ids=["checkpoint", "exported"])
@pytest.mark.parametrize("model", PREDICTED)
def test_it_predicts_what_release_0_1_0_did(model, given):
    predictor = Predictor.load(given(written_by_0_1_0(model)))
    np.testing.assert_allclose(predictor.predict(USERS[:4], ITEMS[:4]), PREDICTED[model][:4], rtol=1e-6)
    assert predictor.predict_with_notes(USERS, ITEMS)[0][4] == pytest.approx(PREDICTED[model][4], rel=1e-6)
    similar = predictor.similar_items("x1", 2)
    assert similar["item"].tolist() == [item for item, _ in SIMILAR[model]]
    np.testing.assert_allclose(similar["similarity"], [cosine for _, cosine in SIMILAR[model]], rtol=1e-5)
    if predictor.knows_ratings:
        item, stars = RECOMMENDED[model]
        best = predictor.recommend("d", 3)
        assert (best["item"].tolist(), best["rating"].tolist()) == ([item], [pytest.approx(stars, rel=1e-6)])


@pytest.mark.parametrize("given", [lambda path: path, exported], ids=["checkpoint", "exported"])
@pytest.mark.parametrize("model", NEW_USER)
def test_it_folds_in_as_release_0_1_0_did(model, given):
    predictor = Predictor.load(given(written_by_0_1_0(model)))
    new_user, new_item = predictor.fold_in_user({"x1": 5, "y1": 0}), predictor.fold_in_item({"a": 5, "c": 1})
    np.testing.assert_allclose(new_user.predict(["x1", "x2", "y3"]), NEW_USER[model], **CLOSE)
    np.testing.assert_allclose(new_item.predict(["a", "b", "g"]), NEW_ITEM[model], **CLOSE)


class Mine(IAutoRec):
    """A user's own model; it has the parameters of the class it extends."""


def test_a_class_of_your_own_is_carried_over():
    predictor = Predictor.load(written_by_0_1_0("IAutoRec"), model=Mine)
    np.testing.assert_allclose(predictor.predict(USERS[:4], ITEMS[:4]), PREDICTED["IAutoRec"][:4], rtol=1e-6)


def test_the_commands_take_it(capsys):
    checkpoint = str(written_by_0_1_0("IAutoRec"))
    assert cli.main(["evaluate", "--checkpoint", checkpoint, "--input", str(DATA / "tiny" / "tiny.inter")]) == 0
    assert "rmse" in capsys.readouterr().out.lower()
    assert cli.main(["export", "--checkpoint", checkpoint, "--output", "small.pth"]) == 0
    assert load_checkpoint("small.pth", serving=True)["version"] == 3
    assert cli.main(["recommend", "--checkpoint", checkpoint, "--users", "d", "--output", "best.csv"]) == 0
    assert Path("best.csv").read_text().splitlines()[1] == "d,1,y1,1.1280"


@pytest.mark.parametrize(
    "use",
    [
        lambda path: load_data_and_model(path, AT_HOME),
        lambda path: run_recbole_autorec("IAutoRec", "tiny", config_dict=AT_HOME, resume=path),
    ],
    ids=["load_data_and_model", "resume"],
)
def test_training_does_not_continue_and_the_message_says_what_does(use):
    path = written_by_0_1_0("IAutoRec")
    with pytest.raises(CheckpointError) as caught:
        use(str(path))
    assert str(caught.value) == (
        f"checkpoint '{path}' is of release 0.1.0 (format version 2): this release predicts, evaluates, recommends and "
        "exports with it (Predictor.load), but cannot resume it or load it with its data, because training has changed. "
        "Train again, or use release 0.1.0."
    )


def changed(path: Path, change) -> Path:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c.pop("data"), r"lacks data; it is damaged\.$"),
        (lambda c: c.update(parameters=[1]), r"is damaged: invalid parameters\.$"),
        (lambda c: c.update(state_dict={"mean": "x"}), r"is damaged: invalid state_dict\.$"),
        (lambda c: c["data"].update(user=torch.zeros(41, dtype=torch.int32)), r"is damaged: invalid data\.$"),
        (lambda c: c["state_dict"].update(mean=torch.ones(2)), r"does not fit this model"),
        (
            lambda c: c["state_dict"].update({"user_bias.weight": torch.ones(11, 1).double()}),
            r"does not fit this model",
        ),
        (lambda c: c["parameters"].pop("USER_ID_FIELD"), r"is damaged: KeyError: 'USER_ID_FIELD'\.$"),
    ],
)
def test_a_forged_file_is_refused_in_words(change, why):
    with pytest.raises(CheckpointError, match=why):
        Predictor.load(changed(written_by_0_1_0("BiasedMF"), change))


def test_weights_that_are_finite_in_stars_only_are_damage():
    """The scale's unit is tiny if all but one of the ratings are alike: dividing by it must not lead to infinity."""

    def forge(content):
        content["data"]["rating"] = torch.tensor([1e-30, *([0.0] * 40)])
        content["state_dict"]["user_bias.weight"] = torch.full((11, 1), 1e20)

    with pytest.raises(CheckpointError, match=r"is damaged: invalid state_dict\.$"):
        Predictor.load(changed(written_by_0_1_0("BiasedMF"), forge))


def test_what_predictions_do_not_need_is_not_looked_at():
    path = changed(written_by_0_1_0("IAutoRec"), lambda c: c.update(optimizer=[torch.ones(2).to_sparse()], more=1))
    np.testing.assert_allclose(Predictor.load(path).predict(USERS[:4], ITEMS[:4]), PREDICTED["IAutoRec"][:4], rtol=1e-6)
