"""What a tracker is: it takes records, it goes on where it stopped, it never disturbs."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from metaccord.records import Record

log = logging.getLogger("metaccord")


class Tracker(ABC):
    """Passes the numbers of records on, each meta-step once.

    Subclasses give :meth:`write` and :meth:`end`. An exception in them is told once; from then on
    this tracker does nothing.

    Args:
        last: The newest meta-step that it holds already; records up to it are passed over, so
            that a resumed run brings no step twice.

    Attributes:
        name: The word on the command line.
        last: The newest meta-step that was passed on.
        broken: Whether it has failed.

    Example:
        >>> class Printing(Tracker):
        ...     name = "printing"
        ...     def write(self, step, values):
        ...         print(step, sorted(values))
        ...     def end(self):
        ...         pass
        >>> tracker = Printing()
        >>> tracker.log({"step": 1, "seconds": 0.5, "agreement.weights": [0.25, 0.75]})
        1 ['agreement.weights/max', 'agreement.weights/mean', 'agreement.weights/min', 'seconds']
    """

    name: ClassVar[str]

    def __init__(self, last: int = 0) -> None:
        self.last, self.broken = last, False

    @abstractmethod
    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Store the numbers of one meta-step, by name."""

    @abstractmethod
    def end(self) -> None:
        """Bring everything to the disk and let go."""

    def log(self, record: Record | Mapping[str, Any]) -> None:
        """Take one record of a training, or one line of ``records.jsonl``."""
        found = record.json() if isinstance(record, Record) else record
        step = int(found["step"])
        if self.broken or step <= self.last:
            return
        try:
            self.write(step, scalars(found))
            self.last = step
        except Exception as error:  # whatever a foreign program raises
            self._give_up(error)

    def close(self) -> None:
        """End; calling it twice is allowed."""
        if self.broken:
            return
        try:
            self.end()
        except Exception as error:
            self._give_up(error)
        self.broken = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _give_up(self, error: Exception) -> None:
        self.broken = True
        shown = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        log.warning("%s gets no more records (%s); the training goes on", self.name, shown)


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a record by name; of a list its mean, least and largest.

    Args:
        record: A JSON tree, such as one line of ``records.jsonl``.
    """
    found: dict[str, float] = {}
    for name, value in _flat(record, ""):
        if isinstance(value, list):
            good = [float(v) for v in value if _number(v)]
            if good:
                parts = {"mean": sum(good) / len(good), "min": min(good), "max": max(good)}
                found |= {f"{name}/{part}": number for part, number in parts.items()}
        elif _number(value):
            found[name] = float(value)
    found.pop("step", None)
    return found


def _flat(tree: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if key not in ("protocol", "episodes", "calibration"):  # how, not what
                rows += _flat(value, f"{name}/")
        elif key != "at":
            rows.append((name, value))
    return rows


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
