"""Inner rules of the slow twins: one step of one task, written out."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Params = dict[str, Tensor]


class Slots(NamedTuple):
    """What an inner rule carries from step to step; a name that is missing counts as zero.

    Attributes:
        first: Velocity of momentum, or Adam's uncorrected first moment, by name.
        second: Adam's uncorrected second moment, by name.
        steps: Number of steps already taken.
    """

    first: Params = {}  # noqa: RUF012 - never written to
    second: Params = {}  # noqa: RUF012 - never written to
    steps: int = 0


Move = tuple[Params, Slots]
"""The moved tensors after a step and the slots after it."""
Rule = Callable[..., Move]
"""``rule(moved, grads, lr, slots, **options)``; all dictionaries hold the moved names only."""


def sgd(moved: Params, grads: Params, lr: float, slots: Slots) -> Move:
    """Plain gradient descent."""
    after = {}
    for name in moved:
        after[name] = moved[name] - lr * grads[name]  # theta_{k+1} = theta_k - alpha g_k
    return after, slots._replace(steps=slots.steps + 1)


def momentum(
    moved: Params, grads: Params, lr: float, slots: Slots, *, momentum: float = 0.9
) -> Move:
    """Heavy ball without dampening."""
    after, velocity = {}, {}
    for name in moved:
        old = slots.first.get(name, torch.zeros_like(moved[name]))
        velocity[name] = momentum * old + grads[name]  # v_{k+1} = nu v_k + g_k
        after[name] = moved[name] - lr * velocity[name]  # theta_{k+1} = theta_k - alpha v_{k+1}
    return after, Slots(velocity, {}, slots.steps + 1)


def adam(
    moved: Params,
    grads: Params,
    lr: float,
    slots: Slots,
    *,
    beta1: float = 0.0,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> Move:
    """Adam with bias correction and eps outside of the root, as ``torch.optim.Adam``."""
    after, first, second = {}, {}, {}
    t = slots.steps + 1
    for name in moved:
        grad, zero = grads[name], torch.zeros_like(moved[name])
        # m_t = beta1 m_{t-1} + (1 - beta1) g_t,  v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
        first[name] = beta1 * slots.first.get(name, zero) + (1 - beta1) * grad
        second[name] = beta2 * slots.second.get(name, zero) + (1 - beta2) * grad * grad
        mean = first[name] / (1 - beta1**t)
        square = second[name] / (1 - beta2**t)
        # theta_t = theta_{t-1} - alpha m^ / (sqrt(v^) + eps)
        after[name] = moved[name] - lr * mean / (safe_root(square) + eps)
    return after, Slots(first, second, t)


def mean_slots(slots: list[Slots]) -> Slots:
    """Slots after a meta-step in which every task started from the same ones: their mean."""

    def mean(parts: list[Params]) -> Params:
        return {name: torch.stack([part[name] for part in parts]).mean(0) for name in parts[0]}

    return Slots(mean([s.first for s in slots]), mean([s.second for s in slots]), slots[0].steps)


def safe_root(square: Tensor) -> Tensor:
    """Take the root with derivative 0 at zero, where the naive chain rule gives 0 * inf.

    Adam's step there is m / eps to first order: v = 0 only if all gradients so far are zero.

    Args:
        square: Adam's second moment, never negative.

    Returns:
        Its root, finite at second order.
    """
    positive = square > 0
    root = torch.sqrt(torch.where(positive, square, torch.ones_like(square)))
    return torch.where(positive, root, torch.zeros_like(root))


RULES: dict[str, Rule] = {"sgd": sgd, "momentum": momentum, "adam": adam}
