"""A module whose tensors are kept beside it, so that they can be any tensors with a graph.

The user's module is never changed: calls go through ``torch.func.functional_call`` on a copy of
its structure that shares its tensors and has its own modes (``train``, ``eval``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.rnn import RNNCellBase

from metaccord.errors import UsageError
from metaccord.hazards import Hazards, attends, normalises_weights

Tensors = dict[str, Tensor]


class Store:
    """The tensors of a whole module, by their dotted names; tied ones have one name.

    Attributes:
        params, buffers: What the module computes with now.
        owner: For every name in the module the name under which its tensor is kept.
        hazards: What needs another engine for second derivatives; see :mod:`metaccord.hazards`.
    """

    def __init__(self, module: nn.Module, params: Tensors, buffers: Tensors) -> None:
        self.params, self.buffers = params, buffers
        named = [*module.named_parameters(remove_duplicate=False)]
        kept = {id(tensor): name for name, tensor in module.named_parameters()}
        named += module.named_buffers(remove_duplicate=False)  # type: ignore[arg-type]
        kept |= {id(tensor): name for name, tensor in module.named_buffers()}
        self.owner = {name: kept[id(tensor)] for name, tensor in named}
        parts = [(name or "model", part) for name, part in module.named_modules()]
        self.hazards = Hazards(
            tuple(name for name, part in parts if attends(part)),
            tuple(name for name, part in parts if normalises_weights(part)),
            tuple(name for name, part in parts if isinstance(part, nn.RNNBase | RNNCellBase)),
        )

    def of(self, kept: Tensors, names: Iterator[str], prefix: str) -> Tensors:
        """Return the tensors of a part of the module by the part's own names."""
        return {name: kept[self.owner[prefix + name]] for name in names}


