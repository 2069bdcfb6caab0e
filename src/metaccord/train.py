"""The training loop: a generator that the caller iterates."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.hazards import say
from metaccord.inspection import inspect
from metaccord.method import Method, initialise
from metaccord.objective import Objective
from metaccord.outer import Outer, moments, restore_optimizer
from metaccord.ranks import Ranks
from metaccord.records import Record, collect
from metaccord.step import traced
from metaccord.tasks.checks import checked, drifts
from metaccord.tasks.source import TaskSource
from metaccord.tuning import fixed, settled, tune
from metaccord.types import Episode, MetaState, MetaStep, Params
from metaccord.uneven import is_uneven

log = logging.getLogger("metaccord")
Compute = Callable[[Params, Params, Episode], MetaStep]


def train(
    method: Method,
    objective: Objective,
    tasks: TaskSource,
    *,
    steps: int,
    num_tasks: int = 25,
    outer: Outer | None = None,
    seed: int = 0,
    state: MetaState | None = None,
    slots: Params | None = None,
    ranks: Ranks | None = None,
    exact: bool = False,
) -> Iterator[Record]:
    """Meta-train, yielding a record after each meta-step; stop by ``break``.

    Nothing global is touched and no file is written; :func:`metaccord.run` does that.

    Args:
        method: What is meta-trained.
        objective: Model, criterion and plan; an ``"auto"`` plan is measured first and logged.
        tasks: Where the episodes come from.
        steps: Number of meta-steps in all, those already done in ``state`` included.
        num_tasks: Tasks of one meta-step.
        outer: Outer optimiser; None: Adam at 1e-3.
        seed: Of the initial weights, if there is no ``state``.
        state: Where to go on; it is copied, not changed.
        slots: Tensors of the outer optimiser to go on with (``Record.slots``).
        ranks: The processes that the tasks are spread over, each of which calls this with the
            same arguments; None: this one alone.
        exact: Sums in task order and fixed chunks (one task, unless the plan has a number): the
            same bits with any number of processes.

    Yields:
        A :class:`metaccord.Record`; its ``state`` is live: the next step changes its tensors.

    Raises:
        UsageError: for numbers out of range, a model or criterion of the wrong shape, a
            parameter that never receives a gradient, tasks that the processes do not divide, or
            a plan that needs one process.
        NumericalError: if a loss or gradient is not finite; nothing was updated with it.
        PeerError: if another process is lost.
    """
    if steps < 1 or num_tasks < 1:
        raise UsageError(f"steps={steps} and num_tasks={num_tasks}: both must be at least 1")
    outer = outer or Outer()
    state = initialise(method, objective, seed=seed) if state is None else copied(state)
    axis = TaskAxis(num_tasks, ranks=ranks, exact=exact)
    if state.step >= steps:
        return
    episodes = _inspected(method, objective, state, tasks, axis)
    objective = _planned(method, objective, state, episodes, axis)
    compute = _Phases(method, objective, axis)
    optimizer = outer.build(state.params.values())
    if slots is not None:
        restore_optimizer(optimizer, state.params, slots)
    first = state.step
    for step in range(first, steps):
        start = time.perf_counter()
        if step > first:
            episodes = _fetched(tasks, step, axis, objective)
        found = compute.at(step)(state.params, state.running, method.rule.arranged(episodes))
        norm = global_norm(found.grads)
        held = {**state.params, **moments(optimizer)}
        numbers = collect(found, norm, step, axis, held)  # the one synchronisation; raises
        _update(optimizer, state.params, outer.clipped(found.grads, norm), outer.rate(step, steps))
        state = state._replace(running=found.running, step=step + 1)
        yield Record(
            step=step + 1,
            seconds=time.perf_counter() - start,
            numbers=numbers,
            state=state,
            optimizer=optimizer,
            plan=objective.plan,
        )


def _inspected(
    method: Method, objective: Objective, state: MetaState, tasks: TaskSource, axis: TaskAxis
) -> Episode:
    """Return the first episodes after a look at them, and at whether they come a second time."""
    episodes = _fetched(tasks, state.step, axis, objective)
    inspect(objective, state, episodes, method)
    if drifts(tasks, state.step, axis.tasks, episodes):
        log.warning(
            "the same step of these tasks, asked for twice, gives other examples: no training "
            "with them can be repeated; TaskSource.draws gives random words"
        )
    return episodes


def _fetched(tasks: TaskSource, step: int, axis: TaskAxis, objective: Objective) -> Episode:
    """Return the episodes of this process, where the model is."""
    episodes = checked(tasks, "train", step, axis.tasks)
    if axis.exact and objective.plan.chunk not in (1, "auto") and is_uneven(episodes):
        raise UsageError(
            f"plan.chunk is {objective.plan.chunk!r}, but the tasks are uneven: which of them are "
            "of one shape depends on the process, so deterministic mode needs chunk=1"
        )
    return tree.to(episodes, objective.place())


def _planned(
    method: Method, objective: Objective, state: MetaState, episodes: Episode, axis: TaskAxis
) -> Objective:
    """Return the objective with a plan without open ends."""
    if axis.ranks is not None or axis.exact:
        return fixed(objective, axis)
    return settled(objective.planned(tune(method, objective, state, episodes)))


def _update(optimizer: torch.optim.Optimizer, params: Params, grads: Params, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    for name, tensor in params.items():
        tensor.grad = grads[name]
    optimizer.step()


def copied(state: MetaState) -> MetaState:
    """Return the state with tensors of its own."""
    return state._replace(
        params=tree.mapped(lambda t: t.detach().clone(), state.params),
        running=tree.mapped(lambda t: t.detach().clone(), state.running),
    )


def global_norm(grads: Params) -> Tensor:
    """Return the Euclidean norm of all gradients together: ``[]``."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(grads.values()))))


class _Phases:
    """The meta-step as a function of tensors, made anew when the method changes by phases."""

    def __init__(self, method: Method, objective: Objective, axis: TaskAxis) -> None:
        self.method, self.objective, self.axis = method, objective, axis
        self.phase: Method | None = None

    def at(self, step: int) -> Compute:
        """Return the function for meta-step ``step``."""
        phase = self.method.at(step)
        if phase != self.phase:
            self.phase = phase
            self.compute = _computation(phase, self.objective, self.axis)
        return self.compute


def _computation(method: Method, objective: Objective, axis: TaskAxis) -> Compute:
    def compute(params: Params, running: Params, episodes: Episode) -> MetaStep:
        return traced(method, objective, MetaState(params, running), episodes, axis)

    if not objective.plan.compile:
        return compute
    if "features" in method.needs:
        objective.opened  # noqa: B018 - a copy of the model cannot be made while it is traced
    from torch._dynamo import exc  # heavy, and needed here alone

    uncompilable = (exc.TorchDynamoException, exc.FailOnRecompileLimitHit)
    compiled = objective.plan.accelerate(compute)
    plain: list[bool] = []

    def fallback(params: Params, running: Params, episodes: Episode) -> MetaStep:
        if is_uneven(episodes):
            say("uneven tasks are not compiled: each pattern of sizes would be compiled anew")
        elif not plain:
            try:
                return compiled(params, running, episodes)
            except uncompilable as error:
                log.warning("torch.compile failed, going on without it: %s", error)
                plain.append(True)
        eager = objective.planned(replace(objective.plan, compile=False))
        return traced(method, eager, MetaState(params, running), episodes, axis)

    return fallback
