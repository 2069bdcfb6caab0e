"""What different splits have in common: identical rows are refused, nearly identical ones named."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.errors import DataError
from metaccord.tasks.source import SPLITS

log = logging.getLogger("metaccord")
Integers = NDArray[np.int64]


class Shared(NamedTuple):
    """What two splits have in common.

    Attributes:
        total: Examples of later splits that an earlier one holds, too.
        first: Two of them, as rows.
    """

    total: int
    first: tuple[int, int]


def shared(
    digests: Sequence[bytes], split_of: NDArray[np.int64], but: Sequence[bytes] = ()
) -> Shared | None:
    """Return what is identical in different splits; None if nothing is.

    Args:
        digests: A hash for each example, ``[n]``.
        split_of: Number of its split, below 0 for none, ``[n]``.
        but: Another hash for each; pairs that are equal by it do not count.
    """
    seen: dict[bytes, int] = {}
    pairs: list[tuple[int, int]] = []
    for row in np.argsort(split_of, kind="stable").tolist():
        if split_of[row] < 0:
            continue
        before = seen.setdefault(digests[row], row)
        if split_of[before] != split_of[row] and not (but and but[before] == but[row]):
            pairs.append((before, row))
    return Shared(len(pairs), pairs[0]) if pairs else None


def row_digests(*parts: NDArray) -> list[bytes]:
    """Return a hash for each row of some arrays together; 0.0 and -0.0 are the same."""
    flat = []
    for part in parts:
        rows = np.ascontiguousarray(part + 0.0 if part.dtype.kind == "f" else part)
        flat.append(rows.reshape(len(rows), -1))
    return [
        hashlib.blake2b(b"".join(rows[i].tobytes() for rows in flat), digest_size=16).digest()
        for i in range(len(flat[0]))
    ]


def nearly_shared(numbers: NDArray[np.float64], split_of: NDArray[np.int64]) -> Shared | None:
    """Return what is nearly identical in different splits, beyond what is identical.

    Rows are alike that fall into one cell of a grid of a thousandth of each column's deviation.
    With fewer than four columns that vary this is left to chance, and nothing is returned.

    Args:
        numbers: Columns of numbers, ``[n, d]``.
        split_of: Number of the split, ``[n]``.
    """
    spread = numbers.std(0)
    if (spread > 0).sum() < 4:
        return None
    scaled = numbers[:, spread > 0] / (1e-3 * spread[spread > 0])
    exact = row_digests(numbers)
    for shift in (0.0, 0.5):
        digests = row_digests(np.floor(scaled + shift))
        if found := shared(digests, split_of, exact):
            return found
    return None


def refuse_leaks(
    digests: list[bytes],
    split_of: Integers,
    numbers: Any,
    where: str,
    accept: bool,
    row: Callable[[int], str] = "row {}".format,
) -> None:
    """Refuse identical rows in different splits, and warn of nearly identical ones.

    Args:
        digests: A hash of each row.
        split_of: Number of its split.
        numbers: What near rows are looked for in, ``[n, d]``; None: nowhere.
        where: What messages call the data.
        accept: Warn only.
        row: Names a row.

    Raises:
        DataError: naming two of the rows.
    """

    def told(kind: str, found: Shared) -> str:
        one, other = (f"{row(i)} ({SPLITS[split_of[i]]})" for i in found.first)
        return (
            f"{where} has {kind} rows in different splits ({found.total} in all), such as {one} "
            f"and {other}"
        )

    if found := shared(digests, split_of):
        text = told("identical", found)
        if not accept:
            raise DataError(
                f"{text}: remove them, or accept them knowingly (tasks.accept_leaks=true)"
            )
        log.warning("%s: results on the test split may be too good", text)
    if numbers is not None and (near := nearly_shared(numbers, split_of)):
        text = told("nearly identical", near)
        log.warning("%s: results on the test split may be too good", text)
