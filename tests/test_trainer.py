import warnings
from pathlib import Path

import pytest
import torch
from recbole.trainer import Trainer

from recbole_autorec import CheckpointError, ConfigError
from recbole_autorec.config.checks import LEARNERS
from recbole_autorec.data.dataloader import RowDataLoader
from recbole_autorec.errors import AutoRecError
from recbole_autorec.quick_start import build_dataloaders, build_trainer, quiet_recbole
from recbole_autorec.trainer import autorec_trainer, rating_trainer
from recbole_autorec.trainer.checkpoint import load_checkpoint, load_optimizer
from tests.conftest import config_for, tiny_parts

PAPER = {"offsets": False}  # from these weights the first steps on tiny go far
OURS = {"offsets": True, "init_std": 0.5}
objectives = pytest.mark.parametrize("objective", [PAPER, OURS], ids=["paper", "ours"])


def setup(model="IAutoRec", **parameters):
    """Return (trainer, train loader, valid loader, test loader) on tiny."""
    config = config_for(model, **{**PAPER, **parameters})
    data, parts = tiny_parts(config)
    with quiet_recbole():
        return build_trainer(config, parts[0]), *build_dataloaders(config, data, parts)


def fit(saved=False, **parameters):
    trainer, train, valid, test = setup(**parameters)
    with quiet_recbole():
        trainer.fit(train, valid, saved=saved)
    return trainer, test


def states_equal(one, other) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


@objectives
@pytest.mark.parametrize("model", ["IAutoRec", "UAutoRec"])
@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_lowers_the_objective(model, learner, objective):
    rate = 0.001 if learner == "sgd" else 0.05
    steps = {"epochs": 6, "stopping_step": 9, "train_batch_size": 3}
    trainer, _ = fit(model=model, learner=learner, learning_rate=rate, **steps, **objective)
    losses = list(trainer.train_loss_dict.values())
    assert losses[-1] < (0.99 if objective is OURS else 0.9) * losses[0]  # ours starts at the offsets, near the minimum


@objectives
@pytest.mark.parametrize("hidden_size", [[3], [6, 3, 6]])
def test_deep_variants_train(hidden_size, objective):
    trainer, _ = fit(hidden_size=hidden_size, **objective)
    assert trainer.train_loss_dict[2] < trainer.train_loss_dict[0]


def test_learner_is_the_one_asked_for():
    kinds = {learner: type(setup(learner=learner)[0].optimizer).__name__ for learner in LEARNERS}
    assert kinds == {
        "lbfgs": "ScaledLBFGS", "rprop": "Rprop", "adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "adagrad": "Adagrad", "rmsprop": "RMSprop",
    }  # fmt: skip


def test_rprop_starts_with_the_learning_rate():
    trainer, train, *_ = setup(learner="rprop", rprop_steps=1, learning_rate=0.25)
    weight = trainer.model.autoencoder.decoder_weight
    before = weight.detach().clone()
    with quiet_recbole():
        trainer._train_epoch(train, 0)
    assert {round(move, 5) for move in (weight.detach() - before).abs().flatten().tolist()} <= {0.0, 0.25}


@pytest.mark.parametrize(
    ("scores", "stops"),
    [
        ([1.0, 0.95, 0.9, 0.85], False),
        ([1.0, 0.995, 0.992, 0.991], True),  # less than a hundredth better in three evaluations
        ([1.0, 0.995, 0.992, 0.989], False),  # a little better each time adds up
        ([1.0, 0.995, 0.992], False),
        ([1.0, 1.1, 1.2, 1.3], True),
    ],
)
@pytest.mark.parametrize("bigger", [False, True])
def test_training_ends_where_improvements_are_small(scores, stops, bigger):
    trainer = setup(min_improvement=0.01, stopping_step=2)[0]
    trainer.valid_metric_bigger = bigger
    trainer.curve = [[epoch, 0.0, 2 - score if bigger else score] for epoch, score in enumerate(scores)]
    assert trainer._is_on_plateau() == stops


def test_small_improvements_end_a_full_batch_training_and_no_other():
    run = {"epochs": 30, "stopping_step": 1, "min_improvement": 0.9}
    assert fit(**run, **OURS)[0].epochs_run < 10
    assert fit(**run, learner="adam", learning_rate=1e-5)[0].epochs_run == 30


@pytest.mark.parametrize("learner", ["adam", "adamw"])
def test_adam_passes_over_the_weights_once(learner):
    assert all(group["fused"] for group in setup(learner=learner)[0].optimizer.param_groups)


