"""Results of groups of runs: curves with intervals, and differences in pairs.

Legend: R runs of a group, T tasks, K numbers of inner steps.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from metaccord.report.stories import Group
from metaccord.statistics import Interval, over_seeds, over_tasks

BINS = 150
Curve = tuple[np.ndarray, np.ndarray]  # meta-steps and values


class Result(NamedTuple):
    """A group under one protocol.

    Attributes:
        share: Accuracy in [0, 1] rather than a loss.
        at: Numbers of inner steps ``[K]``.
        values: Per run a table ``[T, K]``.
        protocol: Of the first run.
        digest: Hash of the episodes.
    """

    share: bool
    at: list[int]
    values: list[np.ndarray]
    protocol: dict[str, Any]
    digest: str = ""

    def interval(self, place: int = -1) -> Interval:
        """Return the mean after a number of steps: over seeds, or over the tasks of one run."""
        return over([table[:, place] for table in self.values])

    def band(self) -> tuple[list[float], list[float], list[float]]:
        """Return means, lower and upper ends over the numbers of steps."""
        found = [self.interval(k) for k in range(len(self.at))]
        return [i.mean for i in found], [i.low for i in found], [i.high for i in found]


def over(columns: list[np.ndarray]) -> Interval:
    """Return mean and interval: Student's t over the means of several runs, else over tasks."""
    with np.errstate(over="ignore", invalid="ignore"):
        if len(columns) == 1:
            return over_tasks(columns[0].tolist())
        return over_seeds([float(c.mean()) for c in columns])


def result(group: Group, part: str = "scores") -> Result | None:
    """Return what was measured of a group; None if a run lacks it, or protocols differ."""
    found = group.part(part)
    digests = {str((one.get("episodes") or {}).get("digest", "")) for one in found}
    if not found or len(digests) > 1 or len({str(one["protocol"]) for one in found}) > 1:
        return None
    share = all("accuracies" in one["tasks"] for one in found)
    kind = "accuracies" if share else "losses"
    tables = [np.array(one["tasks"][kind], dtype=float) for one in found]
    return Result(share, list(found[0]["at"]), tables, dict(found[0]["protocol"]), *digests)


def comparable(one: Result, other: Result) -> bool:
    """Say whether two results were measured in the same way; inner steps belong to the method."""
    alike = {**one.protocol, "steps": None} == {**other.protocol, "steps": None}
    return alike and one.share == other.share and one.digest == other.digest


def gap(ours: Result, base: Result) -> Interval | None:
    """Return the paired difference: over the seeds of both, or over the tasks of one run each."""
    pairs = list(zip(ours.values, base.values, strict=False))
    if len(ours.values) != len(base.values):
        return None
    return over([a[:, -1] - b[:, -1] for a, b in pairs])


def losses(records: list[dict[str, Any]]) -> Curve:
    """Return meta-steps and training losses: of the query set, or without one of the support."""
    kept = sorted(
        (r for r in records if "query_loss" in r or "support_loss" in r),
        key=lambda r: int(r["step"]),
    )
    steps = np.array([int(r["step"]) for r in kept], dtype=float)
    values = np.array([r.get("query_loss", r.get("support_loss")) for r in kept], dtype=float)
    return steps, values


def series(records: list[dict[str, Any]], name: str) -> Curve:
    """Return meta-steps and one recorded number; of several numbers their mean."""
    kept = [r for r in records if name in r]
    steps = np.array([int(r["step"]) for r in kept], dtype=float)
    values = np.array([_mean(r[name]) for r in kept], dtype=float)
    return steps, values


def _mean(value: Any) -> float:
    found = np.asarray(value, dtype=float).ravel()
    return float(found.mean()) if len(found) else float("nan")


def bins(count: int, most: int = BINS) -> list[np.ndarray]:
    """Return at most so many runs of neighbouring indices that share all."""
    return [part for part in np.array_split(np.arange(count), min(most, count)) if len(part)]


def pooled(steps: np.ndarray, values: np.ndarray, most: int = BINS) -> dict[str, list[float]]:
    """Return neighbouring steps pooled: their last step, mean, and middle 90 %."""
    found: dict[str, list[float]] = {"x": [], "y": [], "low": [], "high": []}
    for part in bins(len(steps), min(most, max(30, len(steps) // 8))):
        good = values[part][np.isfinite(values[part])]
        found["x"].append(float(steps[part[-1]]))
        found["y"].append(float(good.mean()) if len(good) else float("nan"))
        for name, mark in (("low", 0.05), ("high", 0.95)):
            found[name].append(float(np.quantile(good, mark)) if len(good) else float("nan"))
    return found


def aligned(curves: list[Curve], most: int = BINS) -> list[dict[str, list[float]]]:
    """Return several runs pooled over the meta-steps that all have, so that their points meet.

    A run without a value is left out; of runs of unequal length the common part is shown.
    """
    known = [curve for curve in curves if len(curve[0])]
    if not known:
        return []
    shared = reduce(np.intersect1d, (steps for steps, _ in known))
    kept = [(np.isin(steps, shared), steps, values) for steps, values in known]
    return [pooled(steps[here], values[here], most) for here, steps, values in kept]


def across(curves: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    """Return the mean of several runs at the steps they share, with intervals over seeds."""
    shared = sorted(set(curves[0]["x"]).intersection(*(c["x"] for c in curves[1:])))
    at = [dict(zip(c["x"], c["y"], strict=True)) for c in curves]
    found: dict[str, list[float]] = {"x": shared, "y": [], "low": [], "high": []}
    for step in shared:
        good = [known[step] for known in at if np.isfinite(known[step])]
        if len(good) > 1:
            interval = over_seeds(good)
            one = interval.mean, interval.low, interval.high
        else:
            one = good[0] if good else float("nan"), float("nan"), float("nan")
        for name, value in zip(("y", "low", "high"), one, strict=True):
            found[name].append(value)
    return found
