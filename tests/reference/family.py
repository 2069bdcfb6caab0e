"""More closed forms on quadratic tasks, in NumPy float64; no automatic differentiation.

As in ``quadratics``: r(w) = A_s w - b_s, q(w) = A_q w - b_q, M = I - alpha A_s, w_0 = theta.
"""

import numpy as np
from numpy.linalg import matrix_power, solve

from tests.reference.quadratics import Array, Quadratic, adapted, contraction, query_gradient


def multi_step(
    task: Quadratic, theta: Array, lr: float, weights: list[float], *, first_order: bool = False
) -> Array:
    """Multi-step loss: sum_{k=1..K} v_{k-1} (M^k)^T q(w_k); without (M^k)^T at first order."""
    row = np.zeros_like(theta)
    for k, weight in enumerate(weights, start=1):
        q = query_gradient(task, adapted(task, theta, lr, k))
        jacobian = matrix_power(contraction(task, lr), 0 if first_order else k)
        row = row + weight * jacobian.T @ q
    return row


def per_step_rates(
    task: Quadratic,
    theta: Array,
    rates: Array,
    weights: list[float] | None = None,
    *,
    first_order: bool = False,
) -> tuple[Array, Array]:
    """Elementwise rates of every step: w_{k+1} = w_k - Lambda_k * r_k.

    p_K = q(w_K); d/dLambda_k = -r_k * p_{k+1}; p_k = p_{k+1} - A_s (Lambda_k * p_{k+1}), plus
    v_{k-1} q(w_k) with a multi-step loss. At first order p_k has no term in A_s.

    Args:
        task: The task.
        theta: ``[d]``.
        rates: Lambda, ``[K, d]``.
        weights: v of the multi-step loss, K of them; None is (0, ..., 0, 1).
        first_order: Inner gradients are constants.

    Returns:
        d/dtheta = p_0, ``[d]``, and d/dLambda, ``[K, d]``. One Lambda for all steps has their
        sum over k, a rate per tensor the sum over its entries.
    """
    steps = len(rates)
    weights = [0.0] * (steps - 1) + [1.0] if weights is None else weights
    points = [theta]
    for rate in rates:
        points.append(points[-1] - rate * (task.a_s @ points[-1] - task.b_s))
    p, by_rate = np.zeros_like(theta), np.zeros_like(rates)
    for k in reversed(range(steps)):
        p = p + weights[k] * query_gradient(task, points[k + 1])
        by_rate[k] = -(task.a_s @ points[k] - task.b_s) * p
        if not first_order:
            p = p - task.a_s @ (rates[k] * p)
    return p, by_rate


def proximal_solution(task: Quadratic, theta: Array, strength: float) -> Array:
    """w* = (A_s + lambda I)^{-1} (b_s + lambda theta)."""
    system = task.a_s + strength * np.eye(len(theta))
    return np.asarray(solve(system, task.b_s + strength * theta), dtype=np.float64)


def imaml(
    task: Quadratic, w: Array, strength: float, *, damping: float = 0.0, shift: float = 0.0
) -> Array:
    """((1 + damping) I + A_s / (lambda + shift))^{-1} q(w), w the adapted solution."""
    system = (1 + damping) * np.eye(len(w)) + task.a_s / (strength + shift)
    return np.asarray(solve(system, query_gradient(task, w)), dtype=np.float64)


def imaml_part(task: Quadratic, theta: Array, strength: float, moves: Array) -> tuple[Array, Array]:
    """Exact proximal solution over ``moves`` (``[d]``, 0/1), and dL_Q/dtheta through it.

    With A_mm of the entries that move and A_ms beside them, w_s = theta_s and
    (A_mm + lambda I) w_m = b_m - A_ms theta_s + lambda theta_m; the row is
    lambda (A_mm + lambda I)^{-1} q_m there and q_s - A_sm (A_mm + lambda I)^{-1} q_m beside.
    """
    m, s = moves.astype(bool), ~moves.astype(bool)
    system = task.a_s[np.ix_(m, m)] + strength * np.eye(int(m.sum()))
    across = task.a_s[np.ix_(m, s)]
    w = theta.copy()
    w[m] = solve(system, task.b_s[m] - across @ theta[s] + strength * theta[m])
    row = query_gradient(task, w)
    back = solve(system, row[m])
    row[m] = strength * back
    row[s] = row[s] - across.T @ back
    return w, row


