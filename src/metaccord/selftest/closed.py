"""Closed forms of the base methods on quadratics, in NumPy without autograd.

Each returns the meta-gradient rows ``[T, ...]`` by name: ``"point"`` for the point, anything else
by its name in the library. ``M = I - rates A``, ``q`` is the query gradient at the adapted point.
"""

from __future__ import annotations

import numpy as np

from metaccord.selftest.arrays import Array, Rows, solved, times
from metaccord.selftest.problem import Problem, back


def maml(p: Problem) -> Rows:
    """``(M^K)' q(w_K)``."""
    power, point = p.adapted(p.lr)
    return {"point": back(power, p.bowls.q(point))}


def fomaml(p: Problem) -> Rows:
    """``q(w_K)``."""
    return {"point": p.bowls.q(p.adapted(p.lr)[1])}


def reptile(p: Problem) -> Rows:
    """``theta - w_K``."""
    return {"point": p.start - p.adapted(p.lr)[1]}


def anil(p: Problem) -> Rows:
    """MAML with the rate 0 outside the head."""
    power, point = p.adapted(p.lr * (1 - p.body))
    return {"point": back(power, p.bowls.q(point))}


def boil(p: Problem) -> Rows:
    """MAML with the rate 0 in the head."""
    power, point = p.adapted(p.lr * p.body)
    return {"point": back(power, p.bowls.q(point))}


def momentum(p: Problem, decay: float) -> Rows:
    """``z = (w, v)`` moves by ``B = [[I - lr A, -lr decay I], [A, decay I]]``."""
    zero, eye = np.zeros_like(p.bowls.a), np.eye(p.dim)
    one = np.block(
        [[eye - p.lr * p.bowls.a, zero - p.lr * decay * eye], [p.bowls.a, zero + decay * eye]]
    )
    z = np.concatenate([p.start, np.zeros_like(p.start)], axis=1)
    given = np.concatenate([p.lr * p.bowls.b, -p.bowls.b], axis=1)
    for _ in range(p.steps):
        z = times(one, z) + given
    power = np.linalg.matrix_power(one, p.steps)
    slope = np.concatenate([p.bowls.q(z[:, : p.dim]), np.zeros_like(p.start)], axis=1)
    return {"point": back(power, slope)[:, : p.dim]}


def adam(p: Problem, beta1: float, beta2: float, eps: float) -> Rows:
    """Two steps in one dimension, differentiated by hand (eps outside the root)."""
    a, b, theta = p.bowls.a[:, 0, 0], p.bowls.b[:, 0], p.start[:, 0]
    g0 = a * theta - b
    one = theta - p.lr * g0 / (np.abs(g0) + eps)
    d1 = 1 - p.lr * a * eps / (np.abs(g0) + eps) ** 2
    g1 = a * one - b
    m, v = (beta1 * g0 + g1) / (1 + beta1), (beta2 * g0**2 + g1**2) / (1 + beta2)
    dm, dv = a * (beta1 + d1) / (1 + beta1), 2 * a * (beta2 * g0 + g1 * d1) / (1 + beta2)
    root = np.sqrt(v)
    two = one - p.lr * m / (root + eps)
    d2 = d1 - p.lr * (dm / (root + eps) - m * dv / (2 * root * (root + eps) ** 2))
    return {"point": d2[:, None] * p.bowls.q(two[:, None])}


def by_rates(p: Problem, rates: Array, weights: Array) -> tuple[Array, Array]:
    """Return the rows of the point ``[T, d]`` and of the rates ``[T, K, d]``.

    Args:
        p: The problem.
        rates: Rate of each step and coordinate, ``[K, d]``.
        weights: Weight of the query loss after each step, ``[K]``.
    """
    path = [p.start]
    for rate in rates:
        path.append(path[-1] - rate * p.bowls.residual(path[-1]))
    slope, found = np.zeros_like(p.start), np.zeros((p.tasks, p.steps, p.dim))
    for k in reversed(range(p.steps)):
        slope = slope + weights[k] * p.bowls.q(path[k + 1])
        found[:, k] = -p.bowls.residual(path[k]) * slope
        slope = slope - times(p.bowls.a, rates[k] * slope)
    return slope if p.steps else p.bowls.q(p.start), found


def last(steps: int) -> Array:
    """Return weights that count the loss after the last step alone: ``[K]``."""
    return (np.arange(steps) == steps - 1).astype(np.float64)


