"""MAML's estimator: differentiate the query loss through the inner loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from torch import Tensor

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.estimators.base import Estimator
from metaccord.types import Adaptation, Episode, MetaState, Params, Stacked
from metaccord.unroll import owns, query_losses, unroll

if TYPE_CHECKING:
    from metaccord.method import Method
    from metaccord.objective import Objective


@dataclass(frozen=True, kw_only=True)
class MAML(Estimator):
    r"""Differentiate the query losses after K inner steps.

    .. math:: J_i^\top \nabla L_Q(\theta_i), \quad J_i = d\theta_i / d\theta

    Args:
        first_order: Take the inner gradients as constants, so that J_i is the identity (FOMAML).
        second_order_from: Meta-step from which on ``first_order`` is off again (derivative-order
            annealing of MAML++); None: never.

    Notes recorded:
        ``penalty`` [T], if an interaction adds one to the query losses.

    Raises:
        UsageError: for ``second_order_from`` without ``first_order``, or below 1.
    Reference:
        Finn, Abbeel, Levine, Model-Agnostic Meta-Learning, ICML 2017, Eq. (1) and Section 5.2;
        Antoniou, Edwards, Storkey, How to Train Your MAML, ICLR 2019, Section 4.
    """

    first_order: bool = False
    second_order_from: int | None = None

    def __post_init__(self) -> None:
        begin = self.second_order_from
        if begin is not None and (begin < 1 or not self.first_order):
            raise UsageError(
                f"estimator.second_order_from is {begin}: it must be at least 1, and set "
                "estimator.first_order=true as well"
            )

    def at(self, step: int) -> Self:
        """Return the estimator of the first-order or the second-order phase."""
        begin = self.second_order_from
        if begin is None:
            return self
        return replace(self, first_order=step < begin, second_order_from=None)

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
            run = query_losses(method, objective, run)
            own = owns(stack, state.running)
            extra = method.interaction.penalty(own, run, objective, axis)  # place 3
            if isinstance(extra, Tensor):
                run = run._replace(notes={"penalty": extra})
            running = tree.scope(state.running, "estimator")
            losses = self.outer_losses(method, objective, stack, run, running)
            return (losses + extra).sum(), run

        stack = tree.expand(state.params, tree.tasks_in(episodes))
        rows, run = objective.plan.rows(total, stack, create_graph=False)
        return rows, tree.detached(run)

    def outer_losses(
        self,
        method: Method,
        objective: Objective,
        stack: Stacked,
        run: Adaptation,
        running: Params,
    ) -> Tensor:
        """Return what is differentiated, penalties apart: the query losses ``[T]``."""
        del method, objective, stack, running
        assert run.losses is not None
        return run.losses
