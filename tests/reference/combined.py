"""All interactions together on MAML, slowly: sharing, co-learner, coherence and agreement.

Order of one meta-step: sharing in the inner loop; agreement's weights from the inner
displacements; coherence bends the solutions (a constant); query and co-learner losses there;
rows of theta, coefficients and phi; every row times N w_i; one mean.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tests.reference.coherence import Reading, bent, corrections, displacement
from tests.reference.colearner import cooperative_losses
from tests.reference.coupled import detached, gradients, mean_of, query
from tests.reference.inner import Criterion, Task, always, leaves, loss_at
from tests.reference.loops import agreement_weights
from tests.reference.rules import Params
from tests.reference.sharing import Coefficients, Mode, Past, lockstep


class Sharing(NamedTuple):
    """Coefficients and history of Gradient Sharing."""

    coefficients: Coefficients
    past: Past
    mode: Mode = "convex"
    differentiate: bool = False


class Cooperation(NamedTuple):
    """The co-learner, its parameters, the weight gamma and where the features come from."""

    colearner: nn.Module
    phi: Params
    gamma: float = 1.0
    features: str = "body"


class Combined(NamedTuple):
    """One meta-step.

    Attributes:
        losses: L^m_i at the corrected solutions.
        colearner_losses: L^c_i without gamma; empty without a co-learner.
        weights: w_i of agreement, or 1/N each.
        rows: Rows of theta times N w_i.
        coefficient_rows: Rows of the coefficients times N w_i; empty names without sharing.
        colearner_rows: Rows of phi times N w_i; empty names without a co-learner.
        grads: Mean of ``rows``.
        coefficient_grads: Mean of ``coefficient_rows``.
        colearner_grads: Mean of ``colearner_rows``.
        means: c_k of every step.
    """

    losses: list[Tensor]
    colearner_losses: list[Tensor]
    weights: Tensor
    rows: list[Params]
    coefficient_rows: list[Params]
    colearner_rows: list[Params]
    grads: Params
    coefficient_grads: Params
    colearner_grads: Params
    means: list[Params]


def combined_step(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    lr: float,
    *,
    sharing: Sharing | None = None,
    cooperation: Cooperation | None = None,
    rate: float | None = None,
    reading: Reading = "rotate",
    agreement: bool = True,
    first_order: bool = False,
    moves: Callable[[str], bool] = always,
) -> Combined:
    """MAML with any of the four; None (or False) leaves one out."""
    size, thetas = len(tasks), [leaves(params) for _ in tasks]
    # Without sharing: l = u = 0 of the additive form, whose gradients are thrown away.
    absent = next(iter(params.values())).new_zeros(1)
    chosen = sharing or Sharing({"share": absent, "past": absent}, [], "additive")
    copies = [leaves(chosen.coefficients) for _ in tasks]
    phis = [leaves(cooperation.phi if cooperation else {}) for _ in tasks]
    run = lockstep(
        model,
        criterion,
        thetas,
        tasks,
        lr,
        copies,
        chosen.past,
        mode=chosen.mode,
        differentiate=chosen.differentiate,
        first_order=first_order,
        moves=moves,
    )
    moved = [
        detached(displacement(theta, solution, moves))
        for theta, solution in zip(thetas, run.solutions, strict=True)
    ]  # d_i, before the correction
    factors = absent.new_ones(size)
    if agreement:
        factors = size * agreement_weights(moved)  # the sign of d_i cancels in w_i
    solutions = run.solutions
    if rate is not None:
        bends = corrections(moved, rate, reading)
        solutions = [bent(s, bend) for s, bend in zip(solutions, bends, strict=True)]
    pairs = [
        both_losses(model, criterion, solution, cooperation, phi, task)
        for solution, phi, task in zip(solutions, phis, tasks, strict=True)
    ]
    gamma = cooperation.gamma if cooperation else 0.0
    terms = [main if other is None else main + gamma * other for main, other in pairs]
    found = gradients(torch.stack(terms).sum(), [*thetas, *copies, *phis])
    groups = [scaled(found[start : start + size], factors) for start in (0, size, 2 * size)]
    if sharing is None:
        groups[1] = [{} for _ in tasks]
    rows, coefficient_rows, colearner_rows = groups
    return Combined(
        [main.detach() for main, _ in pairs],
        [other.detach() for _, other in pairs if other is not None],
        factors / size,
        rows,
        coefficient_rows,
        colearner_rows,
        mean_of(rows),
        mean_of(coefficient_rows),
        mean_of(colearner_rows),
        run.means,
    )


def both_losses(
    model: nn.Module,
    criterion: Criterion,
    solution: Params,
    cooperation: Cooperation | None,
    phi: Params,
    task: Task,
) -> tuple[Tensor, Tensor | None]:
    """L^m_i, and L^c_i where there is a co-learner."""
    if cooperation is None:
        return loss_at(model, criterion, solution, query(task)), None
    return cooperative_losses(
        model,
        criterion,
        solution,
        cooperation.colearner,
        phi,
        query(task),
        cooperation.features,
    )


def scaled(rows: list[Params], factors: Tensor) -> list[Params]:
    """Row i times factor i."""
    return [
        {name: factor * tensor for name, tensor in row.items()}
        for row, factor in zip(rows, factors, strict=True)
    ]
