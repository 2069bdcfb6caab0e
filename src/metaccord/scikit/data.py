"""What ``meta_fit`` is given, checked and scaled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length, column_or_1d

from metaccord.errors import DataError, UsageError
from metaccord.scikit.episodes import Drawn, Foreign, Task, flat
from metaccord.scikit.learned import Floats, Scaling
from metaccord.tasks.checks import checked
from metaccord.tasks.source import TaskSource

_PROBES = 32  # tasks of a source that its features are scaled by


class Family(NamedTuple):
    """Tasks as the meta-training meets them.

    Attributes:
        source: Episodes.
        features: Columns of the inputs.
        outputs: Outputs of the network.
        inputs, targets: How they were scaled.
        classes: What all tasks share, or None.
        tasks: How many there are; 0: a source without end.
        names: Of the columns, if they have any.
    """

    source: TaskSource
    features: int
    outputs: int
    inputs: Scaling
    targets: Scaling
    classes: NDArray[Any] | None
    tasks: int
    names: tuple[str, ...] = ()


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


def regression(tasks: Any, *, scaled: bool, shots: int, queries: int, seed: int) -> Family:
    """Return a family of regression tasks.

    Args:
        tasks: Pairs, or a source.
        scaled: Whether features and targets are standardised over all tasks together.
        shots, queries, seed: Of the episodes.
    """
    if isinstance(tasks, TaskSource):
        return _foreign(tasks, scaled=scaled, classifies=False)
    found, names = pairs(tasks, numeric=True)
    inputs = _scaling([x for x, _ in found], scaled)
    targets = _scaling([y[:, None] for _, y in found], scaled)
    none = np.zeros(0, np.int64)
    data = tuple(Task(inputs.apply(x), targets.apply(y[:, None])[:, 0], none) for x, y in found)
    source = Drawn(data=data, shots=shots, queries=queries, seed=seed)
    return Family(source, found[0][0].shape[1], 1, inputs, targets, None, len(data), names)


def classification(
    tasks: Any, labels: str, *, scaled: bool, shots: int, queries: int, seed: int
) -> Family:
    """Return a family of classification tasks.

    Args:
        tasks: Pairs, or a source.
        labels: ``"shared"``, ``"own"`` or ``"auto"``; see :class:`MetaClassifier`.
        scaled: Whether features are standardised over all tasks together.
        shots, queries, seed: Of the episodes.
    """
    if isinstance(tasks, TaskSource):
        if labels == "shared":
            raise UsageError(
                "labels is 'shared', but a source numbers the classes of each task anew: use "
                "labels='own' or 'auto', or give pairs (X, y)"
            )
        return _foreign(tasks, scaled=scaled, classifies=True)
    found, columns = pairs(tasks, numeric=False)
    own = [_classes(number, y) for number, (_, y) in enumerate(found)]
    try:
        every = np.array(sorted({name for names in own for name in names.tolist()}))
    except TypeError as error:
        raise DataError(
            f"the classes of different tasks are of types that cannot be sorted: {error}"
        ) from error
    shared = labels == "shared" or (labels == "auto" and len(every) == max(map(len, own)))
    ways = len(every) if shared else max(map(len, own))
    inputs = _scaling([x for x, _ in found], scaled)
    data = []
    for (x, y), names in zip(found, own, strict=True):
        values = np.searchsorted(every if shared else names, y)
        allowed = np.searchsorted(every, names) if shared else np.arange(len(names))
        data.append(Task(inputs.apply(x), values, allowed))
    source = Drawn(
        data=tuple(data), ways=ways, permute=not shared, shots=shots, queries=queries, seed=seed
    )
    classes = every if shared else None
    features, none = found[0][0].shape[1], Scaling.none(1)
    return Family(source, features, ways, inputs, none, classes, len(data), columns)


def _classes(number: int, y: NDArray[Any]) -> NDArray[Any]:
    """Return the classes of a task, which need two examples each."""
    try:
        names, counts = np.unique(y, return_counts=True)
    except TypeError as error:
        raise DataError(f"task {number}: y mixes types that cannot be sorted: {error}") from error
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError(f"task {number}: y holds a value that is not finite: leave the row out")
    if y.dtype.kind == "f" and (y != np.round(y)).any():
        raise DataError(
            f"task {number}: y holds fractions such as {y[y != np.round(y)][0]}: "
            "classes are whole numbers or words; MetaRegressor takes numbers"
        )
    if counts.min() < 2:
        raise DataError(
            f"task {number}: class {names[counts.argmin()]!s} has one example, but support and "
            "query set need one each: leave it out, or add examples"
        )
    return names


def _scaling(columns: list[Floats], scaled: bool) -> Scaling:
    every = np.concatenate(columns)
    return Scaling.of(every) if scaled else Scaling.none(every.shape[1])


def _foreign(source: TaskSource, *, scaled: bool, classifies: bool) -> Family:
    """Return the family of any source of tasks, scaled by its first ones."""
    if source.classifies != classifies:
        wanted = "MetaClassifier" if source.classifies else "MetaRegressor"
        raise UsageError(f"{type(source).__name__} gives tasks for {wanted}: use that")
    first = checked(source, "train", 0, range(_PROBES))
    columns, values = [], []
    for batch in (first.support, first.query):
        sizes: Any = getattr(batch, "sizes", ())
        x, y = flat(batch.inputs, "inputs", 2), flat(batch.targets, "targets", 2)
        true = [int(size) for size in sizes] if len(sizes) else [x.shape[1]] * len(x)
        columns += [rows[:size].numpy() for rows, size in zip(x, true, strict=True)]
        values += [rows[:size].numpy() for rows, size in zip(y, true, strict=True)]
    inputs = _scaling(columns, scaled)
    ways = 1 + int(max(rows.max() for rows in values)) if classifies else 0
    targets = Scaling.none(1) if classifies else _scaling(values, scaled)
    if values[0].shape[1] != 1:
        raise UsageError(
            f"{type(source).__name__} has {values[0].shape[1]} targets for each example: the "
            "estimators learn one; use metaccord.train"
        )
    wrapped = Foreign(source=source, ways=ways, inputs=inputs, targets=targets)
    return Family(wrapped, columns[0].shape[1], ways or 1, inputs, targets, None, 0)
