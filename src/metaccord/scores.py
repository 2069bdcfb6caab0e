"""The numbers that an evaluation gives, each with its interval and its protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from metaccord import scores_file
from metaccord.calibration import Calibration
from metaccord.episode_set import EpisodeSet
from metaccord.protocol import Protocol
from metaccord.statistics import Interval, over_tasks

ERRORS = ("rmse", "mae", "r2")


class Row(NamedTuple):
    """What was measured after some inner steps.

    Attributes:
        steps: Number of inner steps.
        loss: Mean query loss over tasks.
        accuracy: Mean query accuracy in [0, 1]; None for regression.
        ece: Expected calibration error in [0, 1]; None where there are no probabilities.
    """

    steps: int
    loss: Interval
    accuracy: Interval | None
    ece: float | None


@dataclass(frozen=True)
class Scores:
    """Per-task results after several numbers of inner steps.

    Attributes:
        protocol: How they were measured, with the number of steps filled in.
        at: Numbers of inner steps, ascending; the last is the result.
        losses: Query loss ``[tasks, len(at)]``.
        accuracies: Query accuracy in [0, 1], the same shape; None for regression.
        episodes: What they were measured on; None: unknown, so that they are paired with nothing.
        errors: RMSE, MAE and R2 of each task in the user's units, ``[tasks, len(at), 3]``; R2 is
            NaN where all targets of a task are equal. None unless a regression has tensors of
            one shape for outputs and targets.
        calibrations: Of the answers to all queries of all tasks, after each number of steps; ()
            unless a classifier gives logits ``[n, C]``.
        summary: Of a file that kept no tasks, what it kept; then ``losses`` is empty.

    A regression gives no variance, so that nothing is said about the coverage of its answers.
    """

    protocol: Protocol
    at: tuple[int, ...]
    losses: Tensor
    accuracies: Tensor | None
    episodes: EpisodeSet | None = None
    errors: Tensor | None = None
    calibrations: tuple[Calibration, ...] = ()
    summary: dict[str, Any] | None = None

    @property
    def loss(self) -> Interval:
        """Mean query loss after the last step, over tasks."""
        if self.summary is not None:
            return Interval(**self.summary["loss"])
        return over_tasks(self.losses[:, -1].tolist())

    @property
    def accuracy(self) -> Interval | None:
        """Mean accuracy after the last step, over tasks."""
        if self.accuracies is None:
            return None
        if self.summary is not None:
            return Interval(**self.summary["accuracy"])
        return over_tasks(self.accuracies[:, -1].tolist())

    @property
    def calibration(self) -> Calibration | None:
        """Calibration after the last step; it holds the reliability curve."""
        return self.calibrations[-1] if self.calibrations else None

    @property
    def regression(self) -> dict[str, Interval]:
        """RMSE, MAE and R2 after the last step, over tasks; {} for classification.

        R2 is over the tasks whose targets are not all equal.
        """
        if self.errors is None:
            return {}
        found = {}
        for name, column in zip(ERRORS, self.errors[:, -1].double().T, strict=True):
            values = column[~column.isnan()] if name == "r2" else column
            found[name] = over_tasks(values.tolist()) if len(values) > 1 else _NOTHING
        return found

    @property
    def rows(self) -> tuple[Row, ...]:
        """The numbers after each of ``at`` inner steps, with intervals over tasks."""
        kept = self.summary
        rows = []
        for i, steps in enumerate(self.at):
            if kept is not None:
                pair = [
                    Interval(kept[k][i], math.nan) if kept.get(k) else None
                    for k in ("losses", "accuracies")
                ]
            else:
                pair = [
                    None if table is None else over_tasks(table[:, i].tolist())
                    for table in (self.losses, self.accuracies)
                ]
            ece = self.calibrations[i].ece if self.calibrations else None
            rows.append(Row(steps, pair[0] or _NOTHING, pair[1], ece))
        return tuple(rows)

    @property
    def how(self) -> str:
        """The protocol and the episodes, in words; printed with every number."""
        return f"{self.protocol}; {self.episodes or 'episodes unknown'}"

    def __str__(self) -> str:
        return f"{self.headline} ({self.how})"

    @property
    def headline(self) -> str:
        """The result with its interval, in words and without the protocol."""
        shown = f"loss {self.loss}"
        if self.accuracy is None:
            return shown
        mean, half = (100 * x for x in self.accuracy)
        return f"accuracy {mean:.2f} ± {half:.2f} %, {shown}"

    def json(self) -> dict[str, Any]:
        """Return protocol, episodes and intervals as one JSON object, without single tasks."""
        rows = self.rows
        found: dict[str, Any] = {
            "protocol": vars(self.protocol),
            "episodes": None if self.episodes is None else self.episodes.json(),
            "loss": self.loss._asdict(),
            "at": list(self.at),
            "losses": [row.loss.mean for row in rows],
            "losses_half": [row.loss.half for row in rows],
        }
        if self.accuracy is not None:
            shares = [row.accuracy or _NOTHING for row in rows]
            found |= {
                "accuracy": self.accuracy._asdict(),
                "accuracies": [share.mean for share in shares],
                "accuracies_half": [share.half for share in shares],
            }
        if self.calibration is not None:
            found["calibration"] = self.calibration.json()
            found["ece_by_step"] = [row.ece for row in rows]
        if regression := self.regression:
            found["regression"] = {name: one._asdict() for name, one in regression.items()}
        return found

    def write(self, path: str | Path, **more: Any) -> None:
        """Keep everything, the single tasks included, in one JSON file; see :meth:`read`.

        Args:
            path: The file; it is replaced in one piece.
            more: Other entries, such as the step of the state that was measured.
        """
        tables = {name: getattr(self, name) for name in ("losses", "accuracies", "errors")}
        curves = [one.json() for one in self.calibrations]
        scores_file.write(Path(path), {**more, **self.json()}, tables, curves)

    @classmethod
    def read(cls, path: str | Path) -> Scores:
        """Return the scores of a file that ``metaccord evaluate`` or :meth:`write` left.

        A file without single tasks (as older versions wrote) gives the intervals that it holds.

        Raises:
            DataError: if it is no such file, or if it is damaged.
        """
        found = scores_file.read(Path(path))
        return cls(
            found.protocol,
            found.at,
            found.tables["losses"],
            found.tables.get("accuracies"),
            found.episodes,
            found.tables.get("errors"),
            found.calibrations,
            found.summary,
        )


_NOTHING = Interval(math.nan, math.nan)
