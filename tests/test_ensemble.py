"""Several AutoRecs as one model."""

import numpy as np
import pytest
import torch

from recbole_autorec import ConfigError, Predictor, load_data_and_model, run_recbole_autorec
from recbole_autorec.quick_start import train_and_test
from recbole_autorec.trainer.checkpoint import load_checkpoint
from tests.conftest import AT_HOME, DATA, all_pairs, config_for, quick, tiny_model, tiny_parts

THREE = [{"model": "IAutoRec"}, {"model": "UAutoRec", "hidden_size": [5]}, {"model": "IAutoRec", "row_scaling": 0.4}]
TINY = {"data_path": str(DATA), **quick("AutoRecEnsemble"), "calibration": True, "members": THREE}


def run(**parameters):
    resume = parameters.pop("resume", None)
    return run_recbole_autorec("AutoRecEnsemble", "tiny", config_dict={**TINY, **parameters}, resume=resume)


def fitted(**parameters):
    config = config_for("AutoRecEnsemble", **{"calibration": True, "members": THREE, **parameters})
    data, parts = tiny_parts(config)
    result, trainer = train_and_test(config, data, parts)
    trainer.load_best()
    return result, trainer, parts


def test_members_have_their_own_parameters_the_ensembles_and_their_models():
    _, _, model = tiny_model("AutoRecEnsemble", members=THREE)
    first, second, third = model.members
    assert [type(member).__name__ for member in model.members] == ["IAutoRec", "UAutoRec", "IAutoRec"]
    assert first.autoencoder.decoder_weight.shape == (11, 8)
    assert second.autoencoder.decoder_weight.shape == (7, 5)
    assert (first.row_scaling, second.row_scaling, third.row_scaling) == (0.7, -0.25, 0.4)
    assert {member.autoencoder.reg_weight for member in model.members} == {(1, 1)}


def test_a_prediction_is_the_weighted_sum_of_its_members_parts():
    _, trainer, _ = fitted()
    model, pairs = trainer.model, all_pairs(trainer.model)
    users, items = pairs["user_id"], pairs["item_id"]
    with torch.no_grad():
        score = model.mean() + model.calibration.weights[0]
        for member, (w, v, s, t) in zip(model.members, model.calibration.weights[1:].view(3, 4), strict=True):
            offsets, interactions = (part[:, 0] for part in member.parts(users, items))
            carries = v + s * model.calibration.x_user[users] + t * model.calibration.x_item[items]
            score = score + w * offsets + carries * interactions
        torch.testing.assert_close(model.predict(pairs), model.clipped(model.scale.in_stars(score)))
        ranked = model.full_sort_predict(pairs[items == 0]).clamp(*model.rating_range)
        torch.testing.assert_close(ranked, model.predict(pairs))
    assert (model.calibration.weights[:5] != 0).all()


def test_a_member_is_trained_as_it_is_alone():
    """On its own objective and with its own early stopping; checked for the first, whose weights are drawn first."""
    _, trainer, _ = fitted(hidden_size=[8])
    config = config_for("IAutoRec", calibration=True, **{key: trainer.model.configs[0][key] for key in
                        ("row_scaling", "column_scaling", "init_std")})  # fmt: skip
    alone = train_and_test(config, *tiny_parts(config))[1]
    alone.load_best()
    ours = trainer.model.members[0].autoencoder.state_dict()
    for name, value in alone.model.autoencoder.state_dict().items():
        assert torch.equal(ours[name], value), name
    assert trainer.model.member_epochs[0] == alone.best_epoch


def test_together_they_are_better_than_each_alone():
    settings = {"hidden_size": [50], "epochs": 2, "saved": False, "show_progress": False}
    together, *alone = (
        run_recbole_autorec(model, "ml-100k", config_dict=settings)
        for model in ("AutoRecEnsemble", "IAutoRec", "UAutoRec")
    )
    for part in ("valid", "test"):
        assert together[part]["rmse"] < min(result[part]["rmse"] for result in alone) - 0.001
    assert (together["best_epoch"], together["epochs_run"]) == (2, 2)
    scores = [score for *_, score in together["curve"]]
    assert scores[1] == together["valid"]["rmse"] < scores[0]


def test_a_refit_trains_each_member_as_long_and_keeps_the_weights():
    once, again = fitted(epochs=4)[1], fitted(epochs=4, refit=True)[1]
    assert torch.equal(again.model.calibration.weights, once.model.calibration.weights)
    assert torch.equal(again.model.member_epochs, once.model.member_epochs)
    assert len(again.model.members[0].ratings) > len(once.model.members[0].ratings)


