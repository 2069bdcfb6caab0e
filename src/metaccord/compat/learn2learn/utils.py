"""learn2learn's utilities for modules whose parameters carry a graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from metaccord.compat.stateless import Stateless, stateless
from metaccord.errors import UsageError

M = TypeVar("M", bound=nn.Module)


def clone_module(module: nn.Module) -> Stateless:
    """Return a copy whose parameters are clones with a graph back to those of ``module``.

    Args:
        module: Any module, or a clone.

    Raises:
        UsageError: if its structure cannot be copied.
    """
    return stateless(module, Tensor.clone)


def clone_parameters(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return a clone of each tensor, with a graph back to it."""
    return [tensor.clone() for tensor in parameters]


def update_module(module: Stateless, updates: Iterable[Tensor | None] | None = None) -> Stateless:
    """Add an update to each parameter of a clone, keeping the graph.

    Args:
        module: What :func:`clone_module` returned; it is changed and returned.
        updates: One for each of ``module.parameters()``, of the same shape; None leaves one as it
            is.

    Raises:
        UsageError: for a module that is no clone, or updates that do not fit.
    """
    if not isinstance(module, Stateless):
        raise UsageError(
            f"module is {type(module).__name__}, whose parameters are its own: update a clone, "
            "clone_module(module)"
        )
    if updates is None:
        raise UsageError("updates is None: give one tensor for each of module.parameters()")
    given, named = list(updates), dict(module.named_parameters())
    if len(given) != len(named):
        raise UsageError(
            f"updates has {len(given)} tensors but module.parameters() {len(named)}: give one, or "
            "None, for each"
        )
    for (name, tensor), update in zip(named.items(), given, strict=True):
        if update is not None and update.shape != tensor.shape:
            raise UsageError(
                f"the update of {name!r} has shape {list(update.shape)}, the parameter "
                f"{list(tensor.shape)}: they must be equal"
            )
    for (name, tensor), update in zip(named.items(), given, strict=True):
        if update is not None:
            replace(module, name, tensor + update)
    return module


def replace(module: Stateless, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of a clone's parameter."""
    store, full = module._store, module._prefix + name
    store.params[store.owner[full]] = tensor


def detach_module(module: nn.Module, keep_requires_grad: bool = False) -> None:
    """Cut the parameters off from their graph, in place.

    Args:
        module: A clone, or any module.
        keep_requires_grad: Whether gradients with respect to them can still be taken.
    """
    for name, tensor in module.named_parameters():
        needed = tensor.requires_grad and keep_requires_grad
        if isinstance(module, Stateless):
            replace(module, name, tensor.detach().requires_grad_(needed))
        else:
            tensor.requires_grad_(needed)


def magic_box(x: Tensor) -> Tensor:
    r"""Return 1 with the gradient of ``x``: :math:`\exp(x - \text{stop}(x))`.

    Reference:
        Foerster et al., DiCE: The Infinitely Differentiable Monte-Carlo Estimator, ICML 2018,
        arXiv 1802.05098.
    """
    return torch.exp(x - x.detach())
