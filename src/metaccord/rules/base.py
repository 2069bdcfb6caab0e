"""How one task moves: the inner rule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metaccord import keys, tree, uneven
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.names import Groups, selects
from metaccord.types import Batch, Episode, Params, Stacked


@dataclass(frozen=True, kw_only=True)
class InnerRule(ABC):
    """How one task moves from the initialisation; subclasses say how a step is made.

    Args:
        steps: Number of inner steps K.
        lr: Step size, for mean-reduced losses.
        only: Selectors of what moves, see :func:`metaccord.names.selects`: leading parts
            (``"head"``), patterns (``"*.query"``) or groups (``"lora"``); empty: everything.
        never: Selectors of what stays, for example ``("batchnorm",)``: scale and shift.
        batch: Examples per step; None takes the whole support set in every step. Otherwise the
            examples are shuffled and cut into consecutive batches, shuffled again after each
            pass, and a batch may straddle two passes (Reptile).
        clip_norm: Largest Euclidean norm of one task's inner gradient, or None.
        clip_value: Largest absolute entry of an inner gradient, or None.

    Attributes:
        learns: Whether it brings learned tensors.

    Raises:
        UsageError: for a negative number of steps, a step size or limit that is not finite and
            positive, or an empty batch.
    """

    learns: ClassVar[bool] = False
    steps: int
    lr: float
    only: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    batch: int | None = None
    clip_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"rule.steps is {self.steps}: it must be 0 or more")
        for name in ("lr", "clip_norm", "clip_value"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"rule.{name} is {value}: it must be finite and above 0")
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"rule.batch is {self.batch}: use None or a number of examples >= 1")

    @property
    def carries(self) -> bool:
        """Whether it carries tensors from step to step within a task."""
        return type(self).begin is not InnerRule.begin

    def init(self, params: Params) -> tuple[Params, Params]:
        """Return learned and running tensors of the rule (none by default).

        Args:
            params: What moves, ``[...]``, without prefix.
        """
        del params
        return {}, {}

    @property
    def stepwise(self) -> bool:
        """Whether what stays is another one at each step."""
        return type(self).at is not InnerRule.at

    def init_still(self, still: Params, groups: Groups) -> Params:
        """Return learned tensors in place of what stays (none by default).

        Args:
            still: What stays, ``[...]``, without prefix.
            groups: Names of the parameters of each group.
        """
        del still, groups
        return {}

    def at(self, learned: Stacked, still: Stacked, step: int) -> Stacked:
        """Return what stays as losses meet it after ``step`` inner steps (the same).

        Inner step k sees it after k steps, the query loss after all K. What is indexed by step
        repeats its last value beyond the steps that were trained.

        Args:
            learned: The rule's own tensors, ``[T, ...]``.
            still: What stays, as the model has it, ``[T, ...]``.
            step: Number of inner steps done.
        """
        del learned, step
        return still

    def begin(self, params: Stacked, running: Params) -> Stacked:
        """Return what is carried from step to step within a task, at step 0 (nothing)."""
        del params, running
        return {}

    def divide(self, model: Stacked, groups: Groups) -> tuple[Stacked, Stacked]:
        """Return what moves and what stays.

        Raises:
            UsageError: if nothing moves, or a selector names nothing.
        """
        for chosen in (*self.only, *self.never):
            if chosen not in groups and not any(selects(k, (chosen,), groups) for k in model):
                parts = sorted({k.rpartition(".")[0] or k for k in model})
                raise UsageError(
                    f"the inner rule selects {chosen!r}, but the model has no such part: name one "
                    f"of {', '.join(parts[:8])}"
                )
        moves = {
            k: v
            for k, v in model.items()
            if (not self.only or selects(k, self.only, groups))
            and not selects(k, self.never, groups)
        }
        if not moves:
            raise UsageError(
                f"rule.only={self.only} and rule.never={self.never} leave nothing that moves: "
                f"the model has {', '.join(sorted(model))}"
            )
        return moves, {k: v for k, v in model.items() if k not in moves}

    @abstractmethod
    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        """Return the moved parameters and what is carried on; all ``[T, ...]``.

        What is indexed by step repeats its last value beyond the steps that were trained.
        """

    def clipped(self, grads: Stacked) -> Stacked:
        """Return the inner gradients within their limits, each task by itself."""
        if self.clip_value is not None:
            grads = {k: g.clamp(-self.clip_value, self.clip_value) for k, g in grads.items()}
        if self.clip_norm is not None:
            square = tree.dot(grads, grads)  # [T]
            over = square > self.clip_norm**2
            factor = torch.where(over, self.clip_norm / torch.where(over, square, 1.0).sqrt(), 1.0)
            grads = tree.scale(grads, factor)
        return grads

    def observe(self, carry: Stacked, axis: TaskAxis) -> Params:
        """Return the running tensors for the next meta-step, from the last carry (none)."""
        del carry, axis
        return {}

    def arranged(self, episodes: Episode) -> Episode:
        """Return the episodes with the support set laid out as the steps will read it.

        With mini-batches the support leaves become ``[T, steps * batch, ...]``. The order comes
        from ``episodes.extra["order"]`` ([T], int64), or key 0 without one. Of an uneven task only
        true examples are drawn, so that what comes is even.
        """
        if self.batch is None or self.steps == 0:
            return episodes
        support = episodes.support
        leaf = pytree.tree_leaves(support.inputs)[0]
        tasks, count = leaf.shape[:2]
        order = episodes.extra.get("order")
        if order is None:
            order = torch.zeros(tasks, dtype=torch.int64, device=leaf.device)
        if isinstance(support.sizes, tuple):
            chosen = self._draws(order, count)
        else:
            buckets = uneven.Buckets(support.sizes.tolist())
            chosen = buckets.join([self._draws(*pair) for pair in buckets.split(order)])
        rows = torch.arange(tasks, device=leaf.device)[:, None]
        data = (support.inputs, support.targets)
        inputs, targets = tree.mapped(lambda leaf: leaf[rows, chosen], data)
        return episodes._replace(support=Batch(inputs, targets, ways=support.ways))

    def _draws(self, order: Tensor, count: int) -> Tensor:
        """Return which of ``count`` examples each task reads: ``[T] -> [T, steps * batch]``."""
        assert self.batch is not None
        length = self.steps * self.batch
        passes = [keys.permutation(keys.mix(order, i), count) for i in range(-(-length // count))]
        return torch.cat(passes, dim=1)[:, :length]

    def part(self, support: Batch, step: int) -> Batch:
        """Return the examples of inner step ``step`` from an arranged support set."""
        if self.batch is None:
            return support
        start, size = step * self.batch, self.batch
        data = (support.inputs, support.targets)
        inputs, targets = tree.mapped(lambda leaf: leaf[:, start : start + size], data)
        return Batch(inputs, targets, ways=support.ways)