# not rprop with offsets: it would follow the signs of gradients near 0
@pytest.mark.parametrize(("learner", "objective"), [("lbfgs", PAPER), ("rprop", PAPER), ("lbfgs", OURS)])
def test_full_batch_is_the_same_in_chunks(learner, objective):
    same = {"learner": learner, "epochs": 1, **objective}
    states = [fit(train_batch_size=size, **same)[0].model.state_dict() for size in (1, 2, 1000)]
    for state in states[:2]:
        for key, value in state.items():
            torch.testing.assert_close(value, states[2][key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("learner", ["lbfgs", "rprop"])
def test_a_full_batch_epoch_returns_the_lowest_objective_of_its_passes(learner):
    trainer, train, _, _ = setup(learner=learner, train_batch_size=3, rprop_steps=4, learning_rate=0.3)
    seen = []

    def loss(rows):
        value = trainer.model.calculate_loss(rows)
        seen.append(value.item())
        return value

    with quiet_recbole():
        lowest = trainer._train_epoch(train, 0, loss)
    passes = [sum(seen[start : start + len(train)]) for start in range(0, len(seen), len(train))]
    assert lowest == pytest.approx(min(passes))
    assert len(train) > 1
    assert len(passes) == 4 if learner == "rprop" else len(passes) > 4


@pytest.mark.parametrize("enable_amp", [False, True])
def test_a_full_batch_epoch_has_mixed_precision_only_where_it_is_asked_for(enable_amp):
    trainer, train, _, _ = setup(enable_amp=enable_amp)
    seen = set()

    def loss(rows):
        seen.add(torch.is_autocast_enabled("cpu"))
        return trainer.model.calculate_loss(rows)

    with quiet_recbole():
        trainer._train_epoch(train, 0, loss)
    assert seen == {enable_amp}


def test_an_epoch_at_a_minimum_has_the_objective_there():
    trainer, train, _, _ = setup(**OURS)
    with quiet_recbole():
        reached = trainer._train_epoch(train, 0)
        (state,) = trainer.optimizer.state.values()
        state["gradient"].zero_()
        assert trainer._train_epoch(train, 1) == reached


@pytest.mark.parametrize("learner", ["lbfgs", "adam"])
def test_an_optimiser_takes_back_its_state_but_no_vector_of_another_length(learner):
    trainer, train, _, _ = setup(**OURS, learner=learner)
    with quiet_recbole():
        trainer._train_epoch(train, 0)
    saved = trainer.optimizer.state_dict()
    load_optimizer(trainer.optimizer, {"optimizer": saved}, "c.pth")
    (number, state), *_ = saved["state"].items()
    name = "gradient" if learner == "lbfgs" else "exp_avg"
    learnt = [parameter.numel() for group in trainer.optimizer.param_groups for parameter in group["params"]]
    wrong = learnt[0] if learner == "lbfgs" else sum(learnt)
    forged = {**saved, "state": {**saved["state"], number: {**state, name: torch.zeros(wrong)}}}
    with pytest.raises(CheckpointError, match=r"checkpoint 'c\.pth' does not fit this learner"):
        load_optimizer(trainer.optimizer, {"optimizer": forged}, "c.pth")


def test_gradients_are_cleared_between_batches():
    trainer, train, _, _ = setup(learner="sgd", learning_rate=1e-9, train_batch_size=1000)
    learned = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    with quiet_recbole():
        trainer._train_epoch(train, 0)
        once = [p.grad.clone() for p in learned]
        trainer._train_epoch(train, 1)
    for before, parameter in zip(once, learned, strict=True):
        torch.testing.assert_close(parameter.grad, before, rtol=1e-3, atol=1e-3)


def test_same_seed_same_bits_other_seed_other_bits():
    states = [
        fit(learner="adam", train_batch_size=2, dropout_prob=0.3, seed=s)[0].model.state_dict() for s in (1, 1, 2)
    ]
    assert states_equal(states[0], states[1])
    assert not states_equal(states[0], states[2])


@pytest.mark.parametrize("saved", [True, False])
def test_the_best_epoch_is_tested_and_not_the_last(saved):
    # a huge step: the first epochs are the best, the later ones worse
    trainer, test = fit(saved=saved, learner="rprop", rprop_steps=3, learning_rate=0.3, epochs=12, stopping_step=20)
    assert Path(trainer.saved_model_file).exists() is saved
    last = trainer.evaluate(test, load_best_model=False)
    assert trainer.best_epoch < trainer.epochs_run == 12
    assert trainer.evaluate(test) != last
    again, again_test = fit(
        learner="rprop", rprop_steps=3, learning_rate=0.3, epochs=trainer.best_epoch, stopping_step=20
    )
    assert again.evaluate(again_test, load_best_model=False) == trainer.evaluate(test)


def test_two_runs_of_one_second_do_not_share_a_checkpoint():
    paths = [fit(saved=True, reg_weight=reg_weight)[0].saved_model_file for reg_weight in (1, 5)]
    assert paths[0] != paths[1]
    assert [load_checkpoint(path)["parameters"]["reg_weight"] for path in paths] == [1, 5]


def test_early_stopping_counts_evaluations_without_a_better_score():
    trainer, _ = fit(learner="rprop", rprop_steps=3, learning_rate=0.3, epochs=50, stopping_step=2)
    assert trainer.epochs_run == trainer.best_epoch + 3 < 50


RANKED = {"metrics": ["NDCG"], "valid_metric": "NDCG@3", "topk": [3], "eval_args": {"mode": "full"}}


@pytest.mark.parametrize(
    ("errors", "best", "run"),
    [
        ([9, 5, 3, 4, 4, 2, 3, 3, 3, 1], 5, 8),  # two without a better score are allowed, three are not
        ([9, 5, 5, 6, 6, 6, 1], 2, 5),  # the last of equals is the best
        ([3, 4, 4, 4, 1], 0, 3),  # the offsets alone
        ([9, 5, 6, 6], 1, 3),  # no epochs are left
    ],
)
@pytest.mark.parametrize("bigger", [False, True])
def test_the_best_epoch_and_the_last_one_are_those_worked_out_by_hand(errors, best, run, bigger, monkeypatch):
    scores = [-error if bigger else error for error in errors]
    more = {"learner": "adam", "epochs": len(errors) - 1, "stopping_step": 2, **(RANKED if bigger else {})}
    trainer, train, valid, _ = setup(**{**more, "offsets": True})
    monkeypatch.setattr(
        Trainer, "_valid_epoch", lambda *_, **__: (scores[len(trainer.curve)], {"number": len(trainer.curve)})
    )
    monkeypatch.setattr(type(trainer), "last_scores", property(lambda self: len(self.curve) - 1))
    with quiet_recbole():
        score, result = trainer.fit(train, valid, saved=False)
    assert (trainer.best_epoch, trainer.epochs_run) == (best, run)
    assert (score, result, trainer.valid_scores) == (scores[best], {"number": best}, best)
    assert [point[::2] for point in trainer.curve] == [[epoch, scores[epoch]] for epoch in range(run + 1)]


@pytest.fixture
def clock(monkeypatch):
    """Every epoch takes 10 s, every validation 1 s and its calibration 0.25 s, on a clock of its own."""
    now = [0.0]

    def takes(seconds, answer=None):
        def work(*_, **__):
            now[0] += seconds
            return answer

        return work

    monkeypatch.setattr(rating_trainer, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Trainer, "_train_epoch", takes(10, 1.25))
    monkeypatch.setattr(Trainer, "_valid_epoch", takes(1, (0.5, {"rmse": 0.5, "mae": 0.25})))
    monkeypatch.setattr(autorec_trainer.AutoRecTrainer, "_calibrate", takes(0.25))


CLOCKED = {"learner": "adam", "epochs": 2, "offsets": True, "calibration": True}


def test_seconds_are_those_of_building_training_calibrating_and_evaluating_and_a_refit_adds_its_own(clock):
    trainer, train, valid, _ = setup(**CLOCKED)
    trainer.train_seconds = 100.0  # of building
    again = setup(**CLOCKED)[0]
    again.train_seconds = 50.0
    with quiet_recbole():
        trainer.fit(train, valid, saved=False)
        again.follow(trainer.chosen())
        again.fit(train, saved=False)
    course = trainer.course()
    assert (course["train_seconds"], course["eval_seconds"]) == (120, 3.75)  # the offsets alone are evaluated as well
    assert course["curve"] == [[0, 100, 0.5], [1, 110, 0.5], [2, 120, 0.5]]
    assert again.course() == {**course, "train_seconds": 190}
    assert (trainer.is_refit, again.is_refit) == (False, True)


def test_a_refit_is_on_two_parts_and_on_three_once_the_test_part_has_been_scored():
    trainer, *_ = setup()
    found = [(trainer.n_parts, trainer.epochs)]
    for course in ({"best_epoch": 2}, {"best_epoch": 1, "test": {}}):
        rating_trainer.RatingTrainer.follow(trainer, {"course": course})
        found.append((trainer.n_parts, trainer.epochs))
    assert found == [(1, 3), (2, 2), (3, 1)]


def test_an_epochs_line_has_its_loss_its_scores_and_the_seconds_so_far(clock, caplog):
    caplog.set_level("INFO", logger="recbole_autorec")
    trainer, train, valid, _ = setup(**CLOCKED)
    trainer.train_seconds = 0.0
    with quiet_recbole():
        trainer.fit(train, valid, saved=False)
        trainer.fit(train, saved=False)
        trainer.fit(train, verbose=False, saved=False)
    assert [record.getMessage() for record in caplog.records if record.name == rating_trainer.__name__] == [
        "epoch   0/2  offsets alone  valid rmse 0.5000  mae 0.2500  train 0.0 s  best",
        "epoch   1/2  J 1.25  valid rmse 0.5000  mae 0.2500  train 10.0 s  best",
        "epoch   2/2  J 1.25  valid rmse 0.5000  mae 0.2500  train 20.0 s  best",
        "epoch   1/2  J 1.25  train 30.0 s",
        "epoch   2/2  J 1.25  train 40.0 s",
    ]


def test_checkpoint_is_plain_and_holds_the_best_epoch():
    trainer, test = fit(saved=True)
    checkpoint = torch.load(trainer.saved_model_file, weights_only=True)
    assert checkpoint["course"]["best_epoch"] == trainer.best_epoch
    expected = trainer.evaluate(test)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(1)
    assert trainer.evaluate(test, model_file=trainer.saved_model_file) == expected
    assert checkpoint["course"]["valid"].keys() == {"rmse", "mae"}
    assert checkpoint["course"]["valid"] == trainer.best_valid_result
    assert checkpoint["best_valid_score"] == trainer.best_valid_score == trainer.best_valid_result["rmse"]
    assert trainer.best_epoch > 1


@objectives
@pytest.mark.parametrize("learner", ["lbfgs", "rprop", "adam"])
def test_resuming_continues_as_if_never_interrupted(learner, objective):
    same = {
        "learner": learner,
        "train_batch_size": 2,
        "learning_rate": 0.01,
        "stopping_step": 99,
        "lbfgs_max_iter": 1,
        "rprop_steps": 20,
        "seed": 5,  # the second epoch is better than the first
    }
    same |= objective
    if learner == "adam":
        same["dropout_prob"] = 0.2
    whole, _ = fit(epochs=4, **same)
    first, _ = fit(epochs=2, saved=True, **same)
    assert first.best_epoch == 2
    second, train, valid, _ = setup(epochs=4, **same)
    torch.manual_seed(12345)  # earlier draws in the new process must not matter
    second.resume_checkpoint(first.saved_model_file)
    with quiet_recbole():
        second.fit(train, valid, saved=True)
    assert states_equal(second.model.state_dict(), whole.model.state_dict())
    assert second.epochs_run == 4


def test_resuming_what_has_all_its_epochs_trains_no_more():
    same = {"epochs": 2, "stopping_step": 99, "lbfgs_max_iter": 1, "seed": 5}
    first, test = fit(saved=True, **same)
    second, train, valid, _ = setup(**same)
    second.resume_checkpoint(first.saved_model_file)
    with quiet_recbole():
        assert second.fit(train, valid) == (first.best_valid_score, first.best_valid_result)
    assert (second.best_epoch, second.epochs_run) == (first.best_epoch, first.epochs_run) == (2, 2)
    assert second.evaluate(test) == first.evaluate(test)


def test_training_without_a_validation_part_saves_the_last_epoch():
    trainer, train, _, test = setup(epochs=2)
    with quiet_recbole():
        trainer.fit(train, saved=True)
        trainer.evaluate(test)
    course = load_checkpoint(trainer.saved_model_file)["course"]
    assert (course["best_epoch"], course["valid"]) == (2, None)


def test_interruption_leaves_the_best_checkpoint_usable():
    trainer, train, valid, _ = setup(epochs=9, lbfgs_max_iter=1, seed=5)
    train_epoch, epochs = trainer._train_epoch, []

    def interrupted(*arguments, **keywords):
        if len(epochs) == 2:
            raise KeyboardInterrupt
        epochs.append(1)
        return train_epoch(*arguments, **keywords)

    trainer._train_epoch = interrupted
    with pytest.raises(KeyboardInterrupt), quiet_recbole():
        trainer.fit(train, valid, saved=True)
    assert load_checkpoint(trainer.saved_model_file)["course"]["best_epoch"] == 2
    resumed, train, valid, _ = setup(epochs=3, lbfgs_max_iter=1, seed=5)
    resumed.resume_checkpoint(trainer.saved_model_file)
    with quiet_recbole():
        resumed.fit(train, valid, saved=True)
    assert resumed.epochs_run == 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"epochs": 2}, "epochs=2, but checkpoint '{}' already has 3; give more --epochs."),
        ({"model": "UAutoRec"}, "checkpoint '{}' has model='IAutoRec' (here 'UAutoRec'); resume with the parameters it was trained with."),
        ({"learner": "adam", "row_scaling": 0.5}, "checkpoint '{}' has learner='lbfgs' (here 'adam'), row_scaling=0 (here 0.5); resume with the parameters it was trained with."),
        ({"metrics": ["MAE"], "valid_metric": "MAE"}, "checkpoint '{}' has metrics=['RMSE', 'MAE'] (here ['MAE']), valid_metric='RMSE' (here 'MAE'); resume with the parameters it was trained with."),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_belong_here_is_refused(change, expected):
    path = fit(saved=True)[0].saved_model_file
    with pytest.raises((ConfigError, CheckpointError)) as caught:
        setup(**{"epochs": 9, **change})[0].resume_checkpoint(path)
    assert str(caught.value) == expected.format(path)


