"""All checks with their sizes: the cut of a minute, and the full figures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from metaccord.selftest import curvature, gradients
from metaccord.selftest.company import deaths
from metaccord.selftest.damage import Damages, damage
from metaccord.selftest.kills import fresh_kills, kills
from metaccord.selftest.nonfinite import injections
from metaccord.selftest.outcome import Outcome
from metaccord.selftest.plain.cases import CASES as BY_HAND
from metaccord.selftest.plain.check import check as by_hand
from metaccord.selftest.quadratic_cases import CASES as CLOSED
from metaccord.selftest.quadratics import check as closed


@dataclass(frozen=True)
class Check:
    """One promise, or a family of promises with one figure each.

    Args:
        name: For the table.
        cut, full: How many cases (each family member has so many); 0: not at all.
        run: From count and seed to what was found.
    """

    name: str
    cut: int
    full: int
    run: Callable[[int, int], Iterator[Outcome]]


def _closed(count: int, seed: int) -> Iterator[Outcome]:
    return (closed(case, count, seed) for case in CLOSED.values())


def _by_hand(count: int, seed: int) -> Iterator[Outcome]:
    return (by_hand(name, pair, count, seed) for name, pair in BY_HAND.items())


def _one(check: Callable[[int, int], Outcome], count: int, seed: int) -> Iterator[Outcome]:
    yield check(count, seed)


def _curvature(count: int, seed: int) -> Iterator[Outcome]:
    return iter(curvature.check(count, seed))


def _killed(check: Callable[..., Outcome], count: int, seed: int) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        yield check(Path(folder), count, seed=seed)


def _damaged(count: int, seed: int) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        damages = Damages(count, count // 10, count * 7 // 100)
        yield damage(Path(folder), damages, seed=seed)


# Children are forked by the first checks, before this process has computed anything.
CHECKS = (
    Check("resume after kill -9", 20, 1000, partial(_killed, kills)),
    Check("resume, fresh processes", 0, 40, partial(_killed, fresh_kills)),
    Check("a worker's death", 1, 180, partial(_killed, deaths)),
    Check("not finite", 10, 300, partial(_killed, injections)),
    Check("damaged files", 300, 10_000, _damaged),
    Check("closed forms", 250, 10_000, _closed),
    Check("by hand", 5, 50, _by_hand),
    Check("gradcheck", 9, 90, partial(_one, gradients.entries)),
    Check("central differences", 9, 270, partial(_one, gradients.differences)),
    Check("Taylor, gradients", 9, 270, partial(_one, gradients.taylor)),
    Check("Taylor, Hessians", 9, 270, partial(_one, partial(gradients.taylor, order=3))),
    Check("curvature", 60, 200, _curvature),
)


def merged(name: str, outcomes: list[Outcome]) -> list[Outcome]:
    """Return one outcome for each promise among those of a check, with the worst figure.

    Args:
        name: Of the check.
        outcomes: What it found, one per method where they share a promise.
    """
    found: dict[tuple[str, bool], list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.promise, outcome.of_store), []).append(outcome)
    return [_merged(name, same) if len(same) > 1 else same[0] for same in found.values()]


def _merged(name: str, same: list[Outcome]) -> Outcome:
    first = min(same, key=lambda outcome: (outcome.ok, -outcome.worst))
    return replace(
        first,
        name=f"{name}, {len(same)} methods",
        count=sum(outcome.count for outcome in same),
        fired=sum(outcome.fired for outcome in same),
        seconds=sum(outcome.seconds for outcome in same),
        detail=f"{first.name}: {first.detail}",
    )
