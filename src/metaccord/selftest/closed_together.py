"""Closed forms of the interactions on quadratics: tasks meet, so a row depends on all tasks."""

from __future__ import annotations

import numpy as np

from metaccord.selftest.arrays import Array, Rows, dots, lengths, times
from metaccord.selftest.closed import maml
from metaccord.selftest.problem import Problem, back

SHARE, PAST = "interaction.sharing.share", "interaction.sharing.past"


def agreement(p: Problem, rows: Rows) -> Rows:
    """Scale row i by ``N w_i``, with w from the displacements ``theta - w_K``."""
    return weighed(rows, agreements(p.start - p.adapted(p.lr)[1]))


def agreements(g: Array) -> Array:
    """Return ``w_i = s_i / sum_k |s_k|, s_i = g_i . sum_j g_j``; 1/N where all cancels: ``[T]``."""
    scores = g @ g.sum(0)
    total = np.abs(scores).sum()
    if total <= 64 * np.finfo(np.float64).eps * len(g) * dots(g, g).sum():
        return np.full(len(g), 1 / len(g))
    return scores / total


def weighed(rows: Rows, weights: Array) -> Rows:
    """Scale every row of task i by ``N w_i``, so that their mean is the weighted sum."""
    scale = len(weights) * weights
    return {k: scale.reshape(-1, *[1] * (v.ndim - 1)) * v for k, v in rows.items()}


def _logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def sharing(p: Problem, *, through: bool = False) -> Rows:
    """The convex blend; ``through``: the mean gradient is no constant."""
    share, past = _logistic(p.learned[SHARE]), _logistic(p.learned[PAST])
    _, means = _shared_path(p.earlier.a, p.earlier.b, p, share, 0 * past, None)
    path, common = _shared_path(p.bowls.a, p.bowls.b, p, share, past, means)
    rows = {"point": p.bowls.q(path[-1]), SHARE: _per_step(p), PAST: _per_step(p)}
    for k in reversed(range(p.steps)):
        slope, lam, mu = rows["point"], share[k], past[k]
        blend = (1 - mu) * common[k] + mu * means[k]
        own = p.bowls.residual(path[k])
        rows[SHARE][:, k] = -p.lr * lam * (1 - lam) * dots(slope, blend - own)
        rows[PAST][:, k] = -p.lr * lam * mu * (1 - mu) * (slope @ (means[k] - common[k]))
        met = (1 - lam) * slope
        if through:
            met = met + lam * (1 - mu) * slope.mean(0)
        rows["point"] = slope - p.lr * times(p.bowls.a, met)
    return rows


def _per_step(p: Problem) -> Array:
    return np.zeros((p.tasks, p.steps))


def _shared_path(
    a: Array, b: Array, p: Problem, share: Array, past: Array, means: Array | None
) -> tuple[list[Array], Array]:
    """Return the points ``[T, d]`` of all steps and the mean gradients ``[K, d]``."""
    path, common = [p.start], np.zeros((p.steps, p.dim))
    for k in range(p.steps):
        own = times(a, path[k]) - b
        common[k] = own.mean(0)
        old = common[k] if means is None else means[k]
        blend = (1 - past[k]) * common[k] + past[k] * old
        path.append(path[k] - p.lr * ((1 - share[k]) * own + share[k] * blend))
    return path, common


def additive(p: Problem) -> Rows:
    """``h = g + share c + past m``."""
    share, past = p.learned[SHARE], p.learned[PAST]
    _, means = _added_path(p.earlier.a, p.earlier.b, p, share, 0 * past, np.zeros((p.steps, p.dim)))
    path, common = _added_path(p.bowls.a, p.bowls.b, p, share, past, means)
    rows = {"point": p.bowls.q(path[-1]), SHARE: _per_step(p), PAST: _per_step(p)}
    for k in reversed(range(p.steps)):
        rows[SHARE][:, k] = -p.lr * (rows["point"] @ common[k])
        rows[PAST][:, k] = -p.lr * (rows["point"] @ means[k])
        rows["point"] = rows["point"] - p.lr * times(p.bowls.a, rows["point"])
    return rows