def test_a_checkpoint_of_other_ratings_is_refused():
    first, _ = fit(saved=True)
    theirs = load_checkpoint(first.saved_model_file)["train_fingerprint"]
    other, train, valid, _ = setup(epochs=9)
    train._dataset.inter_feat["rating"][0] += 1
    other.resume_checkpoint(first.saved_model_file)
    with pytest.raises(CheckpointError) as caught, quiet_recbole():
        other.fit(train, valid)
    assert str(caught.value) == (
        f"checkpoint '{first.saved_model_file}' was trained on other ratings ({theirs}, here {other._train_fingerprint}): "
        "the data have changed."
    )


def test_divergence_is_said():
    with pytest.raises(AutoRecError) as caught:
        fit(learner="sgd", learning_rate=1e30, epochs=5)
    assert str(caught.value) == (
        "training diverged in epoch 2: the loss is inf; raise reg_weight, lower learning_rate, or use learner lbfgs."
    )


@pytest.mark.parametrize("learner", ["lbfgs", "adam"])
def test_fit_and_evaluate_warn_nothing(learner):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer, test = fit(learner=learner)
        with quiet_recbole():
            trainer.evaluate(test)
    assert [str(w.message) for w in caught] == []


def test_our_own_warnings_are_not_hidden():
    with warnings.catch_warnings(record=True) as caught, quiet_recbole():
        warnings.warn_explicit("ours", FutureWarning, "x.py", 1, module="recbole_autorec.data.dataset")
        warnings.warn_explicit("theirs", FutureWarning, "x.py", 1, module="recbole.data.dataset")
    assert [str(w.message) for w in caught] == ["ours"]


def test_mixed_precision_of_recbole_works():
    trainer, _ = fit(learner="adam", enable_amp=True, hidden_size=[8, 4], learning_rate=0.05, epochs=6)
    losses = list(trainer.train_loss_dict.values())
    assert losses[-1] < losses[0]


def test_progress_moves_inside_an_lbfgs_step(monkeypatch):
    import recbole_autorec.trainer.rating_trainer as module

    updates = []

    class Bar(module.tqdm):
        def update(self, n=1):
            updates.append(n)
            return super().update(n)

    monkeypatch.setattr(module, "tqdm", Bar)
    fit(epochs=1, lbfgs_max_iter=5)
    assert len(updates) >= 5


def test_recbole_trainer_itself_trains_and_evaluates_the_model():
    config = config_for(learner="adam", train_batch_size=2, learning_rate=0.05)
    data, parts = tiny_parts(config)
    with quiet_recbole():
        train, valid, test = build_dataloaders(config, data, parts)
        trainer = Trainer(config, config.model_class(config, parts[0]))
        trainer.fit(train, valid, saved=False, verbose=False)
        result = trainer.evaluate(test, load_best_model=False)
    assert 0 < result["rmse"] < 5
    assert isinstance(train, RowDataLoader)
