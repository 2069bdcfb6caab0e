"""Measuring a meta-trained state on isolated, unseen tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.episode_set import Hashed
from metaccord.errors import UsageError
from metaccord.interactions.colearner import CoLearner, second_branch
from metaccord.measure import Measure
from metaccord.measure import predict as predict
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.permutations import orders, relabelled, ways_of
from metaccord.protocol import Protocol
from metaccord.scores import Scores
from metaccord.tasks.checks import checked
from metaccord.tasks.source import TaskSource
from metaccord.tuning import settled
from metaccord.types import Adaptation, Episode, MetaState, Params, Stacked
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
        Scores with a 95 % interval over tasks, the hash of the episodes, and calibration (or, for
        regression, errors in the user's units).

    Raises:
        UsageError: for steps out of range, labels to permute where there are none, or a missing
            co-learner.
        DataError: for episodes of a wrong form.
    """
    protocol = protocol or Protocol()
    steps = method.rule.steps if protocol.steps is None else protocol.steps
    protocol, method = replace(protocol, steps=steps), method.with_steps(steps)
    at = tuple(sorted({0, steps} if at is None else {*at, steps}))
    if at[0] < 0 or at[-1] > steps:
        raise UsageError(f"at={at}: numbers of inner steps must lie in 0..{steps}")
    if protocol.permutations > 1 and not tasks.classifies:
        raise UsageError(
            f"protocol.permutations is {protocol.permutations}, but {type(tasks).__name__} has no "
            "labels to permute: leave it at 1"
        )
    objective = settled(objective.planned(replace(objective.plan, compile=False, checkpoint=False)))
    reader, second = objective, Params()
    if protocol.branch == "colearner":
        reader, second = _second_branch(objective, state)
    measure = Measure(reader, tasks, protocol, at)
    for chosen, drawn in _drawn(tasks, protocol, measure.hashed):
        episodes, called = tree.to(drawn, objective.place()), None
        if protocol.permutations > 1:
            called = orders(protocol, chosen, ways_of(drawn)).to(objective.place())
        many = episodes if called is None else relabelled(episodes, called)
        run = isolated(method, objective, state, many)
        measure.add(episodes, _points(method, state, run, second, at), called)
    return measure.scores()


def adapted_runs(
    method: Method, objective: Objective, state: MetaState, tasks: TaskSource, protocol: Protocol
) -> Iterator[Adaptation]:
    """Yield the isolated runs of a protocol's tasks, a batch of tasks at a time."""
    for _, episodes in _drawn(tasks, protocol):
        yield isolated(method, objective, state, tree.to(episodes, objective.place()))


def _drawn(
    tasks: TaskSource, protocol: Protocol, hashed: Hashed | None = None
) -> Iterator[tuple[range, Episode]]:
    """Yield the episodes of a protocol's tasks a batch at a time, and hash them on the way."""
    stream, size = replace(tasks, seed=protocol.seed), max(1, BATCH // protocol.permutations)
    for start in range(0, protocol.tasks, size):
        chosen = range(start, min(start + size, protocol.tasks))
        episodes = checked(stream, protocol.split, 0, chosen)
        if hashed is not None:
            hashed.add(chosen, episodes)
        yield chosen, episodes


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
