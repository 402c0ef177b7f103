"""What IAutoRec and UAutoRec must do under RecBole."""

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_autorec import IAutoRec, UAutoRec
from recbole_autorec.data.dataloader import RowDataLoader
from recbole_autorec.quick_start import build_dataloaders, build_trainer
from tests.conftest import all_pairs, tiny_model
from tests.reference import objective_and_gradients, predictions

MODELS = ["IAutoRec", "UAutoRec"]
pytestmark = pytest.mark.parametrize("name", MODELS)


def pairs(model, users, items) -> Interaction:
    return Interaction({model.USER_ID: torch.tensor(users), model.ITEM_ID: torch.tensor(items)})


def dense(model, part):
    """Return ratings (N, D) and the mask of observed ones, from RecBole's interactions."""
    ratings, observed = np.zeros(model.ratings.shape), np.zeros(model.ratings.shape, dtype=bool)
    index = part.inter_feat[model.row_field].numpy(), part.inter_feat[model.column_field].numpy()
    ratings[index], observed[index] = part.inter_feat["rating"].numpy(), True
    return ratings, observed


def weights(model):
    core = model.autoencoder
    return [
        getattr(core, n).detach().double().numpy()
        for n in ("encoder_weight", "encoder_bias", "decoder_weight", "decoder_bias")
    ]


def levels(model):
    """Return m and a."""
    return model.autoencoder.mean.item(), model.autoencoder.row_bias.detach().double().numpy()


def on_scale(model, ratings):
    """Convert to the model's scale; unobserved entries do not matter."""
    return model.scale.on(torch.from_numpy(ratings)).double().numpy()


def randomize(model, seed=0):
    torch.manual_seed(seed)
    for parameter in model.autoencoder.parameters():
        torch.nn.init.normal_(parameter)


def test_is_the_public_class(name):
    _, _, model = tiny_model(name)
    assert type(model) is {"IAutoRec": IAutoRec, "UAutoRec": UAutoRec}[name]


def test_rows_are_items_or_users_as_the_name_says(name):
    _, _, model = tiny_model(name)
    assert model.ratings.shape == ((7, 11) if name == "IAutoRec" else (11, 7))  # 6 items, 10 users, padding
    assert model.row_field == ("item_id" if name == "IAutoRec" else "user_id")


