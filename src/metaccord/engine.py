"""How a meta-step is executed: the only file that imports vmap, grad, checkpoint and compile.

``vmap`` stands around forward passes only. ``vmap(grad(...))`` through a model with BatchNorm,
LayerNorm or InstanceNorm is silently wrong at second order (see tests/test_vmap_norms.py), so
gradients are taken of sums with respect to task-stacked copies of the parameters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from types import FunctionType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils.checkpoint import checkpoint as remember

from metaccord import tree
from metaccord.errors import UsageError
from metaccord.types import Stacked, Tree

Scalar = tuple[Tensor, Tree]
_NUMBERS = count()
_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class Plan:
    """How, never what: results agree to rounding whatever the plan.

    Args:
        chunk: Tasks under one ``vmap``: 1 is a plain loop without ``vmap``, ``"all"`` one
            ``vmap`` over every task, ``"auto"`` is measured by :func:`metaccord.tune` at the
            start of a training; elsewhere it follows a fixed rule (1 for convolutions on a
            CPU, all otherwise).
        checkpoint: Recompute inner steps in the backward pass instead of keeping their graphs.
            Gradients are the same to the bit.
        compile: Compile the whole meta-step with ``torch.compile``. Excludes ``checkpoint``.
        autocast: Run forward passes in bfloat16; losses, updates and dots stay in float32.
        memory: Budget for graphs and rows, for example ``"4GiB"``; resolved by ``tune`` into
            ``chunk`` and ``checkpoint``.

    Raises:
        UsageError: for a chunk below 1, an unreadable budget, or compile with checkpoint.
    """

    chunk: int | Literal["auto", "all"] = "auto"
    checkpoint: bool = False
    compile: bool = False
    autocast: bool = False
    memory: str | None = None

    def __post_init__(self) -> None:
        if self.chunk not in ("auto", "all") and not (
            isinstance(self.chunk, int) and self.chunk >= 1
        ):
            raise UsageError(f"plan.chunk is {self.chunk!r}: use 'auto', 'all' or a number >= 1")
        if self.compile and self.checkpoint:
            raise UsageError(
                "plan.compile and plan.checkpoint exclude each other: torch.func.grad, which "
                "compiles, has no saved-tensor hooks, which checkpointing needs; choose one"
            )
        if self.compile and self.memory is not None:
            raise UsageError("plan.memory may turn checkpointing on, which excludes plan.compile")
        self.budget()

    def budget(self) -> int | None:
        """Return the memory budget in bytes, or None.

        Raises:
            UsageError: if ``memory`` is not a number with KiB, MiB or GiB.
        """
        if self.memory is None:
            return None
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KiB|MiB|GiB|)", self.memory)
        amount = float(found[1]) * _UNITS[found[2]] if found else 0.0
        if not 0 < amount < math.inf:
            raise UsageError(f"plan.memory is {self.memory!r:.100}: write for example '4GiB'")
        return int(amount)

    def size(self, tasks: int) -> int:
        """Return how many of ``tasks`` tasks stand under one ``vmap``."""
        if self.chunk == "auto":
            raise UsageError("plan.chunk is 'auto' and was not resolved: call metaccord.tune")
        return tasks if self.chunk == "all" else min(int(self.chunk), tasks)

    def over_tasks(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``fn`` of one task as a function of stacked trees; for forward passes only."""

        def mapped(*args: Tree) -> Tree:
            tasks = tree.tasks_in(args)
            size = self.size(tasks)
            if size == 1:  # no vmap at all
                return tree.join([fn(*one) for one in tree.unbind(args)], torch.stack)
            each = vmap(fn)
            if size == tasks:
                return each(*args)
            return tree.join([each(*piece) for piece in tree.split(args, size)], torch.cat)

        return mapped

    def rows(
        self, fn: Callable[[Stacked], Scalar], at: Stacked, *, create_graph: bool
    ) -> tuple[Stacked, Tree]:
        """Return the gradient of a sum over tasks with respect to each task's own copy.

        Args:
            fn: ``fn(at) -> (sum over tasks [], aux)``.
            at: One row per task, ``[T, ...]``.
            create_graph: Keep the graph, for second order.

        Returns:
            Gradient rows ``[T, ...]`` with the names of ``at``, and ``aux``.
        """
        if self.compile:  # the route that compiles
            grads, aux = torch.func.grad(fn, has_aux=True)(at)
            return (grads if create_graph else tree.detached(grads)), aux
        with torch.enable_grad():  # the route that checkpoints
            at = {k: v if v.requires_grad else v.detach().requires_grad_() for k, v in at.items()}
            total, aux = fn(at)
            found = torch.autograd.grad(
                total, tuple(at.values()), create_graph=create_graph, materialize_grads=True
            )
        return dict(zip(at, found, strict=True)), aux

    def remember(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return an inner step whose graph is recomputed if the plan says so."""
        if not self.checkpoint:
            return step
        return partial(remember, step, use_reentrant=False, preserve_rng_state=False)

    def accelerate(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``fn`` compiled into one graph if the plan says so.

        A fresh code object each time: Dynamo counts recompilations per code object and gives up
        after eight, although each training compiles its own function only once.
        """
        if not self.compile:
            return fn
        code = fn.__code__.replace(co_name=f"{fn.__name__}_{next(_NUMBERS)}")
        fresh = FunctionType(code, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
        return torch.compile(fresh, fullgraph=True, dynamic=False)
