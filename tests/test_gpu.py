"""Training, evaluation and loading on a GPU give the CPU's results."""

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_autorec import load_data_and_model, run_recbole_autorec
from recbole_autorec.model.rating_matrix import RatingMatrix
from tests.conftest import AT_HOME, DATA, N_GPUS, QUICK_ANY, VISIBLE_GPUS, quick, tiny_model
from tests.test_quick_start import TINY

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(N_GPUS == 0, reason="no NVIDIA card on this machine"),
]


@pytest.fixture(autouse=True)
def _gpus_are_visible(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if VISIBLE_GPUS is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", VISIBLE_GPUS)


@pytest.mark.parametrize("model", ["IAutoRec", "UAutoRec"])
def test_loss_and_gradient_equal_the_cpus(model):
    results = []
    for use_gpu in (False, True):
        config, _, recommender = tiny_model(model, use_gpu=use_gpu)
        rows = recommender.rated_rows
        loss = recommender.calculate_loss(Interaction({recommender.row_field: rows}))
        loss.backward()
        assert rows.device.type == config["device"].type == ("cuda" if use_gpu else "cpu")
        results.append([loss.detach().cpu(), *(p.grad.cpu() for p in recommender.parameters() if p.requires_grad)])
    for on_cpu, on_card in zip(*results, strict=True):
        torch.testing.assert_close(on_cpu, on_card, rtol=1e-4, atol=1e-4)


def test_sparse_products_equal_the_cpus():
    """Products of cuSPARSE and embedding_bag, in a shape that is sliced on a CPU."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.unique(torch.randint(0, 300 * 500, (30_000,), generator=generator))
    matrix = RatingMatrix.from_entries(pairs // 500, pairs % 500, torch.rand(len(pairs)), (300, 500))
    left, right = torch.randn(300, 100), torch.randn(500, 100)
    card = matrix.to("cuda")
    for on_cpu, on_card in (
        (matrix.matmul(matrix.values, right), card.matmul(card.values, right.cuda())),
        (matrix.transposed_matmul(matrix.values, left), card.transposed_matmul(card.values, left.cuda())),
        (matrix.sampled_matmul(left, right), card.sampled_matmul(left.cuda(), right.cuda())),
    ):
        torch.testing.assert_close(on_cpu, on_card.cpu(), rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(N_GPUS < 2, reason="needs two cards")
@pytest.mark.parametrize(("model", "learner"), [("IAutoRec", "rprop"), ("IAutoRec", "adam"), ("BiasedMF", "sgd")])
def test_two_cards_come_to_what_one_comes_to(model, learner):
    tiny = TINY if model == "IAutoRec" else QUICK_ANY
    parameters = {**tiny, "data_path": str(DATA), "learner": learner, "learning_rate": 0.01}
    alone = run_recbole_autorec(model, "tiny", config_dict=parameters)
    together = run_recbole_autorec(model, "tiny", config_dict={**parameters, "nproc": 2, "gpu_id": "0,1"})
    assert together["test"] == pytest.approx(alone["test"], abs=1e-4)


@pytest.mark.parametrize(
    ("model", "learner"),
    [("IAutoRec", "lbfgs"), ("IAutoRec", "rprop"), ("IAutoRec", "adam"), ("AutoRecEnsemble", "lbfgs")],
)
def test_a_run_on_the_card_and_its_checkpoint_on_the_cpu(model, learner):
    settings = {"data_path": str(DATA), **quick(model), "calibration": True, "refit": True, "saved": True}
    result = run_recbole_autorec(model, "tiny", config_dict={**settings, "learner": learner, "train_batch_size": 3})
    config, model, *_ = load_data_and_model(result["checkpoint"], AT_HOME)
    assert config["device"].type == "cuda"
    _, on_cpu, *_ = load_data_and_model(result["checkpoint"], {**AT_HOME, "use_gpu": False})
    pairs = Interaction({"user_id": torch.tensor([1, 2]), "item_id": torch.tensor([1, 2])})
    with torch.no_grad():
        torch.testing.assert_close(model.predict(pairs.to("cuda")).cpu(), on_cpu.predict(pairs), rtol=1e-4, atol=1e-4)
