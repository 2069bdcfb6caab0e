"""How one task moves: the inner rule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.utils import _pytree as pytree

from metaccord import keys
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.types import Batch, Episode, Params, Stacked

Groups = Mapping[str, frozenset[str]]


def selects(name: str, selectors: tuple[str, ...], groups: Groups) -> bool:
    """Say whether a parameter is named by a selector.

    Args:
        name: Dotted parameter name.
        selectors: Groups (``"batchnorm"``), whole names, or leading parts such as ``"head"``.
        groups: Names of the parameters of each group.
    """
    return any(
        name in groups.get(s, ()) or name == s or name.startswith(f"{s}.") for s in selectors
    )


@dataclass(frozen=True, kw_only=True)
class InnerRule(ABC):
    """How one task moves from the initialisation; subclasses say how a step is made.

    Args:
        steps: Number of inner steps K.
        lr: Step size, for mean-reduced losses.
        only: Selectors of what moves; empty: everything.
        never: Selectors of what stays, for example ``("batchnorm",)``: scale and shift.
        batch: Examples per step; None takes the whole support set in every step. Otherwise the
            examples are shuffled and cut into consecutive batches, shuffled again after each
            pass, and a batch may straddle two passes (Reptile).

    Raises:
        UsageError: for a negative number of steps, a step size that is not finite and positive,
            or an empty batch.
    """

    steps: int
    lr: float
    only: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"rule.steps is {self.steps}: it must be 0 or more")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise UsageError(f"rule.lr is {self.lr}: it must be finite and above 0, e.g. 0.01")
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"rule.batch is {self.batch}: use None or a number of examples >= 1")

    def init(self, params: Params) -> tuple[Params, Params]:
        """Return learned and running tensors of the rule (none by default).

        Args:
            params: What moves, ``[...]``, without prefix.
        """
        del params
        return {}, {}

    def begin(self, params: Stacked, running: Params) -> Stacked:
        """Return what is carried from step to step within a task, at step 0 (nothing)."""
        del params, running
        return {}

    def divide(self, model: Stacked, groups: Groups) -> tuple[Stacked, Stacked]:
        """Return what moves and what stays.

        Raises:
            UsageError: if nothing moves.
        """
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
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked
    ) -> tuple[Stacked, Stacked]:
        """Return the moved parameters and what is carried on; all ``[T, ...]``."""

    def observe(self, carry: Stacked, axis: TaskAxis) -> Params:
        """Return the running tensors for the next meta-step, from the last carry (none)."""
        del carry, axis
        return {}

    def arranged(self, episodes: Episode) -> Episode:
        """Return the episodes with the support set laid out as the steps will read it.

        With mini-batches the support leaves become ``[T, steps * batch, ...]``. The order comes
        from ``episodes.extra["order"]`` ([T], int64), or key 0 without one.
        """
        if self.batch is None or self.steps == 0:
            return episodes
        leaf = pytree.tree_leaves(episodes.support)[0]
        tasks, count = leaf.shape[:2]
        order = episodes.extra.get("order")
        if order is None:
            order = torch.zeros(tasks, dtype=torch.int64, device=leaf.device)
        length = self.steps * self.batch
        passes = [keys.permutation(keys.mix(order, i), count) for i in range(-(-length // count))]
        chosen = torch.cat(passes, dim=1)[:, :length]  # [T, steps * batch]
        rows = torch.arange(tasks, device=leaf.device)[:, None]
        return episodes._replace(
            support=pytree.tree_map(lambda leaf: leaf[rows, chosen], episodes.support)
        )

    def part(self, support: Batch, step: int) -> Batch:
        """Return the examples of inner step ``step`` from an arranged support set."""
        if self.batch is None:
            return support
        start, size = step * self.batch, self.batch
        return pytree.tree_map(lambda leaf: leaf[:, start : start + size], support)
