"""The coherence regulariser of Guiroy et al. 2019, slowly: adapted solutions bent together.

d_i = theta_i - theta, u_i = d_i / ||d_i|| (zero without displacement), gamma = r ||d_i||^2:

    rotate (reading A)   theta^_i = theta_i + (gamma / ||d_i||) P_i u_mean
                                  = theta_i + r ||d_i|| P_i u_mean,  P_i = I - u_i u_i^T
    shift  (reading D)   theta^_i = theta_i + r d_mean

u_mean and d_mean are plain means over tasks, not normalised again. Names are those of the
module, without the prefix ``model.``; lengths and products run over all moved tensors together.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tests.reference.coupled import detached, gradients, mean_of, query
from tests.reference.inner import Criterion, Task, adapt, always, leaves, loss_at
from tests.reference.rules import Params

Reading = Literal["rotate", "shift"]
Through = Literal["nothing", "own", "everything"]
"""What the outer gradient sees: a constant correction; one whose mean alone is constant; all."""


def corrected_solutions(
    initial: Params,
    adapted: list[Params],
    rate: float,
    reading: Reading = "rotate",
    *,
    moves: Callable[[str], bool] = always,
) -> list[Params]:
    """theta^_i of every task, detached; tensors that do not move stay as they are."""
    displacements = [displacement(initial, solution, moves) for solution in adapted]
    bends = corrections([detached(d) for d in displacements], rate, reading)
    return [detached(bent(s, bend)) for s, bend in zip(adapted, bends, strict=True)]


def coherence_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    lr: float,
    rate: float,
    *,
    reading: Reading = "rotate",
    through: Through = "nothing",
    first_order: bool = False,
    moves: Callable[[str], bool] = always,
    rule: str = "sgd",
    rule_options: Mapping[str, Any] | None = None,
) -> list[Params]:
    """MAML rows at the corrected solutions: J_i^T grad L_{Q_i}(theta^_i).

    With ``through`` a row is what flows from the sum of query losses into task i's copy of
    theta; their mean is the gradient of the mean query loss. To first order J_i = I makes d_i a
    constant, so that ``through`` has no effect.
    """
    thetas = [leaves(params) for _ in tasks]
    solutions = []
    for theta, task in zip(thetas, tasks, strict=True):
        adapted = adapt(
            model,
            criterion,
            theta,
            task.batches,
            lr,
            moves=moves,
            create_graph=not first_order,
            rule=rule,
            rule_options=rule_options,
        )
        solutions.append(adapted.path[-1])
    if first_order:
        thetas = solutions = [leaves(solution) for solution in solutions]
        through = "nothing"
    starts = [leaves(params) for _ in tasks] if first_order else thetas
    displacements = [
        displacement(start, solution, moves)
        for start, solution in zip(starts, solutions, strict=True)
    ]
    if through == "nothing":
        displacements = [detached(d) for d in displacements]
    bends = corrections(displacements, rate, reading, constant_mean=through != "everything")
    losses = [
        loss_at(model, criterion, bent(solution, bend), query(task))
        for solution, bend, task in zip(solutions, bends, tasks, strict=True)
    ]
    return gradients(torch.stack(losses).sum(), thetas)


def coherent_reptile_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    lr: float,
    rate: float,
    *,
    reading: Reading = "rotate",
    moves: Callable[[str], bool] = always,
    rule: str = "sgd",
    rule_options: Mapping[str, Any] | None = None,
) -> list[Params]:
    """Reptile: row theta - theta^_i."""
    solutions = [
        adapt(
            model,
            criterion,
            params,
            task.batches,
            lr,
            moves=moves,
            create_graph=False,
            rule=rule,
            rule_options=rule_options,
        ).path[-1]
        for task in tasks
    ]
    hats = corrected_solutions(params, solutions, rate, reading, moves=moves)
    return [{name: params[name].detach() - hat[name] for name in params} for hat in hats]


def corrections(
    displacements: list[Params], rate: float, reading: Reading, *, constant_mean: bool = True
) -> list[Params]:
    """theta^_i - theta_i of every task; differentiable where the displacements are."""
    if reading == "shift":
        mean = mean_of(displacements)  # d_mean
        mean = detached(mean) if constant_mean else mean
        return [{name: rate * mean[name] for name in d} for d in displacements]
    units = [unit(d) for d in displacements]
    mean = mean_of(units)  # u_mean
    mean = detached(mean) if constant_mean else mean
    bends = []
    for d, u in zip(displacements, units, strict=True):
        along = dot(u, mean)  # u_i . u_mean
        size = length(d)
        bends.append({name: rate * size * (mean[name] - along * u[name]) for name in d})
    return bends


def displacement(initial: Params, solution: Params, moves: Callable[[str], bool]) -> Params:
    """d_i over the tensors that move."""
    return {name: solution[name] - initial[name] for name in solution if moves(name)}


def bent(solution: Params, bend: Params) -> Params:
    """theta_i plus its correction where there is one."""
    return {name: t + bend[name] if name in bend else t for name, t in solution.items()}


def unit(d: Params) -> Params:
    """d / ||d||; zero without a displacement."""
    if not any(bool(tensor.detach().any()) for tensor in d.values()):
        return {name: torch.zeros_like(tensor) for name, tensor in d.items()}
    size = length(d)
    return {name: tensor / size for name, tensor in d.items()}


def length(d: Params) -> Tensor:
    """||d|| over all tensors; a constant zero where the root has no derivative."""
    square = dot(d, d)
    return square.sqrt() if square.detach() > 0 else torch.zeros_like(square)


def dot(a: Params, b: Params) -> Tensor:
    """Inner product over all tensors together."""
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()
