import pytest
import torch

from recbole_autorec.trainer.scaled_lbfgs import ScaledLBFGS


class Valley:
    """An objective that counts its evaluations."""

    def __init__(self, function, start, curvatures=None, **options):
        self.function, self.n = function, 0
        self.x = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
        known = {} if curvatures is None else {self.x: torch.tensor(curvatures, dtype=torch.float64)}
        self.optimizer = ScaledLBFGS([self.x], **{"max_iter": 20, "history_size": 5, **options}, curvatures=known)

    def step(self) -> float:
        def closure():
            self.n += 1
            self.optimizer.zero_grad()
            value = self.function(self.x)
            value.backward()
            return value.item()

        return self.optimizer.step(closure)


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2  # minimum at (1, 1)


def bowl(x):
    return (x.square() * torch.tensor([1.0, 100.0, 10_000.0])).sum() / 2


@pytest.mark.parametrize("start", [[-1.2, 1.0], [10.0, 10.0], [1.01, 1.02]])
def test_it_finds_a_minimum_at_the_end_of_a_curved_valley(start):
    valley = Valley(rosenbrock, start, max_iter=100)
    assert valley.step() < 1e-24
    assert (valley.x.detach() - 1).abs().max() < 1e-12


def test_exact_curvatures_up_to_a_factor_make_a_bowl_round():
    known = Valley(bowl, [1.0, 1.0, 1.0], [5.0, 500.0, 50_000.0], max_iter=2)
    assert known.step() < 1e-20  # the first iteration finds the factor, the second is Newton's step
    unknown = Valley(bowl, [1.0, 1.0, 1.0], max_iter=2)
    assert unknown.step() > 0.1


def test_curvatures_count_in_every_iteration():
    def quartic(x):
        return bowl(x) + x.pow(4).sum() / 100

    scaled = Valley(quartic, [1.0, 1.0, 1.0], [1.0, 100.0, 10_000.0], max_iter=6, history_size=1)
    plain = Valley(quartic, [1.0, 1.0, 1.0], max_iter=6, history_size=1)
    assert scaled.step() < plain.step() / 100


def test_steps_continue_one_another_without_evaluating_again():
    whole, halves = Valley(rosenbrock, [-1.2, 1.0], max_iter=12), Valley(rosenbrock, [-1.2, 1.0], max_iter=6)
    whole.step()
    halves.step()
    halves.step()
    assert torch.equal(whole.x, halves.x)
    assert whole.n == halves.n


def test_the_history_has_the_last_steps_only():
    valley = Valley(rosenbrock, [-1.2, 1.0], max_iter=10, history_size=3)
    valley.step()
    state = valley.optimizer.state[valley.x]
    assert len(state["steps"]) == len(state["changes"]) == 3
    before = valley.x.detach().clone()
    valley.optimizer.param_groups[0]["max_iter"] = 1
    valley.step()
    assert torch.allclose(state["steps"][-1], valley.x.detach() - before)


def test_a_step_too_long_for_the_objective_is_shortened():
    valley = Valley(lambda x: (x - x.log()).sum(), [1e-3])  # not a number for x < 0; minimum 1 at 1
    assert abs(valley.step() - 1) < 1e-12


def test_at_a_minimum_nothing_moves():
    valley = Valley(bowl, [0.0, 0.0, 0.0])
    assert valley.step() == 0
    assert valley.n == 1
    assert valley.x.tolist() == [0, 0, 0]


def test_each_accepted_step_meets_both_wolfe_conditions():
    valley = Valley(rosenbrock, [-1.2, 1.0], max_iter=1)
    for _ in range(20):
        start = valley.x.detach().clone().requires_grad_()
        before = rosenbrock(start)
        before.backward()
        after = valley.step()
        move = valley.x.detach() - start.detach()
        slope = start.grad @ move
        assert after <= before + 1e-4 * slope
        assert valley.x.grad @ move >= 0.9 * slope


def test_the_direction_is_that_of_the_dense_formula():
    torch.manual_seed(0)
    n = 6
    half = torch.randn(n, n, dtype=torch.float64)
    hessian = half @ half.t() + torch.eye(n, dtype=torch.float64)
    steps = [torch.randn(n, dtype=torch.float64) for _ in range(2)]
    changes = [hessian @ step for step in steps]
    curvatures = torch.rand(n, dtype=torch.float64) + 0.5
    x = torch.nn.Parameter(torch.zeros(n, dtype=torch.float64))
    optimizer = ScaledLBFGS([x], 1, 2, {x: curvatures})
    gradient, products = (
        torch.randn(n, dtype=torch.float64),
        [(s @ y).item() for s, y in zip(steps, changes, strict=True)],
    )
    found = optimizer._direction({"gradient": gradient, "steps": steps, "changes": changes, "products": products})
    last = changes[-1]
    inverse = torch.diag(1 / curvatures) * (products[-1] / (last @ (last / curvatures)))
    for s, y, product in zip(steps, changes, products, strict=True):
        left = torch.eye(n, dtype=torch.float64) - torch.outer(s, y) / product
        inverse = left @ inverse @ left.t() + torch.outer(s, s) / product
    torch.testing.assert_close(found, -inverse @ gradient)


def test_where_no_lower_point_is_found_the_parameters_stay(monkeypatch):
    monkeypatch.setattr("recbole_autorec.trainer.scaled_lbfgs.MOST_TRIALS", 2)
    x = torch.nn.Parameter(torch.tensor([3.0, -1.0]))
    optimizer = ScaledLBFGS([x], 5, 2)

    def misled() -> float:
        x.grad = -x.detach()  # points uphill
        return x.detach().square().sum().item()

    assert optimizer.step(misled) == 10
    assert x.tolist() == [3, -1]
