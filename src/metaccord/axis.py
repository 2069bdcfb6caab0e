"""The task axis: the only way tasks meet."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from metaccord.errors import UsageError
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

    Example:
        >>> import torch
        >>> TaskAxis(2).sum(torch.tensor([[1.0], [2.0]]))
        tensor([[3.],
                [3.]])
    """

    count: int
    isolated: bool = False
    closed: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"TaskAxis.count is {self.count}: it must be at least 1")

    @property
    def size(self) -> int:
        """Number of tasks that a mean divides by: 1 when isolated."""
        return 1 if self.isolated else self.count

    def piece(self, count: int) -> TaskAxis:
        """Return the closed axis of ``count`` of these tasks."""
        return replace(self, count=count, closed=True)

    def sum(self, x: Tensor) -> Tensor:
        """Return ``[T, ...]`` whose rows all hold the sum over tasks; isolated: ``x``."""
        self._refuse_closed()
        return x if self.isolated else x.sum(0, keepdim=True).expand_as(x)

    def mean(self, rows: Stacked) -> Stacked:
        """Return the mean over tasks in every row; isolated: the rows themselves."""
        self._refuse_closed()
        if self.isolated:
            return rows
        return {k: (v.sum(0, keepdim=True) / self.count).expand_as(v) for k, v in rows.items()}

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all tasks: ``[T, ...] -> [N, ...]``, on one process the rows.

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
        return rows

    def gram(self, flat: Tensor) -> Tensor:
        """Return the inner products of all pairs of tasks: ``[T, P] -> [N, N]``.

        Raises:
            UsageError: on an isolated or closed axis.
        """
        every = self.gather(flat)
        return every @ every.T

    def _refuse_closed(self) -> None:
        if self.closed:
            raise UsageError(
                "an interaction that claims to be independent asked for other tasks while graphs "
                "were being released: set independent = False on it"
            )
