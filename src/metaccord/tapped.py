"""Reading a layer inside a model during an ordinary forward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from metaccord.errors import UsageError

_MARK = 7919  # no one else scales what he adds by it


def place_of(model: nn.Module, named: str | None) -> str | None:
    """Return the module whose output a co-learner reads: its dotted name, or None.

    Args:
        model: May say so itself by a string attribute ``features``; else a part called
            ``features`` or ``body`` is taken.
        named: What the user says.

    Raises:
        UsageError: if the user names a module that does not exist.
    """
    parts = dict(model.named_modules())
    own = getattr(model, "features", None)
    chosen = named or (own if isinstance(own, str) else None)
    if chosen is None:
        return next((name for name in ("features", "body") if name in parts), None)
    if chosen not in parts:
        raise UsageError(
            f"features={chosen!r}: the model has no such module; it has "
            f"{', '.join(sorted(filter(None, parts))[:8])}"
        )
    return chosen


def tapped(model: nn.Module, place: str) -> nn.Module:
    """Return a structural copy, sharing all tensors, that shows the output of ``place``.

    The copy computes the same; :class:`Features` around a call of it keeps what passes there.
    """
    shared = {id(leaf): leaf for leaf in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    twin.get_submodule(place).register_forward_hook(_show)
    return twin


def _show(module: nn.Module, inputs: Any, output: Any) -> Any:
    del module, inputs
    if not isinstance(output, Tensor):
        raise UsageError(f"features must be one tensor, found {type(output).__name__}")
    return torch.add(output, 0, alpha=_MARK)  # the identity, and a call that a mode can tell


class Features(TorchFunctionMode):
    """Keep what passes the tapped place; made anew for each forward pass.

    Attributes:
        kept: The features ``[n, ...]`` after the call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Take note of what the tapped place shows."""
        if func is not torch.add or (kwargs or {}).get("alpha") != _MARK:
            return func(*args, **(kwargs or {}))
        if self.kept is not None:
            raise UsageError(
                "the module that gives the features is called several times in one forward pass: "
                "name one that is called once, Objective(..., features=...)"
            )
        self.kept = args[0]
        return args[0]
