"""Slow twin of PCGrad (Yu et al., "Gradient Surgery for Multi-Task Learning", 2020)."""

from torch import Tensor


def pcgrad(grads: list[Tensor], orders: list[list[int]]) -> list[Tensor]:
    """Project every gradient off those it conflicts with, one after another.

    Args:
        grads: g_i of each task over all tensors together, ``[d]``.
        orders: For each task the order in which it meets the others, a permutation; its own
            index may be there and is skipped.

    Returns:
        The projected gradients; the step is their sum (or mean). The others are always taken as
        given, never projected: g <- g - (g.g_j / |g_j|^2) g_j where g.g_j < 0.
    """
    projected = []
    for i, order in enumerate(orders):
        g = grads[i].clone()
        for j in order:
            if j == i:
                continue
            inner = g @ grads[j]
            if inner < 0:  # a zero g_j never conflicts
                g = g - inner / (grads[j] @ grads[j]) * grads[j]
        projected.append(g)
    return projected
