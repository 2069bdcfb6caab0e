"""Reptile's estimator: the way each task went, backwards."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import torch

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.estimators.base import Estimator
from metaccord.types import Adaptation, Episode, MetaState, Stacked
from metaccord.unroll import unroll

if TYPE_CHECKING:
    from metaccord.method import Method
    from metaccord.objective import Objective
    from metaccord.rules.base import InnerRule


@dataclass(frozen=True, kw_only=True)
class Reptile(Estimator):
    r"""Take :math:`\theta - \theta_i` as the meta-gradient of task i.

    There is no query loss: with outer SGD of step size :math:`\epsilon` the update is
    :math:`\theta + \epsilon \, \mathrm{mean}_i(\theta_i - \theta)`.

    Reference:
        Nichol, Achiam, Schulman, On First-Order Meta-Learning Algorithms, 2018, Algorithm 2.
    """

    takes_query: ClassVar[bool] = False
    refuses: ClassVar = MappingProxyType(
        {"penalty": "it takes no query loss, so the penalty would be ignored"}
    )

    def suits(self, rule: InnerRule) -> None:
        """Refuse rules that change the model from step to step beside what moves."""
        if rule.stepwise:
            raise UsageError(
                f"Reptile's row is the way a task went, but {type(rule).__name__} changes what "
                "stays from step to step, too: use it over MAML"
            )

    def piece(
        self,
        method: Method,
        objective: Objective,
        state: MetaState,
        episodes: Episode,
        axis: TaskAxis,
    ) -> tuple[Stacked, Adaptation]:
        """Adapt without graph and return the displacements; what stays has rows of zeros."""
        stack = tree.expand(state.params, tree.tasks_in(episodes))
        run = unroll(method, objective, stack, state.running, episodes, axis, create_graph=False)
        run = tree.detached(run)
        found = tree.under(tree.difference(tree.scope(stack, "model"), run.solution), "model")
        return {k: found.get(k, torch.zeros_like(v)) for k, v in stack.items()}, run
