"""Differentiable twins of optimisers, under higher's names."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaccord.compat.higher.patch import FunctionalModule
from metaccord.errors import UsageError

__all__ = [
    "DifferentiableAdam",
    "DifferentiableOptimizer",
    "DifferentiableSGD",
    "get_diff_optim",
]
Callback = Callable[[Sequence[Tensor | None]], Sequence[Tensor | None]]
Slots = dict[str, Any]


class DifferentiableOptimizer(ABC):
    """An optimiser whose steps are part of the graph.

    Args:
        other: The optimiser that it is a twin of; settings and moments are copied.
        reference_params: The model's parameters, in whose order steps take and give tensors.
        fmodel: Whose fast weights are moved; None: give ``params`` to each step.
        device: Of moments; None: where they are.
        override: Other settings; see :func:`metaccord.compat.higher.innerloop_ctx`.
        grad_callback: Called with the list of gradients before each step, for example to clip.
        track_higher_grads: Keep the graph through the steps.

    Raises:
        UsageError: for parameters that are not among ``reference_params``, or settings that have no
            meaning here.
    """

    refused: Mapping[str, str] = {"maximize": "take the negative loss"}

    def __init__(
        self,
        other: torch.optim.Optimizer,
        reference_params: Iterable[Tensor],
        fmodel: FunctionalModule | None = None,
        device: torch.device | str | None = None,
        override: Mapping[str, Sequence[Any]] | None = None,
        grad_callback: Callback | None = None,
        track_higher_grads: bool = True,
    ) -> None:
        places = {id(p): index for index, p in enumerate(reference_params)}
        self.track_higher_grads, self.grad_callback = track_higher_grads, grad_callback
        self.fmodel = fmodel
        self.param_groups: list[dict[str, Any]] = []
        self.places: list[list[int]] = []
        self.state: list[list[Slots]] = []
        for group in other.param_groups:
            for name, remedy in self.refused.items():
                if group.get(name):
                    raise UsageError(f"opt has {name}={group[name]}, which is not here: {remedy}")
            if not all(id(p) in places for p in group["params"]):
                raise UsageError(
                    "opt has a parameter that is not one of the model's: make it from "
                    "model.parameters()"
                )
            self.places.append([places[id(p)] for p in group["params"]])
            settings = {name: value for name, value in group.items() if name != "params"}
            self.param_groups.append(copy.deepcopy(settings))
            self.state.append([_copied(other.state.get(p, {}), device) for p in group["params"]])
        self._override(override)

    def _override(self, override: Mapping[str, Sequence[Any]] | None) -> None:
        count = len(self.param_groups)
        for name, values in (override or {}).items():
            if name not in self.param_groups[0]:
                raise UsageError(
                    f"override has {name!r}, but the settings of the optimiser are "
                    f"{', '.join(sorted(self.param_groups[0]))}"
                )
            if not isinstance(values, list | tuple):
                raise UsageError(f"override[{name!r}] must be a list, for example [{values}]")
            if len(values) not in (1, count):
                raise UsageError(
                    f"override[{name!r}] has {len(values)} values, but there are {count} parameter "
                    "groups: give one value, or one for each"
                )
            for index, group in enumerate(self.param_groups):
                group[name] = values[index if len(values) > 1 else 0]

    def step(
        self,
        loss: Tensor,
        params: Iterable[Tensor] | None = None,
        override: Mapping[str, Sequence[Any]] | None = None,
        grad_callback: Callback | None = None,
    ) -> list[Tensor]:
        """Take one step and return the new weights.

        Args:
            loss: One number, computed with the fast weights.
            params: Weights to start from; None: the latest of ``fmodel``.
            override: Other settings from now on.
            grad_callback: For this step, instead of the one given at construction.

        Raises:
            UsageError: for a loss that is no number or depends on none of the weights.
        """
        self._override(override)
        if params is None and self.fmodel is None:
            raise UsageError("step needs params= without a functional model: give the weights")
        before = list(self.fmodel.fast_params if params is None else params)  # type: ignore[union-attr]
        grads = self._grads(loss, before)
        callback = self.grad_callback if grad_callback is None else grad_callback
        if callback is not None:
            grads = list(callback(grads))
        after = list(before)
        for group, places, slots in zip(self.param_groups, self.places, self.state, strict=True):
            for place, slot in zip(places, slots, strict=True):
                grad = grads[place]
                if grad is not None:
                    after[place] = self.moved(group, slot, before[place], grad)
        if not self.track_higher_grads:
            after = [p.detach().requires_grad_(p.requires_grad) for p in after]
            self.state = [[_copied(slot, None) for slot in slots] for slots in self.state]
        if self.fmodel is not None:
            self.fmodel.update_params(after)
        return after

    def _grads(self, loss: Tensor, params: list[Tensor]) -> list[Tensor | None]:
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"loss is {found}: step needs one number, for example loss.mean()")
        moving = [p for p in params if p.requires_grad]
        given: tuple[Tensor | None, ...] = ()
        if loss.requires_grad and moving:
            given = torch.autograd.grad(
                loss, moving, create_graph=self.track_higher_grads, allow_unused=True
            )
        if all(grad is None for grad in given):
            raise UsageError(
                "the loss does not depend on any of the weights: compute it with fmodel(x), "
                "outside of torch.no_grad()"
            )
        grads = iter(given)
        return [next(grads) if p.requires_grad else None for p in params]

    @abstractmethod
    def moved(self, group: Mapping[str, Any], slots: Slots, p: Tensor, grad: Tensor) -> Tensor:
        """Return a parameter after one step; ``slots`` are its moments, which are replaced."""


class DifferentiableSGD(DifferentiableOptimizer):
    """SGD with momentum, dampening, Nesterov's momentum and weight decay."""

    def moved(self, group: Mapping[str, Any], slots: Slots, p: Tensor, grad: Tensor) -> Tensor:
        """Return a parameter after one step."""
        grad = grad + group["weight_decay"] * p
        momentum = group["momentum"]
        if isinstance(momentum, Tensor) or momentum != 0:
            past = slots.get("momentum_buffer")
            grown = grad if past is None else momentum * past + (1 - group["dampening"]) * grad
            slots["momentum_buffer"] = grown
            grad = grad + momentum * grown if group["nesterov"] else grown
        return p - group["lr"] * grad


