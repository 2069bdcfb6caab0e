"""Tasks from a data set of Hugging Face ``datasets``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metaccord.data.pictures.decode import plain
from metaccord.errors import DataError, UsageError, nearest
from metaccord.tasks.own.arrays import Arrays, from_arrays
from metaccord.tasks.own.table import Table, from_table

_SCALARS = ("Value", "ClassLabel")
_ARRAYS = ("Image", "Sequence", "List", "LargeList", "Array2D", "Array3D", "Array4D", "Array5D")


def from_hub(
    dataset: Any,
    *,
    label: str,
    inputs: str | Sequence[str] | None = None,
    group: str | None = None,
    size: int | None = None,
    split: str | Sequence[float] | None = None,
    **settings: Any,
) -> Arrays | Table:
    """Return tasks over a ``datasets.Dataset`` in memory or on disk; nothing is downloaded.

    A column of pictures, arrays or lists of one length becomes the inputs of
    :func:`metaccord.tasks.from_arrays`; columns of numbers and words become those of
    :func:`metaccord.tasks.from_table`.

    Args:
        dataset: One data set with all rows: classes or groups are divided here.
        label: The column to predict.
        inputs: The column, or columns, to predict from; None: the only one of pictures or arrays,
            else all.
        group: The column that names the task; None: N-way K-shot tasks over the labels.
        size: Height and width that pictures are made; None: all have one size.
        split: Fractions as for :class:`Arrays`; or the column that holds ``train``, ``validation``
            or ``test``, the same in all rows of a group or class.
        settings: Those of :class:`Arrays` or :class:`Table`.

    Raises:
        UsageError: for columns that fit neither.
        DataError: for an unknown column, or values that cannot be used.

    Example:
        ``tasks = mc.tasks.from_hub(datasets.load_from_disk("scans"), label="organ", shots=5)``
    """
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list) or not hasattr(dataset, "__len__"):
        kind = type(dataset).__name__
        hint = "one of its splits, such as dataset['train']" if isinstance(names, dict) else "that"
        raise UsageError(f"from_hub takes a datasets.Dataset, not {kind}: give {hint}")
    dataset = dataset.with_format(None)  # Python's own values, whatever it was set to
    column = [split] if isinstance(split, str) else []
    wanted = [inputs] if isinstance(inputs, str) else list(inputs or ())
    told = [label, *([group] if group else []), *column]
    for name in (*told, *wanted):
        if name not in names:
            raise DataError(f"the data set has no column {name!r}: {nearest(name, names)}")
    kinds = {name: type(dataset.features[name]).__name__ for name in names}
    wanted = wanted or _usual([n for n in names if n not in told], kinds)
    if all(kinds[name] in _SCALARS for name in wanted):
        if group is None:
            raise UsageError(
                f"{', '.join(wanted)} hold one number or word each: name the column of the groups "
                "(group=...), one task each"
            )
        columns = {name: _values(dataset, name) for name in (*wanted, *told)}
        return from_table(columns, target=label, group=group, split=split, **settings)
    if len(wanted) != 1 or kinds[wanted[0]] not in _ARRAYS:
        raise UsageError(
            f"inputs {', '.join(wanted)} ({', '.join(kinds[name] for name in wanted)}) are neither "
            "one column of pictures or arrays, nor numbers and words: choose with inputs=..."
        )
    raw: Any = _values(dataset, wanted[0])
    if kinds[wanted[0]] == "Image":
        raw = _pictures(raw, size, wanted[0])
    groups, splits = (
        None if name is None else _values(dataset, name)
        for name in (group, column[0] if column else None)
    )
    shares = None if column else split
    labels = _values(dataset, label)
    return from_arrays(raw, labels, groups=groups, splits=splits, split=shares, **settings)


def _usual(names: list[str], kinds: dict[str, str]) -> list[str]:
    """Return the columns to predict from: the only one of arrays, else those of one value."""
    arrays = [name for name in names if kinds[name] in _ARRAYS]
    if len(arrays) > 1 or not names:
        raise UsageError(
            f"the columns {', '.join(arrays or names)} could be inputs: choose with inputs=..."
        )
    return arrays or [name for name in names if kinds[name] in _SCALARS]


def _values(dataset: Any, name: str) -> list[Any]:
    """Return a column; numbers of classes by their names."""
    feature, values = dataset.features[name], list(dataset[name])
    known = getattr(feature, "names", None)
    if type(feature).__name__ != "ClassLabel" or known is None:
        return values
    for row, value in enumerate(values):
        if value is None or not 0 <= value < len(known):
            raise DataError(f"row {row} of {name!r} has no class ({value}): leave such rows out")
    return [known[value] for value in values]


def _pictures(pictures: list[Any], size: int | None, name: str) -> np.ndarray:
    """Return pictures as ``[n, channels, height, width]``, uint8, grey if all are.

    Colours, transparency and 16 bits are treated as in files of pictures.
    """
    from PIL import Image

    for row, picture in enumerate(pictures):
        if picture is None:
            raise DataError(f"row {row} has no picture: leave such rows out")
        if not isinstance(picture, Image.Image):
            raise UsageError(
                f"the pictures of {name!r} are not decoded: give "
                f"dataset.cast_column({name!r}, datasets.Image())"
            )
    pictures = [plain(picture) for picture in pictures]
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    sizes = {picture.size for picture in pictures}
    if size is None and len(sizes) > 1:
        raise DataError(
            f"the pictures have {len(sizes)} sizes, such as {sorted(sizes)[0]} and "
            f"{sorted(sizes)[-1]}: give size=84, or another height and width"
        )
    found = []
    for picture in pictures:
        one = picture.convert(mode)
        if size is not None and one.size != (size, size):
            one = one.resize((size, size), Image.Resampling.LANCZOS)
        found.append(np.asarray(one).reshape(one.height, one.width, -1).transpose(2, 0, 1))
    return np.stack(found)
