"""Arrays: examples of one shape, with labels or numbers to predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metaccord.codings.base import Coding, Labelled, Unlabelled
from metaccord.data.arrays import Array, read_array, read_arrays
from metaccord.data.csv_numbers import EXACT
from metaccord.errors import DataError, UsageError, unknown
from metaccord.types import Batch

Aim = Literal["numbers", "classes", "new_classes"]


@dataclass(frozen=True)
class ArrayCoding(Coding):
    """Inputs of one shape, shifted and scaled; targets by what is predicted.

    A support set is an npz file with ``X`` and ``y``, inputs are an npz file with ``X``, or an npy
    file.

    Args:
        shape: Shape of the inputs of one example.
        aim: ``"numbers"``: regression; ``"classes"``: the same classes in each task;
            ``"new_classes"``: each task has its own.
        outputs: Numbers to predict, or the most classes of a task.
        classes: Names by label, where each task has the same.
        centre, scale: What is subtracted from inputs, and what then divides them: one number, or
            one for each place of a vector.
        target_centre, target_scale: The same for numbers to predict, one for each.

    Shape:
        inputs [n, *shape] float32; targets [n] int64, or [n, outputs] float32.
    """

    shape: tuple[int, ...]
    aim: Aim = "numbers"
    outputs: int = 1
    classes: tuple[str, ...] = ()
    centre: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    target_centre: tuple[float, ...] = (0.0,)
    target_scale: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.outputs < 1:
            raise UsageError(f"outputs is {self.outputs}: it must be at least 1")
        for name in ("scale", "target_scale"):
            if not all(value > 0 for value in getattr(self, name)):
                raise UsageError(f"{name} is {getattr(self, name)}: it must be above 0")

    def support(self, path: Path) -> Labelled:
        """Return the task in an npz file with ``X`` and ``y``; see the base class."""
        found = read_arrays(Path(path), ["X", "y"])
        return self.labelled(found["X"], found["y"], f"file {path}")

    def inputs(self, path: Path) -> Unlabelled:
        """Return the inputs in an npz file with ``X``, or in an npy file; see the base class."""
        found = self.coded(read_array(Path(path), "X"), f"file {path}")
        return Unlabelled(found, _rows(len(found)))

    def values(self, outputs: Tensor) -> Tensor:
        """Return numbers in the units of ``y``; logits as they are."""
        if self.aim != "numbers":
            return outputs
        scale, centre = (
            outputs.new_tensor(self.target_scale),
            outputs.new_tensor(self.target_centre),
        )
        return outputs * scale + centre

    def labelled(self, inputs: Any, targets: Any, where: str = "the support set") -> Labelled:
        """Return a task given as arrays.

        Args:
            inputs: ``[n, *shape]``.
            targets: Numbers ``[n]`` or ``[n, outputs]``, or labels ``[n]``.
            where: What messages call it.

        Raises:
            DataError: for another shape than the model was trained for, values that are not
                finite, an unknown class or too many classes.
        """
        coded = self.coded(inputs, where)
        raw = as_array(targets, f"{where}, y")
        if len(raw) != len(coded):
            raise DataError(f"{where} has {len(coded)} inputs in X and {len(raw)} targets in y")
        if self.aim == "numbers":
            return Labelled(Batch(coded, self.numbers(raw, where)), (), _rows(len(coded)))
        texts = label_texts(raw, f"{where}, y")
        names = self.classes or tuple(sorted_labels(texts))
        if len(names) > self.outputs:
            raise DataError(
                f"{where} has {len(names)} classes, the model tells {self.outputs} apart: leave "
                f"some out, or train with tasks.ways={len(names)}"
            )
        place = {name: label for label, name in enumerate(names)}
        for row, text in enumerate(texts):
            if text not in place:
                raise DataError(f"{where}, row {row}: {unknown('class', text, names)}")
        labels = torch.tensor([place[text] for text in texts], dtype=torch.int64)
        return Labelled(Batch(coded, labels), names, _rows(len(coded)))

    def coded(self, inputs: Any, where: str = "X") -> Tensor:
        """Return inputs ``[n, *shape]`` shifted and scaled.

        Raises:
            DataError: for another shape, no row, or values that are not finite.
        """
        found = as_array(inputs, f"{where}, X")
        if found.dtype.kind == "U":
            raise DataError(f"{where}, X holds text: give numbers")
        if found.shape[1:] != self.shape or not len(found):
            expected = ", ".join(["n", *map(str, self.shape)])
            raise DataError(
                f"{where}, X has shape {list(found.shape)}: the model was trained for [{expected}]"
            )
        refuse_infinite(found, f"{where}, X")
        shift, scale = (np.asarray(x, np.float64) for x in (self.centre, self.scale))
        return torch.from_numpy(((found - shift) / scale).astype(np.float32))

    def numbers(self, targets: Array, where: str) -> Tensor:
        """Return numbers to predict, shifted and scaled: ``[n, outputs]``."""
        if targets.dtype.kind == "U":
            raise DataError(f"{where}, y holds text: the model predicts numbers")
        flat = targets[:, None] if targets.ndim == 1 else targets
        if flat.shape[1:] != (self.outputs,):
            raise DataError(
                f"{where}, y has shape {list(targets.shape)}: the model was trained for "
                f"[n, {self.outputs}]"
            )
        refuse_infinite(flat, f"{where}, y")
        shift, scale = np.array(self.target_centre), np.array(self.target_scale)
        return torch.from_numpy(((flat - shift) / scale).astype(np.float32))


def as_array(values: Any, where: str) -> Array:
    """Return numbers, truth values or text as an array with rows.

    Args:
        values: An array, a tensor or nested lists.
        where: What messages call it.

    Raises:
        DataError: for ragged lists, Python objects or a single value.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if isinstance(values, np.ma.MaskedArray) and values.mask.any():
        raise DataError(f"{where} has masked values: leave such rows out or fill them in")
    try:
        found = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where} is ragged: its rows need one common shape ({error})") from error
    if found.dtype.kind == "O":
        found = _of_objects(found)
    if found.dtype.kind not in "biufU":
        raise DataError(f"{where} holds {found.dtype.name}: give numbers, truth values or text")
    if not found.ndim:
        raise DataError(f"{where} is a single value: give one row per example")
    return found


