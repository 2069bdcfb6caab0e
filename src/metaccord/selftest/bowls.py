"""Random quadratic tasks, in NumPy and as episodes of the library.

Legend: T tasks, d numbers, of which the first belong to the trunk and the rest to the head.
Support loss ``w' A w / 2 - b' w``, query loss the same with its own matrix and vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from metaccord.engine import Plan
from metaccord.objective import Objective
from metaccord.selftest.arrays import Array, tensor, times
from metaccord.types import Batch, Episode

KINDS = ("none", "line", "flat", "round", "steep")  # edge cases; every other batch is random


@dataclass(frozen=True)
class Bowls:
    """T quadratic tasks.

    Args:
        a, b: Support matrices ``[T, d, d]`` (positive definite) and vectors ``[T, d]``.
        aq, bq: The same of the query loss (symmetric).
        condition: Condition number of each support matrix, ``[T]``.
    """

    a: Array
    b: Array
    aq: Array
    bq: Array
    condition: Array

    def residual(self, w: Array) -> Array:
        """Return the support gradients at ``w``: ``[T, d]``."""
        return times(self.a, w) - self.b

    def q(self, w: Array) -> Array:
        """Return the query gradients at ``w``: ``[T, d]``."""
        return times(self.aq, w) - self.bq

    def episode(self, *, keys: bool = False) -> Episode:
        """Return the tasks for :class:`Bowl`; ``keys`` seed what a method draws."""
        zeros = torch.zeros(len(self.a), 1, dtype=torch.float64)
        support = Batch((tensor(self.a)[:, None], tensor(self.b)[:, None]), zeros)
        query = Batch((tensor(self.aq)[:, None], tensor(self.bq)[:, None]), zeros)
        order = {"order": torch.arange(len(self.a)), "dropout": torch.arange(len(self.a))}
        return Episode(support, query, order if keys else {})


def drawn(rng: np.random.Generator, tasks: int, dim: int, kind: str = "") -> Bowls:
    """Draw quadratics.

    Args:
        rng: Where the numbers come from.
        tasks: How many.
        dim: Dimension d.
        kind: ``"flat"``: no curvature; ``"round"``: equal eigenvalues; ``"steep"``: condition 1e6;
            else log-uniform between 1 and 1e6.
    """
    condition = 10.0 ** rng.uniform(0, 6, tasks)
    if kind == "steep":
        condition[:] = 1e6
    if kind in ("round", "flat") or dim == 1:
        condition[:] = 1.0
    powers = rng.uniform(0, 1, (tasks, dim))
    powers[:, 0], powers[:, -1] = 1.0, 0.0  # both ends of the spectrum occur
    largest = rng.uniform(0.8, 1.0, (tasks, 1))
    values = largest * condition[:, None] ** -powers
    if kind == "flat":
        values = np.zeros_like(values)
    signs = np.where(rng.uniform(size=(tasks, dim)) < 0.2, -1.0, 1.0)
    curved = signs * rng.uniform(0.2, 2.0, (tasks, dim))
    normal = rng.standard_normal((2, tasks, dim))
    return Bowls(
        with_spectrum(rng, values),
        normal[0],
        with_spectrum(rng, curved),
        normal[1],
        condition,
    )


def with_spectrum(rng: np.random.Generator, values: Array) -> Array:
    """Return symmetric matrices with these eigenvalues and random axes: ``[T, d, d]``."""
    axes, _ = np.linalg.qr(rng.standard_normal((*values.shape, values.shape[1])))
    found = (axes * values[:, None, :]) @ axes.transpose(0, 2, 1)
    return 0.5 * (found + found.transpose(0, 2, 1))


class Bowl(nn.Module):
    """A point in d dimensions: a trunk ``[1, d - h]`` (if any) and a head ``[h]``.

    Shape:
        matrices [n, d, d], vectors [n, d] -> the heights of the bowls at the point, [n].
    """

    def __init__(self, dim: int, head: int) -> None:
        super().__init__()
        zeros = torch.zeros(dim, dtype=torch.float64)
        self.trunk = nn.Parameter(zeros[None, head:]) if dim > head else None
        self.head = nn.Parameter(zeros[:head])
        self.point = nn.Identity()

    def forward(self, matrices: Tensor, vectors: Tensor) -> Tensor:
        """Return the heights."""
        parts: list[Tensor] = [self.head]
        if self.trunk is not None:
            parts.insert(0, self.trunk[0])
        return height(matrices, vectors, self.point(torch.cat(parts)[None]))


class Warped(nn.Module):
    """A point seen through a linear warp: the bowls' heights at ``warp @ weight``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim, dtype=torch.float64))
        self.warp = nn.Parameter(torch.eye(dim, dtype=torch.float64))

    def forward(self, matrices: Tensor, vectors: Tensor) -> Tensor:
        """Return the heights."""
        return height(matrices, vectors, (self.warp @ self.weight)[None])


def height(matrices: Tensor, vectors: Tensor, at: Tensor) -> Tensor:
    """Return ``w' A w / 2 - b' w``: ``[n, d, d], [n, d], [1, d] -> [n]``."""
    image = (matrices @ at[..., None])[..., 0]
    return ((0.5 * image - vectors) * at).sum(-1)


def mean_height(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean output; the targets are zeros."""
    return (outputs - targets).mean()


def objective(model: nn.Module) -> Objective:
    """Return the model with heights as losses."""
    features = "point" if isinstance(model, Bowl) else None
    return Objective(model, mean_height, Plan(chunk="all"), features=features)
