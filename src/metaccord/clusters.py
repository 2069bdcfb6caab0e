"""Groups of tasks from their cosines: average linkage, an order, a cut.

Legend: T tasks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST_GROUPS = 8
MOST_TASKS = 200


class Clustering(NamedTuple):
    """Average linkage of T tasks.

    Attributes:
        order: The tasks so that groups stand together.
        merges: T - 1 rows: the two groups joined (numbers below T are tasks, T + i is the result
            of row i) and the mean cosine at which they met.
        groups: The group of each task, numbered along the order, ``[T]``.
    """

    order: list[int]
    merges: list[tuple[int, int, float]]
    groups: list[int]


def clustering(cosines: np.ndarray) -> Clustering:
    """Group tasks by average linkage on their cosines.

    The number of groups, at most 8, is the one with the largest mean silhouette; one group if no
    cut separates (mean silhouette below 0.1).

    Args:
        cosines: ``[T, T]``, symmetric, NaN where a task has no direction (taken as 0).
    """
    table = np.nan_to_num(np.asarray(cosines, dtype=float))
    count = len(table)
    means, names = table.copy(), list(range(count))
    np.fill_diagonal(means, -np.inf)
    lines: list[list[int]] = [[i] for i in range(count)]
    merges: list[tuple[int, int, float]] = []
    while len(lines) > 1:
        a, b = sorted(divmod(int(means.argmax()), len(lines)))
        merges.append((names[a], names[b], float(means[a, b])))
        sizes = len(lines[a]), len(lines[b])
        joined = (sizes[0] * _finite(means[a]) + sizes[1] * _finite(means[b])) / sum(sizes)
        means[a], means[:, a] = joined, joined
        means[a, a] = -np.inf
        means = np.delete(np.delete(means, b, 0), b, 1)
        lines[a] = _side_by_side(lines[a], lines[b], table)
        names[a] = count + len(merges) - 1
        del lines[b], names[b]
    order = lines[0] if lines else []
    return Clustering(order, merges, _cut(table, order, merges))


def _finite(row: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(row), row, 0.0)


def _side_by_side(left: list[int], right: list[int], table: np.ndarray) -> list[int]:
    """Return two groups in one line, turned so that their most alike ends meet."""
    turned = [(x, y) for x in (left, left[::-1]) for y in (right, right[::-1])]
    a, b = max(turned, key=lambda pair: float(table[pair[0][-1], pair[1][0]]))
    return a + b


def cut(count: int, merges: list[tuple[int, int, float]], wanted: int) -> list[int]:
    """Return the group of each task after all but ``wanted - 1`` merges, ``[T]``."""
    owner = {i: [i] for i in range(count)}
    for row, (a, b, _) in enumerate(merges[: count - wanted]):
        owner[count + row] = owner.pop(a) + owner.pop(b)
    labels = [0] * count
    for number, members in enumerate(owner.values()):
        for task in members:
            labels[task] = number
    return labels


def _cut(table: np.ndarray, order: list[int], merges: list[tuple[int, int, float]]) -> list[int]:
    count = len(table)
    tries = range(2, min(MOST_GROUPS, count - 1) + 1)
    found = {k: cut(count, merges, k) for k in tries}
    scores = {k: silhouette(table, labels) for k, labels in found.items()}
    best = max(scores, key=lambda k: (scores[k], -k), default=0)
    labels = found[best] if best and scores[best] >= 0.1 else [0] * count
    renamed: dict[int, int] = {}
    for task in order:
        renamed.setdefault(labels[task], len(renamed))
    return [renamed[label] for label in labels]


def silhouette(cosines: np.ndarray, labels: list[int]) -> float:
    """Return the mean silhouette of groups, with 1 - cosine as distance; alone counts 0."""
    far, marks = 1 - cosines, np.asarray(labels)
    kinds = np.unique(marks)
    to = np.stack([far[:, marks == k].sum(1) for k in kinds], 1)  # [T, k]: the own 0 included
    sizes = np.array([(marks == k).sum() for k in kinds])
    place = np.searchsorted(kinds, marks)
    rows = np.arange(len(marks))
    own = sizes[place]
    inside = (to[rows, place] - far[rows, rows]) / np.maximum(own - 1, 1)
    others = to / sizes
    others[rows, place] = np.inf
    near = others.min(1)
    width = np.maximum(inside, near)
    value = np.where((own > 1) & (width > 0), (near - inside) / np.where(width > 0, width, 1), 0.0)
    return float(value.mean())


def adjusted_rand(one: list[int], other: list[int]) -> float:
    """Return how far two groupings agree: 1 equal, 0 as by chance.

    Reference:
        Hubert, Arabie, Comparing partitions, Journal of Classification 2, 1985.
    """
    table = np.zeros((max(one) + 1, max(other) + 1))
    np.add.at(table, (one, other), 1)
    pairs = _pairs(table).sum()
    rows, columns = _pairs(table.sum(1)).sum(), _pairs(table.sum(0)).sum()
    total = _pairs(np.array(float(len(one))))
    expected = rows * columns / total if total else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == expected else float((pairs - expected) / (most - expected))


def _pairs(counts: np.ndarray) -> np.ndarray:
    return counts * (counts - 1) / 2
