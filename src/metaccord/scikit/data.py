"""What ``meta_fit`` is given, checked and scaled."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.codings import ArrayCoding
from metaccord.errors import DataError, UsageError
from metaccord.scikit.episodes import Drawn, Foreign, Task, flat
from metaccord.scikit.learned import Floats, Scaling
from metaccord.scikit.pairs import pairs
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
        family = _foreign(tasks, scaled=scaled, classifies=True)
        if labels not in ("auto", "own" if family.classes is None else "shared"):
            raise UsageError(
                f"labels is {labels!r}, but {type(tasks).__name__} says itself whether tasks share "
                "their classes: use labels='auto'"
            )
        return family
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
    coding = _coding(source, classifies)
    first = checked(source, "train", 0, range(_PROBES))
    columns, values = [], []
    for batch in (first.support, first.query):
        sizes: Any = batch.sizes
        x, y = flat(batch.inputs, "inputs", 2), flat(batch.targets, "targets", 2)
        true = [int(size) for size in sizes] if len(sizes) else [x.shape[1]] * len(x)
        columns += [rows[:size].numpy() for rows, size in zip(x, true, strict=True)]
        values += [rows[:size].numpy() for rows, size in zip(y, true, strict=True)]
    if values[0].shape[1] != 1:
        raise UsageError(
            f"{type(source).__name__} has {values[0].shape[1]} targets for each example: the "
            "estimators learn one; use metaccord.train"
        )
    inputs = _scaling(columns, scaled)
    ways = 1 + int(max(rows.max() for rows in values)) if classifies else 0
    targets = Scaling.none(1) if classifies else _scaling(values, scaled)
    classes = None
    if coding is not None and coding.aim == "classes":
        classes, ways = np.array(coding.classes), len(coding.classes)
    wrapped = Foreign(source=source, ways=ways, inputs=inputs, targets=targets)
    if coding is not None:  # what the source does to raw numbers, fit has to do, too
        inputs = inputs.after(np.array(coding.centre), np.array(coding.scale))
        if not classifies:
            targets = targets.after(np.array(coding.target_centre), np.array(coding.target_scale))
    return Family(wrapped, columns[0].shape[1], ways or 1, inputs, targets, classes, 0)


def _coding(source: TaskSource, classifies: bool) -> ArrayCoding | None:
    """Return how the source shifts and scales raw numbers, if it does.

    Raises:
        UsageError: for a source of the other kind, or one whose examples are no raw numbers.
    """
    name = type(source).__name__
    if source.classifies != classifies:
        wanted = "MetaClassifier" if source.classifies else "MetaRegressor"
        raise UsageError(f"{name} gives tasks for {wanted}: use that")
    coding = source.coding
    if coding is None or isinstance(coding, ArrayCoding):
        return coding
    raise UsageError(
        f"{name} makes its examples from columns or pictures, which fit(X, y) could not: give "
        "pairs (X, y) instead, or use metaccord.train and learner.predictor"
    )
