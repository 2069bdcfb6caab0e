"""Pairs (X, y) as a user gives them, checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length, column_or_1d

from metaccord.errors import DataError, UsageError
from metaccord.scikit.learned import Floats


class Pairs(NamedTuple):
    """Checked tasks: features ``[n, F]`` and targets ``[n]`` of each, and names of the columns."""

    tasks: list[tuple[Floats, NDArray[Any]]]
    names: tuple[str, ...]


def columns_of(inputs: Any) -> tuple[str, ...]:
    """Return the names of a data frame's columns; () for what has none."""
    names = [*getattr(inputs, "columns", ())]
    return tuple(names) if all(isinstance(name, str) for name in names) else ()


def pairs(tasks: Any, *, numeric: bool) -> Pairs:
    """Return each task's features ``[n, F]`` and targets ``[n]``.

    Args:
        tasks: Pairs of what scikit-learn takes for X and y.
        numeric: Whether targets are numbers.

    Raises:
        UsageError: if this is no list of pairs.
        DataError: naming the task that is wrong.
    """
    if isinstance(tasks, str | dict) or not isinstance(tasks, Iterable):
        raise UsageError(
            f"tasks is {type(tasks).__name__}: give a list of pairs (X, y), one for each task, or "
            "a metaccord.tasks source"
        )
    found: list[tuple[Floats, NDArray[Any]]] = []
    names: tuple[str, ...] = ()
    for number, pair in enumerate(tasks):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise UsageError(f"task {number} is {type(pair).__name__}: each task is a pair (X, y)")
        try:
            found.append(_pair(*pair, numeric=numeric))
        except (ValueError, TypeError) as error:
            raise DataError(f"task {number}: {error}") from error
        if found[-1][0].shape[1] != found[0][0].shape[1]:
            raise DataError(
                f"task {number} has {found[-1][0].shape[1]} features but task 0 has "
                f"{found[0][0].shape[1]}: all tasks need the same columns"
            )
        if (own := columns_of(pair[0])) and names and own != names:
            raise DataError(f"task {number}: {other_columns(own, names)}")
        names = names or own
    if not found:
        raise DataError("tasks is empty: give at least one pair (X, y)")
    return Pairs(found, names)


def other_columns(own: tuple[str, ...], names: tuple[str, ...]) -> str:
    """Return what to say of columns that are not those of the first task."""
    at = next((i for i, pair in enumerate(zip(own, names, strict=False)) if len({*pair}) > 1), -1)
    return (
        f"column {at} is called {own[at]!r}, but {names[at]!r} in meta_fit's first task: give the "
        "same columns in the same order, X[names]"
    )


def _pair(inputs: Any, targets: Any, *, numeric: bool) -> tuple[Floats, NDArray[Any]]:
    x = check_array(inputs, dtype=np.float64, ensure_min_samples=2)
    if numeric:
        y = check_array(targets, ensure_2d=False, dtype=np.float64, input_name="y")
    else:
        y = np.asarray(targets)
    y = column_or_1d(y)
    check_consistent_length(x, y)
    return x, y
