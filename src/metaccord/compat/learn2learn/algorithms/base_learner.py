"""What learn2learn's wrappers share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metaccord.compat.stateless import Stateless
from metaccord.errors import UsageError


class BaseLearner(nn.Module):
    """A model that can be cloned and adapted; what it lacks is looked up in the model."""

    module: nn.Module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model."""
        return self.module(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Return the model's attribute."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "module" or name.startswith("__"):
                raise
            return getattr(self.module, name)

    def _adaptable(self) -> Stateless:
        if not isinstance(self.module, Stateless):
            raise UsageError(
                "adapt would change the model itself: adapt a clone, learner = "
                f"{type(self).__name__}(...).clone()"
            )
        return self.module


def gradients(
    module: Stateless,
    loss: Tensor,
    *,
    first_order: bool,
    allow_unused: bool = False,
    allow_nograd: bool = False,
) -> list[Tensor | None]:
    """Return the gradient of each parameter of a clone; None for what stays.

    Raises:
        UsageError: for a loss that is no number, depends on nothing here, or leaves out a
            parameter that was not declared.
    """
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise UsageError(f"loss is {found}: adapt needs one number, for example loss.mean()")
    named = dict(module.named_parameters())
    frozen = [name for name, p in named.items() if not p.requires_grad]
    if frozen and not allow_nograd:
        raise UsageError(
            f"parameter {frozen[0]!r} is frozen ({len(frozen)} in all): declare it with "
            "allow_nograd=True"
        )
    moving = [p for p in named.values() if p.requires_grad]
    grads: tuple[Tensor | None, ...] = (None,) * len(moving)
    if loss.requires_grad and moving:
        grads = torch.autograd.grad(
            loss,
            moving,
            retain_graph=not first_order,
            create_graph=not first_order,
            allow_unused=True,
        )
    if all(grad is None for grad in grads):
        raise UsageError(
            "the loss does not depend on any parameter of this clone: compute it with the clone, "
            "learner(x), outside of torch.no_grad()"
        )
    by_name = dict(zip([n for n in named if n not in frozen], grads, strict=True))
    unused = [name for name, grad in by_name.items() if grad is None]
    if unused and not allow_unused:
        raise UsageError(
            f"parameter {unused[0]!r} is not used by the loss ({len(unused)} in all): declare it "
            "with allow_unused=True"
        )
    return [by_name.get(name) for name in named]


def checked(model: Any) -> nn.Module:
    """Return the model if it is a module.

    Raises:
        UsageError: otherwise.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model is {type(model).__name__}: give a torch.nn.Module")
    return model


def given_tensors(tensors: Any) -> Any:
    """Return the tensors if there are any.

    Raises:
        UsageError: for None.
    """
    if tensors is None:
        raise UsageError("give one gradient and one rate for each of model.parameters()")
    return tensors


def chosen(value: bool | None, other: bool) -> bool:
    """Return the value, or the other one for None."""
    return other if value is None else value
