"""One meta-step of every method: rows, their combination, and what is carried on.

Legend: T tasks, K inner steps, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from metaccord.selftest.arrays import Array, Rows, solved
from metaccord.selftest.closed import schedule
from metaccord.selftest.plain.couplings import Sharing
from metaccord.selftest.plain.inner import Adam, Rates, Rule
from metaccord.selftest.plain.network import Loss, Net
from metaccord.selftest.plain.path import Bend, Through, swept, walked

Combine = Callable[[Rows, Array], Rows]


@dataclass(frozen=True)
class Meta:
    """What a meta-step has to work with.

    Args:
        net: The network.
        support, query: Losses of T tasks.
        learned: Everything learned, by the library's names.
        running: What the last meta-step left: see :class:`Plain`.
        step: Index of the meta-step.
    """

    net: Net
    support: Loss
    query: Loss
    learned: Rows
    running: dict[str, Any]
    step: int

    @property
    def start(self) -> Array:
        """The initialisation, once per task: ``[T, P]``."""
        names = {n: self.learned[f"model.{n}"] for n in self.net.shapes}
        return np.tile(self.net.packed(names), (len(self.support.x), 1))

    def named(self, found: Array) -> Rows:
        """Return rows ``[T, P]`` by the library's names."""
        return {f"model.{n}": v for n, v in self.net.unpacked(found).items()}


@dataclass(frozen=True)
class Plain:
    """A method by hand.

    Args:
        base: Rows ``[T, ...]`` by name, the displacements ``theta - theta_i`` ``[T, P]``, and the
            running state for the next meta-step.
        combine: What happens to the rows before the mean; gets the displacements, too.
    """

    base: Callable[[Meta], tuple[Rows, Array, dict[str, Any]]]
    combine: Combine = field(default=lambda rows, moved: rows)


@dataclass(frozen=True)
class Path:
    """MAML's kind of base.

    Args:
        steps: K.
        rule: From the meta-step to its rule.
        first_order: Before which meta-step inner gradients are constants.
        multistep: Epoch and horizon of the multi-step loss, in meta-steps.
        sharing: Keywords of :class:`Sharing`, or None.
        bent, colearner: See :class:`Through`.
        rates: How slopes by directions become rows of learned rates: ``[T, K, P] -> rows``.
    """

    steps: int
    rule: Callable[[Meta], Rule]
    first_order: float = 0
    multistep: tuple[int, int] | None = None
    sharing: dict[str, bool] | None = None
    bent: Bend | None = None
    colearner: float | None = None
    rates: Callable[[Net, Array], Rows] | None = None

    def __call__(self, meta: Meta) -> tuple[Rows, Array, dict[str, Any]]:
        """Return rows, displacements and running state."""
        shape = (self.steps, meta.net.size)
        past = meta.running.get("past", (np.zeros(shape), 0))
        sharing = None
        if self.sharing is not None:
            sharing = Sharing(meta.net, meta.learned, past, **self.sharing)
        weights = None
        if self.multistep:
            epoch, horizon = self.multistep
            weights = schedule(self.steps, meta.step // epoch, horizon // epoch)
        early = meta.step < self.first_order
        how = Through(early, weights, sharing, self.bent, self.colearner)
        rule, start = self.rule(meta), meta.start
        found = swept(meta.support, meta.query, rule, start, self.steps, how, meta.learned)
        rows = meta.named(found.point) | found.extras
        if self.rates:
            pairs = zip(found.walk.given, found.arrivals, strict=True)
            rows |= self.rates(meta.net, np.stack([-g * p for g, p in pairs], axis=1))
        moved = found.walk.points[0] - found.walk.points[-1]
        return rows, moved, {"past": sharing.seen(found.walk.own)} if sharing else {}


def reptile(
    meta: Meta, steps: int, rule: Callable[[Meta], Rule]
) -> tuple[Rows, Array, dict[str, Any]]:
    """Rows ``theta - theta_i``; Adam's second moments go on from their mean over tasks."""
    used = rule(meta)
    walk = walked(meta.support, used, meta.start, steps, None)
    moved = walk.points[0] - walk.points[-1]
    running = {}
    if isinstance(used, Adam):
        running = {"second": (walk.slots[-1][1].mean(0), used.second[1] + steps)}
    return meta.named(moved), moved, running


def implicit(
    meta: Meta, steps: int, lr: float, strength: float, *, damped: bool
) -> tuple[Rows, Array, dict[str, Any]]:
    """Solve the linear system with a dense matrix, by elimination."""
    point = meta.start
    for _ in range(steps):
        pull = 0.0 if damped else strength * (point - meta.start)
        point = point - lr * (meta.support.grad(point) + pull)
    if damped:
        point = point - lr * strength * (point - meta.start)
    eye, curved = np.eye(meta.net.size), meta.support.dense(point)
    system = 2 * eye + curved / (strength + 10) if damped else eye + curved / strength
    rows = solved(system, meta.query.grad(point))
    return meta.named(rows), meta.start - point, {}


def warp(meta: Meta, path: Path, lr: float) -> tuple[Rows, Array, dict[str, Any]]:
    """MAML for the task layers; one step ahead of each state for the warp layers."""
    rows, moved, running = path(meta)
    fixed = meta.net.where("warp")
    total = np.zeros_like(moved)
    for point in walked(meta.support, path.rule(meta), meta.start, path.steps, None).points[:-1]:
        ahead = point - lr * (1 - fixed) * meta.support.grad(point)
        slope = meta.query.grad(ahead)
        total += slope - lr * meta.support.product(point, (1 - fixed) * slope)
    own = meta.named(total / path.steps)
    return rows | {k: v for k, v in own.items() if ".warp." in k}, moved, running


def catfish(meta: Meta, path: Path, lr: float, ratio: float) -> tuple[Rows, Array, dict[str, Any]]:
    """MAML, and the same of a copy without the hidden weights that the loss depends on most."""
    rows, moved, running = path(meta)
    weights = meta.net.where("body.0.weight") > 0
    score = np.abs(meta.start * meta.support.grad(meta.start))[:, weights]
    drop = min(round(ratio * score.shape[1]), score.shape[1] - 1)
    inside = np.ones_like(score)
    np.put_along_axis(inside, np.argsort(-score, axis=1)[:, :drop], 0.0, axis=1)
    keep = np.ones_like(moved)
    keep[:, weights] = inside
    copy = replace(path, rule=lambda _: Rates(np.tile(lr * keep, (path.steps, 1, 1))))
    rule = copy.rule(meta)
    start = keep * meta.start
    found = swept(meta.support, meta.query, rule, start, path.steps, Through(), meta.learned)
    added = meta.named(keep * found.point)
    return {k: v + added[k] for k, v in rows.items()}, moved, running


def pretrain(meta: Meta) -> tuple[Rows, Array, dict[str, Any]]:
    """The gradient of the mean over all examples of a task, support and query."""
    x = np.concatenate([meta.support.x, meta.query.x], axis=1)
    y = np.concatenate([meta.support.y, meta.query.y], axis=1)
    rows = Loss(meta.net, x, y).grad(meta.start)
    return meta.named(rows), np.zeros_like(rows), {}
