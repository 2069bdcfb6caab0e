"""MAML's estimator: differentiate the query loss through the inner loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.estimators.base import Estimator
from metaccord.types import Adaptation, Episode, MetaState, Stacked
from metaccord.unroll import dropout_key, owns, unroll

if TYPE_CHECKING:
    from metaccord.method import Method
    from metaccord.objective import Objective


@dataclass(frozen=True, kw_only=True)
class MAML(Estimator):
    r"""Differentiate the query losses after K inner steps.

    .. math:: J_i^\top \nabla L_Q(\theta_i), \quad J_i = d\theta_i / d\theta

    Args:
        first_order: Take the inner gradients as constants, so that J_i is the identity (FOMAML).

    Reference:
        Finn, Abbeel, Levine, Model-Agnostic Meta-Learning, ICML 2017, Eq. (1) and Section 5.2.
    """

    first_order: bool = False

    def piece(
        self,
        method: Method,
        objective: Objective,
        state: MetaState,
        episodes: Episode,
        axis: TaskAxis,
    ) -> tuple[Stacked, Adaptation]:
        """Adapt, take the query losses and penalties, differentiate their sum."""

        def total(stack: Stacked) -> tuple[Tensor, Adaptation]:
            run = unroll(
                method,
                objective,
                stack,
                state.running,
                episodes,
                axis,
                create_graph=not self.first_order,
            )
            key = dropout_key(objective, episodes, method.rule.steps)
            losses = objective.losses(run.solution, episodes.query, key)  # [T]
            run = run._replace(losses=losses)
            own = owns(stack, state.running)
            extra = method.interaction.penalty(own, run, objective, axis)  # place 3
            return (losses + extra).sum(), run

        stack = tree.expand(state.params, tree.tasks_in(episodes))
        rows, run = objective.plan.rows(total, stack, create_graph=False)
        return rows, tree.detached(run)
