"""Small algebra on stacks of NumPy arrays: T tasks first, float64 throughout."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Rows = dict[str, Array]


def times(matrices: Array, vectors: Array) -> Array:
    """Return each task's matrix times its vector: ``[T, m, n], [T, n] -> [T, m]``."""
    return np.einsum("tij,tj->ti", matrices, vectors)


def solved(matrices: Array, vectors: Array) -> Array:
    """Return the solutions of T linear systems: ``[T, n, n], [T, n] -> [T, n]``."""
    found: Array = np.linalg.solve(matrices, vectors[..., None])[..., 0].astype(np.float64)
    return found


def dots(a: Array, b: Array) -> Array:
    """Return each task's inner product: ``[T, P], [T, P] -> [T]``."""
    return np.einsum("ti,ti->t", a, b)


def lengths(a: Array) -> Array:
    """Return each row's Euclidean length: ``[T, P] -> [T]``."""
    return np.sqrt(dots(a, a))


def distance(found: Array, expected: Array) -> float:
    """Return ``||found - expected|| / ||expected||``; 0 if both are 0, infinite for not a number.

    Args:
        found: What was computed.
        expected: The reference; its length is the unit.
    """
    if found.shape != expected.shape:
        raise AssertionError(f"shapes {found.shape} and {expected.shape} cannot be compared")
    apart, size = np.linalg.norm(found - expected), np.linalg.norm(expected)
    if apart == 0:
        return 0.0
    return float(apart / size) if size > 0 and np.isfinite(apart) else float("inf")


def numbers(tensors: Mapping[str, Tensor]) -> Rows:
    """Return float64 copies of tensors."""
    return {k: v.detach().to(torch.float64).numpy().copy() for k, v in tensors.items()}


def tensor(array: Array) -> Tensor:
    """Return a tensor with memory of its own."""
    return torch.from_numpy(np.ascontiguousarray(array).copy())