@pytest.mark.parametrize("offsets", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_loss_of_an_epoch_is_the_objective_for_any_batch_size(name, batch_size, offsets):
    dampings = {"user_damping": 2, "item_damping": 7} if offsets else {}
    config, parts, model = tiny_model(name, train_batch_size=batch_size, reg_weight=[3, 5], offsets=offsets, **dampings)
    randomize(model)
    ratings, observed = dense(model, parts[0])
    of_offsets = (*levels(model), (7, 2) if name == "IAutoRec" else (2, 7)) if offsets else ()
    J, _ = objective_and_gradients(on_scale(model, ratings), observed, *weights(model), (3, 5), *of_offsets)
    loader = RowDataLoader(config, parts[0], None, shuffle=True)
    assert sum(model.calculate_loss(batch).item() for batch in loader) == pytest.approx(J, rel=1e-5)


@pytest.mark.parametrize("offsets", [False, True])
def test_prediction_is_the_formula_clipped(name, offsets):
    _, parts, model = tiny_model(name, offsets=offsets)
    randomize(model)
    ratings, observed = dense(model, parts[0])
    inputs = np.where(observed, on_scale(model, ratings), 0)
    expected, _ = predictions(inputs, *weights(model), *(levels(model) if offsets else ()))  # (N, D)
    if offsets:
        expected = model.scale.in_stars(expected)
    interaction = all_pairs(model)
    rows, columns = interaction[model.row_field], interaction[model.column_field]
    warm = observed.any(1)[rows] & observed.any(0)[columns]
    found = model.eval().predict(interaction).detach().numpy()
    np.testing.assert_allclose(found[warm], expected.clip(0, 5)[rows, columns][warm], rtol=1e-5, atol=1e-5)
    assert warm.any()
    assert (expected[rows, columns][warm] < 0).any()  # so clipping matters


def test_scaling_by_activity_scales_the_input_and_not_the_target(name):
    _, parts, model = tiny_model(name, row_scaling=0.5, column_scaling=-0.25, offsets=False)
    ratings, observed = dense(model, parts[0])
    expected = ratings.copy()
    for axis, power in ((1, 0.5), (0, -0.25)):
        n = observed.sum(axis, keepdims=True)
        expected = expected * (n[n > 0] ** power).mean() / np.maximum(n, 1) ** power
    rows, columns = model.ratings.rows.long(), model.ratings.columns.long()
    assert torch.equal(model.ratings.values, torch.tensor(ratings, dtype=torch.float32)[rows, columns])
    torch.testing.assert_close(model.inputs.values, torch.tensor(expected, dtype=torch.float32)[rows, columns])

    some = model.rated_rows[:2]
    loss = model.calculate_loss({model.row_field: some})
    inputs, targets = model.inputs.select(some), model.ratings.select(some)
    torch.testing.assert_close(loss, model.autoencoder.objective(inputs, targets, share=2 / len(model.rated_rows)))


def test_it_starts_at_what_bias_predicts(name):
    _, _, model = tiny_model(name)
    _, _, bias = tiny_model("Bias")
    torch.testing.assert_close(model.eval().predict(all_pairs(model)), bias.predict(all_pairs(model)))
    assert model.variances == bias.variances


def test_large_penalties_make_it_bias(name):
    config, parts, model = tiny_model(name, reg_weight=1e4)
    bias = tiny_model("Bias")[2]
    trainer = build_trainer(config, parts[0])
    loaders = build_dataloaders(config, parts[0], parts)
    trainer.fit(loaders[0], saved=False)
    found = trainer.model.eval().predict(all_pairs(model))
    torch.testing.assert_close(found, bias.predict(all_pairs(model)), atol=1e-3, rtol=0)


def test_a_cold_pair_gets_the_offsets_that_are_known(name):
    _, _, model = tiny_model(name)
    randomize(model)
    model.eval()
    core, scale = model.autoencoder, model.scale
    with torch.no_grad():
        for bias in (core.row_bias, core.decoder_bias):  # training leaves the padding id's at 0
            bias[0] = 0
        core.decoder_weight[0] = 0
    neither, item, user = model.predict(pairs(model, [0, 0, 3], [0, 3, 0]))
    of_item, of_user = (core.row_bias, core.decoder_bias)[:: 1 if name == "IAutoRec" else -1]
    for found, offset in ((neither, 0.0), (item, of_item[3]), (user, of_user[3])):
        torch.testing.assert_close(found, model.clipped(scale.in_stars(core.mean + offset)))


@pytest.mark.parametrize(("offsets", "cold_start_rating"), [(False, None), (False, 3.0), (True, 3.0)])
def test_a_cold_user_or_item_gets_the_default_rating_either_suffices(name, cold_start_rating, offsets):
    _, _, model = tiny_model(name, cold_start_rating=cold_start_rating, offsets=offsets)
    randomize(model)
    model.eval()
    expected = 2.5 if cold_start_rating is None else 3.0  # tiny's scale is 0 to 5
    cold = model.predict(pairs(model, [0, 0, 3], [0, 3, 0]))  # the padding id has no rating
    assert cold.tolist() == [expected] * 3
    assert model.predict(pairs(model, [3], [3])).item() != expected


@pytest.mark.parametrize("clip_prediction", [True, False])
def test_clip_prediction(name, clip_prediction):
    _, _, model = tiny_model(name, clip_prediction=clip_prediction)
    randomize(model)
    with torch.no_grad():
        model.autoencoder.decoder_bias.fill_(100.0)
    predicted = model.eval().predict(pairs(model, [3, 4], [3, 4]))
    assert (predicted == 5).all() if clip_prediction else (predicted > 50).all()


def test_batch_call_equals_single_calls(name):
    _, _, model = tiny_model(name)
    randomize(model)
    model.eval()
    together = all_pairs(model)
    alone = [
        model.predict(pairs(model, [u], [i])) for u, i in zip(together["user_id"], together["item_id"], strict=True)
    ]
    torch.testing.assert_close(model.predict(together), torch.cat(alone))


def test_full_sort_equals_predict_before_clipping(name):
    _, _, model = tiny_model(name, clip_prediction=False)
    randomize(model)
    model.eval()
    users = torch.tensor([5, 0, 2])
    scores = model.full_sort_predict(Interaction({"user_id": users})).view(3, model.n_items)
    for user, row in zip(users.tolist(), scores, strict=True):
        torch.testing.assert_close(row, model.predict(pairs(model, [user] * model.n_items, list(range(model.n_items)))))


def test_evaluation_encodes_once(name, monkeypatch):
    _, _, model = tiny_model(name)
    calls = []
    encode = model.autoencoder.encode
    monkeypatch.setattr(model.autoencoder, "encode", lambda *arguments: calls.append(1) or encode(*arguments))
    model.eval()
    with torch.no_grad():
        for _ in range(3):
            model.predict(pairs(model, [1], [1]))
            model.full_sort_predict(Interaction({"user_id": torch.tensor([1])}))
    assert len(calls) == 1


@pytest.mark.parametrize("change", ["step", "data", "load_state_dict", "assign"])
def test_kept_codes_are_never_stale(name, change):
    _, _, model = tiny_model(name, clip_prediction=False)
    randomize(model)
    interaction = all_pairs(model)
    with torch.no_grad():
        before = model.eval().predict(interaction)
    state = {key: value + 0.1 for key, value in model.state_dict().items()}
    core = model.autoencoder
    if change == "step":  # deliberately in evaluation mode
        core.encoder_weight.grad = torch.ones_like(core.encoder_weight)
        torch.optim.SGD(model.parameters(), lr=0.1).step()
    elif change == "data":
        model.train()
        core.encoder_weight.data.add_(0.1)
        model.eval()
    elif change == "load_state_dict":
        model.load_state_dict(state)
    else:
        core.encoder_weight = torch.nn.Parameter(core.encoder_weight + 0.1)
    with torch.no_grad():
        after = model.predict(interaction)
        model._codes = None
        fresh = model.predict(interaction)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, fresh, rtol=0, atol=0)


