"""L-BFGS whose first guess of the Hessian is a diagonal: torch.optim.LBFGS knows only multiples of the identity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

DECREASE, SLOPE = 1e-4, 0.9  # of the Wolfe conditions
MOST_TRIALS = 20  # objectives per line search


class ScaledLBFGS(torch.optim.Optimizer):
    """Minimise by L-BFGS (Liu and Nocedal 1989, two-loop recursion), for parameters of very different curvature.

    A step continues where the last one ended, without evaluating the objective again. Of P parameters in all it stores
    2 `history_size` + 1 vectors between steps and 4 more within.

    Args:
        params: parameters to optimise.
        max_iter: iterations per step.
        history_size: number of past iterations that shape the Hessian.
        curvatures: positive second derivatives that broadcast to their parameter, right up to a common factor; 1 for
            the others.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        max_iter: int,
        history_size: int,
        curvatures: Mapping[torch.nn.Parameter, Tensor] | None = None,
    ):
        super().__init__(params, {"max_iter": max_iter, "history_size": history_size})
        self._params = self.param_groups[0]["params"]
        self._curvatures = dict(curvatures or {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float]) -> float:  # type: ignore[override]
        """Take `max_iter` iterations, fewer if J cannot be lowered any more; return J.

        Args:
            closure: computes J and leaves its gradient in the parameters.
        """
        options, state = self.param_groups[0], self.state[self._params[0]]
        evaluate = torch.enable_grad()(closure)
        if not state:
            state.update(loss=evaluate(), gradient=self._flat_gradient(), steps=[], changes=[], products=[])
        for _ in range(options["max_iter"]):
            direction = self._direction(state)
            found = self._search_line(evaluate, direction, state)
            if found is None:
                break
            length, loss, gradient = found
            step, change = direction.mul_(length), gradient - state["gradient"]
            state["loss"], state["gradient"] = loss, gradient
            if (product := step.dot(change).item()) > 0:
                for key, new in (("steps", step), ("changes", change), ("products", product)):
                    state[key] = [*state[key], new][-options["history_size"] :]
        return state["loss"]

    def _direction(self, state: dict[str, Any]) -> Tensor:
        """Return minus the inverse Hessian times the gradient."""
        direction = -state["gradient"]
        memory, weights = [*zip(state["steps"], state["changes"], state["products"], strict=True)], []
        for step, change, product in reversed(memory):
            weights.append(step.dot(direction).item() / product)
            direction.sub_(change, alpha=weights[-1])
        self._divide_by_curvatures(direction)
        if memory:
            _, change, product = memory[-1]
            direction *= product / change.dot(self._divide_by_curvatures(change.clone()))
        for step, change, product in memory:
            direction.add_(step, alpha=weights.pop() - change.dot(direction).item() / product)
        return direction

    def _search_line(
        self, evaluate: Callable[[], float], direction: Tensor, state: dict[str, Any]
    ) -> tuple[float, float, Tensor] | None:
        """Move along `direction` to a point that meets the weak Wolfe conditions: (length, J, gradient).

        None if there is no lower point; the parameters are then as before.
        """
        start = [parameter.clone() for parameter in self._params]
        slope = state["gradient"].dot(direction).item()
        length, shortest, longest = 1.0, 0.0, math.inf
        for _ in range(MOST_TRIALS if slope < 0 else 0):
            self._move(start, direction, length)
            loss = evaluate()
            gradient = self._flat_gradient()
            above = loss - state["loss"] - length * slope  # the tangent
            if not above <= (DECREASE - 1) * length * slope:
                longest = length
            elif gradient.dot(direction).item() < SLOPE * slope:
                shortest = length
            else:
                return length, loss, gradient
            if longest == math.inf:
                length *= 2
            elif shortest > 0 or not above < math.inf:
                length = (shortest + longest) / 2
            else:  # minimum of the parabola through both points
                length *= min(max(-slope * length / (2 * above), 0.01), 0.5)
        self._move(start, direction, 0.0)
        return None

    def _flat_gradient(self) -> Tensor:
        return torch.cat([parameter.grad.reshape(-1) for parameter in self._params])

    def _pieces(self, flat: Tensor) -> list[Tensor]:
        """View a vector of all parameters in their shapes."""
        sizes = [parameter.numel() for parameter in self._params]
        return [part.view_as(parameter) for part, parameter in zip(flat.split(sizes), self._params, strict=True)]

    def _move(self, start: list[Tensor], direction: Tensor, length: float) -> None:
        for parameter, origin, part in zip(self._params, start, self._pieces(direction), strict=True):
            torch.add(origin, part, alpha=length, out=parameter)

    def _divide_by_curvatures(self, flat: Tensor) -> Tensor:
        for parameter, part in zip(self._params, self._pieces(flat), strict=True):
            if parameter in self._curvatures:
                part.div_(self._curvatures[parameter])
        return flat
