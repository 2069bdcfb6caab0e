"""An interaction that looks over the shoulder of another, and the comparisons of the checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.interactions import Interaction
from metaccord.objective import Objective
from metaccord.types import Adaptation, Notes, Own, Params, Stacked

TOLERANCE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Watched(Interaction):
    """Pass everything on to ``inner`` and compare what comes back with what went in.

    Args:
        inner: The interaction that is looked at.
    """

    inner: Interaction

    @property
    def places(self) -> frozenset[str]:
        """The hooks of the inner one."""
        return self.inner.places

    def __getattribute__(self, name: str) -> Any:
        """Answer for the inner one, where a class would answer for itself."""
        if name in ("name", "needs", "learns", "independent", "init"):
            return getattr(object.__getattribute__(self, "inner"), name)
        return object.__getattribute__(self, name)

    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        """Compare shared with own gradients."""
        with _Untouched("share", (own, grads)):
            found = self.inner.share(own, grads, step, axis)
        alike(found, grads, "share")
        return found

    def correct(self, own: Own, adapted: Stacked, run: Adaptation, axis: TaskAxis) -> Stacked:
        """Compare corrected with adapted solutions."""
        with _Untouched("correct", (own, adapted, run)):
            found = self.inner.correct(own, adapted, run, axis)
        alike(found, adapted, "correct")
        return found

    def penalty(
        self, own: Own, run: Adaptation, objective: Objective, axis: TaskAxis
    ) -> Tensor | float:
        """Ask for one number per task."""
        with _Untouched("penalty", (own, run)):
            found = self.inner.penalty(own, run, objective, axis)
        if isinstance(found, Tensor):
            assert run.losses is not None
            alike({"penalty": found}, {"penalty": run.losses}, "penalty")
        return found

    def reconcile(
        self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis
    ) -> tuple[Stacked, Notes]:
        """Compare reconciled with own rows."""
        with _Untouched("reconcile", (own, rows, run)):
            found, notes = self.inner.reconcile(own, rows, run, axis)
        alike(found, rows, "reconcile")
        assert all(isinstance(v, Tensor) for v in notes.values()), "a note is not a tensor"
        return found, notes

    def observe(self, own: Own, run: Adaptation, axis: TaskAxis) -> tuple[Params, Notes]:
        """Compare the running tensors with those before."""
        with _Untouched("observe", (own, run)):
            found, notes = self.inner.observe(own, run, axis)
        alike(found, own.running, "observe")
        assert all(isinstance(v, Tensor) for v in notes.values()), "a note is not a tensor"
        return found, notes


class _Untouched:
    """Refuse changes in place of a tree of tensors."""

    def __init__(self, place: str, inputs: Any) -> None:
        self.place, self.inputs = place, inputs
        self.before = tree.mapped(lambda leaf: leaf.detach().clone(), inputs)

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, *error: object) -> None:
        """Compare, unless an error is on its way."""
        if error[0] is None:
            pairs = zip(
                pytree.tree_leaves(self.inputs), pytree.tree_leaves(self.before), strict=True
            )
            same = all(torch.equal(a, b) for a, b in pairs if isinstance(a, Tensor))
            assert same, f"{self.place} changed its input in place"


def alike(found: Any, given: Stacked, what: str) -> None:
    """Ask for the same names, shapes, dtypes and devices."""
    assert isinstance(found, dict), f"{what} gives {type(found).__name__}, not a dict"
    assert found.keys() == given.keys(), f"{what} changes the names: {found.keys() ^ given.keys()}"
    for name, value in given.items():
        for aspect in ("shape", "dtype", "device"):
            was, now = getattr(value, aspect), getattr(found[name], aspect)
            assert was == now, f"{what} gives {name} the {aspect} {now}, expected {was}"


def equal(a: Any, b: Any) -> None:
    """Ask for the same bits."""
    left, right = pytree.tree_leaves(a), pytree.tree_leaves(b)
    assert len(left) == len(right), "different numbers of tensors"
    for x, y in zip(left, right, strict=True):
        assert not isinstance(x, Tensor) or torch.equal(x, y), "the bits differ"


def close(a: Stacked, b: Stacked, tolerance: float = TOLERANCE) -> None:
    """Ask for a small error, relative to the length of all tensors together."""
    assert a.keys() == b.keys(), f"different names: {a.keys() ^ b.keys()}"
    size = sum(float(v.detach().square().sum()) for v in b.values()) ** 0.5
    apart = sum(float((a[k] - v).detach().square().sum()) for k, v in b.items()) ** 0.5
    assert apart <= tolerance * size, f"relative error {apart / max(size, 1e-300):.1e}"
