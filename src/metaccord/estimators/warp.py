"""WarpGrad's estimator: warp layers learn from single steps, wherever the tasks came by."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.estimators.maml import MAML
from metaccord.types import Adaptation, Episode, MetaState, Stacked
from metaccord.unroll import dropout_key

if TYPE_CHECKING:
    from metaccord.method import Method
    from metaccord.objective import Objective
    from metaccord.rules.base import InnerRule


@dataclass(frozen=True, kw_only=True)
class Warp(MAML):
    r"""Give warp layers the gradient of the query loss after one step from each state passed.

    .. math:: \frac{1}{K} \sum_{k<K} \nabla_\phi
              L_Q(\theta_k - \alpha \nabla_\theta L_S(\theta_k; \phi); \phi)

    The states :math:`\theta_k` of the inner loop are constants, so nothing flows back through
    the path. What moves has MAML's row, with :math:`\phi` constant. All that the inner rule leaves
    alone (``rule.never``) is :math:`\phi`. Penalties of interactions reach what moves alone.

    Args:
        lookahead_first_order: Take the point after the step as a constant, too.
        first_order, second_order_from: Of the rows of what moves; see
            :class:`metaccord.estimators.MAML`.

    Reference:
        Flennerhag, Rusu, Pascanu, Visin, Yin, Hadsell, Meta-Learning with Warped Gradient Descent,
        ICLR 2020, arXiv 1909.00025, Eq. (11) and (12). Official code: flennerhag/warpgrad,
        d9ef72a.
    Differs:
        The mean over states is taken, the paper sums them. The states are those of this
        meta-step's tasks; the official code keeps them in a buffer. The initialisation is learned
        by MAML's objective (Warp-MAML).
    """

    lookahead_first_order: bool = False
    needs: ClassVar[frozenset[str]] = frozenset({"path"})
    refuses: ClassVar = MappingProxyType(
        {
            "share": "the lookahead from each state is a task's own plain step",
            "correct": "its warp layers learn from states that are not corrected",
        }
    )

    def suits(self, rule: InnerRule) -> None:
        """Ask for warp layers, which the rule leaves alone."""
        if not rule.never or rule.steps < 1:
            raise UsageError(
                "WarpGrad needs layers that the inner loop leaves alone and at least one inner "
                "step: set rule.never, or use methods.warp()"
            )
        if rule.carries:
            raise UsageError(
                f"WarpGrad takes one step from each state alone, but {type(rule).__name__} carries "
                "tensors from step to step: use rules.SGD, or methods.warp()"
            )

        if rule.stepwise:
            raise UsageError(
                f"WarpGrad's lookahead needs layers that are the same at every step, but "
                f"{type(rule).__name__} changes what stays: use rule.norms=false, or methods.warp()"
            )

    def piece(
        self,
        method: Method,
        objective: Objective,
        state: MetaState,
        episodes: Episode,
        axis: TaskAxis,
    ) -> tuple[Stacked, Adaptation]:
        """Return MAML's rows, those of warp layers replaced."""
        rows, run = super().piece(method, objective, state, episodes, axis)
        stack = tree.expand(state.params, tree.tasks_in(episodes))
        model, learned = tree.scope(stack, "model"), tree.scope(stack, "rule")
        _, still = method.rule.divide(model, objective.groups)

        def total(warp: Stacked) -> tuple[Tensor, tuple[()]]:
            losses = [
                self._ahead(method, objective, learned, {**still, **warp}, run, step)
                for step in range(method.rule.steps)
            ]
            return sum(losses[1:], losses[0]) / len(losses), ()

        found, _ = objective.plan.rows(total, still, create_graph=False)
        return {**rows, **tree.under(found, "model")}, run

    def _ahead(
        self,
        method: Method,
        objective: Objective,
        learned: Stacked,
        still: Stacked,
        run: Adaptation,
        step: int,
    ) -> Tensor:
        """Return the summed query losses after one step from the state before ``step``."""
        rule, state = method.rule, run.path[step]
        key = dropout_key(objective, run.episodes, step)
        batch = rule.part(run.episodes.support, step)

        def support(moving: Stacked) -> tuple[Tensor, tuple[()]]:
            return objective.losses({**still, **moving}, batch, key).sum(), ()

        grads, _ = objective.plan.rows(support, state, create_graph=not self.lookahead_first_order)
        ahead, _ = rule.update(learned, state, rule.clipped(grads), rule.begin(state, {}), step)
        key = dropout_key(objective, run.episodes, rule.steps)
        return objective.losses({**still, **ahead}, run.episodes.query, key).sum()
