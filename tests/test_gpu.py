"""Training, evaluation and loading on a card give what the CPU gives."""

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_autorec import load_data_and_model, run_recbole_autorec
from tests.conftest import tiny_model
from tests.test_quick_start import TINY

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card on this machine"),
]


@pytest.mark.parametrize("model", ["IAutoRec", "UAutoRec"])
def test_loss_and_gradient_equal_the_cpus(model):
    results = []
    for use_gpu in (False, True):
        config, _, recommender = tiny_model(model, use_gpu=use_gpu)
        rows = recommender.rated_rows
        loss = recommender.calculate_loss(Interaction({recommender.row_field: rows}))
        loss.backward()
        assert rows.device.type == config["device"].type == ("cuda" if use_gpu else "cpu")
        results.append([loss.detach().cpu(), *(p.grad.cpu() for p in recommender.parameters())])
    for on_cpu, on_card in zip(*results, strict=True):
        torch.testing.assert_close(on_cpu, on_card, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learner", ["lbfgs", "rprop", "adam"])
def test_a_run_on_the_card_and_its_checkpoint_on_the_cpu(learner):
    result = run_recbole_autorec(
        "IAutoRec", "tiny", config_dict={**TINY, "saved": True, "learner": learner, "train_batch_size": 3}
    )
    config, model, *_ = load_data_and_model(result["checkpoint"])
    assert config["device"].type == "cuda"
    _, on_cpu, *_ = load_data_and_model(result["checkpoint"], {"use_gpu": False})
    pairs = Interaction({"user_id": torch.tensor([1, 2]), "item_id": torch.tensor([1, 2])})
    with torch.no_grad():
        torch.testing.assert_close(model.predict(pairs.to("cuda")).cpu(), on_cpu.predict(pairs), rtol=1e-4, atol=1e-4)
