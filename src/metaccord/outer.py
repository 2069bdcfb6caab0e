"""The outer loop's optimiser as a value: what, how fast, and how it decays."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metaccord.errors import UsageError, unknown
from metaccord.types import Params

_OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
_SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Outer optimiser, its decay and clipping of the averaged meta-gradient.

    Args:
        optimizer: ``"adam"`` or ``"sgd"`` of ``torch.optim``.
        lr: Outer step size at the first step.
        schedule: ``"constant"``, or decay to ``final``: ``"linear"`` or ``"cosine"``.
        final: Outer step size at the end of the decay.
        horizon: Number of meta-steps over which it decays; None: the steps of the training.
        momentum: Of SGD.
        clip_norm: Largest Euclidean norm of the averaged gradient, or None.
        clip_value: Largest absolute entry of the averaged gradient, or None.

    Raises:
        UsageError: for unknown names or numbers that are not finite and positive.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = 1e-3
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    final: float = 0.0
    horizon: int | None = None
    momentum: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in _OPTIMIZERS:
            raise unknown("outer.optimizer", self.optimizer, _OPTIMIZERS)
        if self.schedule not in _SCHEDULES:
            raise unknown("outer.schedule", self.schedule, _SCHEDULES)
        for name in ("lr", "clip_norm", "clip_value", "horizon"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"outer.{name} is {value}: it must be finite and above 0")
        if not 0.0 <= self.final <= self.lr:
            raise UsageError(f"outer.final is {self.final}: it must be between 0 and outer.lr")
        if not 0.0 <= self.momentum < 1.0:
            raise UsageError(f"outer.momentum is {self.momentum}: it must be in [0, 1)")

    def build(self, params: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Return the optimiser of these tensors."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(params, lr=self.lr, momentum=self.momentum)
        return torch.optim.Adam(params, lr=self.lr)

    def rate(self, step: int, steps: int) -> float:
        """Return the step size of meta-step ``step`` (from 0) of ``steps``."""
        done = min(1.0, step / (self.horizon or steps))
        if self.schedule == "linear":
            return self.final + (self.lr - self.final) * (1.0 - done)
        if self.schedule == "cosine":
            return self.final + (self.lr - self.final) * 0.5 * (1.0 + math.cos(math.pi * done))
        return self.lr

    def clipped(self, grads: Params, norm: Tensor) -> Params:
        """Return the averaged gradient within its limits; ``norm`` is its Euclidean norm []."""
        if self.clip_value is not None:
            grads = {k: g.clamp(-self.clip_value, self.clip_value) for k, g in grads.items()}
        if self.clip_norm is not None:
            if self.clip_value is not None:
                norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in grads.values()]))
            factor = (self.clip_norm / (norm + 1e-12)).clamp(max=1.0)
            grads = {k: g * factor for k, g in grads.items()}
        return grads


def moments(optimizer: torch.optim.Optimizer) -> Params:
    """Return the optimiser's tensors of the size of parameters, under numbers."""
    return {
        f"outer.{slot}.{index}": value
        for index, slots in enumerate(optimizer.state.values())
        for slot, value in slots.items()
        if isinstance(value, Tensor) and value.dim() > 0
    }


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> Params:
    """Return the optimiser's tensors as ``<name of the parameter>/<slot>``."""
    order = list(names)
    return {
        f"{order[index]}/{slot}": torch.as_tensor(value)
        for index, slots in optimizer.state_dict()["state"].items()
        for slot, value in slots.items()
        if value is not None
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Iterable[str], tensors: Params
) -> None:
    """Put the tensors of :func:`optimizer_tensors` back."""
    order = {name: index for index, name in enumerate(names)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        kept = value.cpu() if slot == "step" else value  # torch.optim counts on the host
        state.setdefault(order[name], {})[slot] = kept.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
