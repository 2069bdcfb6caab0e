"""Two methods side by side: paired where they met the same episodes, refused where they did not.

Legend: S seeds (independently trained runs), T tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaccord.comparable import WHOLE, differences, refuse, same_episodes
from metaccord.errors import UsageError
from metaccord.scores import Scores
from metaccord.statistics import (
    Interval,
    apart,
    over_seeds,
    over_seeds_and_tasks,
    over_tasks,
    p_of_tasks,
    p_value,
)

MARK = "[different protocols]"


@dataclass(frozen=True)
class Comparison:
    """The difference between two methods, with its interval and all that it depends on.

    Accuracies are in [0, 1]; :attr:`points` and the text are in percentage points.

    Attributes:
        names: What is compared with what.
        quantity: ``"accuracy"``, or ``"loss"`` for regression.
        ours, base: Mean of each, over seeds (Student's t) if there are several, else over tasks.
        difference: The first minus the second, likewise; pairs are formed seed by seed and task
            by task.
        p: Two-sided p value of the difference; NaN where nothing is paired.
        paired: Whether both met the same episodes.
        seeds, tasks: How many.
        within: The paired difference over tasks within each seed.
        anew: The difference for new seeds *and* new tasks; None for one seed or unpaired numbers.
            ``difference`` over seeds takes the test tasks at hand for granted.
        protocols: How both were measured, in words; equal if ``differs`` is empty.
        differs: In what the protocols differ.
    """

    names: tuple[str, str]
    quantity: str
    ours: Interval
    base: Interval
    difference: Interval
    p: float
    paired: bool
    seeds: int
    tasks: int
    within: tuple[Interval, ...]
    anew: Interval | None
    protocols: tuple[str, str]
    differs: tuple[str, ...] = ()

    @property
    def points(self) -> Interval | None:
        """The difference in percentage points; None for losses."""
        return _percent(self.difference) if self.quantity == "accuracy" else None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.difference.mean) > self.difference.half

    @property
    def over(self) -> str:
        """What the intervals are over: ``"seeds"`` or ``"tasks"``."""
        return "seeds" if self.seeds > 1 else "tasks"

    def __str__(self) -> str:
        """Return a small table; each line says so if the protocols differ."""
        share = self.quantity == "accuracy"
        unit, change = ("accuracy, %", " points") if share else ("loss", "")
        number = f"{self.seeds} seeds of {self.tasks} tasks"
        number = number if self.seeds > 1 else f"{self.tasks} tasks of one seed"
        how = "paired" if self.paired else "not paired"
        p = f", p = {self.p:.2g}" if self.paired else ""
        rows = [
            (unit, f"95 % interval over {self.over}"),
            (self.names[0], _shown(self.ours, share)),
            (self.names[1], _shown(self.base, share)),
            (
                "difference",
                f"{_shown(self.difference, share, sign=True)}{change}, {how}, {number}{p}"
                f"{' *' if self.clear else ''}",
            ),
        ]
        if self.anew is not None:
            shown = _shown(self.anew, share, sign=True)
            rows.append(("", f"{shown}{change} for new seeds and new tasks"))
        rows.append(("protocol", self.protocols[0]))
        if self.differs:
            rows += [("against", self.protocols[1]), ("differs in", "; ".join(self.differs))]
        width = max(len(head) for head, _ in rows)
        tail = f" {MARK}" if self.differs else ""
        return "\n".join(f"{head:<{width}}  {text}{tail}" for head, text in rows)

    def json(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        intervals = {
            key: None if value is None else value._asdict()
            for key in ("ours", "base", "difference", "anew", "points")
            for value in [getattr(self, key)]
        }
        within = [one._asdict() for one in self.within]
        return {**vars(self), **intervals, "within": within, "over": self.over, "clear": self.clear}


def compare(
    ours: Scores | Sequence[Scores],
    base: Scores | Sequence[Scores],
    *,
    names: tuple[str, str] = ("first", "second"),
    different_protocols: bool = False,
) -> Comparison:
    """Compare two methods that were measured under one protocol on the same episodes.

    The number of inner steps belongs to the method and may differ.

    Args:
        ours: Scores of one run, or of one run per seed.
        base: As many of the other method; the i-th of both form a pair.
        names: Of both, for the text.
        different_protocols: Compare numbers of different protocols all the same; the result then
            says so on every line. Numbers on different episodes are not paired.

    Returns:
        The difference, first minus second.

    Raises:
        UsageError: for different protocols, tasks of another kind, episodes of another content or
            unknown ones (unless asked for), for numbers of seeds that differ, and for scores that
            are never comparable.
    """
    first, second = _several(ours), _several(base)
    if len(first) != len(second):
        raise UsageError(
            f"{names[0]} has {len(first)} seeds and {names[1]} {len(second)}: pairs need as many "
            "of both"
        )
    for name, runs in zip(names, (first, second), strict=True):
        refuse(name, runs, accuracy=first[0].accuracies is not None)
    differs = differences(first[0], second[0])
    if differs and not different_protocols:
        raise UsageError(
            f"{WHOLE} ({'; '.join(differs)}): evaluate both in the same way, or ask for it with "
            "different_protocols=True, on the command line --across-protocols"
        )
    means, same = (over(first), over(second)), same_episodes(first[0], second[0])
    if same:
        tables = [np.stack([values(one) for one in runs]) for runs in (first, second)]
        found = _paired(tables[0] - tables[1])
    else:
        found = {"difference": apart(*means), "p": math.nan, "within": (), "anew": None}
    return Comparison(
        names=names,
        quantity="loss" if first[0].accuracies is None else "accuracy",
        ours=means[0],
        base=means[1],
        paired=same,
        seeds=len(first),
        tasks=first[0].protocol.tasks,
        protocols=(first[0].how, second[0].how),
        differs=tuple(differs),
        **found,
    )


def over(scores: Sequence[Scores]) -> Interval:
    """Return the accuracy, or loss, with its interval: over seeds if there are several."""
    if len(scores) == 1:
        return over_tasks(values(scores[0]))
    return over_seeds([float(values(one).mean()) for one in scores])


def values(scores: Scores) -> np.ndarray:
    """Return accuracies, or losses of a regression, of all tasks after the last step: ``[T]``."""
    found = scores.losses if scores.accuracies is None else scores.accuracies
    return np.asarray(found[:, -1].double().numpy())


def _paired(gaps: np.ndarray) -> Mapping[str, Any]:
    """Return what is said of paired differences ``[S, T]``."""
    within = tuple(map(over_tasks, gaps))
    if len(gaps) == 1:
        return {"difference": within[0], "p": p_of_tasks(gaps[0]), "within": within, "anew": None}
    with np.errstate(over="ignore", invalid="ignore"):
        means = gaps.mean(1)
    return {
        "difference": over_seeds(means),
        "p": p_value(means),
        "within": within,
        "anew": over_seeds_and_tasks(gaps),
    }


def _several(scores: Scores | Sequence[Scores]) -> list[Scores]:
    found = [scores] if isinstance(scores, Scores) else [*scores]
    if not found:
        raise UsageError("there are no scores to compare: give at least one for each method")
    return found


def _percent(interval: Interval) -> Interval:
    return Interval(100 * interval.mean, 100 * interval.half)


def _shown(interval: Interval, share: bool, *, sign: bool = False) -> str:
    mean, half = _percent(interval) if share else interval
    plus = "+" if sign else ""
    return f"{mean:{plus}.2f} ± {half:.2f}" if share else f"{mean:{plus}.4g} ± {half:.2g}"
