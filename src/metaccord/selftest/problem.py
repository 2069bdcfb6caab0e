"""One meta-step on quadratics: the tasks, the point, and what is learned besides it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metaccord.selftest.arrays import Array, Rows, times
from metaccord.selftest.bowls import Bowls


@dataclass(frozen=True)
class Problem:
    """What a closed form is a function of.

    Args:
        bowls: The T tasks.
        earlier: T tasks of the meta-step before, at the same point.
        theta: The point, ``[d]``, or with a leading part that is warped; see the case.
        head: How many of the last numbers are the head.
        steps: Inner steps K.
        lr: Inner step size.
        learned: Everything learned besides the point, by the library's names.
        step: Index of the meta-step, for methods with a schedule.
    """

    bowls: Bowls
    earlier: Bowls
    theta: Array
    head: int
    steps: int
    lr: float
    learned: Rows
    step: int = 0

    @property
    def tasks(self) -> int:
        """Number of tasks T."""
        return len(self.bowls.a)

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return len(self.theta)

    @property
    def start(self) -> Array:
        """The point, once per task: ``[T, d]``."""
        return np.broadcast_to(self.theta, (self.tasks, self.dim))

    @property
    def body(self) -> Array:
        """1 for coordinates of the trunk, 0 for those of the head: ``[d]``."""
        return (np.arange(self.dim) < self.dim - self.head).astype(np.float64)

    def step_matrix(self, rates: Array | float) -> Array:
        """Return ``I - diag(rates) A``: ``[T, d, d]``."""
        return np.eye(self.dim) - np.broadcast_to(rates, (self.dim,))[:, None] * self.bowls.a

    def adapted(self, rates: Array | float) -> tuple[Array, Array]:
        """Return ``M^K`` and ``w_K = M^K w_0 + sum_j M^j (rates * b)``, by powers of matrices."""
        one = self.step_matrix(rates)
        power = np.linalg.matrix_power(one, self.steps)
        point, given = times(power, self.start), rates * self.bowls.b
        for j in range(self.steps):
            point = point + times(np.linalg.matrix_power(one, j), given)
        return power, point


def back(matrices: Array, vectors: Array) -> Array:
    """Return each task's transposed matrix times its vector: ``[T, d, d], [T, d] -> [T, d]``."""
    return times(matrices.transpose(0, 2, 1), vectors)
