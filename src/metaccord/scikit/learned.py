"""What an estimator keeps of its meta-training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaccord.method import Method
from metaccord.types import MetaState

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scaling:
    """Mean and standard deviation of columns; what does not vary is only shifted.

    Attributes:
        mean, spread: ``[F]``; spread is above 0.
    """

    mean: Floats
    spread: Floats

    @staticmethod
    def of(values: Floats, weight: Floats | None = None) -> Scaling:
        """Return the scaling of examples ``[n, F]``, weighted by ``[n]``."""
        mean = np.average(values, axis=0, weights=weight)
        spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight))
        least = 1e-9 * np.maximum(np.abs(mean), 1e-300)  # rounding of a constant is no spread
        return Scaling(mean, np.where(spread > least, spread, 1.0))

    @staticmethod
    def none(count: int) -> Scaling:
        """Return the scaling that changes nothing."""
        return Scaling(np.zeros(count), np.ones(count))

    def after(self, mean: Any, spread: Any) -> Scaling:
        """Return the scaling that does another one first and then this."""
        return Scaling(mean + spread * self.mean, spread * self.spread)

    def apply(self, values: Floats) -> Floats:
        """Return ``[n, F]`` in units of the spread."""
        return (values - self.mean) / self.spread

    def undo(self, values: Floats) -> Floats:
        """Return ``[n, F]`` in the user's units."""
        return values * self.spread + self.mean


@dataclass(frozen=True, eq=False)
class Learned:
    """The result of ``meta_fit``, a constructor parameter of the estimators.

    As a parameter it survives ``clone``, and with it pipelines, grid search and cross validation.
    It never changes, so copies share it. It holds tensors and arrays on the CPU; pickling and
    joblib treat it like any other object.

    Attributes:
        method: What was meta-trained.
        state: Learned and running tensors.
        model: Options of the network, for :class:`metaccord.models.MLP`.
        inputs, targets: How features and regression targets are scaled.
        classes: The classes that all tasks share, sorted; None: each task has its own.
        losses: Mean query loss after each meta-step (Reptile: support loss), ``[steps]``.
        tasks: Number of tasks; 0 if they came from a source without end.
        names: Of the columns, if the tasks were data frames.
    """

    method: Method
    state: MetaState = field(repr=False)
    model: dict[str, Any]
    inputs: Scaling = field(repr=False)
    targets: Scaling = field(repr=False)
    classes: NDArray[Any] | None = field(repr=False)
    losses: Floats = field(repr=False)
    tasks: int
    names: tuple[str, ...] = field(default=(), repr=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Learned:
        """Return itself: scikit-learn copies parameters for each clone, and this never changes."""
        return self

    def __repr__(self) -> str:
        kind = "" if self.classes is None else f", {len(self.classes)} shared classes"
        return f"<{self.method.label} of {len(self.losses)} steps, {self.model}{kind}>"
