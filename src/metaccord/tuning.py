"""Choosing a plan: by a fixed rule, or by measuring candidates."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.engine import Plan
from metaccord.errors import ResourceError
from metaccord.memory import peak_bytes
from metaccord.types import Episode, MetaState

if TYPE_CHECKING:
    from metaccord.method import Method
    from metaccord.objective import Objective

log = logging.getLogger("metaccord")


def settled(objective: Objective) -> Objective:
    """Return the objective with ``chunk="auto"`` replaced by a fixed rule.

    Convolutions on a CPU run task by task (grouped convolutions are slow there); everything
    else runs under one ``vmap``. Nothing is timed, so the choice is always the same.
    """
    if objective.plan.chunk != "auto":
        return objective
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in objective.model.modules())
    chunk: int | Literal["all"] = 1 if convolves and objective.place().type == "cpu" else "all"
    return objective.planned(replace(objective.plan, chunk=chunk, memory=None))


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
    if plan.chunk != "auto" and plan.memory is None:
        return plan
    budget = plan.budget()
    plain = replace(plan, memory=None)
    if plan.compile:
        return replace(plain, chunk="all")
    sizes = [2**i for i in range(count.bit_length()) if 2**i < count] + [count]
    if plan.chunk != "auto":
        sizes = [plan.size(count)]
    found = [
        measure(method, objective.planned(replace(plain, chunk=size)), state, episodes)
        for size in sizes
    ]
    if budget is not None and all(bytes_ > budget for _, bytes_ in found):
        plain, sizes = replace(plain, checkpoint=True), sizes[:1]
        found = [
            measure(method, objective.planned(replace(plain, chunk=sizes[0])), state, episodes)
        ]
    fits = [i for i, (_, bytes_) in enumerate(found) if budget is None or bytes_ <= budget]
    if not fits:
        raise ResourceError(
            f"plan.memory is {plan.memory}, but one task with checkpointed inner steps needs "
            f"{min(b for _, b in found) / 2**20:.1f} MiB: allow more, or use fewer tasks"
        )
    best = min(fits, key=lambda i: found[i][0])
    chosen = replace(plain, chunk=sizes[best])
    log.info(
        "plan: chunk %d of %d%s (%s)",
        sizes[best],
        count,
        ", checkpointed" if chosen.checkpoint else "",
        ", ".join(
            f"{size}: {seconds * 1e3:.1f} ms {bytes_ / 2**20:.1f} MiB"
            for size, (seconds, bytes_) in zip(sizes, found, strict=True)
        ),
    )
    return chosen


def measure(
    method: Method, objective: Objective, state: MetaState, episodes: Episode
) -> tuple[float, int]:
    """Return seconds (best of two after a warm-up) and peak graph and row bytes of a meta-step."""
    from metaccord.step import meta_gradient

    axis = TaskAxis(tree.tasks_in(episodes))
    device = objective.place()

    def once() -> float:
        start = time.perf_counter()
        meta_gradient(method, objective, state, episodes, axis)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    peak = peak_bytes(once, device)  # a warm-up, too
    return min(once(), once()), peak
