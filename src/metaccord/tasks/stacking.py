"""Single tasks of different sizes as one episode."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metaccord import tree
from metaccord.errors import DataError
from metaccord.types import Batch, Episode


def stacked(tasks: Sequence[Episode], ways: Sequence[int] | None = None) -> Episode:
    """Return single tasks, which may differ in their numbers of examples, as one episode.

    Shorter tasks are padded with zeros, which are never looked at; ``sizes`` say where a task
    ends, and are left out where all have the same number of examples.

    Args:
        tasks: Of one kind: inputs and targets ``[s, ...]`` without task axis; what ``extra`` holds
            is ``[...]`` (``"classes"`` may have a length of its own in each task and is padded
            with -1).
        ways: Classes of each task, if they differ from the model's outputs.

    Returns:
        Inputs and targets ``[T, n, ...]``, ``extra`` ``[T, ...]``.

    Raises:
        DataError: without tasks, or if tasks differ in more than the number of examples.

    Example:
        >>> def task(count):
        ...     batch = Batch(torch.ones(count, 3), torch.zeros(count, 1))
        ...     return Episode(batch, batch)
        >>> both = stacked([task(2), task(5)])
        >>> both.support.inputs.shape, both.support.sizes
        (torch.Size([2, 5, 3]), tensor([2, 5]))
    """
    if not tasks:
        raise DataError("there is no task to stack: give at least one")
    if ways is not None and len(ways) != len(tasks):
        raise DataError(f"ways has {len(ways)} entries for {len(tasks)} tasks: give one per task")
    classes = () if ways is None else torch.tensor([*ways])
    support, query = (
        _stacked([getattr(task, name) for task in tasks], name, classes)
        for name in ("support", "query")
    )
    if len({frozenset(task.extra) for task in tasks}) > 1:
        raise DataError("some tasks have an entry of extra that others have not: all, or none")
    extra = {}
    for name in tasks[0].extra:
        rows = [task.extra[name] for task in tasks]
        longest = max(len(row) if row.dim() else 0 for row in rows)
        extra[name] = torch.stack([_longer(row, longest, -1) for row in rows])
    return Episode(support, query, extra)


def _stacked(batches: list[Batch], name: str, ways: Tensor | tuple[()]) -> Batch:
    """Return the same of support or query sets alone."""
    data = [(batch.inputs, batch.targets) for batch in batches]
    sizes = [sorted(tree.common_length([pair])) for pair in data]
    bad = next((i for i, lengths in enumerate(sizes) if len(lengths) != 1 or lengths[0] < 1), None)
    if bad is not None:
        raise DataError(
            f"the {name} of task {bad} holds {sizes[bad]} examples in its tensors: inputs and "
            "targets need one common length above 0"
        )
    counts = [lengths[0] for lengths in sizes]
    longest = max(counts)
    try:
        long = [tree.mapped(lambda leaf: _longer(leaf, longest, 0), pair) for pair in data]
        inputs, targets = tree.join(long, torch.stack)
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"the {name} of the tasks differ in more than the number of examples: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    even = len(set(counts)) == 1
    return Batch(inputs, targets, () if even else torch.tensor(counts), ways)


def _longer(rows: Tensor, count: int, value: int) -> Tensor:
    missing = count - len(rows) if rows.dim() else 0
    return torch.cat([rows, rows.new_full((missing, *rows.shape[1:]), value)]) if missing else rows
