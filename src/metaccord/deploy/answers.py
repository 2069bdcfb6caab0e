"""What a model answers, for people, for programs and for spreadsheets."""

from __future__ import annotations

import csv as writer
import io
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaccord.errors import UsageError


class Answers(NamedTuple):
    """What a model answers to some examples.

    Attributes:
        names: Names of the examples.
        classes: Names of the classes; () for regression.
        probabilities: ``[m, ways]``, or None for regression.
        values: Numbers in the user's units, ``[m, ...]``, or None for classification.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: Tensor | None
    values: Tensor | None

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable class of each example."""
        if self.probabilities is None:
            raise UsageError("a regression has no labels: look at values")
        return tuple(self.classes[i] for i in self.probabilities.argmax(-1).tolist())

    def __str__(self) -> str:
        """Return one line per example."""
        if self.probabilities is None:
            return "\n".join(f"{row['name']}: {_numbers(row['value'])}" for row in self.rows())
        return "\n".join(
            f"{row['name']}: {row['class']} ({100 * row['probability']:.1f} %)"
            for row in self.rows()
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return one JSON object per example."""
        if self.probabilities is None:
            found = [] if self.values is None else self.values.tolist()
            return [{"name": n, "value": v} for n, v in zip(self.names, found, strict=True)]
        return [
            {
                "name": name,
                "class": label,
                "probability": max(odds),
                "probabilities": dict(zip(self.classes, odds, strict=True)),
            }
            for name, label, odds in zip(
                self.names, self.labels, self.probabilities.tolist(), strict=True
            )
        ]

    def csv(self) -> str:
        """Return one line per example: its name, then class and probabilities, or values."""
        stream = io.StringIO()
        out = writer.writer(stream, lineterminator="\n")
        if self.probabilities is not None:
            out.writerow(["name", "class", "probability", *(f"p({c})" for c in self.classes)])
            for row in self.rows():
                odds = row["probabilities"].values()
                out.writerow([row["name"], row["class"], row["probability"], *odds])
            return stream.getvalue()
        assert self.values is not None
        flat = self.values.flatten(1) if self.values.dim() > 1 else self.values[:, None]
        width = flat.shape[1]
        out.writerow(["name", *(["value"] if width == 1 else [f"value_{i}" for i in range(width)])])
        for name, row in zip(self.names, flat.tolist(), strict=True):
            out.writerow([name, *row])
        return stream.getvalue()


def _numbers(value: Any) -> str:
    """Return a number, or a list of them, for people."""
    flat = [value] if isinstance(value, float) else torch.tensor(value).flatten().tolist()
    return ", ".join(f"{number:.6g}" for number in flat)
