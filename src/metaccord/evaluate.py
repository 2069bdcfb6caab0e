"""Measuring a meta-trained state on isolated, unseen tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError, unknown
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.statistics import Interval, over_tasks
from metaccord.tasks.source import TaskSource
from metaccord.tuning import settled
from metaccord.types import Adaptation, Batch, Episode, MetaState, Params
from metaccord.unroll import unroll

Statistics = Literal["transductive", "inductive", "frozen"]
BATCH = 50  # tasks adapted side by side


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a number was measured; printed with it. Different protocols are not comparable.

    Args:
        statistics: What batch normalisation sees. ``"transductive"``: all queries of a task
            together; ``"inductive"``: each query with the support set; ``"frozen"``: the
            statistics of the support set alone, as an exported model has them.
        tasks: Number of tasks.
        steps: Inner steps; None: as in training.
        split: ``"validation"`` or ``"test"``.
        seed: Of the stream of tasks; equal seeds give equal episodes to every method.

    Raises:
        UsageError: for unknown words or numbers out of range.
    """

    statistics: Statistics = "transductive"
    tasks: int = 600
    steps: int | None = None
    split: str = "test"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.statistics not in get_args(Statistics):
            raise unknown("protocol", self.statistics, get_args(Statistics))
        if self.tasks < 2:
            raise UsageError(f"protocol.tasks is {self.tasks}: an interval needs at least 2")
        if self.steps is not None and self.steps < 0:
            raise UsageError(f"protocol.steps is {self.steps}: it must be 0 or more")

    def __str__(self) -> str:
        steps = "trained" if self.steps is None else self.steps
        return (
            f"{self.statistics}, {self.tasks} {self.split} tasks, {steps} steps, seed {self.seed}"
        )


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


def isolated(
    method: Method, objective: Objective, state: MetaState, episodes: Episode
) -> Adaptation:
    """Adapt each task alone, keeping the whole path and no graph.

    No hook lets these tasks see one another, dropout is the identity, and nothing is updated.
    """
    axis = TaskAxis(tree.tasks_in(episodes), isolated=True)
    extra = {k: v for k, v in episodes.extra.items() if k != "dropout"}
    with torch.no_grad():
        stack = tree.expand(state.params, axis.count)
    run = unroll(
        method,
        objective,
        stack,
        state.running,
        method.rule.arranged(episodes._replace(extra=extra)),
        axis,
        create_graph=False,
        keep=frozenset({"path"}),
    )
    return tree.detached(run)._replace(episodes=episodes)


def evaluate(
    method: Method,
    objective: Objective,
    state: MetaState,
    tasks: TaskSource,
    protocol: Protocol | None = None,
    *,
    at: tuple[int, ...] | None = None,
) -> Scores:
    """Adapt isolated tasks and measure them on their query sets.

    Args:
        method: As meta-trained; ``protocol.steps`` may change the number of inner steps.
        objective: Model and criterion. An ``"auto"`` plan follows a fixed rule, nothing is timed.
        state: Learned and running tensors; not changed.
        tasks: Where episodes come from; its seed is replaced by the protocol's.
        protocol: How to measure.
        at: Numbers of inner steps to report; None: before the first and after the last.

    Returns:
        Scores with a 95 % interval over tasks.
    """
    protocol = protocol or Protocol()
    steps = method.rule.steps if protocol.steps is None else protocol.steps
    protocol, method = replace(protocol, steps=steps), method.with_steps(steps)
    at = tuple(sorted({0, steps} if at is None else {*at, steps}))
    if at[0] < 0 or at[-1] > steps:
        raise UsageError(f"at={at}: numbers of inner steps must lie in 0..{steps}")
    objective = settled(objective.planned(replace(objective.plan, compile=False, checkpoint=False)))
    stream = replace(tasks, seed=protocol.seed)
    measured = [
        _measure(objective, run, protocol.statistics, at, tasks.classifies)
        for run in _runs(method, objective, state, stream, protocol)
    ]
    losses, correct = (torch.cat(column).cpu() for column in zip(*measured, strict=True))
    return Scores(protocol, at, losses, correct if tasks.classifies else None)


def _runs(
    method: Method, objective: Objective, state: MetaState, tasks: TaskSource, protocol: Protocol
) -> Iterator[Adaptation]:
    for start in range(0, protocol.tasks, BATCH):
        chosen = range(start, min(start + BATCH, protocol.tasks))
        episodes = tree.to(tasks.episodes(protocol.split, 0, chosen), objective.place())
        yield isolated(method, objective, state, episodes)


def _measure(
    objective: Objective,
    run: Adaptation,
    statistics: Statistics,
    at: tuple[int, ...],
    classifies: bool,
) -> tuple[Tensor, Tensor]:
    """Return query losses and accuracies ``[T, len(at)]`` of one batch of tasks."""

    def one(params: Params, support: Batch, query: Batch) -> tuple[Tensor, Tensor]:
        outputs = predict(objective, statistics, params, support, query.inputs)
        loss = objective.criterion(outputs, query.targets)
        right = (outputs.argmax(-1) == query.targets).float().mean() if classifies else loss
        return loss, right

    found = []
    with torch.no_grad():
        for step in at:
            params = {**run.solution, **(run.path[step] if step < at[-1] else {})}
            over = objective.plan.over_tasks(one)
            found.append(over(params, run.episodes.support, run.episodes.query))
    losses, right = zip(*found, strict=True)
    return torch.stack(losses, 1), torch.stack(right, 1)


def predict(
    objective: Objective, statistics: Statistics, params: Params, support: Batch, inputs: Any
) -> Any:
    """Return one task's outputs for some inputs under a protocol.

    Args:
        objective: The model.
        statistics: What batch normalisation sees.
        params: Adapted parameters of the task.
        support: Its support set ``[n, ...]``.
        inputs: Tree of ``[m, ...]``.
    """
    if statistics == "transductive" or not objective.batch_dependent():
        return objective.predict(params, inputs)
    if statistics == "frozen":
        return objective.predict_frozen(params, support.inputs, inputs)
    outputs = []
    for single in tree.split(inputs, 1):
        both = tree.join([support.inputs, single], torch.cat)
        outputs.append(tree.mapped(lambda leaf: leaf[-1:], objective.predict(params, both)))
    return tree.join(outputs, torch.cat)
