"""What a table is before it is coded: columns of numbers, words, truth values and dates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from metaccord.errors import DataError, nearest

Kind = Literal["number", "whole", "truth", "text", "date"]


@dataclass(frozen=True, eq=False)
class RawColumn:
    """One column as it was given.

    Attributes:
        name: Its name.
        kind: ``"number"``, ``"whole"``: numbers; ``"truth"``: 0 and 1; ``"text"``; ``"date"``.
        numbers: Float64 with nan where a value is missing, ``[n]``; empty for text and dates.
        texts: Values as text, ``""`` where one is missing, ``[n]``; empty for numbers.
        fault: Why it cannot be used; empty if it can.
    """

    name: str
    kind: Kind
    numbers: NDArray[np.float64]
    texts: tuple[str, ...] = ()
    fault: str = ""

    def missing(self) -> NDArray[np.bool_]:
        """Return where a value is missing, ``[n]``."""
        if self.kind in ("text", "date"):
            return np.array([text == "" for text in self.texts], dtype=bool)
        return np.isnan(self.numbers)

    def words(self) -> list[str]:
        """Return the values as text, ``"3"`` for the whole number 3, ``""`` for missing ones."""
        if self.kind in ("text", "date"):
            return list(self.texts)
        return [
            "" if value != value else str(int(value)) if value.is_integer() else repr(value)
            for value in self.numbers.tolist()
        ]


@dataclass(frozen=True, eq=False)
class RawTable:
    """A table as it was given.

    Attributes:
        columns: By name, in order.
        rows: Number of rows.
        where: What messages call it.
        digest: SHA-256 of its file, or of its values.
        lines: The line of each row in a text file; empty otherwise.
    """

    columns: Mapping[str, RawColumn]
    rows: int
    where: str
    digest: str
    lines: tuple[int, ...] = ()

    def row(self, index: int) -> str:
        """Return what messages call a row: its line in a text file, else its number from 0."""
        return f"line {self.lines[index]}" if self.lines else f"row {index}"

    def column(self, name: str) -> RawColumn:
        """Return a column.

        Raises:
            DataError: with the nearest name, or all; or if its values are of no use.
        """
        self.refuse_absent(name)
        if fault := self.columns[name].fault:
            raise DataError(f"{self.where}, column {name!r} {fault}: give numbers, text or dates")
        return self.columns[name]

    def refuse_absent(self, name: str) -> None:
        """Raise DataError with the nearest name, or all, unless there is such a column."""
        if name not in self.columns:
            raise DataError(f"{self.where} has no column {name!r}: {nearest(name, self.columns)}")


def kind_of(numbers: NDArray[Any]) -> Kind:
    """Return the kind of a column of numbers."""
    seen = numbers[np.isfinite(numbers)]
    return "whole" if len(seen) and bool((seen == np.round(seen)).all()) else "number"
