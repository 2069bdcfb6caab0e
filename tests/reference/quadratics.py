"""Closed forms on quadratic tasks, in NumPy float64; no automatic differentiation.

Support loss 1/2 w^T A_s w - b_s^T w, query loss 1/2 w^T A_q w - b_q^T w, both A symmetric;
M = I - alpha A_s, q(w) = A_q w - b_q, w_0 = theta. d is the number of parameters, ``[d]``.
"""

from typing import NamedTuple

import numpy as np
from numpy.linalg import matrix_power
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Quadratic(NamedTuple):
    """One task: matrices ``[d, d]`` and vectors ``[d]`` of support and query loss."""

    a_s: Array
    b_s: Array
    a_q: Array
    b_q: Array


class Scalar(NamedTuple):
    """Points after one and two steps on a scalar task, and their derivatives by theta."""

    first: float
    first_slope: float
    second: float
    second_slope: float


def random_matrix(rng: np.random.Generator, dim: int, condition: float) -> Array:
    """Draw a symmetric ``[d, d]`` with eigenvalues spread evenly in logarithm over [1/c, 1]."""
    basis, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    eigenvalues = np.logspace(0.0, -np.log10(condition), dim)
    matrix = (basis * eigenvalues) @ basis.T
    return np.asarray((matrix + matrix.T) / 2, dtype=np.float64)


def random_quadratic(rng: np.random.Generator, dim: int, condition: float) -> Quadratic:
    """Draw a task whose support and query losses have nothing in common but the condition."""
    return Quadratic(
        random_matrix(rng, dim, condition),
        rng.standard_normal(dim),
        random_matrix(rng, dim, condition),
        rng.standard_normal(dim),
    )


def contraction(task: Quadratic, lr: float) -> Array:
    """M = I - alpha A_s."""
    return np.eye(len(task.b_s)) - lr * task.a_s


def query_gradient(task: Quadratic, w: Array) -> Array:
    """q(w) = A_q w - b_q."""
    return task.a_q @ w - task.b_q


def adapted(task: Quadratic, theta: Array, lr: float, steps: int) -> Array:
    """w_K = M^K theta + alpha sum_{j<K} M^j b_s; K = 0 gives theta."""
    m = contraction(task, lr)
    w = matrix_power(m, steps) @ theta
    for j in range(steps):
        w = w + lr * matrix_power(m, j) @ task.b_s
    return w


def adapted_on_batches(
    batches: list[tuple[Array, Array]], theta: Array, lr: float
) -> tuple[Array, Array]:
    """One (A_k, b_k) per step: w_K = M_{K-1}...M_0 theta + alpha sum_k (M_{K-1}...M_{k+1}) b_k.

    Returns:
        w_K, and J = dw_K/dtheta = M_{K-1}...M_0.
    """
    product, offset = np.eye(len(theta)), np.zeros(len(theta))
    for a, b in reversed(batches):  # product holds M_{K-1}...M_{k+1} at step k
        offset = offset + lr * product @ b
        product = product @ (np.eye(len(theta)) - lr * a)
    return product @ theta + offset, product


def maml(task: Quadratic, theta: Array, lr: float, steps: int) -> Array:
    """(M^K)^T q(w_K)."""
    q = query_gradient(task, adapted(task, theta, lr, steps))
    return matrix_power(contraction(task, lr), steps).T @ q


def fomaml(task: Quadratic, theta: Array, lr: float, steps: int) -> Array:
    """q(w_K)."""
    return query_gradient(task, adapted(task, theta, lr, steps))


def reptile(task: Quadratic, theta: Array, lr: float, steps: int) -> Array:
    """Row theta - w_K."""
    return theta - adapted(task, theta, lr, steps)


def meta_hessian(task: Quadratic, lr: float, steps: int) -> Array:
    """Hessian of the MAML loss by theta: (M^K)^T A_q M^K."""
    m_k = matrix_power(contraction(task, lr), steps)
    return np.asarray(m_k.T @ task.a_q @ m_k)


