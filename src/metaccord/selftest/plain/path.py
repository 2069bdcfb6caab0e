"""Meta-gradients through the inner loop: forward, then a reverse sweep written by hand.

Legend: T tasks, K inner steps, P parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metaccord.selftest.arrays import Array, Rows
from metaccord.selftest.closed_together import bend, bend_back
from metaccord.selftest.plain.couplings import Sharing, colearner
from metaccord.selftest.plain.inner import Rule, Slots
from metaccord.selftest.plain.network import Loss


@dataclass(frozen=True)
class Walk:
    """An inner loop.

    Args:
        points: ``[T, P]`` after 0..K steps.
        own: Gradients before sharing, K times ``[T, P]``.
        given: Directions that the rule got.
        slots: Of the rule, after 0..K steps.
    """

    points: list[Array]
    own: list[Array]
    given: list[Array]
    slots: list[Slots]


@dataclass(frozen=True)
class Bend:
    """How solutions are turned before the query loss; see ``Coherence``."""

    rate: float
    reading: str
    through: bool


@dataclass(frozen=True)
class Through:
    """How a meta-gradient flows through the path.

    Args:
        first_order: Inner gradients are constants.
        weights: Weight of the query loss after each step, ``[K]``; None: the last one alone.
        sharing, bent: Interactions in the inner loop and at its end.
        colearner: Weight of a co-learner's loss; None: there is none.
    """

    first_order: bool = False
    weights: Array | None = None
    sharing: Sharing | None = None
    bent: Bend | None = None
    colearner: float | None = None


def walked(loss: Loss, rule: Rule, start: Array, steps: int, sharing: Sharing | None) -> Walk:
    """Return the inner loop from ``start`` ``[T, P]``."""
    walk = Walk([start], [], [], [rule.start(start)])
    for k in range(steps):
        own = loss.grad(walk.points[-1])
        given = sharing.blend(own, k) if sharing else own
        point, slots = rule.move(walk.points[-1], given, k, walk.slots[-1])
        walk.own.append(own)
        walk.given.append(given)
        walk.points.append(point)
        walk.slots.append(slots)
    return walk


@dataclass(frozen=True)
class Found:
    """Rows of a meta-step.

    Args:
        point: Of the initialisation, ``[T, P]``.
        extras: Of everything else that is learned, by the library's names.
        arrivals: Slopes by the points after each step, K times ``[T, P]``.
        walk: The inner loop.
    """

    point: Array
    extras: Rows
    arrivals: list[Array]
    walk: Walk


def swept(
    support: Loss, query: Loss, rule: Rule, start: Array, steps: int, how: Through, learned: Rows
) -> Found:
    """Return the meta-gradient rows of MAML's kind.

    Args:
        support, query: Losses of the T tasks.
        rule: How points move.
        start: The initialisation, once per task.
        steps: K, at least 1.
        how: What flows back.
        learned: Everything learned besides the point.
    """
    walk = walked(support, rule, start, steps, how.sharing)
    slope, away, extras = _end(walk, query, how, learned)
    flowing: Slots = ()
    arrivals: list[Array] = []
    shares: list[Array] = []
    pasts: list[Array] = []
    for k in reversed(range(steps)):
        if how.weights is not None and k < steps - 1:
            slope = slope + how.weights[k] * query.grad(walk.points[k + 1])
        arrivals.insert(0, slope)
        by, flowing = rule.back(slope, walk.given[k], k, walk.slots[k + 1], flowing)
        own = by
        if how.sharing:
            own, by_share, by_past = how.sharing.back(by, walk.own[k], k)
            shares.insert(0, by_share)
            pasts.insert(0, by_past)
        if not how.first_order:
            slope = slope + support.product(walk.points[k], own)
    if how.sharing:
        extras = extras | how.sharing.rows(shares, pasts)
    return Found(slope - away, extras, arrivals, walk)


def _end(walk: Walk, query: Loss, how: Through, learned: Rows) -> tuple[Array, Array, Rows]:
    """Return slopes by the adapted points, what flows past the path, and the co-learner's rows."""
    point, moved = walk.points[-1], walk.points[-1] - walk.points[0]
    last = 1.0 if how.weights is None else float(how.weights[-1])
    if how.bent:
        point = point + bend(moved, how.bent.rate, how.bent.reading)
    slope = last * query.grad(point)
    extras: Rows = {}
    if how.colearner is not None:
        more, extras = colearner(query, point, learned, how.colearner)
        slope = slope + more
    if not how.bent:
        return slope, np.zeros_like(slope), extras
    away = bend_back(moved, slope, how.bent.rate, how.bent.reading, through=how.bent.through)
    return slope + away, away, extras
