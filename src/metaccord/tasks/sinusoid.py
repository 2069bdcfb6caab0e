"""Sine waves: one task is one amplitude and one phase."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from metaccord.codings import ArrayCoding
from metaccord.errors import UsageError
from metaccord.tasks.source import TaskSource
from metaccord.tasks.stream import uniforms
from metaccord.types import Batch, Episode

GRID = 50
_KEYS, _SHAPE = 2, 2  # words used for keys and for amplitude and phase


@dataclass(frozen=True, kw_only=True)
class Sinusoid(TaskSource):
    r"""Regress :math:`a \sin(x + b)` on :math:`x \in [-5, 5]` from a few points.

    Args:
        inputs: ``"grid"``: 50 equidistant points, of which the support set is a random part and
            the query set all; ``"uniform"``: support and query points drawn independently.
        amplitude: Interval of a.
        phase: b is uniform in [0, phase]: 2 pi in Gradient Agreement, pi in MAML.
        shots, queries, train_shots, seed: See :class:`metaccord.tasks.TaskSource`; with a grid
            ``queries`` has no meaning and must stay at its default.

    Shape:
        inputs and targets [T, n, 1], float32.
    Reference:
        Eshratifar, Eigen, Pedram, 2018, Section 4; Finn, Abbeel, Levine, 2017, Section 5.1.
    Differs:
        MAML writes a sin(x - b); with b uniform over [0, pi] the tasks are the same family up to
        reflection, and over [0, 2 pi] exactly the same.
    """

    inputs: Literal["grid", "uniform"] = "grid"
    amplitude: tuple[float, float] = (0.1, 5.0)
    phase: float = 2 * math.pi

    def __post_init__(self) -> None:
        super().__post_init__()
        most = max(self.shots, self.train_shots or 0)
        if self.inputs == "grid" and most > GRID:
            raise UsageError(f"tasks.shots is {most}, but the grid has {GRID} points")
        if not self.amplitude[0] <= self.amplitude[1]:
            raise UsageError(f"tasks.amplitude is {self.amplitude}: it must be (low, high)")
        if not self.phase > 0:
            raise UsageError(f"tasks.phase is {self.phase}: it must be above 0")

    @property
    def coding(self) -> ArrayCoding:
        """One number in, one number out."""
        return ArrayCoding((1,))

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return sine tasks; see the base class."""
        shots = self.support_shots(split)
        points = GRID if self.inputs == "grid" else shots + self.queries
        raw = self.draws(split, step, tasks, _KEYS + _SHAPE + points)
        low, high = self.amplitude
        unit = uniforms(raw[:, _KEYS:])  # [T, 2 + points]
        a, b = low + (high - low) * unit[:, :1], self.phase * unit[:, 1:2]  # [T, 1]
        if self.inputs == "grid":
            grid = np.broadcast_to(np.linspace(-5.0, 5.0, GRID), (len(tasks), GRID))
            places = np.argsort(raw[:, _KEYS + _SHAPE :], axis=1, kind="stable")[:, :shots]
            support, query = np.take_along_axis(grid, places, 1), grid
        else:
            x = -5.0 + 10.0 * unit[:, _SHAPE:]
            support, query = x[:, :shots], x[:, shots:]
        return Episode(_batch(support, a, b), _batch(query, a, b), self.keys(raw))


def _batch(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> Batch:
    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[:, :, None]

    return Batch(tensor(x), tensor(a * np.sin(x + b)))
