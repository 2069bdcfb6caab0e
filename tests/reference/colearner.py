"""Cooperative meta-learning, slowly: MAML whose query loss has a second head, the co-learner.

The inner loop moves the model alone. On Q_i the adapted features go into the model's own head
and into the co-learner phi, which is never adapted:

    L_i = L^m_i + gamma L^c_i,   L^c_i = criterion(co-learner(features(Q_i; theta_i); phi), y)

Names are those of the modules, without prefixes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.func import functional_call

from tests.reference.coupled import gradients, query
from tests.reference.inner import Criterion, Data, Task, adapt, always, leaves
from tests.reference.rules import Params


class CooperativeRows(NamedTuple):
    """One entry per task.

    Attributes:
        rows: d (L^m_i + gamma L^c_i) / d theta.
        colearner_rows: d (gamma L^c_i) / d phi.
        losses: L^m_i, detached.
        colearner_losses: L^c_i without gamma, detached.
    """

    rows: list[Params]
    colearner_rows: list[Params]
    losses: list[Tensor]
    colearner_losses: list[Tensor]


def cml_step(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    colearner: nn.Module,
    phi: Params,
    tasks: list[Task],
    lr: float,
    gamma: float,
    *,
    features: str = "body",
    first_order: bool = False,
    moves: Callable[[str], bool] = always,
    rule: str = "sgd",
    rule_options: Mapping[str, Any] | None = None,
) -> CooperativeRows:
    """Rows of theta and phi; ``first_order`` takes both losses at theta_i with J_i = I."""
    found = CooperativeRows([], [], [], [])
    for task in tasks:
        theta, phi_i = leaves(params), leaves(phi)
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
        theta_i = adapted.path[-1]  # theta_i(theta)
        if first_order:
            theta = theta_i = leaves(theta_i)  # a leaf: J_i = I
        main, other = cooperative_losses(
            model, criterion, theta_i, colearner, phi_i, query(task), features
        )
        row, colearner_row = gradients(main + gamma * other, [theta, phi_i])
        found.rows.append(row)
        found.colearner_rows.append(colearner_row)
        found.losses.append(main.detach())
        found.colearner_losses.append(other.detach())
    return found


def cooperative_losses(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    colearner: nn.Module,
    phi: Params,
    data: Data,
    features: str,
) -> tuple[Tensor, Tensor]:
    """L^m and L^c of the same forward: what submodule ``features`` returned feeds both heads."""
    inputs, targets = data[:2]
    seen: list[Tensor] = []
    handle = model.get_submodule(features).register_forward_hook(
        lambda module, args, output: seen.append(output)
    )
    try:
        if isinstance(inputs, dict):
            outputs = functional_call(model, params, (), inputs)
        else:
            outputs = functional_call(model, params, inputs)
    finally:
        handle.remove()
    (output,) = seen  # one call of the submodule
    guess = functional_call(colearner, phi, (output,))
    return criterion(outputs, targets), criterion(guess, targets)
