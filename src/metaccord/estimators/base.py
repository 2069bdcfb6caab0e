"""Which meta-gradient: what flows from adapted tasks back to the initialisation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Self

from metaccord import tree, uneven
from metaccord.axis import TaskAxis
from metaccord.types import Adaptation, Episode, MetaState, Params, Stacked

if TYPE_CHECKING:
    from metaccord.method import Method
    from metaccord.objective import Objective
    from metaccord.rules.base import InnerRule


@dataclass(frozen=True, kw_only=True)
class Estimator(ABC):
    """Gives one meta-gradient per task.

    Attributes:
        needs: What the run must keep: ``"path"``, ``"grads"``, ``"features"``.
        takes_query: Whether query losses are taken, so that penalties and learned tensors beside
            the model have a gradient.
        caveat: What must be said with every number made with it, if anything.
        refuses: Places where interactions have no meaning with it, each with the reason.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    takes_query: ClassVar[bool] = True
    caveat: ClassVar[str] = ""
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def at(self, step: int) -> Self:
        """Return the estimator as it is at meta-step ``step``, if it changes by phases."""
        del step
        return self

    def suits(self, rule: InnerRule) -> None:
        """Raise UsageError if the inner rule has no meaning with this estimator."""
        del rule

    def init(self, method: Method, objective: Objective, seed: int) -> tuple[Params, Params]:
        """Return learned and running tensors of the estimator (none by default).

        Args:
            method: The whole method.
            objective: Model and criterion.
            seed: Of what is drawn.
        """
        del method, objective, seed
        return {}, {}

    def observe(self, running: Params) -> Params:
        """Return the running tensors for the next meta-step (the same)."""
        return running

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
        released before the next chunk is adapted, and a chunk holds tasks of one shape.
        """
        size = objective.plan.size(tree.tasks_in(episodes))
        buckets = uneven.Buckets(uneven.shapes(episodes))
        parts = [part for bucket, _ in buckets.split(episodes) for part in tree.split(bucket, size)]
        if len(parts) == 1 or not method.interaction.independent:
            return self.piece(method, objective, state, episodes, axis)
        found = [
            self.piece(method, objective, state, part, axis.piece(tree.tasks_in(part)))
            for part in parts
        ]
        rows, runs = ([*column] for column in zip(*found, strict=True))
        return buckets.join(rows), _joined(method, state, runs, episodes, buckets)

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


def _joined(
    method: Method,
    state: MetaState,
    runs: list[Adaptation],
    episodes: Episode,
    buckets: uneven.Buckets,
) -> Adaptation:
    """Return one run of all tasks, copying nothing that is known: episodes, the start, the end."""
    count, rule = tree.tasks_in(episodes), method.rule
    start = tree.expand(tree.scope(state.params, "model"), count)
    moments = zip(*(r.path[1:] for r in runs), strict=True)
    ends = [buckets.join(list(moment)) for moment in moments]
    path = ({k: start[k] for k in runs[0].initial}, *ends)
    still = {k: v for k, v in start.items() if k not in path[0]}
    learned = tree.expand(tree.scope(state.params, "rule"), count)
    solution = {**start, **rule.at(learned, still, rule.steps), **path[-1]}
    if "correct" in method.interaction.places:
        solution = buckets.join([r.solution for r in runs])
    bare = [(r.grads, r.carry, r.support_losses, r.losses, r.features, r.notes) for r in runs]
    grads, carry, support, losses, features, notes = buckets.join(bare)
    return Adaptation(path, grads, carry, solution, episodes, support, losses, features, notes)
