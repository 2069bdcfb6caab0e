"""What a table is before it is coded: columns of numbers, words, truth values and dates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from metaccord.errors import DataError, nearest

Kind = Literal["number", "whole", "truth", "text", "date"]
_CODE = re.compile(r"0\d+")  # 007: as a number it would lose its zeros
_TRUTHS = ("false", "true")


@dataclass(frozen=True, eq=False)
class RawColumn:
    """One column as it was given.

    Attributes:
        name: Its name.
        kind: ``"number"``, ``"whole"``: numbers; ``"truth"``: 0 and 1; ``"text"``; ``"date"``.
        numbers: Float64 with nan where a value is missing, ``[n]``; empty for text and dates.
        texts: Values as text, ``""`` where one is missing, ``[n]``; of numbers: as they
            were written, or empty.
        fault: Why it cannot be used; empty if it can.
        doubt: What looks like a mistake where numbers are wanted; empty if nothing does.
    """

    name: str
    kind: Kind
    numbers: NDArray[np.float64]
    texts: tuple[str, ...] = ()
    fault: str = ""
    doubt: str = ""

    def missing(self) -> NDArray[np.bool_]:
        """Return where a value is missing, ``[n]``."""
        if self.kind in ("text", "date"):
            return np.array([text == "" for text in self.texts], dtype=bool)
        return np.isnan(self.numbers)

    def words(self, known: Iterable[str] = ()) -> list[str]:
        """Return the values as text, ``""`` for missing ones.

        A number is written in one way, ``"3"`` for 3.0, unless it was written as one of the known
        words, or with zeros that a number has not (007). Truth values are ``"True"`` and
        ``"False"``, or these words as they are known.

        Args:
            known: Words to which the values are to be compared.
        """
        words = {*known}
        if self.kind in ("text", "date"):
            found = list(self.texts)
        elif self.kind == "truth":
            found = ["" if x != x else str(bool(x)) for x in self.numbers.tolist()]
        else:
            found = [_numeral(value) for value in self.numbers.tolist()]
            for row, text in enumerate(self.texts):
                if text in words or _CODE.fullmatch(text):
                    found[row] = text
        truths = {word.casefold(): word for word in words if word.casefold() in _TRUTHS}
        if truths:
            found = [w if w in words else truths.get(w.casefold(), w) for w in found]
        return found


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

    def column(self, name: str, *, names: bool = False) -> RawColumn:
        """Return a column.

        Args:
            name: Its name.
            names: Whether its values are names, so that a word among numbers is no mistake.

        Raises:
            DataError: with the nearest name, or all; or if its values are of no use.
        """
        self.refuse_absent(name)
        found = self.columns[name]
        if found.fault:
            raise DataError(
                f"{self.where}, column {name!r} {found.fault}: give numbers, text or dates"
            )
        if found.doubt and not names:
            raise DataError(found.doubt)
        return found

    def refuse_absent(self, name: str) -> None:
        """Raise DataError with the nearest name, or all, unless there is such a column."""
        if name not in self.columns:
            raise DataError(f"{self.where} has no column {name!r}: {nearest(name, self.columns)}")


def _numeral(value: float) -> str:
    """Return a finite number as text, ``""`` if it is missing."""
    return "" if value != value else str(int(value)) if value.is_integer() else repr(value)


def kind_of(numbers: NDArray[Any]) -> Kind:
    """Return the kind of a column of numbers."""
    seen = numbers[np.isfinite(numbers)]
    return "whole" if len(seen) and bool((seen == np.round(seen)).all()) else "number"
