"""What a process does that trains a model together with others; alone, nothing.

Rows, batches and test pairs are shared out by rank. The first rank decides: it has the parameters, the optimiser's line
search and the scores, so that ranks which round otherwise never part ways.

RecBole's own way is not taken: it fills shares up with repeated rows, averages the ranks' RMSEs, and knows cards only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector
from recbole.utils import EvaluatorType
from torch import Tensor, nn

from recbole_autorec.errors import AutoRecError, ConfigError, DataError
from recbole_autorec.parameter_roles import OF_A_RANK


class LostRankError(AutoRecError):
    """Another process of the run does not answer."""


def world_size_of(parameters: Any) -> int:
    """The number of processes on all machines that a run wants; a Config has parameters too."""
    return parameters["nproc"] if parameters["world_size"] == -1 else parameters["world_size"]


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's and nccl's
        raise LostRankError(f"the processes of this run have lost one another: {_in_short(error)}.") from error


def _in_short(error: RuntimeError) -> str:
    return str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0].strip(" .")


def shared_loss(loss_func: Callable, is_sum: bool) -> Callable:
    """The loss of a rank's share, so weighted that those of all ranks add up to the loss of the whole batch.

    Args:
        loss_func: of a batch, a scalar or a tuple of such.
        is_sum: over the batch; a mean otherwise.
    """
    if world_size() == 1:
        return loss_func

    def loss(interaction: Interaction) -> Tensor | tuple[Tensor, ...]:
        mine = interaction[slice(rank(), None, world_size())]  # long rows of ratings are spread; it may be empty
        weight = min(len(mine), 1) if is_sum else len(mine) / len(interaction)
        losses = loss_func(mine if len(mine) else interaction[:1])  # without a row: the same graph, for nothing
        return tuple(part * weight for part in losses) if isinstance(losses, tuple) else losses * weight

    return loss


@contextmanager
def gradients_added_up(model: nn.Module) -> Iterator[None]:
    """backward() gives each rank the sum of all ranks' gradients, before they are clipped or scaled."""

    def add_up(parameter: Tensor) -> None:
        gradient: Any = parameter.grad
        with _answered():
            if gradient.is_sparse and gradient.is_cuda:  # which nccl does not add up
                on_host = gradient.cpu()
                dist.all_reduce(on_host)
                parameter.grad = on_host.to(parameter.device)
            else:
                dist.all_reduce(gradient)

    parameters = [p for p in model.parameters() if p.requires_grad] if world_size() > 1 else []
    hooks = [parameter.register_post_accumulate_grad_hook(add_up) for parameter in parameters]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def check_model(model: nn.Module) -> None:
    """Whether shares of a batch come to what the batch comes to.

    Raises:
        ConfigError: they do not.
    """
    if world_size() > 1 and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise ConfigError(
            f"world_size={world_size()}: model {type(model).__name__} normalises each batch (BatchNorm), and shares of "
            "one are others; train it in one process."
        )


def take_parameters(model: nn.Module) -> None:
    """Every rank's parameters and buffers become the first one's."""
    if world_size() > 1:
        with torch.no_grad(), _answered():
            for value in model.state_dict().values():
                dist.broadcast(value, 0)


def add_to_first(model: nn.Module) -> None:
    """The first rank's gradients become the sum of all."""
    if world_size() > 1:
        with _answered():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    dist.reduce(parameter.grad, 0)


def total(value: Any) -> Any:
    """The sum over the ranks of a number, or of each of a tuple."""
    if world_size() == 1:
        return value
    numbers = torch.tensor(value if isinstance(value, tuple) else [value], dtype=torch.float64)
    with _answered():
        dist.all_reduce(numbers)
    return tuple(numbers.tolist()) if isinstance(value, tuple) else numbers.item()


def first_says(value: Any) -> Any:
    """The first rank's value, on every rank."""
    if world_size() == 1:
        return value
    box = [value]
    with _answered():
        dist.broadcast_object_list(box, 0)
    return box[0]


def gathered(rows: Tensor) -> Tensor:
    """The ranks' rows (n, ...) one after the other, on every rank, on the CPU."""
    if world_size() == 1:
        return rows
    rows = rows.cpu().contiguous()
    with _answered():
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
        dist.all_gather(counts, torch.tensor([len(rows)]))
        longest = int(max(counts))
        filled = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
        parts = [torch.empty_like(filled) for _ in counts]
        dist.all_gather(parts, filled)
    return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])


def part_to_evaluate(config: Any, part: Any) -> Any:
    """A rank's share of a valid or test part: a run of its pairs, or, in a ranking, the pairs of some users.

    Raises:
        DataError: there are fewer of them than ranks.
    """
    if world_size() == 1:
        return part
    ratings, (number, of) = part.inter_feat, (rank(), world_size())
    ranks_items = config["eval_type"] == EvaluatorType.RANKING
    users = ratings[part.uid_field].unique()
    count = len(users) if ranks_items else len(ratings)
    if count < of:
        raise DataError(
            f"dataset '{part.dataset_name}': a part of the split has {count} {'users' if ranks_items else 'ratings'} "
            f"only, too few for {of} processes; give fewer."
        )
    mine: Any = slice(count * number // of, count * (number + 1) // of)
    if ranks_items:
        mine = torch.isin(ratings[part.uid_field], users[number::of])
    return part.copy(ratings[mine])


class PooledCollector(Collector):
    """RecBole's, which hands the evaluator what all ranks have collected, so that metrics are those of one process.

    Attributes:
        scores: predictions of the pairs evaluated last, (P,) on the CPU; empty where a ranking was evaluated.
    """

    scores = torch.empty(0)

    def get_data_struct(self):
        struct = super().get_data_struct()
        for key, value in struct._data_dict.items():
            if key == "data.label" or key.startswith("rec."):
                struct.set(key, gathered(value))
        if self.config["eval_type"] == EvaluatorType.VALUE:
            self.scores = struct.get("rec.score").reshape(-1)
            for key in ("rec.score", "data.label"):  # RecBole (evaluator/base_metric.py) squeezes a single pair away
                struct.set(key, struct.get(key).reshape(-1, 1))
        return struct


def check_alike(parameters: dict[str, Any], fingerprint: str) -> None:
    """Whether every rank has the same parameters, and what else is given so, and the same ratings in its split.

    Raises:
        ConfigError, DataError: this one differs from the first.
    """
    theirs, their_fingerprint = first_says((parameters, fingerprint))
    different = [key for key in parameters if key not in OF_A_RANK and theirs.get(key) != parameters[key]]
    if different:
        values = ", ".join(f"{key}={parameters[key]!r} (there {theirs.get(key)!r})" for key in different)
        raise ConfigError(f"process {rank()} has {values}; give all machines the parameters of the first one.")
    if fingerprint != their_fingerprint:
        raise DataError(
            f"process {rank()} has the split {fingerprint}, the first one {their_fingerprint}: their datasets differ; "
            "give all machines the same files."
        )
