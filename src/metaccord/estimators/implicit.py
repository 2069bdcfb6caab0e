"""iMAML's estimator: the meta-gradient at a solution, without the path to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.estimators.base import Estimator
from metaccord.types import Adaptation, Episode, MetaState, Stacked
from metaccord.unroll import dropout_key, owns, query_losses, unroll

if TYPE_CHECKING:
    from collections.abc import Callable

    from metaccord.method import Method
    from metaccord.objective import Objective
    from metaccord.rules.base import InnerRule


@dataclass(frozen=True, kw_only=True)
class Implicit(Estimator):
    r"""Solve for the meta-gradient at the solution of the proximal inner problem.

    .. math:: ((1 + \delta) I + H_S(\theta_i) / (\lambda + \rho)) \, v_i = \nabla L_Q(\theta_i)

    :math:`\lambda` is ``rule.strength`` of :class:`metaccord.rules.Proximal`. Row i is v_i for
    what moves; for what stays it is the direct gradient minus the product of the mixed second
    derivative of the support loss with :math:`v_i / (\lambda + \rho)`.

    Args:
        iterations: Steps of conjugate gradients, all tasks side by side; a row that has
            converged is frozen.
        damping: :math:`\delta`; 0 is the textbook system, 1 the official code's.
        shift: :math:`\rho`; 0 is the textbook system, 10 the official code's.

    Raises:
        UsageError: for no iterations, or numbers that are negative or not finite.

    Notes recorded:
        ``residual`` [T], relative to the right side; ``negative_curvature`` [T], 1 where a
        search direction met it and the row was frozen (at the gradient of the query loss, if it
        was the first one).
    Reference:
        Rajeswaran, Finn, Kakade, Levine, Meta-Learning with Implicit Gradients, NeurIPS 2019,
        arXiv 1909.04630, Eq. (6). Official code: aravindr93/imaml_dev, 6a2a669.
    Differs:
        The official code adapts every tensor; rows of tensors that stay are our derivation from
        the same condition. The mean over examples is used in support and query losses.
    """

    iterations: int = 5
    damping: float = 0.0
    shift: float = 0.0
    refuses: ClassVar = MappingProxyType(
        {
            "share": "the solution must solve the task's own problem, without others' gradients",
            "correct": "the implicit gradient holds at the solution, not beside it",
        }
    )

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise UsageError(f"estimator.iterations is {self.iterations}: it must be at least 1")
        for name in ("damping", "shift"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"estimator.{name} is {value}: it must be finite, 0 or more")

    def suits(self, rule: InnerRule) -> None:
        """Ask for the proximal inner problem."""
        if getattr(rule, "strength", None) is None:
            raise UsageError(
                f"implicit gradients need a pull towards the initialisation, which the inner rule "
                f"{type(rule).__name__} has not: use rules.Proximal, or methods.imaml()"
            )
        if rule.stepwise:
            raise UsageError(
                f"implicit gradients see the solution alone, but {type(rule).__name__} changes "
                "what stays from step to step: use rules.Proximal, or methods.imaml()"
            )
        if rule.batch is not None:
            raise UsageError(
                f"rule.batch is {rule.batch}: implicit gradients hold at the solution of the whole "
                "support set; use rule.batch=none"
            )

    def piece(
        self,
        method: Method,
        objective: Objective,
        state: MetaState,
        episodes: Episode,
        axis: TaskAxis,
    ) -> tuple[Stacked, Adaptation]:
        """Adapt without graph, then solve for the rows."""
        stack = tree.expand(state.params, tree.tasks_in(episodes))
        run = unroll(method, objective, stack, state.running, episodes, axis, create_graph=False)
        run = tree.detached(run)

        def total(at: Stacked) -> tuple[Tensor, Adaptation]:
            here = run._replace(solution=tree.scope(at, "model"))
            here = query_losses(method, objective, here)
            own = owns(at, state.running)
            assert here.losses is not None
            return (
                here.losses + method.interaction.penalty(own, here, objective, axis)
            ).sum(), here

        point = {**stack, **tree.under(run.solution, "model")}
        direct, found = objective.plan.rows(total, point, create_graph=False)
        right = tree.scope(direct, "model")
        moving = {k: right[k] for k in run.adapted}
        scale = getattr(method.rule, "strength") + self.shift  # noqa: B009 - see `suits`
        key = dropout_key(objective, episodes, method.rule.steps)
        product = _products(objective, run, key)
        solved = solve(
            lambda v: {
                k: (1 + self.damping) * v[k] + h / scale for k, h in product(v, False).items()
            },
            moving,
            self.iterations,
        )
        mixed = product(solved.rows, True)
        rows = {k: v - mixed[k] / scale for k, v in right.items() if k not in moving} | solved.rows
        notes = {"residual": solved.residual, "negative_curvature": solved.negative}
        return {**direct, **tree.under(rows, "model")}, tree.detached(found)._replace(notes=notes)


class Solved(NamedTuple):
    """Solutions of one linear system per task.

    Attributes:
        rows: ``[T, ...]``.
        residual: Norm of what is left over that of the right side, ``[T]``.
        negative: 1 where a direction of negative curvature stopped a row, ``[T]``.
    """

    rows: Stacked
    residual: Tensor
    negative: Tensor


def solve(matrix: Callable[[Stacked], Stacked], right: Stacked, iterations: int) -> Solved:
    """Return conjugate-gradient solutions of T symmetric systems side by side.

    Rows whose residual has vanished, or whose direction has no positive curvature, are frozen;
    nothing is decided on the host.

    Args:
        matrix: Product of each task's matrix with its row.
        right: Right sides ``[T, ...]``.
        iterations: Steps; in exact arithmetic as many as there are numbers solve any system.
    """
    x = {k: torch.zeros_like(v) for k, v in right.items()}
    rest, way = dict(right), dict(right)
    square = tree.dot(rest, rest)  # [T]
    size, negative = square, torch.zeros_like(square)
    floor = size * torch.finfo(size.dtype).eps ** 2
    for number in range(iterations):
        image = matrix(way)
        bend = tree.dot(way, image)
        going = (square > floor) & (negative == 0)
        negative = torch.where(going & (bend <= 0), 1.0, negative)
        if number == 0:
            x = tree.scale(right, negative)
        going = going & (bend > 0)
        length = torch.where(going, square / torch.where(going, bend, 1.0), 0.0)
        x = tree.plus(x, tree.scale(way, length))
        rest = tree.difference(rest, tree.scale(image, length))
        after = tree.dot(rest, rest)
        ratio = torch.where(going, after / torch.where(going, square, 1.0), 0.0)
        way = tree.plus(rest, tree.scale(way, ratio))
        square = torch.where(going, after, square)
    return Solved(x, (square / torch.where(size > 0, size, 1.0)).sqrt(), negative)


def _products(
    objective: Objective, run: Adaptation, key: Tensor | None
) -> Callable[[Stacked, bool], Stacked]:
    """Return v -> second derivatives of the support losses times v.

    The flag chooses the rows of what stays instead of those of what moves.
    """
    still = {k: v for k, v in run.solution.items() if k not in run.adapted}

    def product(v: Stacked, mixed: bool) -> Stacked:
        def slope(at: Stacked) -> tuple[Tensor, tuple[()]]:
            fixed = at if mixed else still
            start = run.adapted if mixed else at

            def total(moving: Stacked) -> tuple[Tensor, tuple[()]]:
                both = {**fixed, **moving}
                return objective.losses(both, run.episodes.support, key).sum(), ()

            grads, _ = objective.plan.rows(total, start, create_graph=True)
            return tree.dot(grads, v).sum(), ()

        around = still if mixed else run.adapted
        return objective.plan.rows(slope, around, create_graph=False)[0] if around else {}

    return product
