"""Small regression tasks, drawn by NumPy, for library and re-implementation alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from metaccord.selftest.arrays import Array, tensor
from metaccord.tasks import TaskSource
from metaccord.types import Batch, Episode


@dataclass(frozen=True, kw_only=True)
class Bends(TaskSource):
    """Two sine waves of two inputs, apart in phase and height from task to task.

    Args:
        keyed: Episodes carry keys, which some methods need; without them tasks have places.
    """

    shots: int = 5
    queries: int = 4
    keyed: bool = False

    def arrays(self, step: int, tasks: range) -> tuple[Array, Array]:
        """Return inputs and targets ``[T, shots + queries, 2]`` of a meta-step."""
        pairs = [self._one(step, task) for task in tasks]
        return np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs])

    def _one(self, step: int, task: int) -> tuple[Array, Array]:
        rng = np.random.default_rng([self.seed, step, task])
        x = rng.uniform(-2, 2, (self.shots + self.queries, 2))
        mixed = x @ rng.standard_normal((2, 2)) + rng.uniform(0, np.pi, 2)
        return x, rng.uniform(0.5, 1.5, 2) * np.sin(mixed)

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return the tasks; every split is the same."""
        x, y = self.arrays(step, tasks)
        own = slice(0, self.shots), slice(self.shots, None)
        support, query = (Batch(tensor(x[:, part]), tensor(y[:, part])) for part in own)
        order = torch.tensor(list(tasks)) + 1000 * step
        return Episode(support, query, {"order": order, "dropout": order} if self.keyed else {})
