"""Search spaces in RecBole's format, one line per parameter: `name choice [1, 2]`, `name uniform 0,1`,
`name quniform 50,500,50` or `name loguniform -7,0`. As in RecBole, loguniform takes the bounds' natural logarithms."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_autorec.config.config import parsed
from recbole_autorec.errors import ConfigError

KINDS = {
    "choice": "a list such as [100, 200, 500], with text in quotes",
    "uniform": "two numbers: low,high",
    "quniform": "three numbers: low,high,step",
    "loguniform": "two numbers: the natural logarithms of low and high, such as -7,0 for 0.0009 to 1",
}
COUNT = {"uniform": 2, "loguniform": 2, "quniform": 3}


@dataclass(frozen=True)
class Dimension:
    """One searched parameter.

    Attributes:
        name: name of the parameter.
        kind: one of KINDS.
        values: the values of a choice; else low, high (loguniform: their natural logarithms) and, for quniform, step.
        source: where it was given, for messages.
    """

    name: str
    kind: str
    values: tuple[Any, ...]
    source: str

    def value(self, drawn: Any) -> Any:
        """Convert what hyperopt drew, a choice's index or a number, to a value; round numbers to four digits."""
        if self.kind == "choice":
            return self.values[int(drawn)]
        low, high, step = self._bounds()
        number = min(max(float(drawn), low), high)  # quniform rounds to multiples of its step, which may lie outside
        number = float(f"{number:.{12 if step else 4}g}")
        return int(number) if step and float(step).is_integer() and number.is_integer() else number

    def drawn(self, value: Any) -> Any:
        """Return what hyperopt draws for `value`."""
        return self.values.index(value) if self.kind == "choice" else value

    def __str__(self):
        low_high = " or ".join(map(str, self.values)) if self.kind == "choice" else "{} to {}".format(*self.extremes())
        return f"{self.name} {low_high}" + (f" ({self.kind})" if self.kind != "choice" else "")

    def extremes(self) -> list[Any]:
        """Return all values of a choice, or the smallest and the largest value."""
        return list(self.values) if self.kind == "choice" else [self.value(bound) for bound in self._bounds()[:2]]

    def _bounds(self) -> tuple[float, float, float | None]:
        low, high, *step = self.values
        if self.kind == "loguniform":
            low, high = math.exp(low), math.exp(high)
        return low, high, step[0] if step else None


Space = tuple[Dimension, ...]


def read_space(path: Path) -> Space:
    """Read a search space from a file.

    Raises:
        ConfigError: the file cannot be read, or lines are invalid; lists them all.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"search space '{path}' cannot be read: {cause}.") from error
    given = []
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            given.append((f"{path.name} line {number}", [*line.split(maxsplit=2), "", ""][:3]))
    return _space(given, f"search space '{path}'")


def space_from(params_dict: Mapping[str, Mapping[str, Any]]) -> Space:
    """Build a space from RecBole's params_dict: {"loguniform": {"learning_rate": [-7, 0]}, "choice": {...}}."""
    given = []
    for kind, parameters in params_dict.items():
        if not isinstance(parameters, Mapping):
            raise ConfigError(f"space: {kind}: {parameters!r}; expected {{name: values}}.")
        for name, values in parameters.items():
            text = repr(list(values)) if isinstance(values, list | tuple | np.ndarray) else str(values)
            given.append((f"space: {name}", [name, str(kind), text if kind == "choice" else text.strip("[]")]))
    return _space(given, "the search space")


def _space(given: list[tuple[str, list[str]]], what: str) -> Space:
    """Build a space from (source, [name, kind, values as text]) of each parameter."""
    dimensions, faults = dict[str, Dimension](), []
    for source, (name, kind, text) in given:
        try:
            if kind not in KINDS:
                near = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.75)
                all_kinds = f"expected a name, one of {', '.join(KINDS)}, and values."
                hint = f"did you mean {near[0]}?" if near else all_kinds
                raise ConfigError(f"{f'{name} {kind}'.strip()!r}; {hint}")
            if name in dimensions:
                raise ConfigError(f"{name} was already given in {dimensions[name].source}.")
            dimensions[name] = Dimension(name, kind, _values(kind, text), source)
        except ConfigError as error:
            faults.append(f"{source}: {error}")
    if faults:
        raise ConfigError("\n".join(faults))
    if not dimensions:
        raise ConfigError(f"{what} is empty; give a line for each parameter, such as 'reg_weight loguniform 4,7'.")
    return tuple(dimensions.values())


def _values(kind: str, text: str) -> tuple[Any, ...]:
    expected = ConfigError(f"{kind} {text}".strip() + f"; expected {KINDS[kind]}.")
    if kind == "choice":
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise expected from None
        if not isinstance(values, list | tuple) or not values:
            raise expected
        return tuple(parsed({"value": value})["value"] for value in values)
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise expected from None
    largest = 700 if kind == "loguniform" else math.inf  # exp overflows above it
    if len(numbers) != COUNT[kind] or not all(abs(number) < largest for number in numbers):
        raise expected
    if numbers[0] >= numbers[1]:
        raise ConfigError(f"{kind} {text}; expected low < high.")
    if kind == "quniform" and numbers[2] <= 0:
        raise ConfigError(f"{kind} {text}: the step is {numbers[2]:g}; expected a number > 0.")
    return numbers


def hyperopt_space(space: Space) -> dict[str, Any]:
    """Convert a space for hyperopt; a choice is drawn by index, so its values may have any type."""
    from hyperopt import hp

    return {
        dimension.name: hp.choice(dimension.name, list(range(len(dimension.values))))
        if dimension.kind == "choice"
        else getattr(hp, dimension.kind)(dimension.name, *dimension.values)
        for dimension in space
    }


def draws(space: Space, seed: int, count: int) -> list[dict[str, Any]]:
    """Draw `count` random points with hyperopt."""
    from hyperopt import pyll

    generator, drawable = np.random.default_rng(seed), pyll.as_apply(hyperopt_space(space))
    return [pyll.stochastic.sample(drawable, rng=generator) for _ in range(count)]


def parameters_of(space: Space, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Convert what hyperopt drew to parameter values."""
    return {dimension.name: dimension.value(drawn[dimension.name]) for dimension in space}


def combinations(space: Space) -> int:
    """Return the number of combinations in a space of choices."""
    return math.prod(len(dimension.values) for dimension in space)


def combination(sizes: Mapping[str, int], number: int) -> dict[str, int]:
    """Return the index of each choice in combination `number`, counted from 0; `sizes` are the numbers of choices."""
    return dict(zip(sizes, map(int, np.unravel_index(number, [*sizes.values()])), strict=True))
