"""Tasks from a table: one for each sensor, customer, patient."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

from metaccord.codings import TableCoding
from metaccord.codings.arrays import sorted_labels
from metaccord.codings.columns import refuse_infinite
from metaccord.codings.tables import UNSEEN, Unseen
from metaccord.data.raw import RawTable
from metaccord.data.tables import read_table
from metaccord.errors import DataError, UsageError, unknown
from metaccord.tasks.leaks import refuse_leaks, row_digests
from metaccord.tasks.own.base import Content, Layout, OwnData, fingerprint_of, split_of_rows
from metaccord.tasks.own.drawing import group_tasks
from metaccord.tasks.own.named_splits import by_words
from metaccord.tasks.own.shapes import advice
from metaccord.tasks.own.table_data import TableContent, coding_of, opened, tensors
from metaccord.tasks.source import SPLITS, Advice
from metaccord.tasks.splits import names_in
from metaccord.types import Batch, Episode

log = logging.getLogger("metaccord")
Aim = Literal["auto", "numbers", "classes"]


@dataclass(frozen=True, kw_only=True)
class Table(OwnData):
    """One task for each group of rows: predict a column from the others.

    Numbers are standardised, and categories known, by the training groups alone. A category that
    they have not is refused; a missing number becomes the mean, with a mark in a column of its
    own. Dates, ids and constant columns are left out; ``print(tasks.coding)`` says what is done
    with each column.

    Args:
        path: A CSV file (UTF-8, with a header) or a Parquet file; empty: data in memory.
        target: The column to predict.
        group: The column whose values name the tasks.
        aim: ``"numbers"`` (regression) or ``"classes"``; ``"auto"``: words, truth values and up to
            10 different whole numbers are classes.
        features: The columns to predict from; none: all that can be used.
        leave_out: Columns not to predict from.
        categories: Columns of numbers that are names, such as postcodes.
        separator: Between values of a CSV file; None: a tab in ``.tsv`` files, else a comma.
        decimal: Of numbers in a CSV file, ``"."`` or ``","``.
        unseen: ``"refuse"`` categories that no training group has, here and in use, or accept them
            as ``"other"``, a place that categories of a single training group share.
        shots, train_shots: Rows of the support set, drawn at random.
        queries: Rows of the query set, at most: of a smaller group it is what is left.
        split: As for :class:`metaccord.tasks.own.OwnData`; or the name of a column that holds
            ``train``, ``validation`` or ``test``, the same in all rows of a group.
        split_seed, train, validation, test, minimum, accept_leaks, fingerprint, data: See there.
        fitted: The coding, written down by a run.
        seed: Names the stream of episodes.

    Shape:
        inputs [T, n, features] float32; targets [T, n, 1] float32 or [T, n] int64;
        ``extra["group"]`` [T]: places in :meth:`names`. Groups of different sizes give uneven
        tasks (``Batch.sizes``).

    Raises:
        UsageError: if target or group are not given, for numbers out of range, or a missing
            package.
        DataError: when the data are first looked at: if they cannot be used, or if identical
            rows lie in different splits.
    """

    split: tuple[float, float, float] | str | None = None  # type: ignore[assignment]
    target: str = ""
    group: str = ""
    aim: Aim = "auto"
    features: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    separator: str | None = None
    decimal: str = "."
    unseen: Unseen = "refuse"
    fitted: TableCoding | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aim not in (choices := ("auto", "numbers", "classes")):
            raise unknown("tasks.aim", self.aim, choices)
        if self.unseen not in UNSEEN:
            raise unknown("tasks.unseen", self.unseen, UNSEEN)
        if isinstance(self.split, str):
            self._check_split(self.split)
        for name in ("features", "leave_out", "categories"):
            object.__setattr__(self, name, names_in(getattr(self, name)))

    @property
    def coding(self) -> TableCoding:
        """What a row becomes; see the base class."""
        return self.fitted or cast(TableCoding, self.layout().coding)

    @property
    def classifies(self) -> bool:  # type: ignore[override]
        """Whether classes are predicted."""
        return self.coding.aim == "classes"

    def unfitted(self) -> dict[str, Any]:
        """Return what is written down from the data."""
        return {"fitted": None}

    def settled(self) -> Self:
        """Return the same with fingerprint and coding written down; see the base class."""
        found = super().settled()
        return replace(found, fitted=found.coding)

    def advice(self, base: str) -> Advice:
        """Return what learns such a table; see the base class."""
        coding = self.coding
        return advice((coding.features,), coding.outputs, self.classifies, base)

    def read(self) -> Content:
        """Return the table in the file."""
        written = frozenset((self.target, self.group, *self.categories))
        return opened(self.place(), self.separator, self.decimal, written)

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return one task for each group that chance gives; see the base class."""
        content, coding = cast(TableContent, self.held()), self.coding
        inputs, targets = tensors(content, coding)

        def examples(rows: NDArray[np.int64]) -> Batch:
            chosen = torch.from_numpy(rows)
            return Batch(inputs[chosen], targets[chosen])

        return group_tasks(self, split, step, tasks, examples)

    def laid_out(self, content: Content) -> Layout:
        """Return names, rows, splits and coding; see the base class."""
        assert isinstance(content, TableContent)
        table = content.table
        self._check_columns(table)
        groups = table.column(self.group, names=True)
        refuse_infinite(groups, table)
        if (missing := groups.missing()).any():
            raise DataError(
                f"{table.where}, {table.row(int(missing.argmax()))}: the group {self.group!r} is "
                f"missing ({int(missing.sum())} in all); leave such rows out"
            )
        words = groups.words()
        names = sorted_labels(words)
        place = {name: i for i, name in enumerate(names)}
        owner = np.array([place[word] for word in words])
        order = np.argsort(owner, kind="stable")
        ends = np.cumsum(np.bincount(owner, minlength=len(names)))
        rows = np.split(order, ends[:-1])
        if len(names) == table.rows or len(names) < 2:
            raise DataError(
                f"{table.where}, column {self.group!r} has {len(names)} groups in {table.rows} "
                "rows: tasks are groups of several rows, and there must be at least 2"
            )
        kept = self.kept(names, rows, "group")
        names, rows = [names[i] for i in kept], [rows[i] for i in kept]
        named = self
        if isinstance(self.split, str):
            one, two, three = by_words(
                table.column(self.split, names=True).words(), names, rows, what="group",
                by=f"the column {self.split!r}", where=table.where, row=table.row,
            )  # fmt: skip
            named = replace(self, split=None, train=one, validation=two, test=three)
        members = named.divided(names, "group")
        split_of = split_of_rows(table.rows, rows, members)
        coding = coding_of(self, table, split_of == 0)
        coding.check_categories(table, np.flatnonzero(split_of >= 0).tolist())
        inputs, targets = (t.double().numpy() for t in tensors(content, coding))
        every = np.concatenate([inputs, targets.reshape(table.rows, -1)], axis=1)
        refuse_leaks(row_digests(every), split_of, every, table.where, self.accept_leaks, table.row)
        found = fingerprint_of(content, names, members)
        if not self.fingerprint:
            for line in coding.describe().splitlines():
                log.info("%s", line)
        return Layout(tuple(names), tuple(rows), members, coding, found)

    def _check_split(self, column: str) -> None:
        """Refuse a name of a column that is none, or meets other settings."""
        if not column or column.startswith("["):
            raise UsageError(
                f"tasks.split is {column!r}: use three fractions such as [0.6,0.2,0.2], or the "
                "name of a column that holds train, validation and test"
            )
        if any(getattr(self, name) for name in SPLITS):
            raise UsageError(
                f"tasks.split is the column {column!r}, and tasks.train, tasks.validation or "
                "tasks.test name groups: give one of the two"
            )
        if column in (self.target, self.group, *self.features):
            raise UsageError(
                f"tasks.split is {column!r}, which is tasks.target, tasks.group or in "
                "tasks.features, too: name a column that holds train, validation and test"
            )

    def _check_columns(self, table: RawTable) -> None:
        """Refuse settings that name no columns of the table."""
        for name in ("target", "group"):
            if not getattr(self, name):
                raise UsageError(
                    f"{table.where} needs tasks.target, the column to predict, and tasks.group, "
                    "the column that names each task: --set tasks.target=... tasks.group=...; "
                    f"its columns are {', '.join(table.columns)}"
                )
        split = (self.split,) if isinstance(self.split, str) else ()
        named = (*self.features, *self.leave_out, *self.categories, *split)
        for name in (self.target, self.group, *named):
            table.refuse_absent(name)
        if self.target == self.group:
            raise UsageError(f"tasks.target and tasks.group are both {self.target!r}")
        if self.target in self.features:
            raise UsageError(f"tasks.features names the target {self.target!r}: leave it out")


def from_table(source: Any, *, target: str, group: str, **settings: Any) -> Table:
    """Return tasks over a table, checked; see :class:`Table`.

    Args:
        source: Path of a CSV or Parquet file, a pandas DataFrame, or a dict of columns.
        target: The column to predict.
        group: The column whose values name the tasks.
        settings: The other settings of :class:`Table`, such as ``shots=5``.

    Raises:
        UsageError, DataError: as :class:`Table` does.

    Example:
        >>> size = np.arange(60) / 10
        >>> sales = {"shop": np.arange(60) % 6, "size": size, "sold": size * (np.arange(60) % 6)}
        >>> tasks = from_table(sales, target="sold", group="shop", shots=4)
        >>> tasks.coding.features, len(tasks.members("train"))
        (1, 4)
    """
    if isinstance(source, str | Path):
        tasks = Table(path=str(source), target=target, group=group, **settings)
    else:
        content = TableContent(read_table(source))
        tasks = Table(target=target, group=group, **settings, data=content)
    tasks.layout()
    return tasks
