"""Communication between the processes that train one model; with a single process, nothing happens.

Rows, batches and test pairs are divided among the ranks. The first rank decides: it owns the parameters, the
optimiser's line search and the scores, so ranks that round differently cannot diverge.

We do not use RecBole's own way: it pads shares with repeated rows, averages the ranks' RMSEs, and needs GPUs.
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
    """Return the number of processes on all machines that the parameters, or a Config, ask for."""
    return parameters["nproc"] if parameters["world_size"] == -1 else parameters["world_size"]


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo and nccl
        raise LostRankError(f"lost contact with another process of this run: {_in_short(error)}.") from error


def _in_short(error: RuntimeError) -> str:
    return str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0].strip(" .")


def shared_loss(loss_func: Callable, is_sum: bool) -> Callable:
    """Weight the loss of a rank's share so that the losses of all ranks add up to the loss of the whole batch.

    Args:
        loss_func: loss of a batch, a scalar or a tuple of scalars.
        is_sum: whether it is a sum over the batch; otherwise it is a mean.
    """
    if world_size() == 1:
        return loss_func

    def loss(interaction: Interaction) -> Tensor | tuple[Tensor, ...]:
        mine = interaction[slice(rank(), None, world_size())]  # strided: spreads long rows; may be empty
        weight = min(len(mine), 1) if is_sum else len(mine) / len(interaction)
        losses = loss_func(mine if len(mine) else interaction[:1])  # an empty share: same graph, weight 0
        return tuple(part * weight for part in losses) if isinstance(losses, tuple) else losses * weight

    return loss


@contextmanager
def gradients_added_up(model: nn.Module) -> Iterator[None]:
    """Make backward() give each rank the sum of all ranks' gradients, before they are clipped or scaled."""

    def add_up(parameter: Tensor) -> None:
        gradient: Any = parameter.grad
        with _answered():
            if gradient.is_sparse and gradient.is_cuda:  # nccl cannot add them up
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
            f"world_size={world_size()}: model {type(model).__name__} normalises each batch (BatchNorm), which gives "
            "another result on shares of a batch; train it in one process."
        )


def broadcast_parameters(model: nn.Module) -> None:
    """Copy the first rank's parameters and buffers to every rank."""
    if world_size() > 1:
        with torch.no_grad(), _answered():
            for value in model.state_dict().values():
                dist.broadcast(value, 0)


def add_to_first(model: nn.Module) -> None:
    """Add all ranks' gradients to the first rank's."""
    if world_size() > 1:
        with _answered():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    dist.reduce(parameter.grad, 0)


def total(value: Any) -> Any:
    """Sum a number, or each number of a tuple, over the ranks."""
    if world_size() == 1:
        return value
    numbers = torch.tensor(value if isinstance(value, tuple) else [value], dtype=torch.float64)
    with _answered():
        dist.all_reduce(numbers)
    return tuple(numbers.tolist()) if isinstance(value, tuple) else numbers.item()


def broadcast(value: Any) -> Any:
    """Return the first rank's value, on every rank."""
    if world_size() == 1:
        return value
    box = [value]
    with _answered():
        dist.broadcast_object_list(box, 0)
    return box[0]


def gathered(rows: Tensor) -> Tensor:
    """Concatenate the ranks' rows (n, ...), on every rank, on the CPU."""
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
    """Return a rank's share of a valid or test part: consecutive pairs or, in a ranking, the pairs of some users.

    Raises:
        DataError: there are fewer pairs (or users) than ranks.
    """
    if world_size() == 1:
        return part
    ratings, (number, of) = part.inter_feat, (rank(), world_size())
    ranks_items = config["eval_type"] == EvaluatorType.RANKING
    users = ratings[part.uid_field].unique()
    count = len(users) if ranks_items else len(ratings)
    if count < of:
        raise DataError(
            f"dataset '{part.dataset_name}': a part of the split has only {count} "
            f"{'users' if ranks_items else 'ratings'}, too few for {of} processes; use fewer processes."
        )
    mine: Any = slice(count * number // of, count * (number + 1) // of)
    if ranks_items:
        mine = torch.isin(ratings[part.uid_field], users[number::of])
    return part.copy(ratings[mine])


class PooledCollector(Collector):
    """RecBole's Collector for several ranks: the evaluator gets what all have collected, as from one process.

    Attributes:
        scores: predictions of the pairs evaluated last, (P,) on the CPU; empty after a ranking.
    """

    scores = torch.empty(0)

    def get_data_struct(self):
        struct = super().get_data_struct()
        for key, value in struct._data_dict.items():
            if key == "data.label" or key.startswith("rec."):
                struct.set(key, gathered(value))
        if self.config["eval_type"] == EvaluatorType.VALUE:
            self.scores = struct.get("rec.score").reshape(-1)
            for key in ("rec.score", "data.label"):  # RecBole (evaluator/base_metric.py) squeezes a single pair
                struct.set(key, struct.get(key).reshape(-1, 1))
        return struct


def check_alike(parameters: dict[str, Any], fingerprint: str) -> None:
    """Check that every rank has the same parameters (or whatever `parameters` holds) and the same split.

    Raises:
        ConfigError, DataError: this rank differs from the first.
    """
    theirs, their_fingerprint = broadcast((parameters, fingerprint))
    different = [key for key in parameters if key not in OF_A_RANK and theirs.get(key) != parameters[key]]
    if different:
        values = ", ".join(f"{key}={parameters[key]!r} (first process: {theirs.get(key)!r})" for key in different)
        raise ConfigError(f"process {rank()} has {values}; give all machines the same parameters.")
    if fingerprint != their_fingerprint:
        raise DataError(
            f"process {rank()} has split {fingerprint} (first process: {their_fingerprint}): their datasets differ; "
            "give all machines the same files."
        )
