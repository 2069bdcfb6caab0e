"""Measuring a meta-trained state on isolated, unseen tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.interactions.colearner import CoLearner, second_branch
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.protocol import Protocol, Scores, Statistics
from metaccord.tasks.checks import checked
from metaccord.tasks.source import TaskSource
from metaccord.tuning import settled
from metaccord.types import Adaptation, Batch, Episode, MetaState, Params, Stacked
from metaccord.uneven import cut
from metaccord.unroll import met, unroll

BATCH = 50  # tasks adapted side by side


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
    reader, second = objective, Params()
    if protocol.branch == "colearner":
        reader, second = _second_branch(objective, state)
    measured = [
        _measure(
            reader,
            run,
            _points(method, state, run, second, at),
            protocol.statistics,
            tasks.classifies,
        )
        for run in adapted_runs(method, objective, state, stream, protocol)
    ]
    losses, correct = (torch.cat(column).cpu() for column in zip(*measured, strict=True))
    return Scores(protocol, at, losses, correct if tasks.classifies else None)


def adapted_runs(
    method: Method, objective: Objective, state: MetaState, tasks: TaskSource, protocol: Protocol
) -> Iterator[Adaptation]:
    """Yield the isolated runs of a protocol's tasks, a batch of tasks at a time."""
    for start in range(0, protocol.tasks, BATCH):
        chosen = range(start, min(start + BATCH, protocol.tasks))
        episodes = tree.to(checked(tasks, protocol.split, 0, chosen), objective.place())
        yield isolated(method, objective, state, episodes)


def _second_branch(objective: Objective, state: MetaState) -> tuple[Objective, Params]:
    """Return an objective that answers by the co-learner, and the co-learner's weights."""
    weights = tree.scope(state.params, f"interaction.{CoLearner.name}")
    if not weights:
        raise UsageError(
            "there is no co-learner: it was not trained (--with cooperative), or it was left out "
            "when the model was saved for use; evaluate the run itself"
        )
    return second_branch(objective), tree.under(weights, CoLearner.name)


def _points(
    method: Method, state: MetaState, run: Adaptation, second: Params, at: tuple[int, ...]
) -> list[Stacked]:
    """Return all tensors after each number of steps, the last of which is the solution.

    ``second`` holds the weights of a second branch, the same for each task.
    """
    count = tree.tasks_in(run.episodes)
    stack, more = tree.expand(state.params, count), tree.expand(second, count)
    before = [met(method, stack, run, step) for step in at[:-1]]
    return [{**point, **more} for point in (*before, run.solution)]


def _measure(
    objective: Objective,
    run: Adaptation,
    points: list[Stacked],
    statistics: Statistics,
    classifies: bool,
) -> tuple[Tensor, Tensor]:
    """Return query losses and accuracies ``[T, points]`` of one batch of tasks."""

    def one(params: Params, support: Batch, query: Batch) -> tuple[Tensor, Tensor]:
        outputs = cut(predict(objective, statistics, params, support, query.inputs), query.ways)
        loss = objective.criterion(outputs, query.targets)
        right = (outputs.argmax(-1) == query.targets).float().mean() if classifies else loss
        return loss, right

    found = []
    with torch.no_grad():
        for params in points:
            over = objective.over_tasks(one)
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
