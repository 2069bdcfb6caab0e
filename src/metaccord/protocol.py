"""How a number is measured, and the numbers with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from metaccord.errors import UsageError, unknown
from metaccord.statistics import Interval, over_tasks

SPLITS = ("train", "validation", "test")
_MANY = 2**31
Statistics = Literal["transductive", "inductive", "frozen"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a number was measured; printed with it. Different protocols are not comparable.

    Args:
        statistics: What batch normalisation sees. ``"transductive"``: all queries of a task
            together; ``"inductive"``: each query with the support set; ``"frozen"``: the
            statistics of the support set alone, as an exported model has them.
        tasks: Number of tasks.
        steps: Inner steps; None: as in training.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        seed: Of the stream of tasks; equal seeds give equal episodes to every method.
        branch: Who answers: the ``"model"``, or the ``"colearner"`` on the features of the
            adapted model, itself not adapted (CML-dagger).

    Raises:
        UsageError: for unknown words or numbers out of range.
    """

    statistics: Statistics = "transductive"
    tasks: int = 600
    steps: int | None = None
    split: str = "test"
    seed: int = 0
    branch: Literal["model", "colearner"] = "model"

    def __post_init__(self) -> None:
        if self.branch not in (choices := ("model", "colearner")):
            raise unknown("protocol branch", self.branch, choices)
        if self.statistics not in get_args(Statistics):
            raise unknown("protocol", self.statistics, get_args(Statistics))
        if self.split not in SPLITS:
            raise unknown("protocol split", self.split, SPLITS)
        if not 2 <= self.tasks < _MANY:
            raise UsageError(
                f"protocol.tasks is {self.tasks}: an interval needs at least 2, at most {_MANY - 1}"
            )
        if self.steps is not None and not 0 <= self.steps < _MANY:
            raise UsageError(f"protocol.steps is {self.steps}: it must be in 0 .. {_MANY - 1}")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"protocol.seed is {self.seed}: it must be between 0 and 2**63 - 1")

    def __str__(self) -> str:
        steps = "trained" if self.steps is None else self.steps
        shown = f"{self.statistics}, {self.tasks} {self.split} tasks, {steps} steps"
        branch = ", answers of the co-learner" if self.branch == "colearner" else ""
        return f"{shown}, seed {self.seed}{branch}"


@dataclass(frozen=True)
class Scores:
    """Per-task results after several numbers of inner steps.

    Attributes:
        protocol: How they were measured, with the number of steps filled in.
        at: Numbers of inner steps, ascending; the last is the result.
        losses: Query loss ``[tasks, len(at)]``.
        accuracies: Query accuracy in [0, 1], the same shape; None for regression.
    """

    protocol: Protocol
    at: tuple[int, ...]
    losses: Tensor
    accuracies: Tensor | None

    @property
    def loss(self) -> Interval:
        """Mean query loss after the last step, over tasks."""
        return over_tasks(self.losses[:, -1].tolist())

    @property
    def accuracy(self) -> Interval | None:
        """Mean accuracy after the last step, over tasks."""
        return None if self.accuracies is None else over_tasks(self.accuracies[:, -1].tolist())

    def __str__(self) -> str:
        shown = f"loss {self.loss}"
        if self.accuracy is not None:
            mean, half = (100 * x for x in self.accuracy)
            shown = f"accuracy {mean:.2f} ± {half:.2f} %, {shown}"
        return f"{shown} ({self.protocol})"

    def json(self) -> dict[str, Any]:
        """Return protocol and intervals as one JSON object, and the curve over inner steps."""
        found: dict[str, Any] = {
            "protocol": vars(self.protocol),
            "loss": self.loss._asdict(),
            "at": list(self.at),
            "losses": self.losses.mean(0).tolist(),
        }
        if self.accuracies is not None and self.accuracy is not None:
            found |= {
                "accuracy": self.accuracy._asdict(),
                "accuracies": self.accuracies.mean(0).tolist(),
            }
        return found