def _of_objects(found: Array) -> Array:
    """Return an array of Python texts or numbers as one of its own type, else unchanged."""
    kinds = {type(value) for value in found.reshape(-1)}
    if kinds and (kinds <= {str} or kinds <= {int, float, bool}):
        return np.array(found.tolist())
    return found


def refuse_infinite(found: Array, where: str) -> None:
    """Raise DataError naming the first row that holds a value that is not finite or too large."""
    if found.dtype.kind != "f":
        return
    most = min(1e30, float(np.finfo(found.dtype).max))
    bad = ~(np.abs(found) <= most).reshape(len(found), -1).all(1)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{where}, row {row} is missing, not finite or above 1e30 ({int(bad.sum())} rows in "
            "all): leave them out or fill them in"
        )


def label_texts(raw: Array, where: str) -> list[str]:
    """Return labels as text: ``"3"`` for 3 and for 3.0.

    Raises:
        DataError: if they are not one per row, or not whole.
    """
    if raw.ndim != 1:
        raise DataError(f"{where} has shape {list(raw.shape)}: give one label per row, [n]")
    if raw.dtype.kind == "f":
        refuse_infinite(raw, where)
        if (raw != np.round(raw)).any():
            row = int((raw != np.round(raw)).argmax())
            raise DataError(f"{where}, row {row} is {raw[row]}: labels are whole numbers or text")
        if (np.abs(raw) >= EXACT).any():
            row = int((np.abs(raw) >= EXACT).argmax())
            raise DataError(
                f"{where}, row {row} is {float(raw[row])}, where floats mix up neighbours: "
                "give long labels as whole numbers or text"
            )
        raw = raw.astype(np.int64)
    return [str(value) for value in raw.tolist()]


def sorted_labels(texts: list[str]) -> list[str]:
    """Return the different labels, numbers by size and before words."""
    found = set(texts)
    try:
        return sorted(found, key=lambda text: (int(text), text))
    except ValueError:
        return sorted(found)


def _rows(count: int) -> tuple[str, ...]:
    return tuple(f"row {row}" for row in range(count))
