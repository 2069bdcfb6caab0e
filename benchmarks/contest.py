"""Who competes: contestants that compute the same meta-gradient, each peer by its fastest idiom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch
from ours import prepared
from peers import IDIOMS, Grads, Step
from problems import Problem
from race import seconds

import metaccord as mc

EXACT, SINGLE = 1e-10, 1e-4
KINKS = 0.1  # float32 on large problems: one unit that rounding switches moves the gradient
NEAR = 1.3  # idioms within this factor of the peer's fastest run the whole race
LONG = 1.0  # seconds: where a call takes longer, idioms must be near in the first check already
EAGER, COMPILED = "metaccord", "metaccord, compiled"


@dataclass(frozen=True)
class Entry:
    """One way to compute the meta-gradient.

    Args:
        name: Library and idiom.
        library: Whose it is.
        build: From a problem to a step; its own time is not measured.
    """

    name: str
    library: str
    build: Callable[[Problem], Step]


def entries(
    plans: dict[str, mc.Plan], peers: dict[str, ModuleType], *, loops_only: bool
) -> list[Entry]:
    """Return our entries, the reference first, and the idioms of the peers.

    Args:
        plans: How metaccord executes, by the name of the entry.
        peers: The installed ones.
        loops_only: Leave out idioms that put all tasks under one ``vmap``.
    """
    found = [Entry(name, "metaccord", partial(ours, plan=plan)) for name, plan in plans.items()]
    for library, module in peers.items():
        for idiom, build in IDIOMS[library].items():
            if not (loops_only and "vmap" in idiom):
                found.append(Entry(f"{library}: {idiom}", library, partial(build, module)))
    return found


def ours(problem: Problem, plan: mc.Plan) -> Step:
    """Return metaccord's step."""
    return prepared(problem, plan)[0]


def relative_error(a: Grads, b: Grads) -> float:
    """Return ``||a - b|| / ||b||`` over all parameters; infinite if one has no gradient."""
    if a.keys() != b.keys():
        return float("inf")
    difference = torch.stack([(a[k].double() - b[k].double()).norm() for k in b]).norm()
    return float(difference / torch.stack([b[k].double().norm() for k in b]).norm())


def check(
    found: list[Entry], problem: Problem, tolerance: float, device: str
) -> tuple[dict[str, Step], dict[str, dict[str, Any]]]:
    """Run every entry once and compare it with the first.

    Returns:
        The steps that agree, and error, verdict and seconds of the first call of all entries.
    """
    steps: dict[str, Step] = {}
    facts: dict[str, dict[str, Any]] = {}
    reference: Grads = {}
    for entry in found:
        results: list[Grads] = []
        step = entry.build(problem)
        took = seconds(lambda: results.append(step()), device)  # noqa: B023 - called at once
        reference = reference or results[0]
        error = relative_error(results[0], reference)
        agrees = error <= tolerance
        facts[entry.name] = {"error": error, "agrees": agrees, "first_call_s": took}
        if agrees:
            steps[entry.name] = step
    return steps, facts


def promising(found: list[Entry], facts: dict[str, dict[str, Any]]) -> list[Entry]:
    """Keep the reference, and of the entries that agree those that are not hopelessly slow.

    Args:
        found: Entries, the reference first.
        facts: What the first check found about them.
    """
    kept = [found[0]]
    for entry in found[1:]:
        fact = facts[entry.name]
        rivals = [facts[e.name] for e in found if e.library == entry.library]
        quickest = min((r["first_call_s"] for r in rivals if r["agrees"]), default=0.0)
        slow = entry.library != "metaccord" and fact["first_call_s"] > max(LONG, NEAR * quickest)
        if fact["agrees"] and not slow:
            kept.append(entry)
    return kept


def fastest(found: list[Entry], steps: dict[str, Step], device: str) -> dict[str, Step]:
    """Keep all of ours, and the idioms of each peer that are near its fastest."""
    kept = {e.name: steps[e.name] for e in found if e.library == "metaccord" and e.name in steps}
    for library in {e.library: None for e in found if e.library != "metaccord"}:
        names = [e.name for e in found if e.library == library and e.name in steps]
        took = {n: min(seconds(steps[n], device) for _ in range(2)) for n in names}
        limit = NEAR * min(took.values(), default=0.0)
        kept |= {n: steps[n] for n in names if took[n] <= limit}
    return kept
