"""Closed forms of the interactions on quadratic tasks, in NumPy float64; adjoints by hand.

Task i has the support loss 1/2 w^T A_i w - b_i^T w and M_i = I - alpha A_i; r_i = A_i w_i - b_i,
q_i(w) is the gradient of its query loss. N tasks, K steps, d parameters.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.linalg import matrix_power, norm

from tests.reference import quadratics
from tests.reference.quadratics import Array, Quadratic


class Blend(NamedTuple):
    """l_k and u_k ``[K]`` as they enter the step, and m_k, one ``[d]`` per step or None."""

    share: Array
    past: Array
    history: list[Array | None]
    additive: bool = False


class Trajectories(NamedTuple):
    """Points ``[K + 1, N, d]``, support gradients ``[K, N, d]`` and c_k ``[K, d]``."""

    points: Array
    own: Array
    means: Array


class Adjoints(NamedTuple):
    """Gradients of the sum of query losses, by task.

    Attributes:
        rows: By task i's copy of theta, ``[N, d]``.
        share: By task i's copy of a_k (convex) or l_k (additive), ``[N, K]``.
        past: By task i's copy of b_k or u_k, ``[N, K]``.
    """

    rows: Array
    share: Array
    past: Array


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return np.asarray(1 / (1 + np.exp(-x)))


def blend(
    a: Array, b: Array, history: list[Array | None], steps: int, *, additive: bool = False
) -> Blend:
    """Coefficients of K steps: the last one repeats; u_k = 0 without history."""
    at = np.minimum(np.arange(steps), len(a) - 1)
    past = [history[min(k, len(history) - 1)] if history else None for k in range(steps)]
    share, weight = (a, b) if additive else (sigmoid(a), sigmoid(b))
    known = np.array([m is not None for m in past], dtype=np.float64)
    return Blend(share[at], weight[at] * known, past, additive)


def share_forward(tasks: list[Quadratic], theta: Array, lr: float, mix: Blend) -> Trajectories:
    """Convex: w_i <- w_i - alpha [(1 - l) r_i + l ((1 - u) c + u m)]; additive: r_i + l c + u m."""
    w = np.stack([theta for _ in tasks])
    points, own, means = [w], [], []
    for k, (lam, mu) in enumerate(zip(mix.share, mix.past, strict=True)):
        r = np.stack([task.a_s @ w_i - task.b_s for task, w_i in zip(tasks, w, strict=True)])
        c, m = r.mean(0), history_at(mix, k, theta)
        h = r + lam * c + mu * m if mix.additive else (1 - lam) * r + lam * ((1 - mu) * c + mu * m)
        w = w - lr * h
        points.append(w)
        own.append(r)
        means.append(c)
    shape = (len(mix.share), len(tasks), len(theta))
    return Trajectories(
        np.stack(points), np.array(own).reshape(shape), np.array(means).reshape(shape[0], shape[2])
    )


def share_backward(
    tasks: list[Quadratic],
    lr: float,
    mix: Blend,
    run: Trajectories,
    p: Array,
    *,
    differentiate: bool = False,
    first_order: bool = False,
) -> Adjoints:
    """Carry p ``[N, d]``, the gradients at the solutions, back through the steps.

    Convex, c_k constant:
        d/da_k = -alpha l (1 - l) p_i . ((1 - u) c + u m - r_i),
        d/db_k = -alpha l u (1 - u) p_i . (m - c),
        p_i <- p_i - alpha (1 - l) A_i p_i; with c_k differentiated the product is
        A_i [(1 - l) p_i + l (1 - u) (1/N) sum_j p_j].
    Additive: -alpha p_i . c, -alpha p_i . m, p_i <- (I - alpha A_i) p_i, or A_i [p_i + l mean p].
    """
    share, past = np.zeros((len(tasks), len(mix.share))), np.zeros((len(tasks), len(mix.share)))
    for k in reversed(range(len(mix.share))):
        lam, mu, r, c = mix.share[k], mix.past[k], run.own[k], run.means[k]
        m = history_at(mix, k, c)
        known = float(mix.history[k] is not None)
        if mix.additive:
            share[:, k] = -lr * p @ c
            past[:, k] = -lr * known * p @ m
            direct, common = 1.0, lam
        else:
            share[:, k] = -lr * lam * (1 - lam) * (p * ((1 - mu) * c + mu * m - r)).sum(1)
            past[:, k] = -lr * lam * mu * (1 - mu) * p @ (m - c)
            direct, common = 1 - lam, lam * (1 - mu)
        if not first_order:
            inside = direct * p + (common * p.mean(0) if differentiate else 0.0)
            p = p - lr * np.stack([t.a_s @ v for t, v in zip(tasks, inside, strict=True)])
    return Adjoints(p, share, past)


def history_at(mix: Blend, step: int, like: Array) -> Array:
    """m_k, zero without history."""
    m = mix.history[step]
    return np.zeros_like(like) if m is None else m


def query_gradients(tasks: list[Quadratic], solutions: Array) -> Array:
    """q_i at its own solution, ``[N, d]``."""
    return np.stack(
        [quadratics.query_gradient(t, w) for t, w in zip(tasks, solutions, strict=True)]
    )


def colearner_adjoint(
    solutions: Array, phi: Array, targets: Array, gamma: float
) -> tuple[Array, Array]:
    """Linear co-learner, L^c_i = 1/2 ||Phi w_i - y_i||^2, e_i = Phi w_i - y_i.

    Args:
        solutions: w_i, ``[N, d]``.
        phi: Phi, ``[m, d]``.
        targets: y_i, ``[N, m]``.
        gamma: Weight of the co-learner's loss.

    Returns:
        gamma Phi^T e_i ``[N, d]``, to be added to q_i, and gamma e_i w_i^T ``[N, m, d]``.
    """
    errors = solutions @ phi.T - targets
    return gamma * errors @ phi, gamma * errors[:, :, None] * solutions[:, None, :]


def unit_rows(displacements: Array) -> Array:
    """u_i = d_i / ||d_i||, zero where d_i is."""
    lengths = norm(displacements, axis=1, keepdims=True)
    return np.asarray(displacements / np.where(lengths > 0, lengths, 1.0))


def corrections(displacements: Array, rate: float, reading: Literal["rotate", "shift"]) -> Array:
    """gamma / ||d_i|| P_i u_mean with gamma = r ||d_i||^2 (A), or r d_mean (D); ``[N, d]``."""
    if reading == "shift":
        return np.broadcast_to(rate * displacements.mean(0), displacements.shape)
    units, eye = unit_rows(displacements), np.eye(displacements.shape[1])
    mean = units.mean(0)
    rows = []
    for d, u in zip(displacements, units, strict=True):
        gamma = rate * (d @ d)
        rows.append((gamma / norm(d)) * (eye - np.outer(u, u)) @ mean if d.any() else 0 * d)
    return np.stack(rows)


def coherence(
    tasks: list[Quadratic],
    theta: Array,
    lr: float,
    steps: int,
    rate: float,
    *,
    reading: Literal["rotate", "shift"] = "rotate",
    through: Literal["nothing", "own", "everything"] = "nothing",
    first_order: bool = False,
) -> tuple[Array, Array]:
    """Corrected solutions and rows, both ``[N, d]``; displacements must not vanish.

    A constant correction gives (M_i^K)^T q_i(theta^_i). Through the correction the row gains
    (M_j^K - I)^T times the adjoint of d_j, where the correction of i has the derivatives
    F_i = r (u_mean u_i^T - (u_i . u_mean) P_i - u_i u_mean^T) by d_i with u_mean constant, and
    r ||d_i|| / (N ||d_j||) P_i P_j by d_j through u_mean; reading D has r / N.
    """
    d = np.stack([quadratics.adapted(task, theta, lr, steps) for task in tasks]) - theta
    hats = theta + d + corrections(d, rate, reading)
    q = query_gradients(tasks, hats)
    if first_order:
        return hats, q
    powers = [matrix_power(quadratics.contraction(task, lr), steps) for task in tasks]
    rows = np.stack([m.T @ q_i for m, q_i in zip(powers, q, strict=True)])
    if through == "nothing":
        return hats, rows
    inner = correction_adjoint(d, q, rate, reading, own_only=through == "own")
    eye = np.eye(len(theta))
    return hats, rows + np.stack([(m - eye).T @ v for m, v in zip(powers, inner, strict=True)])


def correction_adjoint(
    d: Array, q: Array, rate: float, reading: Literal["rotate", "shift"], *, own_only: bool
) -> Array:
    """What flows from q_i, the gradients at the corrected solutions, into each d_j."""
    size = len(d)
    if reading == "shift":
        return np.broadcast_to(0.0 if own_only else rate * q.mean(0), d.shape)
    units, eye = unit_rows(d), np.eye(d.shape[1])
    mean, lengths = units.mean(0), norm(d, axis=1)
    projectors = [eye - np.outer(u, u) for u in units]
    rows = []
    for j in range(size):
        u, p_j = units[j], projectors[j]
        f = np.outer(mean, u) - (u @ mean) * p_j - np.outer(u, mean)
        total = f.T @ q[j]
        for i in range(0 if own_only else size):
            total = total + lengths[i] / (size * lengths[j]) * p_j @ projectors[i] @ q[i]
        rows.append(rate * total)
    return np.stack(rows)
