"""What low-rank updates and adapters have in common: small parts added to frozen layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from metaccord.errors import UsageError
from metaccord.hazards import normalises_weights
from metaccord.names import selects

Selectors = tuple[str, ...]


def frozen_copy(
    model: nn.Module,
    wanted: Callable[[nn.Module], bool],
    targets: Selectors | None,
    learn: Selectors,
) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Return a copy of a model with constant weights, and its layers that are to be extended.

    Args:
        model: Is left as it is.
        wanted: Says which kinds of layers can be extended.
        targets: Selectors of layers; None: all of the wanted kinds.
        learn: Selectors of parameters that stay trainable; such layers are not extended.

    Raises:
        UsageError: if a selector finds nothing, or a layer's weight is no plain tensor.
    """
    twin = copy.deepcopy(model)
    layers = {name: part for name, part in twin.named_modules() if wanted(part)}
    for one in targets or ():
        if not any(selects(name, (one,)) for name in layers):
            some = ", ".join(sorted(filter(None, layers))[:8]) or "none"
            raise UsageError(
                f"targets={one!r} selects no layer that can be extended; this model has: {some}"
            )
    for one in learn:
        if not any(selects(name, (one,)) for name, _ in twin.named_parameters()):
            raise UsageError(f"learn={one!r} selects no parameter of the model")
    found = {
        name: part
        for name, part in layers.items()
        if (targets is None or selects(name, targets)) and not (name and selects(name, learn))
    }
    if not found:
        raise UsageError("no layer is left to extend: targets and learn exclude all of them")
    for name, part in found.items():
        _refuse(name or type(part).__name__, part)
    for name, leaf in twin.named_parameters():
        leaf.requires_grad_(selects(name, learn))
    return twin, found


def _refuse(name: str, part: nn.Module) -> None:
    """Raise UsageError unless a layer's weights are plain tensors without additions."""
    if hasattr(part, "lora") or hasattr(part, "adapter"):
        raise UsageError(f"{name} has been extended already: start from the plain model")
    if parametrize.is_parametrized(part) or normalises_weights(part):
        raise UsageError(f"{name} computes its weight itself (weight_norm?): leave it out")
    if any(is_lazy(leaf) for leaf in part.parameters()):
        raise UsageError(f"{name} has no shape yet: call the model once on an example")


def is_read(part: nn.Module) -> bool:
    """Say whether a layer's weight is read by its owner, so that it is never called itself."""
    return isinstance(part, NonDynamicallyQuantizableLinear)


def is_conv1d(part: nn.Module) -> bool:
    """Say whether a layer is GPT-2's, a linear layer with a transposed weight."""
    weight = getattr(part, "weight", None)
    return type(part).__name__ == "Conv1D" and isinstance(weight, Tensor) and weight.dim() == 2


def like(layer: nn.Module) -> dict[str, Any]:
    """Return device and type of a layer's weight, for layers beside it."""
    weight = next(layer.parameters())
    return {"device": weight.device, "dtype": weight.dtype}


def unhook(part: nn.Module, hook: Callable[..., Any]) -> None:
    """Remove a forward hook that was registered with keywords."""
    for number in [n for n, found in part._forward_hooks.items() if found is hook]:
        del part._forward_hooks[number]
        part._forward_hooks_with_kwargs.pop(number, None)
