"""Drawing tasks of different sizes: one of each group, or N-way K-shot over classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from metaccord.errors import DataError
from metaccord.tasks.own.base import Layout, OwnData
from metaccord.tasks.splits import Integers
from metaccord.tasks.stacking import stacked
from metaccord.tasks.stream import below, subset
from metaccord.types import Batch, Episode

_KEYS = 2  # words of the keys


def group_tasks(
    source: OwnData, split: str, step: int, tasks: range, examples: Callable[[Integers], Batch]
) -> Episode:
    """Return one task for each of ``tasks``, of a group that chance gives.

    Args:
        source, split, step, tasks: Whose, as for ``source.episodes``.
        examples: Gives the examples of some rows.

    Raises:
        DataError: if the split has no group.
    """
    shots = source.support_shots(split)
    most = shots + source.queries
    raw = source.draws(split, step, tasks, _KEYS + 1 + 2 * most)
    layout = source.layout()
    members = _members(layout, split, "group", 1)
    groups = members[below(raw[:, _KEYS], len(members))]  # [T]
    keys = {**source.keys(raw), "group": torch.from_numpy(groups)}
    found = []
    for i, group in enumerate(groups):
        support, query = _drawn(raw[i, _KEYS + 1 :], layout.pools[group], shots, most)
        extra = {name: rows[i] for name, rows in keys.items()}
        found.append(Episode(examples(support), examples(query), extra))
    return stacked(found)


def class_tasks(
    source: OwnData,
    split: str,
    step: int,
    tasks: range,
    inputs: Callable[[Integers], Tensor],
    ways: int,
) -> Episode:
    """Return N-way K-shot tasks, class by class.

    Args:
        source, split, step, tasks: Whose, as for ``source.episodes``.
        inputs: Gives the inputs of some rows.
        ways: Classes of one task.

    Raises:
        DataError: if the split has too few classes.
    """
    shots = source.support_shots(split)
    most = shots + source.queries
    raw = source.draws(split, step, tasks, _KEYS + ways * (2 + 2 * most))
    layout = source.layout()
    members = _members(layout, split, "class", ways)
    keys, found = source.keys(raw), []
    for i, row in enumerate(raw[:, _KEYS:]):
        chosen = members[subset(row[: 2 * ways], len(members))]
        own = row[2 * ways :].reshape(ways, 2 * most)
        pairs = [
            _drawn(words, layout.pools[which], shots, most)
            for words, which in zip(own, chosen, strict=True)
        ]
        support, query = (_by_class(parts, inputs) for parts in zip(*pairs, strict=True))
        extra = {**{n: k[i] for n, k in keys.items()}, "classes": torch.from_numpy(chosen)}
        found.append(Episode(support, query, extra))
    return stacked(found)


def _drawn(words: np.ndarray, pool: Integers, shots: int, most: int) -> tuple[Integers, Integers]:
    """Return rows for support and query: the query gets at least one."""
    count = min(most, len(pool))
    rows = pool[subset(words[: 2 * count], len(pool))]
    cut = min(shots, count - 1)
    return rows[:cut], rows[cut:]


def _by_class(parts: tuple[Integers, ...], inputs: Callable[[Integers], Tensor]) -> Batch:
    labels = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(p) for p in parts]))
    return Batch(inputs(np.concatenate(parts)), labels)


def _members(layout: Layout, split: str, what: str, least: int) -> Integers:
    """Return the members of a split, of which there must be ``least``."""
    members = layout.members[split]
    if len(members) < least:
        raise DataError(
            f"the {split} split has {len(members)} of {least} needed ({what}): change tasks.split, "
            "or lower tasks.ways"
        )
    return members
