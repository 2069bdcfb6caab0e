"""Where episodes come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from metaccord.codings.base import Coding
from metaccord.errors import UsageError, unknown
from metaccord.tasks.stream import words
from metaccord.types import Batch, Episode

SPLITS = ("train", "validation", "test")


class Advice(NamedTuple):
    """What tasks are learnt with, unless settings say otherwise.

    Attributes:
        model: Class and options of a model, ``{"class": "MLP", ...}``.
        inner: Options of the base method, such as ``{"steps": 3, "lr": 0.1}``.
        steps: Meta-steps.
        num_tasks: Tasks of one meta-step.
    """

    model: dict[str, Any]
    inner: dict[str, Any]
    steps: int = 1000
    num_tasks: int = 16


@dataclass(frozen=True, kw_only=True)
class TaskSource(ABC):
    """A family of tasks; an episode is a pure function of (seed, split, step, task).

    Args:
        shots: Support examples (per class, for classification).
        queries: Query examples (per class, for classification).
        train_shots: Support examples in the split ``"train"``; None: as many as ``shots``.
        seed: Names the stream of episodes.

    Raises:
        UsageError: for a number of examples below 1, or a seed out of range.
    """

    shots: int = 10
    queries: int = 10
    train_shots: int | None = None
    seed: int = 0
    classifies: ClassVar[bool] = False

    @property
    def labels(self) -> int:
        """Number of true classes that ``episodes.extra["classes"]`` [T, ways] refers to, or 0."""
        return 0

    @property
    def coding(self) -> Coding | None:
        """How a user's files become tasks of this kind; None: they cannot.

        It is stored with the tasks, and needs no training data.
        """
        return None

    def names(self, split: str) -> tuple[str, ...]:
        """Return the names that ``extra["classes"]`` [T, ways] or ``extra["group"]`` [T] index.

        The same for every split, because these numbers are; () if nothing has a name.

        Raises:
            UsageError: for an unknown split.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        return ()

    def advice(self, base: str) -> Advice:
        """Return what :func:`metaccord.default` starts from for these tasks.

        Args:
            base: The base method.

        Raises:
            UsageError: for a source that gives none.
        """
        raise UsageError(
            f"{type(self).__name__} does not say what learns it: construct metaccord.Experiment, "
            f"or an Objective for metaccord.train, with a model of your own (for {base})"
        )

    def settled(self) -> Self:
        """Return the same with what the data say written down: their hash and coding.

        Raises:
            DataError: if the data cannot be used, or are others than those written down.
        """
        return self

    def __post_init__(self) -> None:
        for name in ("shots", "queries", "train_shots"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"tasks.{name} is {value}: it must be at least 1")
        for name in ("seed", "split_seed"):
            if not 0 <= (value := getattr(self, name, 0)) < 2**63:
                raise UsageError(f"tasks.{name} is {value}: it must be between 0 and 2**63 - 1")

    def support_shots(self, split: str) -> int:
        """Return the number of support examples (per class) in a split."""
        return self.train_shots if split == "train" and self.train_shots else self.shots

    @abstractmethod
    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return the episodes of some tasks of a step, their rows in the order of ``tasks``.

        Args:
            split: ``"train"``, ``"validation"`` or ``"test"``; splits share no task.
            step: Meta-step.
            tasks: Indices of tasks within the step.

        Raises:
            UsageError: for an unknown split.
        """

    def content(self, episodes: Episode) -> dict[str, Batch | dict[str, Tensor]]:
        """Return what of some episodes makes them these and no others: ``[T, ...]``.

        A row must not depend on the other tasks that were drawn with it, padding beyond
        ``sizes`` apart. Seeds of mini-batches and dropout are left out.

        Args:
            episodes: As this source gave them.
        """
        extra = {k: v for k, v in episodes.extra.items() if k not in ("order", "dropout")}
        return {"support": episodes.support, "query": episodes.query, "extra": extra}

    def draws(self, split: str, step: int, tasks: range, count: int) -> np.ndarray:
        """Return ``count`` words per task: ``[T, count]``; the first two seed ``keys``."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        return np.stack([words(self.seed, split, step, task, count) for task in tasks])

    @staticmethod
    def keys(raw: np.ndarray) -> dict[str, Tensor]:
        """Return the seeds of mini-batch order and dropout from the first two words: ``[T]``."""
        names = ("order", "dropout")
        return {n: torch.from_numpy(raw[:, i].astype(np.int64).copy()) for i, n in enumerate(names)}