def _added_path(
    a: Array, b: Array, p: Problem, share: Array, past: Array, means: Array
) -> tuple[list[Array], Array]:
    path, common = [p.start], np.zeros((p.steps, p.dim))
    for k in range(p.steps):
        own = times(a, path[k]) - b
        common[k] = own.mean(0)
        path.append(path[k] - p.lr * (own + share[k] * common[k] + past[k] * means[k]))
    return path, common


def cooperative(p: Problem, weight: float) -> Rows:
    """MAML with ``q + weight * slope`` of a second head that reads the adapted point.

    The second head is linear, ReLU, linear with one output, which is its loss.
    """
    start = "interaction.cooperative."
    names = ("first.weight", "first.bias", "last.weight")
    first, bias, final = (p.learned[start + name] for name in names)
    power, point = p.adapted(p.lr)
    before = point @ first.T + bias
    hidden = np.maximum(before, 0)
    slope = final[0] * (before > 0)  # [T, hidden]
    return {
        "point": back(power, p.bowls.q(point) + weight * slope @ first),
        start + "first.weight": weight * np.einsum("ti,tj->tij", slope, point),
        start + "first.bias": weight * slope,
        start + "last.weight": weight * hidden[:, None, :],
        start + "last.bias": np.full((p.tasks, 1), weight),
    }


def coherent(p: Problem, rate: float, reading: str, *, through: bool = False) -> Rows:
    """Solutions turned towards (or shifted along) the mean direction, or pulled by a loss."""
    power, point = p.adapted(p.lr)
    d = point - p.start
    slope = p.bowls.q(point + bend(d, rate, reading))
    flow = bend_back(d, slope, rate, reading, through=through)
    return {"point": back(power, slope + flow) - flow}


def _directions(d: Array) -> tuple[Array, Array, Array, Array]:
    """Return lengths ``[T, 1]``, unit vectors u, ``P_i mean(u)`` and that over the length."""
    size = lengths(d)[:, None]
    unit = np.divide(d, size, out=np.zeros_like(d), where=size > 0)
    mean = unit.mean(0)
    across = mean - unit * (unit @ mean)[:, None]
    return size, unit, across, np.divide(across, size, out=np.zeros_like(d), where=size > 0)


def bend(d: Array, rate: float, reading: str) -> Array:
    """Return what is added to the solutions with displacements d: ``[T, P]``."""
    if reading == "loss":
        return np.zeros_like(d)
    if reading == "shift":
        return np.broadcast_to(rate * d.mean(0), d.shape)
    size, _, across, _ = _directions(d)
    return rate * size * across


def bend_back(d: Array, slope: Array, rate: float, reading: str, *, through: bool) -> Array:
    """Return what flows back into d beside ``slope`` itself: ``[T, P]``.

    Args:
        d: Displacements.
        slope: Gradients of the query losses at the bent solutions.
        rate, reading, through: As in :class:`metaccord.interactions.Coherence`.
    """
    if reading == "shift":
        return np.broadcast_to(rate * slope.mean(0), d.shape) if through else np.zeros_like(d)
    size, unit, _, narrowed = _directions(d)
    if reading == "loss":  # as much again through the mean direction
        return -rate * narrowed * (2 if through else 1)
    if not through:
        return np.zeros_like(d)
    mean, along = unit.mean(0), dots(d, slope)[:, None]
    flow = (slope @ mean)[:, None] * unit - (unit @ mean)[:, None] * slope - along * narrowed
    total = (size * slope - unit * along).mean(0)  # what reaches each unit vector
    onto = total - unit * (unit @ total)[:, None]
    flow = flow + np.divide(onto, size, out=np.zeros_like(d), where=size > 0)
    return rate * flow


def pcgrad(p: Problem) -> Rows:
    """MAML's rows, projected."""
    return {"point": projected(maml(p)["point"])}


def projected(given: Array) -> Array:
    """Project each row off the others it conflicts with, in the order of their places."""
    found = given.copy()
    for i in range(len(given)):
        for j in range(len(given)):
            along = found[i] @ given[j]
            if i != j and along < 0:
                found[i] = found[i] - along / (given[j] @ given[j]) * given[j]
    return found
