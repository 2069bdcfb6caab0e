"""A watch over a training that says when Gradient Agreement begins to collapse."""

from __future__ import annotations

import math

from metaccord.records import Record

LIMIT = 2.0
"""Stretch per root of the number of tasks above which agreement collapses: below 1.7 in the healthy
runs of results/sine, above it in the collapsed ones."""
_RATE, _PATIENCE = 1 / 300, 500


class Watch:
    """Follow ``agreement.stretch`` and speak once when it stays too large.

    The mean of N displacements without common direction is root N times shorter than one of them,
    so the stretch is divided by root N.

    The weights of Gradient Agreement have absolute sum 1 however little the tasks agree, so the
    length of a meta-step does not shrink when the mean displacement does. Once all tasks merely
    pull one direction to and fro (a dead ReLU network that moves its last bias alone), every step
    is as long as a single task's, and the initialisation follows the loudest task for ever.

    Example:
        >>> watch = Watch()
        >>> watch.message is None
        True
    """

    def __init__(self) -> None:
        self.level: float | None = None
        self.seen = 0
        self.message: str | None = None

    def __call__(self, record: Record) -> bool:
        """Take note of a record; return True at the one step where the collapse begins."""
        stretch = record.numbers.get("agreement.stretch")
        if not isinstance(stretch, float) or self.message is not None:
            return False
        weights = record.numbers["agreement.weights"]
        assert isinstance(weights, list)
        log = math.log(max(stretch, 1e-9) / math.sqrt(len(weights)))
        self.seen += 1
        self.level = log if self.level is None else self.level + _RATE * (log - self.level)
        if self.seen < _PATIENCE or self.level < math.log(LIMIT):
            return False
        self.message = (
            f"Gradient Agreement may be collapsing from step {record.step}: its steps have been "
            f"{math.exp(self.level) * math.sqrt(len(weights)):.1f} times as long as the mean "
            "displacement; lower outer.lr, "
            "use a smooth activation, or train without agreement"
        )
        return True
