"""What one example looks like, as JSON, and whether others look alike."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metaccord.errors import DataError
from metaccord.types import Batch, Tree


def described(inputs: Tree) -> Any:
    """Return shape and type of one example, a tree like that of the inputs.

    Args:
        inputs: Tree of ``[n, ...]``.
    """
    if isinstance(inputs, Tensor):
        kind = str(inputs.dtype).removeprefix("torch.")
        return {"shape": list(inputs.shape[1:]), "dtype": kind}
    if isinstance(inputs, dict):
        return {"named": {k: described(v) for k, v in inputs.items()}}
    return [described(part) for part in inputs]


def understood(description: Any) -> bool:
    """Say whether something is a description, as :func:`described` makes them."""
    if isinstance(description, list):
        return all(map(understood, description))
    if not isinstance(description, dict):
        return False
    if set(description) == {"named"}:
        named = description["named"]
        return isinstance(named, dict) and all(map(understood, named.values()))
    if set(description) != {"shape", "dtype"} or not isinstance(description["dtype"], str):
        return False
    shape, kind = description["shape"], getattr(torch, description["dtype"], None)
    sizes = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    return sizes and isinstance(kind, torch.dtype)


def examples(description: Any, count: int) -> Tree:
    """Return made-up numbers, or labels 0 and 1, that look like ``count`` examples."""
    if isinstance(description, list):
        return tuple(examples(part, count) for part in description)
    if "named" in description:
        return {k: examples(v, count) for k, v in description["named"].items()}
    dtype, shape = getattr(torch, description["dtype"]), (count, *description["shape"])
    numbers = torch.arange(math.prod(shape)).reshape(shape)
    return torch.sin(numbers.to(dtype)) if dtype.is_floating_point else (numbers % 2).to(dtype)


def refuse_other_inputs(inputs: Tree, description: Any) -> None:
    """Raise DataError unless the inputs look like those that the model was adapted with."""
    found = described(inputs)
    if found != description:
        raise DataError(
            f"the inputs are {shown(found)} each, but the model was adapted to {shown(description)}"
            ": give inputs of that shape and type"
        )


def shown(description: Any) -> str:
    """Return a description in words: ``float32 [1, 28, 28]``."""
    if isinstance(description, list):
        return f"({', '.join(map(shown, description))})"
    if "named" in description:
        return ", ".join(f"{k}: {shown(v)}" for k, v in description["named"].items())
    return f"{description['dtype']} {description['shape']}"


def digest(support: Batch) -> str:
    """Return the SHA-256 of a support set: shapes, types and bytes of its tensors."""
    found = hashlib.sha256()
    for leaf in pytree.tree_leaves((support.inputs, support.targets)):
        tensor = leaf.detach().cpu().contiguous()
        found.update(f"{tensor.dtype} {list(tensor.shape)};".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
