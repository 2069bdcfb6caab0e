"""What one check of the self-test found: counts and figures beside the bound they are held to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from metaccord.errors import CheckpointError, NumericalError


@dataclass(frozen=True)
class Cases:
    """How many cases there were, how many really happened, and what was wrong, a line for each."""

    count: int
    fired: int
    wrong: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """The result of one check.

    A check that found nothing to judge is no pass: ``ok`` asks for ``fired == count`` as well as
    for the figure to lie inside its bound.

    Args:
        name: Short name of the check, one or two words ("closed forms: maml").
        promise: The promise it tests, one line for people.
        count: How many cases were judged (quadratics, meta-steps, kills, flipped bits).
        fired: How many of them really happened: injected faults that fired, cases that were
            compared to the end. Less than ``count`` is a failure.
        worst: The worst figure over all cases, in the unit of ``bound`` (a relative error, or the
            number of broken promises).
        bound: The largest ``worst`` that keeps the promise.
        seconds: Wall time of the check.
        detail: What to look at when it failed (the worst case, the seed); may be empty.
        of_store: True for promises about files (exit code 4), False for numbers (exit code 5).
    """

    name: str
    promise: str
    count: int
    fired: int
    worst: float
    bound: float
    seconds: float
    detail: str = ""
    of_store: bool = False

    @classmethod
    def of_runs(cls, name: str, promise: str, cases: Cases, start: float, detail: str) -> Self:
        """Return the outcome of a promise about files: no broken case is allowed.

        Args:
            name, promise, detail: See the class; the first of what is wrong is added to the detail.
            cases: What was found.
            start: When the check began, on the clock of ``perf_counter``.
        """
        broken, seconds = len(cases.wrong), time.perf_counter() - start
        if broken:
            detail += f"; first of {broken} broken: {cases.wrong[0]}"
        return cls(name, promise, cases.count, cases.fired, broken, 0, seconds, detail, True)

    @property
    def ok(self) -> bool:
        """Whether the promise was kept: every case fired and none left its bound (NaN does)."""
        return self.count > 0 and self.fired == self.count and self.worst <= self.bound

    @property
    def exit_code(self) -> int:
        """0 when kept; else the code of the exception the promise belongs to."""
        if self.ok:
            return 0
        return CheckpointError.exit_code if self.of_store else NumericalError.exit_code
