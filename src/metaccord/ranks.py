"""Tasks that are spread over several processes: the two exchanges, and what is made of them."""

from __future__ import annotations

from functools import reduce
from typing import Any, Protocol

import torch
from torch import Tensor


class Ranks(Protocol):
    """What a task axis needs to know and to do across processes.

    Attributes:
        rank: This process, from 0.
        count: Number of processes.
    """

    rank: int
    count: int

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of the tensors of all ranks, the same everywhere."""

    def gather(self, x: Tensor) -> Tensor:
        """Return the rows of all ranks, one rank after the other: ``[T, ...] -> [N, ...]``."""


class ProcessRanks:
    """The processes of ``torch.distributed``.

    Args:
        group: A process group; None: all processes.
    """

    def __init__(self, group: Any = None) -> None:
        self.group = group
        self.rank = torch.distributed.get_rank(group)
        self.count = torch.distributed.get_world_size(group)

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of the tensors of all processes."""
        total = x.contiguous().clone()
        torch.distributed.all_reduce(total, group=self.group)
        return total

    def gather(self, x: Tensor) -> Tensor:
        """Return the rows of all processes."""
        rows = [
            torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(self.count)
        ]
        torch.distributed.all_gather(rows, x.contiguous(), group=self.group)
        return torch.cat(rows)


def spread(content: bytes, ranks: Ranks) -> bytes:
    """Return what rank 0 has; what the others pass is not used."""
    mine = content if ranks.rank == 0 else b""
    size = int(ranks.sum(torch.tensor(len(mine))))
    whole = torch.zeros(size, dtype=torch.uint8)
    if mine:
        whole.copy_(torch.frombuffer(bytearray(mine), dtype=torch.uint8))
    return bytes(ranks.sum(whole).to(torch.uint8).numpy())


def largest(value: int, ranks: Ranks | None) -> int:
    """Return the largest value of all ranks; without ranks, the value."""
    return value if ranks is None else int(ranks.gather(torch.tensor([value])).max())


def total(x: Tensor, ranks: Ranks | None, exact: bool, divisor: int = 1) -> Tensor:
    """Return ``[T, ...]`` whose rows all hold the sum over the tasks of all ranks, divided.

    Differentiable any number of times. As a matrix over all tasks the operation is equal numbers
    and so its own adjoint: the gradients of all rows of all ranks are summed in the same way.

    Args:
        x: One row per task of this rank, ``[T, ...]``.
        ranks: Who takes part; None: this process alone.
        exact: Bring all rows together and add them in task order: the same bits for any number
            of ranks, for N times the traffic.
        divisor: The number of tasks for a mean.
    """
    found: Tensor = _Total.apply(x, ranks, exact, divisor)  # type: ignore[no-untyped-call]
    return found


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, ranks: Ranks | None, exact: bool, divisor: int) -> Tensor:
        """Add the rows."""
        if exact:
            found = reduce(torch.add, (x if ranks is None else ranks.gather(x)).unbind())
        else:
            here = x.sum(0)
            found = here if ranks is None else ranks.sum(here)
        return (found / divisor if divisor > 1 else found.clone()).expand_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep who takes part."""
        del output
        ctx.others = inputs[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        """Add the gradients in the same way."""
        return total(grad, *ctx.others), None, None, None
