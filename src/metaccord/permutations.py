"""Averages over the order of the labels: which class is called 0 is an accident of the draw.

MAML adapts one head, whose columns differ, so that the same task with its labels in another
order is answered differently. Adapting under several orders and averaging the probabilities of
each class takes that accident away, at the cost of one adaptation for each order.

Legend: T tasks, P orders, W classes of the widest task, w of one task, n query examples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from metaccord import tree
from metaccord.errors import DataError, UsageError
from metaccord.protocol import Protocol
from metaccord.tasks.stream import permutation, words
from metaccord.types import Batch, Episode

_FEW = 7  # classes up to which all orders are listed, 5040


def orders(protocol: Protocol, tasks: range, ways: Sequence[int]) -> Tensor:
    """Return the orders of each task: label l is called ``[t, p, l]``; the first is as drawn.

    They are all different, drawn from the stream of the protocol's seed, each task's own.

    Args:
        protocol: Its ``permutations`` says how many.
        tasks: Indices of the tasks.
        ways: Classes of each of these tasks.

    Returns:
        ``[T, P, W]`` int64; labels that a task does not have keep their names.

    Raises:
        UsageError: if a task has fewer orders.
    """
    count, width = protocol.permutations, max(ways)
    if count > math.factorial(min(ways)):
        raise UsageError(
            f"protocol.permutations is {count}, but a task of {min(ways)} classes has only "
            f"{math.factorial(min(ways))} orders: lower it"
        )
    found = np.tile(np.arange(width), (len(tasks), count, 1))
    for row, (task, w) in enumerate(zip(tasks, ways, strict=True)):
        found[row, :, :w] = (_listed if w <= _FEW else _drawn)(protocol, task, w)
    return torch.from_numpy(found)


def ways_of(episodes: Episode) -> list[int]:
    """Return the number of classes of each task: as it says, or by its largest label.

    Raises:
        DataError: if targets are no class numbers.
    """
    parts = (episodes.support, episodes.query)
    for part in parts:
        leaf, padded = part.targets, isinstance(part.sizes, Tensor)
        fits = isinstance(leaf, Tensor) and not leaf.is_floating_point()
        if not fits or (not padded and int(leaf.min()) < 0):
            raise DataError("labels can only be permuted where targets are class numbers [T, n]")
    said = episodes.query.ways
    if isinstance(said, Tensor):
        return [int(w) for w in said]
    largest = max(int(part.targets.max()) for part in parts)
    return [largest + 1] * tree.tasks_in(episodes)


def relabelled(episodes: Episode, called: Tensor) -> Episode:
    """Return each task once for each order, its support labels renamed: ``[T * P, ...]``.

    Args:
        episodes: ``[T, ...]``.
        called: As :func:`orders` gives them.
    """
    tasks, count, width = called.shape
    rows = torch.arange(tasks).repeat_interleave(count)
    many: Episode = tree.take(episodes, rows)
    support: Batch = many.support
    names = called.reshape(-1, width).to(support.targets.device)
    flat = support.targets.flatten(1).clamp(0, width - 1)  # padding may be anything
    renamed = names.gather(1, flat.long()).view_as(support.targets).to(support.targets.dtype)
    return many._replace(support=support._replace(targets=renamed))


def averaged(logits: Sequence[Tensor], called: Tensor) -> Tensor:
    """Return the logarithm of the mean probabilities of one task, in the frame of true labels.

    Args:
        logits: Of each order, ``[n, C]``; classes beyond the orders keep their place.
        called: ``[P, W]``.
    """
    found = []
    for p, one in enumerate(logits):
        logs, own = one.log_softmax(-1), called[p][: one.shape[-1]]
        rest = torch.arange(len(own), one.shape[-1], device=own.device)
        found.append(logs.index_select(-1, torch.cat([own, rest])))
    return torch.stack(found).logsumexp(0) - math.log(len(found))


def _listed(protocol: Protocol, task: int, ways: int) -> np.ndarray:
    """Return some of all orders of few classes, the first one first."""
    every = _every(ways)
    raw = words(protocol.seed, f"{protocol.split}/orders", 0, task, len(every) - 1)
    return every[np.append(0, 1 + permutation(raw))][: protocol.permutations]


def _drawn(protocol: Protocol, task: int, ways: int) -> np.ndarray:
    """Return different orders of many classes, the first one as it is."""
    found, block = {tuple(range(ways)): None}, 0
    while len(found) < protocol.permutations:
        raw = words(protocol.seed, f"{protocol.split}/orders", block, task, ways)
        found[tuple(permutation(raw).tolist())], block = None, block + 1
    return np.array(list(found))


@lru_cache(maxsize=_FEW)
def _every(ways: int) -> np.ndarray:
    return np.array(list(itertools.permutations(range(ways))))
