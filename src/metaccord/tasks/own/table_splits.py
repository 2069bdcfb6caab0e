"""Splits that a column of a table names."""

from __future__ import annotations

from collections.abc import Sequence

from metaccord.data.raw import RawTable
from metaccord.errors import DataError, nearest
from metaccord.tasks.source import SPLITS
from metaccord.tasks.splits import Integers

_ALSO = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}


def by_column(
    table: RawTable, column: str, names: Sequence[str], pools: Sequence[Integers]
) -> tuple[tuple[str, ...], ...]:
    """Return the names of the groups for training, validation and test.

    Args:
        table: The table.
        column: Which holds ``train``, ``validation`` or ``test``, the same in all rows of a group.
        names: Of the groups.
        pools: Rows of each, ``[count]``.

    Raises:
        DataError: for another or a missing word, a group in two splits, or none for training.
    """
    words = [_ALSO.get(word.casefold(), word.casefold()) for word in table.column(column).words()]
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name, pool in zip(names, pools, strict=True):
        first = int(pool[0])
        for row in pool.tolist():
            if words[row] not in SPLITS:
                what = f"{words[row]!r}: {nearest(words[row], SPLITS)}" if words[row] else "missing"
                raise DataError(f"{table.where}, {table.row(row)}, column {column!r} is {what}")
            if words[row] != words[first]:
                raise DataError(
                    f"{table.where}: the group {name!r} is in two splits by the column {column!r}, "
                    f"{words[first]} ({table.row(first)}) and {words[row]} ({table.row(row)}): "
                    "what is seen in training is no test; give all its rows the same"
                )
        found[words[first]].append(name)
    if not found["train"]:
        raise DataError(
            f"{table.where}: the column {column!r} has no group for training: write train in the "
            "rows of some groups"
        )
    return tuple(tuple(found[split]) for split in SPLITS)