class _Called(nn.Module):
    """A module of which another method than ``forward`` is called."""

    def __init__(self, base: nn.Module, method: str) -> None:
        super().__init__()
        self.base, self.method = base, method

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method."""
        return getattr(self.base, self.method)(*args, **kwargs)


class Stateless(nn.Module):
    """A module, or a part of one, that computes with the tensors of a store.

    ``parameters()`` are those tensors. Methods and parts of the module are reached as its
    attributes; a part is another view of the same store, so it follows every update.

    Args:
        base: A copy of the module's structure, or a part of it.
        store: The tensors of the whole.
        prefix: Of the part's names in the whole: ``"body.0."``.
    """

    def __init__(self, base: nn.Module, store: Store, prefix: str = "") -> None:
        for name, value in (("_base", base), ("_store", store), ("_prefix", prefix)):
            object.__setattr__(self, name, value)  # hidden from nn.Module: no submodule
        super().__init__()
        self.training = base.training

    @property  # type: ignore[override]
    def _parameters(self) -> dict[str, Tensor]:
        names = (name for name, _ in self._base.named_parameters())
        return self._store.of(self._store.params, names, self._prefix)

    @_parameters.setter
    def _parameters(self, value: Any) -> None:
        """Ignore the empty dict that ``nn.Module`` starts with."""

    @property  # type: ignore[override]
    def _buffers(self) -> dict[str, Tensor]:
        names = (name for name, _ in self._base.named_buffers())
        return self._store.of(self._store.buffers, names, self._prefix)

    @_buffers.setter
    def _buffers(self, value: Any) -> None:
        """Ignore the empty dict that ``nn.Module`` starts with."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module with the tensors of the store."""
        return self._call("", *args, **kwargs)

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call ``forward`` of the module (no name) or another method of it."""
        base, store, before = self._base, self._store, "base." if method else ""
        every: Callable[..., Any] = partial(base.named_parameters, remove_duplicate=False)
        params = store.of(store.params, (name for name, _ in every()), self._prefix)
        every = partial(base.named_buffers, remove_duplicate=False)
        buffers = store.of(store.buffers, (name for name, _ in every()), self._prefix)
        tensors = {before + name: tensor for name, tensor in {**params, **buffers}.items()}
        device = next(iter(tensors.values())).device if tensors else torch.device("cpu")
        with ExitStack() as stack:
            store.hazards.enter(stack, device)
            target = _Called(base, method) if method else base
            found = functional_call(target, tensors, args, kwargs, tie_weights=False)
        for name in buffers:  # a forward pass may have put other tensors in their places
            store.buffers[store.owner[self._prefix + name]] = tensors[before + name]
        return found

    def train(self, mode: bool = True) -> Stateless:
        """Set the mode, of this one alone."""
        self._base.train(mode)
        self.training = mode
        return self

    def __getattr__(self, name: str) -> Any:
        """Return a part as a view, a method bound to the store, a tensor, or what there is."""
        if name.startswith("__") or "_base" not in vars(self):
            raise AttributeError(name)
        found = getattr(self._base, name)
        if isinstance(found, nn.Module):
            return self._view(found)
        if isinstance(found, MethodType) and found.__self__ is self._base:
            return partial(self._call, name)
        for kept, own in (
            (self._store.params, self._base._parameters),
            (self._store.buffers, self._base._buffers),
        ):
            if own.get(name) is not None:
                return kept[self._store.owner[self._prefix + name]]
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a tensor of the store, or an attribute of this copy's module.

        Raises:
            UsageError: for a part, which would have tensors of its own.
        """
        base = self._base
        if name == "training" or name.startswith("_") or not hasattr(base, name):
            super().__setattr__(name, value)
        elif name in base._modules:
            raise UsageError(
                f"{name!r} is a part of a cloned module and cannot be replaced: replace it in the "
                "module before cloning"
            )
        elif base._parameters.get(name) is not None:
            self._store.params[self._store.owner[self._prefix + name]] = value
        elif base._buffers.get(name) is not None:
            self._store.buffers[self._store.owner[self._prefix + name]] = value
        else:
            setattr(base, name, value)

    def __getitem__(self, index: int | str) -> Stateless:
        """Return a part of a container such as ``nn.Sequential``."""
        if not isinstance(index, int | str):
            raise UsageError(
                f"a cloned module cannot be sliced by {index!r}: call its parts one by one, or "
                "name the slice as a part of the module before cloning it"
            )
        base: Any = self._base
        return self._view(base[index])

    def __len__(self) -> int:
        """Return the number of parts of a container."""
        base: Any = self._base
        return len(base)

    def __iter__(self) -> Iterator[Stateless]:
        """Yield the parts of a container."""
        base: Any = self._base
        return (self._view(part) for part in base)

    def _view(self, part: nn.Module) -> Any:
        for name, known in self._base.named_modules():
            if known is part:
                prefix = f"{self._prefix}{name}." if name else self._prefix
                return Stateless(part, self._store, prefix)
        return part  # no registered part: it has no tensors of the module


def stateless(module: nn.Module, params: Callable[[Tensor], Tensor]) -> Stateless:
    """Return a stateless twin of a module, or of a stateless one.

    Args:
        module: Not changed.
        params: Makes the twin's tensor of each parameter; buffers are copied without graph.

    Raises:
        UsageError: if its structure cannot be copied.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"module is {type(module).__name__}: give a torch.nn.Module")
    base: nn.Module = module._base if isinstance(module, Stateless) else module
    if any(isinstance(part, Stateless) for part in base.modules() if part is not module):
        raise UsageError("the module has a cloned module inside: clone the whole instead")
    shared = {id(leaf): leaf for leaf in (*base.parameters(), *base.buffers())}
    try:
        twin = copy.deepcopy(base, shared)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{type(base).__name__} cannot be copied: {text}; keep what cannot be copied outside "
            "the module"
        ) from error
    fast = {name: params(leaf) for name, leaf in module.named_parameters()}
    slow = {name: leaf.detach().clone() for name, leaf in module.named_buffers()}
    return Stateless(twin, Store(twin, fast, slow))
