"""Which classes or groups are for training, validation and test."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.errors import DataError, UsageError, nearest
from metaccord.tasks.source import SPLITS
from metaccord.tasks.stream import permutation, words

log = logging.getLogger("metaccord")
Integers = NDArray[np.int64]
USUAL = (0.6, 0.2, 0.2)
_SHOWN = 3


class Division(NamedTuple):
    """What divides names into splits.

    Attributes:
        split: Fractions, or numbers, of names for training, validation and test; None:
            0.6, 0.2, 0.2, without validation if there are too few.
        seed: Of the draw.
        train, validation, test: Names that are given to a split, whatever the draw. What no list
            names is drawn among the splits without a list.
    """

    split: tuple[float, float, float] | None = None
    seed: int = 0
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


def divide(
    names: Sequence[str], division: Division, what: str, least: int = 1
) -> dict[str, Integers]:
    """Return the places, ascending, of the names of each split.

    Args:
        names: Different names; their order matters.
        division: How.
        what: What messages call a name, such as ``"group"``.
        least: Names that a split needs that is not meant to be empty.

    Raises:
        UsageError: for fractions or numbers that are none.
        DataError: for a name in two lists or in no data, or too few names.
    """
    listed = {split: getattr(division, split) for split in SPLITS}
    place = {name: i for i, name in enumerate(names)}
    owner: dict[str, str] = {}
    for split, some in listed.items():
        for name in some:
            if name not in place:
                raise DataError(f"tasks.{split} names the {what} {name!r}: {nearest(name, names)}")
            if owner.setdefault(name, split) != split:
                raise DataError(
                    f"the {what} {name!r} is in tasks.{owner[name]} and in tasks.{split}: what is "
                    "seen in training is no test; name it once"
                )
    found = {split: sorted(place[n] for n in set(some)) for split, some in listed.items()}
    free = [i for i, name in enumerate(names) if name not in owner]
    open_ = [split for split in SPLITS if not listed[split]]
    if free and not open_:
        raise DataError(
            f"the {what} {names[free[0]]!r} is in none of tasks.train, tasks.validation and "
            f"tasks.test ({len(free)} in all): name it, or leave one list out, which gets the rest"
        )
    if free:
        order = permutation(words(division.seed, f"splits/{what}", 0, 0, len(free)))
        counts = _counts(len(free), open_, division.split, what, least)
        ends = np.cumsum([0, *counts])
        for split, low, high in zip(open_, ends, ends[1:], strict=False):
            found[split] = sorted(free[i] for i in order[low:high])
    return {split: np.array(found[split], np.int64) for split in SPLITS}


def names_in(given: Any) -> tuple[str, ...]:
    """Return names as text; a single text is one name, not its letters."""
    return (given,) if isinstance(given, str) else tuple(map(str, given))


def _counts(
    total: int,
    splits: list[str],
    given: tuple[float, float, float] | None,
    what: str,
    least: int,
) -> list[int]:
    """Return how many of ``total`` names each of some splits gets."""
    if given is not None and (isinstance(given, str) or len(given) != len(SPLITS)):
        raise UsageError(
            f"tasks.split is {given!r}: use three fractions, for training, validation and test, "
            f"such as {list(USUAL)}"
        )
    shares = dict(zip(SPLITS, given or USUAL, strict=True))
    if min(shares.values()) < 0 or not sum(shares.values()) > 0:
        raise UsageError(f"tasks.split is {list(shares.values())}: use fractions such as {USUAL}")
    wanted = [shares[split] for split in splits]
    if sum(shares.values()) > 1 + 1e-9:
        if sum(wanted) > total or any(n != int(n) for n in wanted):
            raise UsageError(
                f"tasks.split is {list(shares.values())} for {total} of {what}: use fractions of "
                f"at most 1 in all, or three whole numbers of at most {total} in all"
            )
        return [int(n) for n in wanted]
    if given is None and len(splits) == 3 and 2 * least <= total < 3 * least:
        log.warning(
            "%d %s are too few for three splits: there is no validation", total, _many(what)
        )
        wanted = [shares["train"], 0.0, shares["test"]]
    parts = len([n for n in wanted if n > 0])
    if least * parts > total:
        raise DataError(
            f"there are {total} {_many(what)} for {' and '.join(splits)}, each of which needs "
            f"{least}: give more data, lower tasks.ways, or empty one (tasks.split=[0.5,0,0.5])"
        )
    exact = [n / (sum(wanted) or 1) * total for n in wanted]
    counts = [max(int(n), least if n > 0 else 0) for n in exact]
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        can = [i for i, n in enumerate(wanted) if n > 0 and counts[i] + step >= least]
        i = max(can, key=lambda i: step * (exact[i] - counts[i]))
        counts[i] += step
    return counts


def _many(what: str) -> str:
    return "classes" if what == "class" else f"{what}s"


def named(examples: Sequence[str]) -> str:
    """Return a few names for a message, and how many more there are."""
    more = len(examples) - _SHOWN
    return ", ".join(map(repr, examples[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
