"""The task axis: the only way tasks meet."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
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
        exact: Add rows in task order, for the same bits with any number of processes.

    Attributes:
        local: Number of tasks T of this process.
        tasks: Which of the N tasks they are.

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
    exact: bool = False

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
    def tasks(self) -> range:
        """The tasks of this process, by their place among all."""
        start = 0 if self.ranks is None else self.ranks.rank * self.local
        return range(start, start + self.local)

    @property
    def size(self) -> int:
        """Number of tasks that a mean divides by: 1 when isolated."""
        return 1 if self.isolated else self.count

    def piece(self, count: int) -> TaskAxis:
        """Return the closed axis of ``count`` tasks of this process."""
        return replace(self, count=count, closed=True, ranks=None)

    def sum(self, x: Tensor) -> Tensor:
        """Return ``[T, ...]`` whose rows all hold the sum over tasks; isolated: ``x``."""
        return self._total(x, 1)

    def mean(self, rows: Stacked) -> Stacked:
        """Return the mean over tasks in every row; isolated: the rows themselves."""
        if self.isolated or self.ranks is None:
            return {k: self._total(v, self.count) for k, v in rows.items()}
        found: Stacked = {}
        for kind in {v.dtype: None for v in rows.values()}:  # one exchange for all names together
            alike = {k: v for k, v in rows.items() if v.dtype == kind}
            flat = torch.cat([v.reshape(self.local, -1) for v in alike.values()], 1)
            sizes = [v[0].numel() for v in alike.values()]
            parts = torch.split(self._total(flat, self.count), sizes, 1)
            found |= {k: part.view_as(v) for (k, v), part in zip(alike.items(), parts, strict=True)}
        return {k: found[k] for k in rows}

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

    def everyone(self, rows: Tensor) -> Tensor:
        """Return a note of each task, of all tasks if they meet: ``[T, ...] -> [N, ...]``."""
        return rows if self.isolated else self.gather(rows)

    def mine(self, rows: Tensor) -> Tensor:
        """Return this process's part of the rows of all tasks: ``[N, ...] -> [T, ...]``."""
        return rows[self.tasks.start : self.tasks.stop]

    def gram(self, flat: Tensor) -> Tensor:
        """Return the inner products of all pairs of tasks: ``[T, P] -> [N, N]``.

        Raises:
            UsageError: on an isolated or closed axis.
        """
        every = self.gather(flat)
        return every @ every.T

    def _total(self, x: Tensor, divisor: int) -> Tensor:
        self._refuse_closed()
        if self.isolated:
            return x
        if self.ranks is None and not self.exact:
            here = x.sum(0, keepdim=True)
            return (here / divisor if divisor > 1 else here).expand_as(x)
        return total(x, self.ranks, self.exact, divisor)

    def _refuse_closed(self) -> None:
        if self.closed:
            raise UsageError(
                "an interaction that claims to be independent asked for other tasks while graphs "
                "were being released: set independent = False on it"
            )