def schedule(steps: int, epoch: int, horizon: int) -> Array:
    """Return the weights of MAML++'s multi-step loss in an epoch of ``horizon``: ``[K]``."""
    if epoch >= horizon:
        return last(steps)
    weights = np.full(steps, max(1 / steps - epoch / (steps * horizon), 0.03 / steps))
    weights[-1] = min(
        1 / steps + epoch * (steps - 1) / (steps * horizon), 1 - (steps - 1) * 0.03 / steps
    )
    return weights


def meta_sgd(p: Problem) -> Rows:
    """One rate for each coordinate, the same in all steps."""
    names = [n for n in ("rule.rate.trunk", "rule.rate.head") if n in p.learned]
    rate = np.concatenate([p.learned[n].ravel() for n in names])
    point, found = by_rates(p, np.tile(rate, (p.steps, 1)), last(p.steps))
    total, edge = found.sum(1), p.dim - p.head
    rows = {"point": point, "rule.rate.head": total[:, edge:]}
    return rows | ({"rule.rate.trunk": total[:, None, :edge]} if edge else {})


def maml_pp(p: Problem, epoch: int, horizon: int) -> Rows:
    """One rate for each tensor and step, and a loss after every step."""
    edge, head = p.dim - p.head, p.learned["rule.rate.head"]
    trunk = p.learned.get("rule.rate.trunk", head)
    rates = np.concatenate(
        [np.repeat(trunk[:, None], edge, 1), np.repeat(head[:, None], p.head, 1)], 1
    )
    weights = schedule(p.steps, p.step // epoch, horizon // epoch)
    point, found = by_rates(p, rates, weights)
    rows = {"point": point, "rule.rate.head": found[:, :, edge:].sum(2)}
    return rows | ({"rule.rate.trunk": found[:, :, :edge].sum(2)} if edge else {})


def imaml(p: Problem, strength: float) -> Rows:
    """``(I + A / strength)^-1 q(t_K)`` with t_K after K steps on the proximal problem."""
    pulled = p.bowls.a + strength * np.eye(p.dim)
    middle = solved(pulled, p.bowls.b + strength * p.start)
    power = np.linalg.matrix_power(np.eye(p.dim) - p.lr * pulled, p.steps)
    point = middle + times(power, p.start - middle)
    return {"point": _solved(p, 1.0, strength, point)}


def imaml_damped(p: Problem, strength: float) -> Rows:
    """Plain steps, then one on the pull alone; damping 1, and 10 added to the strength."""
    _, point = p.adapted(p.lr)
    if p.steps:
        point = point - p.lr * strength * (point - p.start)
    return {"point": _solved(p, 2.0, strength + 10.0, point)}


def _solved(p: Problem, diagonal: float, strength: float, point: Array) -> Array:
    system = diagonal * np.eye(p.dim) + p.bowls.a / strength
    return solved(system, p.bowls.q(point))


def warp(p: Problem) -> Rows:
    """A linear warp W: ``M = I - lr W' A W``; W learns from one step ahead of each state."""
    w = p.learned["model.warp"]
    a, given = w.T @ p.bowls.a @ w, p.bowls.b @ w
    one = np.eye(p.dim) - p.lr * a
    state, rows = p.start, np.zeros((p.tasks, p.dim, p.dim))
    for _ in range(p.steps):
        slope = times(p.bowls.a, state @ w.T) - p.bowls.b
        ahead = state - p.lr * slope @ w
        q = p.bowls.q(ahead @ w.T)
        curved = times(p.bowls.a, (q @ w) @ w.T)
        rows += _outer(q, ahead) - p.lr * (_outer(slope, q @ w) + _outer(curved, state))
        state = times(one, state) + p.lr * given
    point = back(np.linalg.matrix_power(one, p.steps), p.bowls.q(state @ w.T) @ w)
    return {"point": point, "model.warp": rows / p.steps}


def _outer(a: Array, b: Array) -> Array:
    return np.einsum("ti,tj->tij", a, b)


def catfish(p: Problem, ratio: float) -> Rows:
    """MAML, plus a copy without the trunk's entries of largest ``|theta dL/dtheta|``."""
    score = np.abs(p.start * p.bowls.residual(p.start)) * p.body
    edge = p.dim - p.head
    drop = min(round(ratio * edge), edge - 1)
    keep = np.ones_like(score)
    order = np.argsort(-score[:, :edge], axis=1)
    np.put_along_axis(keep, order[:, :drop], 0.0, axis=1)
    one = np.eye(p.dim) - p.lr * keep[:, :, None] * p.bowls.a
    state = keep * p.start
    for _ in range(p.steps):
        state = state - p.lr * keep * p.bowls.residual(state)
    added = back(np.linalg.matrix_power(one, p.steps), p.bowls.q(state))
    return {"point": maml(p)["point"] + keep * added}
