"""Tasks that are spread over several processes: the two exchanges, and one differentiable sum."""

from __future__ import annotations

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


def total(x: Tensor, ranks: Ranks) -> Tensor:
    """Return the sum over ranks, differentiable any number of times.

    Every rank gets the same sum, so the gradient that flows back to a rank is the sum of those of
    all ranks: the operation is its own adjoint.
    """
    found: Tensor = _Total.apply(x, ranks)  # type: ignore[no-untyped-call]
    return found


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, ranks: Ranks) -> Tensor:
        """Exchange."""
        return ranks.sum(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep who takes part."""
        del output
        ctx.ranks = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Exchange the gradients in the same way."""
        return total(grad, ctx.ranks), None
