"""What one column of a table becomes: a number, or one place for each category."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from metaccord.data.raw import RawColumn, RawTable
from metaccord.errors import DataError, UsageError

log = logging.getLogger("metaccord")
Floats = NDArray[np.float64]
MOST = 50
"""Categories from which on a column of words is taken for names or notes and left out."""
_SHOWN = 5
_TRUTHS = {"true": 1.0, "false": 0.0, "": float("nan")}
_INDEX = ("unnamed", "Unnamed: 0", "__index_level_0__")  # names that pandas gives an index
_IDS = 20  # rows from which on different whole numbers without gaps are taken for an index


@dataclass(frozen=True)
class Column:
    """How a column is coded.

    Args:
        name: Its name.
        kind: ``"number"``: shifted by ``centre``, divided by ``scale``, and 0 where missing;
            ``"category"``: one place for each category, and a last one for rare ones, if any.
        centre, scale: Mean and deviation in the training groups.
        categories: Those of the training groups; ``""`` stands for a missing value.
        rare: Categories of the training groups that share the last place, "other".
        indicator: Whether a number has a second place that is 1 where it is missing.
    """

    name: str
    kind: Literal["number", "category"] = "number"
    centre: float = 0.0
    scale: float = 1.0
    categories: tuple[str, ...] = ()
    indicator: bool = False
    rare: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise UsageError(f"the column {self.name!r} has scale {self.scale}: it must be above 0")

    @property
    def width(self) -> int:
        """Number of inputs it becomes."""
        if self.kind == "category":
            return len(self.categories) + bool(self.rare)
        return 1 + self.indicator

    def coded(self, table: RawTable) -> Floats:
        """Return the inputs of all rows: ``[n, width]``.

        Raises:
            DataError: if the column is missing, or holds words instead of numbers.
        """
        if self.kind == "category":
            return self._one_hot(self.words(table))
        raw = _truths(table.column(self.name))
        if raw.kind in ("text", "date"):
            row = next((i for i, text in enumerate(raw.texts) if text), 0)
            raise DataError(
                f"{table.where}, {table.row(row)}, column {self.name!r} is {raw.texts[row]!r}: "
                "it held numbers in training"
            )
        refuse_infinite(raw, table)
        missing = raw.missing()
        if missing.any() and not self.indicator:
            log.warning(
                "%s, column %r: %d missing values, of which there were none in training, are "
                "replaced by its mean", table.where, self.name, int(missing.sum()),
            )  # fmt: skip
        scaled = np.where(missing, 0.0, (raw.numbers - self.centre) / self.scale)
        return np.stack([scaled, missing], 1) if self.indicator else scaled[:, None]

    def words(self, table: RawTable) -> list[str]:
        """Return the categories of all rows, as training wrote them: ``[n]``."""
        raw = table.column(self.name, names=True)
        return raw.words((*self.categories, *self.rare))

    def _one_hot(self, words: list[str]) -> Floats:
        """Return the places; a category that training has not goes to the rare ones, or nowhere."""
        place = {name: i for i, name in enumerate(self.categories)}
        found = np.zeros((len(words), len(place) + 1))
        found[np.arange(len(words)), [place.get(word, len(place)) for word in words]] = 1.0
        return found[:, : self.width]

    def unseen(self, table: RawTable, rows: Sequence[int]) -> list[int]:
        """Return those of some rows whose category none of the training groups has."""
        if self.kind != "category":
            return []
        known, words = {*self.categories, *self.rare}, self.words(table)
        return [row for row in rows if words[row] not in known]

    def describe(self) -> str:
        """Return what is done with the column, in words."""
        if self.kind == "number":
            more = ", and a mark where it is missing (there the mean)" if self.indicator else ""
            return f"number, minus {self.centre:.4g}, divided by {self.scale:.4g}{more}"
        rare = f", one for rare ones such as {listed(self.rare)}" if self.rare else ""
        return f"category, one place each for {listed(self.categories)}{rare}"


def listed(words: Sequence[str]) -> str:
    """Return a few categories for a message, and how many more there are."""
    shown = [repr(word) if word else "missing" for word in words[:_SHOWN]]
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(shown) + more


def fitted(
    raw: RawColumn,
    table: RawTable,
    training: NDArray[np.bool_],
    *,
    categorical: bool,
    wanted: bool,
    groups: Sequence[str] = (),
) -> Column | str:
    """Return how a column is coded, or why it is left out.

    Args:
        raw: The column.
        table: Its table.
        training: Which rows belong to training groups, ``[n]``.
        categorical: Numbers are names.
        wanted: The user asked for this column: only what cannot be used is left out.
        groups: The group of each row, ``[n]``: categories of a single training group are rare;
            empty: none are.

    Raises:
        DataError: for numbers that are not finite.
    """
    if raw.kind == "date":
        return "a date; add columns such as hour or weekday if they matter"
    words = raw.words() if raw.kind == "text" or categorical else []
    if words:
        seen = {word for word, own in zip(words, training, strict=True) if own}
        if len(set(words)) == len(words) >= _IDS and not wanted:
            return "a different word in each row: an id or a note"
        if len(seen) < 2:
            return f"the same in all training groups: {next(iter(seen), '')!r}"
        if len(seen) > MOST and not (wanted and len(seen) <= 20 * MOST):
            return f"{len(seen)} different words: names or notes rather than categories"
        rare = _rare(words, groups, training)
        rare = rare if rare < seen else set()
        kept = tuple(sorted(seen - rare))
        return Column(raw.name, "category", categories=kept, rare=tuple(sorted(rare)))
    refuse_infinite(raw, table)
    if raw.kind == "whole" and not wanted and raw.name in _INDEX:
        return "an index that pandas wrote"
    if raw.kind == "whole" and not wanted and _is_index(raw.numbers):
        return "a different whole number in each row, without gaps: an id"
    values = raw.numbers[training]
    values = values[~np.isnan(values)]
    if not len(values):
        return "missing in all training groups"
    indicator = bool(raw.missing()[training].any())
    if (values == values[0]).all():
        if not indicator:
            return f"the same in all training groups: {values[0]:.6g}"
        return Column(raw.name, centre=float(values[0]), indicator=True)
    return Column(
        raw.name, centre=float(values.mean()), scale=float(values.std()), indicator=indicator
    )


def _truths(raw: RawColumn) -> RawColumn:
    """Return a column of the words true and false, as CSV files have them, as truth values."""
    words = [text.casefold() for text in raw.texts]
    if raw.kind != "text" or not {*words} <= _TRUTHS.keys():
        return raw
    return RawColumn(raw.name, "truth", np.array([_TRUTHS[word] for word in words]))


def _rare(words: list[str], groups: Sequence[str], training: NDArray[np.bool_]) -> set[str]:
    """Return the words of a single training group; none without groups."""
    if not groups:
        return set()
    owners: dict[str, set[str]] = {}
    for word, group, own in zip(words, groups, training, strict=True):
        if own:
            owners.setdefault(word, set()).add(group)
    return {word for word, found in owners.items() if len(found) == 1}


def _is_index(numbers: Floats) -> bool:
    """Say whether these are all whole numbers between the least and the greatest, once each."""
    if len(numbers) < _IDS or np.isnan(numbers).any():
        return False
    return numbers.max() - numbers.min() == len(numbers) - 1 == len(np.unique(numbers)) - 1


def refuse_infinite(raw: RawColumn, table: RawTable) -> None:
    """Raise DataError naming the first number of a column that is not finite or too large."""
    bad = np.flatnonzero(~(np.abs(raw.numbers) <= 1e30) & ~np.isnan(raw.numbers))
    if len(bad):
        raise DataError(
            f"{table.where}, {table.row(int(bad[0]))}, column {raw.name!r} is "
            f"{raw.numbers[bad[0]]}: numbers must be finite, at most 1e30"
        )
