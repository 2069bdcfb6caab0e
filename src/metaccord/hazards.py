"""What torch's modules cannot do in meta-learning, and how an objective goes round it.

Measured in torch 2.13 (tests/doctor/test_switches.py): fused attention has no second derivative,
``weight_norm`` has a wrong one, recurrent networks run neither under ``vmap`` nor, with cuDNN,
twice backwards.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.rnn import RNNCellBase
from torch.overrides import TorchFunctionMode

log = logging.getLogger("metaccord")
_OF_VMAP = ("vmap", "atching rule", "broadcast shape", "data pointer", "functorch")


class Hazards(NamedTuple):
    """Names of the modules that an objective treats in a special way.

    Attributes:
        attention: Computed by plain operations, which can be differentiated twice.
        weight_norm: Computed by the plain formula.
        recurrent: One task after the other, and on a GPU without cuDNN.
    """

    attention: tuple[str, ...]
    weight_norm: tuple[str, ...]
    recurrent: tuple[str, ...]

    def enter(self, stack: ExitStack, device: torch.device) -> None:
        """Make one forward pass safe."""
        if self.attention:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if self.weight_norm:
            stack.enter_context(PlainWeightNorm())
        if self.recurrent and device.type == "cuda":
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))


def hazards_of(model: nn.Module) -> Hazards:
    """Return the modules that need another engine, and say so once."""
    named = [(name or type(part).__name__, part) for name, part in model.named_modules()]
    found = Hazards(
        tuple(name for name, part in named if attends(part)),
        tuple(name for name, part in named if normalises_weights(part)),
        tuple(name for name, part in named if isinstance(part, nn.RNNBase | RNNCellBase)),
    )
    remedies = (
        "fused attention has no second derivative: it is computed by plain operations instead",
        "torch's weight_norm has a wrong second derivative: it is computed by its formula instead",
        "recurrent networks cannot run under vmap: one task after the other instead (plan.chunk=1)",
    )
    for names, remedy in zip(found, remedies, strict=True):
        if names:
            say(f"{', '.join(names)}: {remedy}")
    return found


def attends(module: nn.Module) -> bool:
    """Say whether a module calls fused attention, as far as its class shows."""
    if isinstance(module, nn.MultiheadAttention):
        return True
    kind: type = type(module)
    return "scaled_dot_product_attention" in names_in(kind)


def normalises_weights(module: nn.Module) -> bool:
    """Say whether a module's weight is made by either form of ``weight_norm``."""
    hooks = [type(hook).__name__ for hook in module._forward_pre_hooks.values()]
    return type(module).__name__ == "_WeightNorm" or "WeightNorm" in hooks


@lru_cache(maxsize=1024)
def names_in(cls: type) -> frozenset[str]:
    """Return the names that a user's class mentions in its methods; torch's own: none.

    Functions that its methods call by name are read as well.
    """
    if cls.__module__.startswith("torch."):
        return frozenset()
    waiting = [value for value in vars(cls).values() if isinstance(value, FunctionType)]
    seen = {*waiting}
    found: set[str] = set()
    while waiting:
        function = waiting.pop()
        names = _mentioned(function.__code__)
        found |= names
        known = (function.__globals__.get(name) for name in names)
        called = {f for f in known if isinstance(f, FunctionType)} - seen
        called = {f for f in called if not f.__module__.startswith("torch.")}
        seen |= called
        waiting += called
    return frozenset(found)


def _mentioned(code: CodeType) -> set[str]:
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*map(_mentioned, inner))


class PlainWeightNorm(TorchFunctionMode):
    r"""Compute :math:`g \, v / \|v\|` by operations whose derivatives are right at any order."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Replace ``torch._weight_norm``."""
        if func is not torch._weight_norm:
            return func(*args, **(kwargs or {}))
        return _plain_weight_norm(*args, **(kwargs or {}))


def _plain_weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    axes = [axis for axis in range(v.dim()) if dim == -1 or axis != dim % v.dim()]
    return v * (g / v.square().sum(axes, keepdim=True).sqrt())


def or_loop(
    mapped: Callable[..., Any], loop: Callable[..., Any], refused: list[str]
) -> Callable[..., Any]:
    """Return a function that goes over to a plain loop for good when ``vmap`` refuses.

    Args:
        mapped: Runs tasks under ``vmap``.
        loop: Runs them one after the other.
        refused: Gets what ``vmap`` said.
    """

    def either(*args: Any) -> Any:
        if refused:
            return loop(*args)
        try:
            return mapped(*args)
        except RuntimeError as error:
            if not unbatchable(error):
                raise
            found = loop(*args)  # if this fails as well, it says why
            reason = " ".join(str(error).split())[:160]
            refused.append(reason)
            say(
                "the model or the criterion cannot run under vmap: one task after the other "
                f"instead (plan.chunk=1); vmap said: {reason}"
            )
            return found

    return either


def unbatchable(error: Exception) -> bool:
    """Say whether the error is ``vmap``'s, so that a plain loop may succeed.

    Random draws are excluded: in a loop they would take from the global generator.
    """
    text = str(error)
    return "random" not in text and any(word in text for word in _OF_VMAP)


@lru_cache(maxsize=256)
def say(notice: str) -> None:
    """Log a notice, once in a process."""
    log.warning("%s", notice)


def by_batch_statistics(model: nn.Module) -> nn.Module:
    """Return the model, or a copy sharing its parameters whose norms keep no running statistics."""
    tracking = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm | _InstanceNorm) and module.running_mean is not None
    ]
    if not tracking:
        return model
    log.warning(
        "%s keeps running statistics: meta-training normalises with the statistics of one "
        "task's batch instead (see docs/protocols.md)",
        ", ".join(tracking),
    )
    twin = _sharing(model)
    for name in tracking:
        module: Any = twin.get_submodule(name)
        module.track_running_stats = False
        for buffer in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(module, buffer, None)
    return twin


def by_plain_attention(model: nn.Module) -> nn.Module:
    """Return the model, or a copy sharing its tensors whose attention is plain operations.

    Hugging Face models choose their attention by a setting of their configuration. Only
    ``"eager"`` can be differentiated twice and takes dropout masks from a task's key. The user's
    configuration is left as it is.
    """
    fused = [name for name, part in model.named_modules() if chosen_attention(part) != "eager"]
    if not fused:
        return model
    kind = chosen_attention(model.get_submodule(fused[0]))
    say(
        f"{fused[0] or type(model).__name__}: attention {kind} has no second derivative: it is "
        "computed by plain operations instead (attn_implementation='eager')"
    )
    twin = _sharing(model)
    for name in fused:
        part: Any = twin.get_submodule(name)
        part.config._attn_implementation = "eager"
    return twin


def chosen_attention(module: nn.Module) -> str:
    """Return how a module's Hugging Face configuration computes attention, or ``"eager"``."""
    config: Any = getattr(module, "config", None)
    return getattr(config, "_attn_implementation", None) or "eager"


def _sharing(model: nn.Module) -> nn.Module:
    """Return a structural copy that shares all tensors."""
    shared = {id(leaf): leaf for leaf in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)
