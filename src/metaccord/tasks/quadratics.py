"""Quadratic bowls: a world in which every answer is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from metaccord.errors import UsageError
from metaccord.tasks.source import TaskSource
from metaccord.tasks.stream import uniforms
from metaccord.types import Batch, Episode


class Point(nn.Module):
    """A model that is nothing but its weights: a point in ``dim`` dimensions.

    Shape:
        centres [n, dim], metric [n, dim, dim] -> the losses of the bowls at the point, [n].
    """

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the point from a normal distribution."""
        if not self.weight.is_meta:  # there is nothing to draw, and trying imports the compiler
            nn.init.normal_(self.weight)

    def forward(self, centres: Tensor, metric: Tensor) -> Tensor:
        """Return the height of each bowl at the point."""
        apart = (self.weight - centres).unsqueeze(-1)  # [n, dim, 1]
        return 0.5 * (apart.mT @ (metric @ apart)).flatten()


def mean_height(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean output; quadratic tasks have no targets, only heights above 0."""
    return (outputs - targets).mean()


@dataclass(frozen=True, kw_only=True)
class Quadratics(TaskSource):
    r"""Tasks with loss :math:`\tfrac12 (w - c_i)^\top A_i (w - c_i)`.

    Support and query set of a task are the same bowl, so ``shots`` and ``queries`` must be 1.
    With :math:`M_i = I - \alpha A_i`, K inner steps lead to :math:`c_i + M_i^K (w - c_i)`.

    Args:
        dim: Dimension.
        condition: Largest eigenvalue of each A (the smallest is 1).
        spread: Standard deviation of the centres around 0, per coordinate.
        shots, queries, train_shots, seed: See :class:`metaccord.tasks.TaskSource`.

    Shape:
        inputs (centres [T, 1, dim], metrics [T, 1, dim, dim]), targets [T, 1] zeros, float64.
    """

    shots: int = 1
    queries: int = 1
    dim: int = 8
    condition: float = 10.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dim", "condition"):
            if getattr(self, name) < 1:
                raise UsageError(f"tasks.{name} is {getattr(self, name)}: it must be at least 1")
        if not self.spread > 0:
            raise UsageError(f"tasks.spread is {self.spread}: it must be above 0")
        if {self.shots, self.queries, self.train_shots or 1} != {1}:
            raise UsageError("a quadratic task is one bowl: tasks.shots and queries must be 1")

    def bowls(self, split: str, step: int, tasks: range) -> tuple[np.ndarray, np.ndarray]:
        """Return centres ``[T, dim]`` and symmetric metrics ``[T, dim, dim]``, float64."""
        d = self.dim
        raw = self.draws(split, step, tasks, 2 + 2 * (d + d * d) + d)
        unit = uniforms(raw[:, 2:])
        normal = _normals(unit[:, : 2 * (d + d * d)])
        centres, square = self.spread * normal[:, :d], normal[:, d:].reshape(-1, d, d)
        axes, _ = np.linalg.qr(square)
        powers = unit[:, -d:].copy()
        powers[:, 0] = 0.0
        powers[:, -1] = 1.0 if d > 1 else 0.0
        return centres, (axes * self.condition ** powers[:, None, :]) @ axes.transpose(0, 2, 1)

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return quadratic tasks; see the base class."""
        centres, metrics = self.bowls(split, step, tasks)
        inputs = (torch.from_numpy(centres)[:, None], torch.from_numpy(metrics)[:, None])
        batch = Batch(inputs, torch.zeros(len(tasks), 1, dtype=torch.float64))
        return Episode(batch, batch, self.keys(self.draws(split, step, tasks, 2)))

    def adapted(
        self, weight: np.ndarray, lr: float, steps: int, split: str, step: int, tasks: range
    ) -> np.ndarray:
        """Return the weights after K inner steps of SGD in closed form: ``[T, dim]``."""
        centres, metrics = self.bowls(split, step, tasks)
        power = self._power(metrics, lr, steps)
        return centres + np.einsum("tij,tj->ti", power, weight - centres)

    def meta_gradients(
        self, weight: np.ndarray, lr: float, steps: int, split: str, step: int, tasks: range
    ) -> np.ndarray:
        """Return MAML's meta-gradient of each task in closed form: ``[T, dim]``."""
        centres, metrics = self.bowls(split, step, tasks)
        power = self._power(metrics, lr, steps)
        return np.einsum("tij,tj->ti", power @ metrics @ power, weight - centres)

    def optimum(self, lr: float, steps: int, split: str, step: int, tasks: range) -> np.ndarray:
        """Return the initialisation that minimises the mean loss after adaptation: ``[dim]``."""
        centres, metrics = self.bowls(split, step, tasks)
        power = self._power(metrics, lr, steps)
        after = power @ metrics @ power
        return np.linalg.solve(after.sum(0), np.einsum("tij,tj->i", after, centres))

    def _power(self, metrics: np.ndarray, lr: float, steps: int) -> np.ndarray:
        return np.linalg.matrix_power(np.eye(self.dim) - lr * metrics, steps)


def _normals(unit: np.ndarray) -> np.ndarray:
    """Return normal numbers from pairs of uniforms (Box-Muller): ``[T, 2 m] -> [T, m]``."""
    half = unit.shape[1] // 2
    radius = np.sqrt(-2.0 * np.log1p(-unit[:, :half]))
    return radius * np.cos(2.0 * np.pi * unit[:, half:])