def logistic_imaml(
    support: tuple[Array, Array], query: tuple[Array, Array], theta: Array, strength: float
) -> tuple[Array, Array]:
    """Logistic regression, mean loss, labels 0/1: Newton for w*, dense solve for iMAML's row."""
    (x, y), (x_q, y_q) = support, query
    w, eye = theta.copy(), np.eye(len(theta))
    for _ in range(30):
        s = 1 / (1 + np.exp(-x @ w))
        hessian = x.T @ (x * (s * (1 - s))[:, None]) / len(y)
        slope = x.T @ (s - y) / len(y) + strength * (w - theta)
        w = w - solve(hessian + strength * eye, slope)
    s = 1 / (1 + np.exp(-x @ w))
    hessian = x.T @ (x * (s * (1 - s))[:, None]) / len(y)
    q = x_q.T @ (1 / (1 + np.exp(-x_q @ w)) - y_q) / len(y_q)
    return w, np.asarray(solve(eye + hessian / strength, q), dtype=np.float64)


def warp_start(
    task: Quadratic, theta: Array, warp: Array, lr: float, steps: int, *, first_order: bool = False
) -> Array:
    """Linear warp y = W theta, losses in y: ((I - alpha W^T A_s W)^K)^T W^T q(W theta_K)."""
    inner = Quadratic(warp.T @ task.a_s @ warp, warp.T @ task.b_s, task.a_q, task.b_q)
    q = query_gradient(task, warp @ adapted(inner, theta, lr, steps))
    jacobian = matrix_power(contraction(inner, lr), 0 if first_order else steps)
    return np.asarray(jacobian.T @ warp.T @ q)


def warp_objective(
    task: Quadratic, theta: Array, warp: Array, lr: float, steps: int, *, first_order: bool = False
) -> Array:
    """Gradient by W ``[d, e]`` of the mean over k < K of L_Q(W u_k), states theta_k constant.

    u_k = theta_k - alpha W^T r_k, r_k = A_s W theta_k - b_s. With q = A_q W u_k - b_q and
    p = W^T q: q u_k^T - alpha (r_k p^T + A_s W p theta_k^T), the first term alone at first order.
    """
    total, state = np.zeros_like(warp), theta
    for _ in range(steps):
        r = task.a_s @ warp @ state - task.b_s
        after = state - lr * warp.T @ r
        q = query_gradient(task, warp @ after)
        total = total + np.outer(q, after)
        if not first_order:
            p = warp.T @ q
            total = total - lr * (np.outer(r, p) + np.outer(task.a_s @ warp @ p, state))
        state = after
    return total / steps


def mgaug_copy(
    task: Quadratic, theta: Array, lr: float, steps: int, mask: Array, *, first_order: bool = False
) -> tuple[float, Array]:
    """One pruned copy, D = diag of 0/1: w_0 = D theta, w <- w - alpha D r, M_D = I - alpha D A_s.

    Returns:
        L_Q(w_K), and D (M_D^K)^T q(w_K), or D q(w_K) at first order.
    """
    d = np.diag(mask)
    w = d @ theta
    for _ in range(steps):
        w = w - lr * d @ (task.a_s @ w - task.b_s)
    m_d = np.eye(len(theta)) - lr * d @ task.a_s
    loss = float(w @ task.a_q @ w / 2 - task.b_q @ w)
    jacobian = matrix_power(m_d, 0 if first_order else steps)
    return loss, d @ jacobian.T @ query_gradient(task, w)
