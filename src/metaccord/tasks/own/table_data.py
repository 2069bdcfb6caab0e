"""A table as read, and the coding that fits it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metaccord.codings import Column, TableCoding
from metaccord.codings.arrays import sorted_labels
from metaccord.codings.columns import fitted, refuse_infinite
from metaccord.data.raw import RawColumn, RawTable
from metaccord.data.tables import read_table
from metaccord.errors import DataError
from metaccord.tasks.own.base import Content, version_of

if TYPE_CHECKING:
    from metaccord.tasks.own.table import Table

_CLASSES = 10  # different whole numbers up to which a target is taken for classes
_MOST_CLASSES = 100


class TableContent(Content):
    """A table as read.

    Attributes:
        table: The table.
    """

    def __init__(self, table: RawTable) -> None:
        super().__init__(table.digest, table.where)
        self.table = table


def coding_of(source: Table, table: RawTable, training: NDArray[np.bool_]) -> TableCoding:
    """Return the coding, by the rows of the training groups.

    Args:
        source: The settings.
        table: The table.
        training: Which rows are for training, ``[n]``.

    Raises:
        DataError: if there is nothing to predict from, or nothing to predict.
    """
    groups = table.column(source.group, names=True).words() if source.unseen == "other" else ()
    columns: list[Column] = []
    left_out = []
    for name in source.features or table.columns:
        if name in (source.target, source.group):
            continue
        found: Column | str = "as asked for (tasks.leave_out)"
        fault = table.columns[name].fault
        if name == source.split:
            found = "it names the split of each group (tasks.split)"
        elif fault and name not in (*source.features, *source.categories):
            found = f"{fault}, no numbers, text or dates"
        elif name not in (*source.leave_out, *source.features) and _is_alias(table, name, source):
            found = f"another name of {source.group!r}: new groups have none"
        elif name not in source.leave_out:
            found = fitted(
                table.column(name, names=name in source.categories),
                table,
                training,
                categorical=name in source.categories,
                wanted=name in source.features,
                groups=groups,
            )
        if isinstance(found, Column):
            columns.append(found)
        else:
            left_out.append((name, found))
    if not columns:
        why = "; ".join(f"{name!r}: {reason}" for name, reason in left_out) or "there is none"
        raise DataError(f"{table.where} has no column to predict {source.target!r} from ({why})")
    coding = TableCoding(
        tuple(columns),
        source.target,
        source.group,
        separator=source.separator,
        decimal=source.decimal,
        left_out=tuple(left_out),
        unseen=source.unseen,
    )
    raw = table.column(source.target, names=source.aim == "classes")
    if source.aim == "numbers" or (source.aim == "auto" and not _names_classes(raw)):
        return _for_numbers(coding, table, training)
    return _for_classes(source, coding, table, training)


def _for_classes(
    source: Table, coding: TableCoding, table: RawTable, training: NDArray[np.bool_]
) -> TableCoding:
    """Return the coding for a class to predict."""
    raw = table.column(source.target, names=True)
    refuse_infinite(raw, table)
    if source.aim == "auto" and raw.kind == "text" and _holds_numbers(raw):
        raise DataError(
            f"{table.where}: the target {source.target!r} holds numbers as text, such as "
            f"{raw.texts[0]!r}: make them numbers, or say tasks.aim=classes"
        )
    seen = {word for word, own in zip(raw.words(), training, strict=True) if own and word}
    if len(seen) == 1:
        raise _constant(table, source.target, repr(*seen))
    if not 2 <= len(seen) <= _MOST_CLASSES:
        raise DataError(
            f"{table.where}: the target {source.target!r} has {len(seen)} classes in the training "
            f"groups: use 2 to {_MOST_CLASSES}, or tasks.aim=numbers"
        )
    return replace(coding, aim="classes", classes=tuple(sorted_labels([*seen])))


def _for_numbers(coding: TableCoding, table: RawTable, training: NDArray[np.bool_]) -> TableCoding:
    """Return the coding for a number to predict."""
    coding.targets(table)
    values = table.column(coding.target).numbers[training]
    if (values == values[0]).all():
        raise _constant(table, coding.target, f"{values[0]:.6g}")
    return replace(coding, target_centre=float(values.mean()), target_scale=float(values.std()))


def _constant(table: RawTable, target: str, value: str) -> DataError:
    return DataError(
        f"{table.where}: the target {target!r} is {value} in all training rows: there is nothing "
        "to learn"
    )


def _holds_numbers(raw: RawColumn) -> bool:
    """Say whether a column of words is made of more different numbers than classes have."""
    words = {word for word in raw.texts if word}
    try:
        return len({float(word) for word in words}) > _CLASSES
    except ValueError:
        return False


def _is_alias(table: RawTable, name: str, source: Table) -> bool:
    """Say whether a column of words has one word for each group, and each its own."""
    raw = table.column(name, names=name in source.categories)
    if raw.kind != "text":
        return False
    groups = table.column(source.group, names=True).words()
    pairs = set(zip(groups, raw.words(), strict=True))
    return len(pairs) == len(set(groups)) == len(set(raw.words()))


def _names_classes(raw: RawColumn) -> bool:
    if raw.kind == "whole":
        return len(np.unique(raw.numbers[~np.isnan(raw.numbers)])) <= _CLASSES
    return raw.kind in ("text", "truth", "date")


def tensors(content: TableContent, coding: TableCoding) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of all rows, made once."""
    found: tuple[Tensor, Tensor] = content.once(
        coding, lambda: (coding.coded(content.table), coding.targets(content.table))
    )
    return found


def opened(
    path: Path, separator: str | None, decimal: str, written: frozenset[str]
) -> TableContent:
    """Return the table in a file, read once as long as it does not change.

    Args:
        path: The file.
        separator, decimal, written: As :func:`read_table` takes them.
    """
    return _opened(path.expanduser(), version_of(path), separator, decimal, written)


@lru_cache(maxsize=2)
def _opened(
    path: Path,
    version: tuple[int, ...],
    separator: str | None,
    decimal: str,
    written: frozenset[str],
) -> TableContent:
    del version
    return TableContent(read_table(path, separator, decimal, written))
