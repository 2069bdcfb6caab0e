"""How a number is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from metaccord.errors import UsageError, unknown

SPLITS = ("train", "validation", "test")
_MANY = 2**31
MOST_ORDERS = 10_000
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
        permutations: Orders of the labels under which each task is learnt; the probabilities of
            each class are averaged. 1: as drawn. Each order costs one more adaptation.

    Raises:
        UsageError: for unknown words or numbers out of range.
    """

    statistics: Statistics = "transductive"
    tasks: int = 600
    steps: int | None = None
    split: str = "test"
    seed: int = 0
    branch: Literal["model", "colearner"] = "model"
    permutations: int = 1

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
        if not 1 <= self.permutations <= MOST_ORDERS:
            raise UsageError(
                f"protocol.permutations is {self.permutations}: it must be in 1 .. {MOST_ORDERS}"
            )
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"protocol.seed is {self.seed}: it must be between 0 and 2**63 - 1")

    def __str__(self) -> str:
        steps = "trained" if self.steps is None else self.steps
        shown = f"{self.statistics}, {self.tasks} {self.split} tasks, {steps} steps"
        branch = ", answers of the co-learner" if self.branch == "colearner" else ""
        orders = f", mean over {self.permutations} label orders" if self.permutations > 1 else ""
        return f"{shown}, seed {self.seed}{branch}{orders}"
