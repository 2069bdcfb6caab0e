"""Functional twins of modules, under higher's names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from metaccord.compat.stateless import Stateless, stateless
from metaccord.errors import UsageError

__all__ = ["FunctionalModule", "monkeypatch"]


class FunctionalModule(Stateless):
    """A module with fast weights: it computes with the latest, and keeps the earlier ones.

    Attributes:
        track_higher_grads: Whether updates keep the graph and the earlier weights.
    """

    def start(self, track_higher_grads: bool) -> Self:
        """Keep the present weights as those of time 0."""
        self.track_higher_grads = track_higher_grads
        self._history = [list(self._store.params.values())]
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the module; a parameter becomes part of the latest weights."""
        super().__setattr__(name, value)
        if "_history" in vars(self) and name in self._base._parameters:
            self.update_params(self._store.params.values())

    def forward(self, *args: Any, params: Iterable[Tensor] | None = None, **kwargs: Any) -> Any:
        """Call the module.

        Args:
            args, kwargs: Of the module.
            params: Weights that become the latest before the call; None: the latest.
        """
        if params is not None:
            self.update_params(params)
        return super().forward(*args, **kwargs)

    def parameters(self, recurse: bool = True, time: int | None = None) -> Iterator[nn.Parameter]:
        """Return the fast weights after ``time`` updates; None: the latest.

        Raises:
            UsageError: for a time that was not kept.
        """
        del recurse  # all of them, as in higher
        at = -1 if time is None else time
        if not self.track_higher_grads and at not in (-1, 0):
            raise UsageError(
                f"time is {time}, but without track_higher_grads only the latest weights are kept"
            )
        if not -len(self._history) <= at < len(self._history):
            raise UsageError(
                f"time is {time}, but there were {len(self._history) - 1} updates: times go from 0 "
                f"to {len(self._history) - 1}"
            )
        return iter(self._history[at])  # the latest are those of the store, too

    @property
    def fast_params(self) -> list[Tensor]:
        """The latest weights."""
        return list(self._history[-1])

    @property
    def init_fast_params(self) -> list[Tensor]:
        """The weights of time 0.

        Raises:
            UsageError: if they were not kept.
        """
        if not self.track_higher_grads:
            raise UsageError(
                "init_fast_params are not kept without track_higher_grads: keep them yourself, "
                "list(fmodel.parameters()), before the first step"
            )
        return list(self._history[0])

    def update_params(self, params: Iterable[Tensor]) -> None:
        """Make other tensors the latest weights.

        Args:
            params: In the order of ``parameters()``.

        Raises:
            UsageError: for another number of tensors, or other shapes.
        """
        given = list(params)
        names = list(self._store.params)
        if [p.shape for p in given] != [p.shape for p in self._history[-1]]:
            raise UsageError(
                f"params are {len(given)} tensors that do not have the shapes of the "
                f"{len(names)} of the model: give fmodel.parameters() or what step() returned"
            )
        self._store.params.update(zip(names, given, strict=True))
        if not self.track_higher_grads:
            self._history.clear()
        self._history.append(given)


def monkeypatch(
    module: nn.Module,
    device: torch.device | str | None = None,
    copy_initial_weights: bool = True,
    track_higher_grads: bool = True,
) -> FunctionalModule:
    """Return a functional twin of a module; nothing is patched, the name is higher's.

    Args:
        module: Any module; it is not changed.
        device: Where the twin computes; None: where the module is.
        copy_initial_weights: Start from a copy without graph, or from the parameters themselves.
        track_higher_grads: Keep the graph and all weights.

    Raises:
        UsageError: for a twin, or a structure that cannot be copied.
    """
    if isinstance(module, Stateless):
        raise UsageError("model is already functional: give the module that it was made from")

    def fast(p: Tensor) -> Tensor:
        p = p.detach().clone().requires_grad_(p.requires_grad) if copy_initial_weights else p
        moved = p.clone() if device is None else p.clone().to(device)
        return moved.detach().requires_grad_(p.requires_grad) if copy_initial_weights else moved

    twin = stateless(module, fast)
    if device is not None:
        store = twin._store
        store.buffers.update({name: b.to(device) for name, b in store.buffers.items()})
    return FunctionalModule(twin._base, twin._store).start(track_higher_grads)
