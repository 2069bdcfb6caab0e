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
    first_order: bool
    allow_unused: bool = False
    allow_nograd: bool = False

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

    def adapt(
        self,
        loss: Tensor,
        first_order: bool | None = None,
        allow_unused: bool | None = None,
        allow_nograd: bool | None = None,
    ) -> None:
        """Take one gradient step of this clone.

        Args:
            loss: One number, computed with this clone.
            first_order, allow_unused, allow_nograd: None: as at construction.

        Raises:
            UsageError: if this is no clone, the loss does not depend on its parameters, or a
                step has not their shapes.
        """
        if not isinstance(self.module, Stateless):
            raise UsageError(
                "adapt would change the model itself: adapt a clone, learner = "
                f"{type(self).__name__}(...).clone()"
            )
        order = chosen(first_order, self.first_order)
        grads = gradients(
            self.module,
            loss,
            first_order=order,
            allow_unused=chosen(allow_unused, self.allow_unused),
            allow_nograd=chosen(allow_nograd, self.allow_nograd),
        )
        self._move(self.module, grads, order)

    def _move(self, clone: Stateless, grads: list[Tensor | None], first_order: bool) -> None:
        """Move the clone's parameters by a step made of its gradients."""
        raise NotImplementedError


def gradients(
    module: Stateless,
    loss: Tensor,
    *,
    first_order: bool,
    allow_unused: bool,
    allow_nograd: bool,
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
