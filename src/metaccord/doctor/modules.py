"""The walk over modules: what is unsafe, and what the objective does about it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.overrides import TorchFunctionMode

from metaccord.doctor.findings import Finding
from metaccord.hazards import chosen_attention
from metaccord.keys import seeded
from metaccord.objective import Objective
from metaccord.types import Batch, Params

_CUTS = {".data", "detach", "detach_", "item", "tolist", "numpy", "__float__", "__int__"}
_BRANCHES = {"__bool__"}
_DATA: Any = vars(torch._C.TensorBase)["data"].__get__


def of_modules(model: nn.Module, objective: Objective) -> list[Finding]:
    """Return what the classes of the user's modules tell.

    Args:
        model: As given by the user.
        objective: Made of it.
    """
    named = [(name or type(part).__name__, part) for name, part in model.named_modules()]
    found = {
        "running_statistics": [
            name
            for name, part in named
            if isinstance(part, _BatchNorm | _InstanceNorm) and part.running_mean is not None
        ],
        "fused_attention": [
            *objective.hazards.attention,
            *(name for name, part in named if chosen_attention(part) != "eager"),
        ],
        "weight_norm": [*objective.hazards.weight_norm],
        "recurrent": [*objective.hazards.recurrent],
        "spectral_norm": [
            name for name, part in named if part.training and normalises_spectrum(part)
        ],
        "third_order": [
            name
            for name, part in named
            if isinstance(part, _BatchNorm | nn.LayerNorm)
            or (isinstance(part, _InstanceNorm) and part.affine)
        ],
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
    }
    return [Finding(code, _list(names)) for code, names in found.items() if names]


def normalises_spectrum(module: nn.Module) -> bool:
    """Say whether a module's weight is made by either form of ``spectral_norm``."""
    hooks = [type(hook).__name__ for hook in module._forward_pre_hooks.values()]
    return type(module).__name__ == "_SpectralNorm" or "SpectralNorm" in hooks


def repeats(objective: Objective, params: Params, batch: Batch) -> list[Finding]:
    """Ask whether the same call gives the same loss."""
    losses = [float(objective.loss(params, batch).detach()) for _ in range(3)]
    if len(set(losses)) == 1 or any(loss != loss for loss in losses):
        return []
    again = []
    for _ in range(2):
        with seeded(0):
            again.append(float(objective.loss(params, batch).detach()))
    cause = "the global random generator" if again[0] == again[1] else "hidden state"
    return [Finding("not_deterministic", f"the same call gives another loss: {cause}")]


def of_forward(objective: Objective, params: Params, batch: Batch) -> list[Finding]:
    """Return what one forward pass tells: buffers that change, control flow."""
    found = []
    buffers = changed_buffers(objective, params, batch)
    if buffers:
        found.append(Finding("in_place_buffer", _list(buffers)))
    if objective.loops and not objective.hazards.recurrent:
        places = [place for word, place in calls(objective, params, batch) if word in _BRANCHES]
        found.append(Finding("data_dependent", _list(places or ["the model or the criterion"])))
    return found


def changed_buffers(objective: Objective, params: Params, batch: Batch) -> list[str]:
    """Return the names of buffers that a forward pass writes."""
    model = copy.deepcopy(objective.model)
    kept = {name: leaf.clone() for name, leaf in model.named_buffers()}
    for name, leaf in model.named_parameters():
        leaf.requires_grad_(False)
        leaf.copy_(params.get(name, leaf))
    inputs = batch.inputs
    with torch.no_grad(), torch.random.fork_rng():
        if isinstance(inputs, dict):
            model(**inputs)
        else:
            model(*(inputs if isinstance(inputs, tuple) else (inputs,)))
    after = dict(model.named_buffers())
    return [name for name, leaf in kept.items() if not torch.equal(leaf, after[name])]


def cuts(objective: Objective, params: Params, batch: Batch) -> list[str]:
    """Return where a forward pass calls what cuts the graph, as ``place: word``."""
    return [f"{place}: {word}" for word, place in calls(objective, params, batch) if word in _CUTS]


def calls(objective: Objective, params: Params, batch: Batch) -> list[tuple[str, str]]:
    """Return the watched calls of one forward pass and the innermost module of each."""
    twin = copy.deepcopy(objective.model)
    watch = Calls()
    for name, part in twin.named_modules():
        part.register_forward_pre_hook(watch.entering(name or type(part).__name__))
        part.register_forward_hook(watch.leaving)
    seen = Objective(twin, objective.criterion, objective.plan, unused=objective.unused)
    with watch:
        seen.loss({k: v.detach().requires_grad_() for k, v in params.items()}, batch)
    return list(dict.fromkeys(watch.seen))


class Calls(TorchFunctionMode):
    """Note calls that leave the graph, with the module in which they stand."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = ["the criterion"]
        self.seen: list[tuple[str, str]] = []

    def entering(self, name: str) -> Callable[..., None]:
        """Return the hook before a module's forward."""

        def hook(*ignored: Any) -> None:
            del ignored
            self.places.append(name)

        return hook

    def leaving(self, *ignored: Any) -> None:
        """Do the rest after a module's forward."""
        del ignored
        self.places.pop()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Note the call and make it."""
        name = ".data" if func == _DATA else getattr(func, "__name__", "")
        live = bool(args) and isinstance(args[0], Tensor) and args[0].requires_grad
        if name in _BRANCHES or (live and name in _CUTS):
            self.seen.append((name, self.places[-1]))
        return func(*args, **(kwargs or {}))


def _list(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
