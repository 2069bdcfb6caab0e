"""The one measure of disagreement between two gradients."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def relative_error(a: Mapping[str, Tensor] | Tensor, b: Mapping[str, Tensor] | Tensor) -> float:
    """Return ``||a - b|| / ||b||`` over the whole gradient, in float64.

    Args:
        a: What is tested: one tensor, or tensors by name.
        b: What it should be, with the same names and shapes.

    Returns:
        The relative error; 0 when both vanish, infinity when only ``b`` does, NaN when a NaN
        is inside, so that ``relative_error(a, b) <= tolerance`` fails.

    Raises:
        ValueError: if names or shapes differ, which broadcasting would hide.
    """
    left, right = _by_name(a), _by_name(b)
    if left.keys() != right.keys():
        raise ValueError(f"a and b must have the same names, found {set(left) ^ set(right)} in one")
    for name in right:
        if left[name].shape != right[name].shape:
            found = f"{tuple(left[name].shape)} and {tuple(right[name].shape)}"
            raise ValueError(f"a and b must have the same shapes, found {found} for {name!r}")
    difference = _norm([left[name] - right[name] for name in right])
    size = _norm(list(right.values()))
    if size == 0.0:
        return 0.0 if difference == 0.0 else difference * math.inf
    return difference / size


def _by_name(value: Mapping[str, Tensor] | Tensor) -> dict[str, Tensor]:
    """Detach and widen; a bare tensor gets the empty name."""
    named = {"": value} if isinstance(value, Tensor) else value
    return {name: tensor.detach().to("cpu", torch.float64) for name, tensor in named.items()}


def _norm(tensors: list[Tensor]) -> float:
    """Euclidean length of all entries together."""
    return math.sqrt(sum(float(tensor.square().sum()) for tensor in tensors))