@pytest.mark.parametrize("learner", ["lbfgs", "adam"])
def test_resumed_after_a_member_it_comes_to_the_same_bits(learner, monkeypatch):
    from recbole_autorec.trainer import ensemble_trainer

    settings = {
        "saved": True,
        "learner": learner,
        "train_batch_size": 2,
        "dropout_prob": 0.0 if learner == "lbfgs" else 0.2,
    }
    whole = run(**settings)
    trainers = iter([ensemble_trainer.row_trainer])

    def interrupted(learner):
        try:
            return next(trainers)(learner)
        except StopIteration:
            raise KeyboardInterrupt from None

    with monkeypatch.context() as patched:
        patched.setattr(ensemble_trainer, "row_trainer", interrupted)
        patched.setattr("recbole_autorec.trainer.rating_trainer._free_name", lambda stem: "half.pth")
        with pytest.raises(KeyboardInterrupt):
            run(**settings)
    resumed = run(**settings, resume="half.pth")
    assert (resumed["valid"], resumed["test"]) == (whole["valid"], whole["test"])
    ours, theirs = (load_checkpoint(result["checkpoint"])["state_dict"] for result in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_checkpoint_serves_as_the_model_did():
    result = run(saved=True, refit=True)
    _, model, data, *_ = load_data_and_model(result["checkpoint"], AT_HOME)
    predictor = Predictor.load(result["checkpoint"])
    numbers = all_pairs(model)
    with torch.no_grad():
        expected = model.predict(numbers)
    ids = [data.id2token(field, numbers[field][numbers["user_id"] > 0]) for field in ("user_id", "item_id")]
    found = predictor.predict(*(list(map(str, names)) for names in ids))
    np.testing.assert_allclose(found, expected[numbers["user_id"] > 0], rtol=1e-5)
    alike = predictor.similar_items(predictor.rated_items[0], k=10)["similarity"]
    assert ((alike >= -1.0001) & (alike <= 1.0001)).all()


def test_each_member_is_told_in_a_line(caplog):
    caplog.set_level("INFO")
    run(refit=True)
    lines = [line for line in caplog.messages if line.startswith("member")]
    assert "member 1/3 IAutoRec, epoch " in lines[0]
    assert "  valid rmse " in lines[0]
    assert "  together  valid rmse " in lines[0]
    assert "member 3/3 IAutoRec, epoch " in lines[2]
    assert "valid" not in "".join(lines[3:])  # the refit's


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"members": []}, "config_dict: members=[]; expected a list of IAutoRecs and UAutoRecs, such as [{model: IAutoRec}, {model: UAutoRec, hidden_size: [250]}]."),
        ({"members": ["IAutoRec"]}, "config_dict: members=['IAutoRec']; expected a list of IAutoRecs and UAutoRecs, such as [{model: IAutoRec}, {model: UAutoRec, hidden_size: [250]}]."),
        ({"members": [{"model": "FM"}]}, "config_dict: members=[{'model': 'FM'}]; expected a list of IAutoRecs and UAutoRecs, such as [{model: IAutoRec}, {model: UAutoRec, hidden_size: [250]}]."),
        ({"members": [{"model": "IAutoRec", "hidden": 3}]}, "config_dict: member 1: 'hidden' is not a parameter of IAutoRec."),
        ({"members": [{"model": "IAutoRec"}, {"model": "UAutoRec", "seed": 3}]}, "config_dict: member 2: 'seed' belongs to the ensemble; set it there."),
        ({"members": [{"model": "IAutoRec", "hidden_size": 3}]}, "config_dict: member 1: hidden_size=3; expected a list of whole numbers >= 1, such as [500] (the paper's)."),
        ({"members": [{"model": "IAutoRec", "decoder_activation": "sigmoid"}]}, "config_dict: member 1: decoder_activation='sigmoid' with offsets, which need a linear output; set offsets False, or decoder_activation identity."),
        ({"members": [{"model": "IAutoRec", "offsets": False}]}, "config_dict: member 1: 'offsets' belongs to the ensemble; set it there."),
        ({"members": [{"model": "IAutoRec", "learner": "lbfgs"}], "learner": "adam", "dropout_prob": 0.2}, "config_dict: member 1: shared: dropout_prob=0.2 with learner 'lbfgs', "),
        ({"offsets": False}, "config_dict: offsets=False; expected True (an ensemble combines offsets and interactions)."),
        ({"row_scaling": 0.2}, "config_dict: unknown key 'row_scaling'; "),
    ],
)  # fmt: skip
def test_impossible_ensembles_are_refused_in_words(parameters, expected):
    with pytest.raises(ConfigError) as error:
        config_for("AutoRecEnsemble", **parameters)
    assert str(error.value).startswith(expected)
    assert len(str(error.value).splitlines()) == 1
