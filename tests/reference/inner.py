"""The inner loop of one task, slowly: plain ``torch.autograd`` and a loop over steps.

Names are those of the module, without the prefix ``model.``.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tests.reference.rules import RULES, Params, Slots

Criterion = Callable[[Any, Any], Tensor]
Data = tuple[Any, Any]
"""Inputs (a tensor, a tuple for ``model(*x)`` or a dict for ``model(**x)``) and targets."""


class Task(NamedTuple):
    """One task: one batch per inner step (MAML repeats S_i), and Q_i (None for Reptile)."""

    batches: list[Data]
    query: Data | None = None


class Adapted(NamedTuple):
    """Parameters after 0..K steps, and the rule's slots after the last one, detached."""

    path: list[Params]
    slots: Slots


def always(name: str) -> bool:
    """Let every tensor move."""
    return True


def loss_at(model: nn.Module, criterion: Criterion, params: Params, data: Data) -> Tensor:
    """Loss of ``model`` with ``params`` in place of its own tensors."""
    inputs, targets = data[:2]  # the rest of a Batch is for uneven tasks
    if isinstance(inputs, dict):
        return criterion(functional_call(model, params, (), inputs), targets)
    return criterion(functional_call(model, params, inputs), targets)


def adapt(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    batches: list[Data],
    lr: float,
    *,
    moves: Callable[[str], bool] = always,
    create_graph: bool,
    rule: str = "sgd",
    rule_options: Mapping[str, Any] | None = None,
) -> Adapted:
    """Run the inner loop of one task, K = ``len(batches)`` steps.

    Args:
        model: Any module; its own tensors serve where ``params`` has no name.
        criterion: ``criterion(outputs, targets)``, a scalar.
        params: theta; must require gradients if ``create_graph``.
        batches: One ``(inputs, targets)`` per step.
        lr: Inner rate alpha.
        moves: Which names the inner loop changes; the others stay at theta.
        create_graph: Keep the graph from theta to the path; otherwise everything is detached.
        rule: ``"sgd"``, ``"momentum"`` or ``"adam"``.
        rule_options: ``momentum``; ``beta1``, ``beta2``, ``eps``; ``slots`` to start from.

    Returns:
        The path (K + 1 dictionaries) and the last slots.
    """
    options = dict(rule_options or {})
    slots: Slots = options.pop("slots", Slots())
    now = dict(params) if create_graph else leaves(params)
    path = [now]
    for batch in batches:
        moved = {name: tensor for name, tensor in now.items() if moves(name)}
        loss = loss_at(model, criterion, now, batch)  # L_S(theta_k)
        grads = gradient(loss, moved, create_graph=create_graph)
        after, slots = RULES[rule](moved, grads, lr, slots, **options)
        now = {**now, **after}
        if not create_graph:
            now, slots = leaves(now), _detached(slots)
        path.append(now)
    if not create_graph:
        path = [{name: tensor.detach() for name, tensor in point.items()} for point in path]
    return Adapted(path, _detached(slots))


def gradient(loss: Tensor, at: Params, *, create_graph: bool) -> Params:
    """Gradient by name; zero for a tensor that the loss does not use."""
    if not at:
        return {}
    grads = torch.autograd.grad(
        loss, list(at.values()), create_graph=create_graph, materialize_grads=True
    )
    return dict(zip(at, grads, strict=True))


def leaves(params: Params) -> Params:
    """Copy the values, cut from their past and ready to be differentiated."""
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in params.items()}


def _detached(slots: Slots) -> Slots:
    """Drop the graph of the slots."""
    first = {name: tensor.detach() for name, tensor in slots.first.items()}
    second = {name: tensor.detach() for name, tensor in slots.second.items()}
    return Slots(first, second, slots.steps)
