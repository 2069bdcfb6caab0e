"""Splits that the data name, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metaccord.errors import DataError, nearest
from metaccord.tasks.source import SPLITS
from metaccord.tasks.splits import Integers

_ALSO = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}


def by_words(
    words: Sequence[str],
    names: Sequence[str],
    pools: Sequence[Integers],
    *,
    what: str,
    by: str,
    where: str,
    row: Callable[[int], str] = "row {}".format,
) -> tuple[tuple[str, ...], ...]:
    """Return the names of the groups or classes for training, validation and test.

    Args:
        words: ``train``, ``validation`` or ``test`` for each row, the same in all of a group.
        names: Of the groups or classes.
        pools: Rows of each, ``[count]``.
        what: ``"group"`` or ``"class"``.
        by: What messages call the words, such as ``"the column 'fold'"``.
        where: What messages call the data.
        row: Names a row.

    Raises:
        DataError: for another or a missing word, a group in two splits, or none for training.
    """
    words = [_ALSO.get(word.casefold(), word.casefold()) for word in words]
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name, pool in zip(names, pools, strict=True):
        first = int(pool[0])
        for i in pool.tolist():
            if words[i] not in SPLITS:
                wrong = f"{words[i]!r}: {nearest(words[i], SPLITS)}" if words[i] else "missing"
                raise DataError(f"{where}, {row(i)}, {by} is {wrong}")
            if words[i] != words[first]:
                raise DataError(
                    f"{where}: the {what} {name!r} is in two splits by {by}, "
                    f"{words[first]} ({row(first)}) and {words[i]} ({row(i)}): what is seen in "
                    "training is no test; give all its rows the same"
                )
        found[words[first]].append(name)
    if not found["train"]:
        raise DataError(
            f"{where}: {by} has no {what} for training: write train in the rows of some"
        )
    return tuple(tuple(found[split]) for split in SPLITS)
