"""The task axis: the only way tasks meet."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from metaccord.errors import UsageError
from metaccord.ranks import Ranks, total
from metaccord.types import Stacked


@dataclass(frozen=True)
class TaskAxis:
    """How many tasks there are and whether they may see one another.

    Args:
        count: Number of tasks N of the meta-step.
        isolated: Every task is alone, as at meta-test: sums and means return each row itself, and
            nobody gets the rows of others.
        closed: Tasks may not meet at all; set on the pieces of a meta-step whose graphs are
            released, so that an interaction that wrongly claims independence is caught.
        ranks: The processes that the tasks are spread over evenly, rank r having the r-th part;
            None: all are here.

    Attributes:
        local: Number of tasks T of this process.

    Raises:
        UsageError: for no tasks, or a number that the processes do not divide.

    Example:
        >>> import torch
        >>> TaskAxis(2).sum(torch.tensor([[1.0], [2.0]]))
        tensor([[3.],
                [3.]])
    """

    count: int
    isolated: bool = False
    closed: bool = False
    ranks: Ranks | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"TaskAxis.count is {self.count}: it must be at least 1")
        world = 1 if self.ranks is None else self.ranks.count
        if self.count % world:
            low, high = self.count // world * world, -(-self.count // world) * world
            raise UsageError(
                f"{self.count} tasks cannot be spread evenly over {world} processes: use "
                f"{high if low == 0 else f'{low} or {high}'} tasks"
            )

    @property
    def local(self) -> int:
        """Number of tasks of this process."""
        return self.count if self.ranks is None else self.count // self.ranks.count

    @property
    def size(self) -> int:
        """Number of tasks that a mean divides by: 1 when isolated."""
        return 1 if self.isolated else self.count

    def piece(self, count: int) -> TaskAxis:
        """Return the closed axis of ``count`` tasks of this process."""
        return replace(self, count=count, closed=True, ranks=None)

    def sum(self, x: Tensor) -> Tensor:
        """Return ``[T, ...]`` whose rows all hold the sum over tasks; isolated: ``x``."""
        self._refuse_closed()
        return x if self.isolated else self._total(x).expand_as(x)

    def mean(self, rows: Stacked) -> Stacked:
        """Return the mean over tasks in every row; isolated: the rows themselves."""
        self._refuse_closed()
        if self.isolated:
            return rows
        return {k: (self._total(v) / self.count).expand_as(v) for k, v in rows.items()}

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all tasks: ``[T, ...] -> [N, ...]``, from elsewhere without graph.

        An isolated task has no others, so who asks must first see whether the axis is isolated
        and then leave each task's own row as it is.

        Raises:
            UsageError: on an isolated or closed axis.
        """
        self._refuse_closed()
        if self.isolated:
            raise UsageError(
                "an interaction asked for the rows of other tasks on an isolated axis, where every "
                "task is alone: return each task's own row if axis.isolated"
            )
        return rows if self.ranks is None else self.ranks.gather(rows.detach())

    def mine(self, rows: Tensor) -> Tensor:
        """Return this process's part of the rows of all tasks: ``[N, ...] -> [T, ...]``."""
        start = 0 if self.ranks is None else self.ranks.rank * self.local
        return rows[start : start + self.local]

    def gram(self, flat: Tensor) -> Tensor:
        """Return the inner products of all pairs of tasks: ``[T, P] -> [N, N]``.

        Raises:
            UsageError: on an isolated or closed axis.
        """
        every = self.gather(flat)
        return every @ every.T

    def _total(self, x: Tensor) -> Tensor:
        here = x.sum(0, keepdim=True)
        return here if self.ranks is None else total(here, self.ranks)

    def _refuse_closed(self) -> None:
        if self.closed:
            raise UsageError(
                "an interaction that claims to be independent asked for other tasks while graphs "
                "were being released: set independent = False on it"
            )
