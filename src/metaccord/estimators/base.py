"""Which meta-gradient: what flows from adapted tasks back to the initialisation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.types import Adaptation, Episode, MetaState, Stacked

if TYPE_CHECKING:
    from metaccord.method import Method
    from metaccord.objective import Objective


@dataclass(frozen=True, kw_only=True)
class Estimator(ABC):
    """Gives one meta-gradient per task.

    Attributes:
        needs: What the run must keep: ``"path"`` and ``"grads"``.
        takes_query: Whether query losses are taken, so that penalties and corrections and
            learned tensors beside the model have a gradient.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    takes_query: ClassVar[bool] = True

    def task_gradients(
        self,
        method: Method,
        objective: Objective,
        state: MetaState,
        episodes: Episode,
        axis: TaskAxis,
    ) -> tuple[Stacked, Adaptation]:
        """Return one meta-gradient per task and the run without its graph, ``[T, ...]``.

        If no task sees another before ``reconcile``, the graphs of each chunk of tasks are
        released before the next chunk is adapted.
        """
        count = tree.tasks_in(episodes)
        size = objective.plan.size(count)
        if size == count or not method.interaction.independent:
            return self.piece(method, objective, state, episodes, axis)
        found = [
            self.piece(method, objective, state, part, axis.piece(tree.tasks_in(part)))
            for part in tree.split(episodes, size)
        ]
        rows, run = tree.join(found, torch.cat)
        return rows, run._replace(episodes=episodes)

    @abstractmethod
    def piece(
        self,
        method: Method,
        objective: Objective,
        state: MetaState,
        episodes: Episode,
        axis: TaskAxis,
    ) -> tuple[Stacked, Adaptation]:
        """Return the same for tasks whose graphs live together."""