def test_rows_are_batched_once_each_and_never_the_padding_id(name):
    config, parts, model = tiny_model(name, train_batch_size=2, learner="adam")
    loader = RowDataLoader(config, parts[0], None, shuffle=config["shuffle"])
    epochs = [torch.cat([batch[model.row_field] for batch in loader]) for _ in range(3)]
    for ids in epochs:
        assert sorted(ids.tolist()) == model.rated_rows.tolist()
    assert 0 not in model.rated_rows
    assert any(not torch.equal(epochs[0], ids) for ids in epochs[1:])  # shuffled


def test_full_batch_learners_read_in_order(name):
    config, parts, model = tiny_model(name, train_batch_size=2, learner="lbfgs")
    ids = torch.cat(
        [batch[model.row_field] for batch in RowDataLoader(config, parts[0], None, shuffle=config["shuffle"])]
    )
    assert torch.equal(ids, model.rated_rows)


def test_no_dense_matrix_of_users_and_items_anywhere(name, write_dataset):
    """60,000 users x 60,000 items: one dense float32 matrix would be 14 GB, a padded history more."""
    import resource

    from tests.conftest import config_for, tiny_parts

    size = 60_000
    lines = [f"u{k}\ti{(7 * k) % size}\t{1 + k % 5}" for k in range(size)] + [f"u0\ti{k}\t3" for k in range(1, 20_000)]
    config = config_for(name, "toy", data_path=write_dataset(lines), hidden_size=[4])
    _, parts = tiny_parts(config)
    model = config.model_class(config, parts[0])
    loss = model.calculate_loss(Interaction({model.row_field: model.rated_rows}))
    loss.backward()
    model.eval()
    with torch.no_grad():
        model.predict(Interaction(parts[1].inter_feat.interaction))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3 * 2**20  # KiB


def test_the_default_penalty_follows_the_number_of_ratings(name):
    follows = {"reg_weight": None, "reg_floor": 0}
    _, parts, model = tiny_model(name, **follows, reg_scale=[3, 2])
    feat = parts[0].inter_feat
    sides = len(feat["user_id"].unique()) * len(feat["item_id"].unique())
    density = len(feat) / sides**0.5
    assert model.autoencoder.reg_weight == pytest.approx((3 * density, 2 * density))
    assert tiny_model(name, **follows, reg_scale=3)[2].autoencoder.reg_weight == pytest.approx((3 * density,) * 2)
    _, _, floored = tiny_model(name, **{**follows, "reg_floor": 5}, reg_scale=[3, 2])
    assert floored.autoencoder.reg_weight == pytest.approx((3 * (density + 5), 2 * (density + 5)))
    assert tiny_model(name, reg_weight=7, reg_scale=3)[2].autoencoder.reg_weight == (7, 7)