class DifferentiableAdam(DifferentiableOptimizer):
    r"""Adam and AdamW, AMSGrad included.

    .. math:: p - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt v + \epsilon}

    Differs:
        As in higher and in the paper's efficient form, epsilon is added before the correction of
        v, torch.optim adds it after: steps differ by about epsilon / sqrt(v).
    """

    def moved(self, group: Mapping[str, Any], slots: Slots, p: Tensor, grad: Tensor) -> Tensor:
        """Return a parameter after one step."""
        decay, rate = group["weight_decay"], group["lr"]
        if group.get("decoupled_weight_decay"):
            p = p * (1 - rate * decay)
        else:
            grad = grad + decay * p
        beta1, beta2 = group["betas"]
        zero = torch.zeros_like(p)
        count = int(slots.get("step", 0)) + 1
        first = slots.get("exp_avg", zero) * beta1 + (1 - beta1) * grad
        second = slots.get("exp_avg_sq", zero) * beta2 + (1 - beta2) * grad * grad
        slots.update(step=count, exp_avg=first, exp_avg_sq=second)
        if group["amsgrad"]:
            second = torch.maximum(slots.get("max_exp_avg_sq", zero), second)
            slots["max_exp_avg_sq"] = second
        never = second == 0  # where the derivative of the square root is infinite
        root = torch.where(never, 0.0, torch.where(never, 1.0, second).sqrt())
        size = rate * (1 - beta2**count) ** 0.5 / (1 - beta1**count)
        return p - size * first / (root + group["eps"])


_TWINS: dict[type, type[DifferentiableOptimizer]] = {
    torch.optim.SGD: DifferentiableSGD,
    torch.optim.Adam: DifferentiableAdam,
    torch.optim.AdamW: DifferentiableAdam,
}


def get_diff_optim(
    opt: torch.optim.Optimizer,
    reference_params: Iterable[Tensor],
    fmodel: FunctionalModule | None = None,
    **options: Any,
) -> DifferentiableOptimizer:
    """Return the differentiable twin of an optimiser.

    Args:
        opt: SGD, Adam or AdamW of ``torch.optim``.
        reference_params, fmodel, options: See :class:`DifferentiableOptimizer`.

    Raises:
        UsageError: for any other optimiser.
    """
    if type(opt) not in _TWINS:
        known = ", ".join(kind.__name__ for kind in _TWINS)
        raise UsageError(
            f"opt is {type(opt).__name__}, which has no differentiable twin here: use {known} of "
            "torch.optim, or a metaccord InnerRule of your own"
        )
    return _TWINS[type(opt)](opt, reference_params, fmodel, **options)


def _copied(slots: Mapping[str, Any], device: torch.device | str | None) -> Slots:
    """Return moments without graph; what counts steps becomes a number."""
    found: Slots = {}
    for name, value in slots.items():
        if name == "step":
            found[name] = int(value)
        elif isinstance(value, Tensor):
            kept = value.detach().clone()
            found[name] = kept if device is None else kept.to(device)
    return found