def partial_maml(
    task: Quadratic, theta: Array, lr: float, steps: int, moves: Array
) -> tuple[Array, Array]:
    """Adapt only ``moves`` (P = diag of 0/1, ``[d]``), as ANIL and BOIL do.

    w_{k+1} = w_k - alpha P r_k; row = ((I - alpha P A_s)^K)^T q(w_K).

    Returns:
        w_K and the row.
    """
    p = np.diag(moves)
    m = np.eye(len(theta)) - lr * p @ task.a_s
    w = matrix_power(m, steps) @ theta
    for j in range(steps):
        w = w + lr * matrix_power(m, j) @ p @ task.b_s
    return w, matrix_power(m, steps).T @ query_gradient(task, w)


def momentum_maml(
    task: Quadratic, theta: Array, lr: float, steps: int, momentum: float
) -> tuple[Array, Array]:
    """Heavy ball, nu = ``momentum``, on z = (w, v) with v_0 = 0.

    z_{k+1} = B z_k + (alpha b_s, -b_s), B = [[I - alpha A_s, -alpha nu I], [A_s, nu I]];
    row = first block of (B^K)^T (q(w_K), 0).

    Returns:
        w_K and the row.
    """
    dim = len(theta)
    eye = np.eye(dim)
    block = np.block([[eye - lr * task.a_s, -lr * momentum * eye], [task.a_s, momentum * eye]])
    z = matrix_power(block, steps) @ np.concatenate([theta, np.zeros(dim)])
    for j in range(steps):
        z = z + matrix_power(block, j) @ np.concatenate([lr * task.b_s, -task.b_s])
    w = z[:dim]
    adjoint = np.concatenate([query_gradient(task, w), np.zeros(dim)])
    return w, (matrix_power(block, steps).T @ adjoint)[:dim]


def adam_two_steps(
    a: float, b: float, theta: float, lr: float, *, beta1: float, beta2: float, eps: float
) -> Scalar:
    """Two Adam steps on 1/2 a x^2 - b x with bias correction, eps outside of the root.

    theta_1 = theta - alpha g_0 / (|g_0| + eps), D_1 = 1 - alpha a eps / (|g_0| + eps)^2;
    theta_2 = theta_1 - alpha m / (s + eps), s = sqrt(v),
    D_2 = D_1 - alpha [m' / (s + eps) - m v' / (2 s (s + eps)^2)].

    Returns:
        theta_1, D_1, theta_2, D_2.
    """
    g_0 = a * theta - b
    theta_1 = theta - lr * g_0 / (abs(g_0) + eps)
    d_1 = 1 - lr * a * eps / (abs(g_0) + eps) ** 2
    g_1 = a * theta_1 - b
    m = (beta1 * g_0 + g_1) / (1 + beta1)
    s = np.sqrt((beta2 * g_0**2 + g_1**2) / (1 + beta2))
    m_slope = a * (beta1 + d_1) / (1 + beta1)
    v_slope = 2 * a * (beta2 * g_0 + g_1 * d_1) / (1 + beta2)
    theta_2 = theta_1 - lr * m / (s + eps)
    d_2 = d_1 - lr * (m_slope / (s + eps) - m * v_slope / (2 * s * (s + eps) ** 2))
    return Scalar(theta_1, d_1, float(theta_2), float(d_2))


def agreement_weights(g: Array) -> Array:
    """G has rows g_i, ``[N, d]``: s = G (G^T 1), w = s / ||s||_1; 1/N each near cancellation."""
    s = g @ (g.T @ np.ones(len(g)))
    total = np.abs(s).sum()
    if total <= 64 * np.finfo(np.float64).eps * len(g) * np.square(g).sum():
        return np.full(len(g), 1 / len(g))
    return np.asarray(s / total)


def agreement_maml(
    tasks: list[Quadratic], theta: Array, lr: float, steps: int, *, first_order: bool = False
) -> Array:
    """sum_i w_i (M_i^K)^T q_i(w_{K,i}), or the same without (M_i^K)^T."""
    g = np.stack([reptile(task, theta, lr, steps) for task in tasks])
    row = fomaml if first_order else maml
    return agreement_weights(g) @ np.stack([row(task, theta, lr, steps) for task in tasks])


def agreement_reptile(tasks: list[Quadratic], theta: Array, lr: float, steps: int) -> Array:
    """sum_i w_i g_i = (G^T G)(G^T 1) / ||s||_1, away from cancellation."""
    g = np.stack([reptile(task, theta, lr, steps) for task in tasks])
    mean_like = g.T @ np.ones(len(g))
    return np.asarray((g.T @ g) @ mean_like / np.abs(g @ mean_like).sum())
