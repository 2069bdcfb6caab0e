"""Inner rules with their hand-written reverse sweeps.

Legend: T tasks, K inner steps, P parameters. A rule moves points ``[T, P]`` by directions
``[T, P]``; ``back`` takes the slopes of the outer loss by the new point and returns those by the
direction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from metaccord.selftest.arrays import Array

Slots = tuple[Array, ...]


class Rule(Protocol):
    """How a point moves, and how slopes flow back through the move."""

    def start(self, points: Array) -> Slots:
        """Return the slots before the first step."""

    def move(self, points: Array, given: Array, k: int, slots: Slots) -> tuple[Array, Slots]:
        """Return the next points and slots."""

    def back(
        self, slopes: Array, given: Array, k: int, after: Slots, flowing: Slots
    ) -> tuple[Array, Slots]:
        """Return slopes by the direction and by the slots before the step.

        Args:
            slopes: By the point after the step.
            given: The direction of the step.
            k: Which step.
            after: Slots after the step.
            flowing: Slopes by them; empty in the last step.
        """


@dataclass(frozen=True)
class Rates:
    """``w - rates[k] * h``: SGD, masks, learned rates.

    Args:
        rates: ``[K, P]`` or ``[K, T, P]``; 0 for what stays.
    """

    rates: Array

    def start(self, points: Array) -> Slots:
        """Return nothing."""
        return ()

    def move(self, points: Array, given: Array, k: int, slots: Slots) -> tuple[Array, Slots]:
        """See :class:`Rule`."""
        return points - self.rates[k] * given, ()

    def back(
        self, slopes: Array, given: Array, k: int, after: Slots, flowing: Slots
    ) -> tuple[Array, Slots]:
        """See :class:`Rule`."""
        return -self.rates[k] * slopes, ()


@dataclass(frozen=True)
class Momentum:
    """``v <- decay v + h,  w <- w - lr v``."""

    lr: float
    decay: float

    def start(self, points: Array) -> Slots:
        """Return the velocity 0."""
        return (np.zeros_like(points),)

    def move(self, points: Array, given: Array, k: int, slots: Slots) -> tuple[Array, Slots]:
        """See :class:`Rule`."""
        velocity = self.decay * slots[0] + given
        return points - self.lr * velocity, (velocity,)

    def back(
        self, slopes: Array, given: Array, k: int, after: Slots, flowing: Slots
    ) -> tuple[Array, Slots]:
        """See :class:`Rule`."""
        found = -self.lr * slopes + (flowing[0] if flowing else 0)
        return found, (self.decay * found,)


@dataclass(frozen=True)
class Adam:
    """Bias-corrected moments, eps outside the root.

    Args:
        lr, beta1, beta2, eps: As usual.
        second: Second moment to start from ``[P]``, and after how many steps; None: 0 and 0.
    """

    lr: float
    beta1: float
    beta2: float
    eps: float
    second: tuple[Array, int] = field(default=(np.zeros(1), 0))

    def start(self, points: Array) -> Slots:
        """Return both moments."""
        return np.zeros_like(points), np.broadcast_to(self.second[0], points.shape)

    def move(self, points: Array, given: Array, k: int, slots: Slots) -> tuple[Array, Slots]:
        """See :class:`Rule`."""
        first = self.beta1 * slots[0] + (1 - self.beta1) * given
        second = self.beta2 * slots[1] + (1 - self.beta2) * given**2
        one, two = self._corrections(k)
        return points - self.lr * (first / one) / (np.sqrt(second / two) + self.eps), (
            first,
            second,
        )

    def back(
        self, slopes: Array, given: Array, k: int, after: Slots, flowing: Slots
    ) -> tuple[Array, Slots]:
        """See :class:`Rule`."""
        one, two = self._corrections(k)
        root = np.sqrt(after[1] / two)
        below = root + self.eps
        first = -self.lr * slopes / below / one
        by_root = self.lr * slopes * (after[0] / one) / below**2
        second = np.divide(by_root, 2 * root, out=np.zeros_like(root), where=root > 0) / two
        if flowing:
            first, second = first + flowing[0], second + flowing[1]
        found = (1 - self.beta1) * first + 2 * (1 - self.beta2) * given * second
        return found, (self.beta1 * first, self.beta2 * second)

    def _corrections(self, k: int) -> tuple[float, float]:
        count = self.second[1] + k + 1
        return 1 - self.beta1**count, 1 - self.beta2**count


@dataclass(frozen=True)
class Outer:
    """The outer optimiser: Adam, or SGD whose step size falls linearly to 0 over ``steps``."""

    kind: str
    lr: float
    steps: int

    def stepped(self, value: Array, grad: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        """Return the new value and slots after meta-step ``step`` (from 0)."""
        if self.kind == "sgd":
            return value - self.lr * (1 - step / self.steps) * grad, ()
        first, second = slots or (np.zeros_like(value), np.zeros_like(value))
        first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
        one, two = 1 - 0.9 ** (step + 1), 1 - 0.999 ** (step + 1)
        return value - self.lr * (first / one) / (np.sqrt(second / two) + 1e-8), (first, second)
