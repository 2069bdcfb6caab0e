"""The nouns of the library, each with its shapes.

Legend: T tasks of this process, N tasks of all processes, n examples, K inner steps.
The task axis is always first. A *tree* is a tensor, a tuple of trees or a dict of trees.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

Tree = Any
"""A tensor, or a tuple or dict of trees."""
Params = dict[str, Tensor]
"""Flat, dotted names with the prefixes ``model.``, ``rule.`` and ``interaction.``: ``[...]``."""
Stacked = dict[str, Tensor]
"""The same names with one row per task: ``[T, ...]``."""
Notes = dict[str, Tensor]
"""Numbers of one meta-step that are recorded but influence nothing."""


class Batch(NamedTuple):
    """Examples: a tuple of inputs calls ``model(*x)``, a dict ``model(**x)``.

    Attributes:
        inputs: Tree of ``[T, n, ...]`` (``[n, ...]`` for one task).
        targets: Tree of ``[T, n, ...]`` (``[n, ...]`` for one task).
        sizes: True numbers of examples ``[T]``, int64, on the CPU; what lies beyond is padding
            and is never looked at. ``()``: every task has n.
        ways: True numbers of classes ``[T]``, int64, on the CPU: the model's outputs are cut to
            ``[..., :ways]`` before the criterion. ``()``: all outputs are meant. One task's ways
            are ``[]``, or an int.
    """

    inputs: Tree
    targets: Tree
    sizes: Tensor | tuple[()] = ()
    ways: Tensor | int | tuple[()] = ()


class Episode(NamedTuple):
    """What T tasks bring to one meta-step.

    Attributes:
        support: Examples for the inner loop, ``[T, n, ...]``.
        query: Examples for the outer loss, ``[T, n, ...]``.
        extra: Per-task data ``[T, ...]``; ``"order"`` and ``"dropout"`` are int64 keys ``[T]``
            that seed mini-batch order and dropout masks.
    """

    support: Batch
    query: Batch
    extra: dict[str, Tensor] = {}  # noqa: RUF012


class Own(NamedTuple):
    """Tensors of an interaction, prefix removed: learned ``[T, ...]`` and running ``[...]``."""

    learned: Stacked
    running: Params


class MetaState(NamedTuple):
    """Everything meta-training has learned so far.

    Attributes:
        params: What the outer optimiser changes.
        running: Statistics carried from step to step, never differentiated.
        step: Number of meta-steps done.
    """

    params: Params
    running: Params
    step: int = 0


class Adaptation(NamedTuple):
    """The inner loops of T tasks.

    Attributes:
        path: What moved, after 0..K steps; only the two ends unless somebody needs ``"path"``.
        grads: K inner gradients before sharing; empty unless somebody needs ``"grads"``.
        carry: The rule's own tensors after the last step (momentum, Adam slots).
        solution: All model tensors, after ``correct``: where query losses are taken.
        episodes: The data of these tasks.
        support_losses: Loss ``[T]`` before each of the K inner steps.
        losses: Query losses ``[T]``; None for methods that take none.
        features: What the model's features were for the query examples, ``[T, n, ...]``; nothing
            unless somebody needs ``"features"``.
        notes: What the estimator wants recorded.
    """

    path: tuple[Stacked, ...]
    grads: tuple[Stacked, ...]
    carry: Stacked
    solution: Stacked
    episodes: Episode
    support_losses: tuple[Tensor, ...] = ()
    losses: Tensor | None = None
    features: Tensor | tuple[()] = ()
    notes: Notes = {}  # noqa: RUF012

    @property
    def initial(self) -> Stacked:
        """What moved, before the first inner step."""
        return self.path[0]

    @property
    def adapted(self) -> Stacked:
        """What moved, after the last inner step and before ``correct``."""
        return self.path[-1]


class MetaStep(NamedTuple):
    """One meta-gradient.

    Attributes:
        grads: The mean over tasks, ready for the outer optimiser, ``[...]``.
        rows: Per-task meta-gradients after ``reconcile``, ``[T, ...]``.
        running: Running statistics for the next step.
        run: The inner loops, without graph.
        notes: What the interactions want recorded.
    """

    grads: Params
    rows: Stacked
    running: Params
    run: Adaptation
    notes: Notes
