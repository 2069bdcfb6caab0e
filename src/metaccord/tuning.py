"""Choosing a plan: by a fixed rule, or by measuring candidates."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import nn

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.engine import Plan
from metaccord.errors import ResourceError, UsageError
from metaccord.memory import peak_bytes
from metaccord.types import Episode, MetaState
from metaccord.uneven import is_uneven

if TYPE_CHECKING:
    from metaccord.method import Method
    from metaccord.objective import Objective

log = logging.getLogger("metaccord")


def settled(objective: Objective) -> Objective:
    """Return the objective with ``chunk="auto"`` replaced by a fixed rule.

    Convolutions on a CPU run task by task (grouped convolutions are slow there); everything
    else runs under one ``vmap``. Nothing is timed, so the choice is always the same. What cannot
    run under ``vmap`` runs task by task whatever the plan says.
    """
    if objective.loops and not objective.plan.compile:
        return objective.planned(replace(objective.plan, chunk=1, memory=None))
    if objective.plan.chunk != "auto":
        return objective
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in objective.model.modules())
    chunk: int | Literal["all"] = 1 if convolves and objective.place().type == "cpu" else "all"
    return objective.planned(replace(objective.plan, chunk=chunk, memory=None))


def fixed(objective: Objective, axis: TaskAxis) -> Objective:
    """Return the objective with a plan that follows a rule, for several processes or equal bits.

    Raises:
        UsageError: if the plan is compiled or has a memory budget, or if in exact mode its chunk
            does not divide the tasks of a process.
    """
    plan, where = objective.plan, "several processes" if axis.ranks else "deterministic mode"
    if plan.compile:
        raise UsageError(f"plan.compile cannot go with {where}: leave it out")
    if plan.memory is not None:
        raise UsageError(f"plan.memory is measured, so not with {where}: set plan.chunk instead")
    if not axis.exact:
        return settled(objective)
    chunk = 1 if plan.chunk == "auto" else plan.chunk
    if chunk == "all" or axis.local % chunk:
        raise UsageError(
            f"plan.chunk is {chunk!r}: in deterministic mode it must divide the {axis.local} tasks "
            "of a process; use 1, or leave it out"
        )
    return objective.planned(replace(plan, chunk=chunk))


def tune(method: Method, objective: Objective, state: MetaState, episodes: Episode) -> Plan:
    """Measure candidate plans on real episodes and return the fastest one that fits.

    Timing is not reproducible, so the result is recorded with a run and reused on resume.

    Args:
        method, objective, state: As for :func:`metaccord.meta_gradient`.
        episodes: The tasks of one meta-step.

    Returns:
        A plan with a number (or ``"all"``) as chunk, within ``plan.memory`` if that is given.

    Raises:
        ResourceError: if no candidate keeps to the memory budget.
    """
    plan, count = objective.plan, tree.tasks_in(episodes)
    if not plan.compile and plan.chunk != 1 and count > 1:
        probe(objective, state, episodes)
        plan = replace(plan, chunk=1) if objective.loops else plan
    if plan.chunk != "auto" and plan.memory is None:
        return plan
    plain, budget = replace(plan, memory=None), plan.budget()
    if plan.compile:
        return replace(plain, chunk="all")
    sizes = [2**i for i in range(count.bit_length()) if 2**i < count] + [count]
    plans = [replace(plain, chunk=size) for size in sizes]
    if plan.chunk != "auto":
        plans = [replace(plain, chunk=plan.size(count))]

    def measured(candidate: Plan) -> Measured:
        return measure(method, objective.planned(candidate), state, episodes, budget is not None)

    found = [measured(candidate) for candidate in plans]
    if budget is not None and min(m.peak for m in found) > budget:
        plans = [replace(plans[0], checkpoint=True)]
        found = [measured(plans[0])]
        if found[0].peak > budget:
            raise ResourceError(
                f"plan.memory is {plan.memory}, but {plans[0].chunk} tasks with checkpointed inner "
                f"steps need {found[0].peak / 2**20:.1f} MiB: allow more, or fewer examples"
            )
    fits = [i for i, m in enumerate(found) if budget is None or m.peak <= budget]
    best = min(fits, key=lambda i: found[i].seconds)
    seen = ", ".join(f"{p.chunk}: {m}" for p, m in zip(plans, found, strict=True))
    kind = ", checkpointed" if plans[best].checkpoint else ""
    log.info("plan: chunk %s of %d%s (%s)", plans[best].chunk, count, kind, seen)
    return plans[best]


def probe(objective: Objective, state: MetaState, episodes: Episode) -> None:
    """Try one forward pass of two tasks under ``vmap``, so that the plan knows if it fails."""
    stack = tree.expand(tree.scope(state.params, "model"), 2)
    twice = torch.tensor([0, 0]) if is_uneven(episodes.support) else torch.tensor([0, 1])
    support = tree.take(episodes.support, twice)  # two tasks of one shape
    with torch.no_grad():
        objective.planned(replace(objective.plan, chunk="all", memory=None)).losses(stack, support)


class Measured(NamedTuple):
    """Time and memory of one meta-step.

    Attributes:
        seconds: The best of two, after a warm-up.
        peak: Bytes of graphs and rows; 0 if not measured.
    """

    seconds: float
    peak: int

    def __str__(self) -> str:
        memory = f" {self.peak / 2**20:.1f} MiB" if self.peak else ""
        return f"{self.seconds * 1e3:.1f} ms{memory}"


def measure(
    method: Method, objective: Objective, state: MetaState, episodes: Episode, memory: bool
) -> Measured:
    """Return seconds and, if asked, the peak of bytes of one meta-step."""
    from metaccord.step import meta_gradient

    axis = TaskAxis(tree.tasks_in(episodes))
    device = objective.place()

    def once() -> float:
        start = time.perf_counter()
        meta_gradient(method, objective, state, episodes, axis)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    once()
    peak = peak_bytes(once, device) if memory else 0
    return Measured(min(once(), once()), peak)
