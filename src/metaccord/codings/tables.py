"""Tables: rows with columns of numbers and categories, and a column to predict."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor

from metaccord.codings.base import Coding, Labelled, Unlabelled
from metaccord.codings.columns import Column, listed, refuse_infinite
from metaccord.data.raw import RawTable
from metaccord.data.tables import read_table
from metaccord.errors import DataError, UsageError, nearest, unknown
from metaccord.types import Batch

log = logging.getLogger("metaccord")
Unseen = Literal["refuse", "other"]
UNSEEN: tuple[Unseen, ...] = ("refuse", "other")


@dataclass(frozen=True)
class TableCoding(Coding):
    """What a row becomes, with the statistics and categories of the training groups.

    A support set is a table like that of the training with the rows of one group; inputs are one
    without, or with, the column to predict. Columns may stand in any order; others are left alone.

    Args:
        columns: Of which inputs are made, in this order.
        target: The column to predict.
        group: The column that names the task.
        aim: ``"numbers"`` or ``"classes"``.
        classes: Names by label.
        target_centre, target_scale: Mean and deviation of a number to predict.
        separator, decimal: Of CSV files.
        left_out: Columns that are not used, and why.
        unseen: What becomes of a category that no training group has: ``"refuse"``, or
            ``"other"``: it shares the place of the rare ones; where there are none, it has none.

    Shape:
        inputs [n, features] float32; targets [n] int64 or [n, 1] float32.
    """

    columns: tuple[Column, ...]
    target: str
    group: str
    aim: Literal["numbers", "classes"] = "numbers"
    classes: tuple[str, ...] = ()
    target_centre: float = 0.0
    target_scale: float = 1.0
    separator: str | None = None
    decimal: str = "."
    left_out: tuple[tuple[str, str], ...] = ()
    unseen: Unseen = "refuse"

    def __post_init__(self) -> None:
        if self.unseen not in UNSEEN:
            raise unknown("unseen", self.unseen, UNSEEN)
        if not self.target_scale > 0:
            raise UsageError(f"target_scale is {self.target_scale}: it must be above 0")

    @property
    def features(self) -> int:
        """Number of inputs of a row."""
        return sum(column.width for column in self.columns)

    @property
    def outputs(self) -> int:
        """Outputs of a model: 1, or the number of classes."""
        return len(self.classes) if self.aim == "classes" else 1

    def _read(self, path: Path | Any) -> RawTable:
        """Return a table; columns that training took as names keep them as written."""
        names = {column.name for column in self.columns if column.kind == "category"}
        written = {*names, self.group, self.target}
        return read_table(path, self.separator, self.decimal, written)

    def support(self, path: Path | Any) -> Labelled:
        """Return the rows of one group.

        Args:
            path: A CSV or Parquet file, or a DataFrame.

        Raises:
            DataError: if a column or a target is missing, a class or a category is unknown, or
                there are several groups.
        """
        table = self._read(path)
        groups = self._groups(table)
        if len(groups) > 1:
            raise DataError(
                f"{table.where} has {len(groups)} groups in {self.group!r}, {groups[0]!r} and "
                f"{groups[1]!r} among them: a support set is one task, keep the rows of one"
            )
        self.check_categories(table, range(table.rows))
        inputs, targets = self.coded(table), self.targets(table)
        return Labelled(Batch(inputs, targets), self.classes, _names(table), *groups)

    def inputs(self, path: Path | Any) -> Unlabelled:
        """Return rows whose targets are asked for; see the base class."""
        table = self._read(path)
        self.check_categories(table, range(table.rows))
        return Unlabelled(self.coded(table), _names(table), self._groups(table))

    def _groups(self, table: RawTable) -> tuple[str, ...]:
        """Return the groups of a table, if it names them."""
        if self.group not in table.columns or table.columns[self.group].fault:
            return ()
        return tuple(sorted({*table.column(self.group, names=True).words()}))

    def accepting(self, unseen: str) -> Self:
        """Return the same with another answer to unseen categories; see the base class."""
        return replace(self, unseen=cast(Unseen, unseen))

    def values(self, outputs: Tensor) -> Tensor:
        """Return numbers in the units of the table; logits as they are."""
        if self.aim != "numbers":
            return outputs
        return outputs * self.target_scale + self.target_centre

    def check_categories(self, table: RawTable, rows: Sequence[int]) -> None:
        """Refuse categories that no training group has, or say what becomes of them.

        A network has no weights for what it has never seen, so its answer would be arbitrary.

        Args:
            table: The table.
            rows: Those to look at.

        Raises:
            DataError: naming column, row, value and the known ones, unless ``unseen`` accepts it.
        """
        self._refuse_absent(table)
        for column in self.columns:
            if not (found := column.unseen(table, rows)):
                continue
            word = column.words(table)[found[0]]
            what = f"{table.where}, {table.row(found[0])}, column {column.name!r} is " + (
                repr(word) if word else "missing"
            )
            known = f"the training groups have {listed(column.categories + column.rare)}"
            if self.unseen == "refuse":
                raise DataError(
                    f"{what}, which training has not seen ({len(found)} in all); {known}: mend the "
                    "value, leave such rows out, accept it knowingly (in training "
                    "tasks.unseen=other, in use --unseen other), or train without the column, "
                    f'tasks.leave_out=["{column.name}"]'
                )
            fate = "as the rare ones do" if column.rare else "and has no place: none was rare"
            log.warning(
                "%s, which training has not seen (%d in all); %s: it becomes 'other', %s",
                what, len(found), known, fate,
            )  # fmt: skip

    def coded(self, table: RawTable) -> Tensor:
        """Return the inputs of all rows: ``[n, features]``.

        Raises:
            DataError: if a column is missing or holds something else than in training.
        """
        self._refuse_absent(table)
        coded = np.concatenate([column.coded(table) for column in self.columns], axis=1)
        return torch.from_numpy(coded.astype(np.float32))

    def _refuse_absent(self, table: RawTable) -> None:
        absent = [column.name for column in self.columns if column.name not in table.columns]
        if absent:
            raise DataError(
                f"{table.where} has not the columns that the model was trained with: {absent[0]!r} "
                f"is missing ({len(absent)} in all); {nearest(absent[0], table.columns)}"
            )

    def targets(self, table: RawTable) -> Tensor:
        """Return the targets of all rows: ``[n]`` labels, or ``[n, 1]`` numbers.

        Raises:
            DataError: if one is missing, not finite, no number, or an unknown class.
        """
        raw = table.column(self.target, names=self.aim == "classes")
        missing = raw.missing()
        if missing.any():
            raise DataError(
                f"{table.where}, {table.row(int(missing.argmax()))}: the target {self.target!r} is "
                f"missing ({int(missing.sum())} in all); leave such rows out"
            )
        refuse_infinite(raw, table)
        if self.aim == "numbers":
            if raw.kind in ("text", "date"):
                raise DataError(
                    f"{table.where}, column {self.target!r} holds {raw.texts[0]!r}: numbers are "
                    "to be predicted"
                )
            scaled = (raw.numbers - self.target_centre) / self.target_scale
            return torch.from_numpy(scaled.astype(np.float32))[:, None]
        place = {name: label for label, name in enumerate(self.classes)}
        words = raw.words(place)
        for row, word in enumerate(words):
            if word not in place:
                raise DataError(
                    f"{table.where}, {table.row(row)}: the class {word!r} of {self.target!r} is "
                    f"none of the training groups': {nearest(word, self.classes)}"
                )
        return torch.tensor([place[word] for word in words], dtype=torch.int64)

    def describe(self) -> str:
        """Return what is done with each column, one line each."""
        if self.aim == "numbers":
            aim = f"a number, minus {self.target_centre:.4g}, divided by {self.target_scale:.4g}"
        else:
            aim = f"one of {len(self.classes)} classes: {', '.join(self.classes)}"
        lines = [f"target {self.target!r}: {aim}", f"group {self.group!r}: one task each"]
        any_other = {"refuse": "any other is refused", "other": "any other becomes 'other'"}
        for column in self.columns:
            more = f"; {any_other[self.unseen]}" if column.kind == "category" else ""
            lines.append(f"column {column.name!r}: {column.describe()}{more}")
        lines += [f"column {name!r}: left out, {why}" for name, why in self.left_out]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.describe()


def _names(table: RawTable) -> tuple[str, ...]:
    return tuple(table.row(row) for row in range(table.rows))
