"""Faults of tasks: what episodes hold, and what their source promises."""

from __future__ import annotations

import math
from math import factorial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metaccord.doctor.findings import Finding
from metaccord.tasks import TaskSource
from metaccord.types import Batch, Episode
from metaccord.uneven import singles

TASKS = 16  # per split, for comparisons between splits
_SHARED = 0.01  # of the examples: data sets hold a few identical pictures of different classes


def of_episodes(episodes: Episode) -> list[Finding]:
    """Return what is wrong within the tasks of one step."""
    found: list[Finding] = []
    tasks = singles(episodes)
    found += _overlap(tasks)
    if len(tasks) > 1 and len({_mark(task) for task in tasks}) == 1:
        found.append(Finding("constant_tasks", f"all {len(tasks)} tasks hold the same examples"))
    labels = [(task.support.targets, task.query.targets) for task in tasks]
    if all(_labels(part) for pair in labels for part in pair):
        found += _label_faults(labels)
    classes = episodes.extra.get("classes")
    if classes is not None and classes.dim() == 2:
        found += _ascending(classes)
    return found


def of_source(source: TaskSource) -> list[Finding]:
    """Return what is wrong between steps and between splits."""
    first = source.episodes("train", 0, range(TASKS))
    found = _purity(source, first)
    later = source.episodes("train", 1, range(TASKS))
    marks = [[_mark(task) for task in singles(step)] for step in (first, later)]
    if marks[0] == marks[1]:
        found.append(Finding("constant_tasks", "tasks hold the same examples at every step"))
    splits = {"train": [first, later]}
    for split in ("validation", "test"):
        splits[split] = [source.episodes(split, step, range(TASKS)) for step in (0, 1)]
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        found += _shared(one, splits[one], other, splits[other])
    return found


def classified(targets: Any) -> bool:
    """Say whether targets are labels."""
    return _labels(targets)


def rows(batch: Batch, *, with_targets: bool) -> list[bytes]:
    """Return one task's examples as bytes, one entry per example."""
    leaves = pytree.tree_leaves(batch.inputs)
    targets = pytree.tree_leaves(batch.targets)
    count = max((len(leaf) for leaf in targets if leaf.dim()), default=0)
    leaves = [*leaves, *targets] if with_targets else leaves
    fitting = [leaf for leaf in leaves if leaf.dim() and len(leaf) == count]
    if not fitting:
        return []
    columns = [[row.numpy().tobytes() for row in leaf.detach().cpu()] for leaf in fitting]
    return [b"".join(row) for row in zip(*columns, strict=True)]


def _mark(task: Episode) -> tuple[bytes, ...]:
    parts = (task.support, task.query)
    leaves = pytree.tree_leaves([(part.inputs, part.targets) for part in parts])
    return tuple(leaf.detach().cpu().numpy().tobytes() for leaf in leaves)


def _labels(targets: Any) -> bool:
    return isinstance(targets, Tensor) and targets.dim() == 1 and not targets.is_floating_point()


def _overlap(tasks: list[Episode]) -> list[Finding]:
    """Look for support examples in the query set; the whole grid as query set is a custom."""
    shared = covered = 0
    classify = all(_labels(task.query.targets) for task in tasks)
    for task in tasks:
        support = set(rows(task.support, with_targets=not classify))
        query = set(rows(task.query, with_targets=not classify))
        shared += len(support & query)
        covered += bool(support) and support <= query
    if not shared:
        return []
    if covered == len(tasks) and not classify:
        return [Finding("grid_overlap", "the query sets hold all support examples")]
    return [
        Finding("overlap", f"{shared} support examples of {len(tasks)} tasks are queries as well")
    ]


def _label_faults(labels: list[tuple[Tensor, Tensor]]) -> list[Finding]:
    found = []
    lost = sum(bool(set(q.tolist()) - set(s.tolist())) for s, q in labels)
    if lost:
        found.append(
            Finding(
                "unseen_label", f"in {lost} of {len(labels)} tasks a queried class has no support"
            )
        )
    known = {label for pair in labels for part in pair for label in part.tolist()}
    gaps = sorted(set(range(max(known) + 1)) - known) if known else []
    if gaps or any(label < 0 for label in known):
        found.append(
            Finding("label_gap", f"labels are {sorted(known)[:8]}: some numbers are unused")
        )
    return found


def _ascending(classes: Tensor) -> list[Finding]:
    """Look at the classes ``[T, ways]``, which are -1 beyond a task's own ways."""
    tasks, absent = len(classes), classes[:, 1:] < 0
    sure = math.prod(factorial(ways) for ways in (classes >= 0).sum(1).tolist()) > 10**6
    if sure and bool(((classes[:, 1:] > classes[:, :-1]) | absent).all()):
        return [
            Finding("sorted_classes", f"in all {tasks} tasks the classes ascend with the labels")
        ]
    return []


def _purity(source: TaskSource, first: Episode) -> list[Finding]:
    again = source.episodes("train", 0, range(TASKS))
    part = source.episodes("train", 0, range(TASKS // 2, TASKS))
    marks = [[_mark(task) for task in singles(step)] for step in (first, again, part)]
    if marks[0] != marks[1]:
        return [Finding("random_episodes", "the same step asked for twice gives other examples")]
    if marks[0][TASKS // 2 :] != marks[2]:
        return [Finding("random_episodes", "a task depends on which others are asked for")]
    return []


def _shared(one: str, left: list[Episode], other: str, right: list[Episode]) -> list[Finding]:
    found = []
    ids = [{int(c) for e in side for c in _classes(e) if c >= 0} for side in (left, right)]
    if both := ids[0] & ids[1]:
        found.append(Finding("shared_classes", f"{len(both)} classes are in {one} and in {other}"))
    sets = []
    for side in (left, right):
        tasks = [task for episode in side for task in singles(episode)]
        classify = all(_labels(task.query.targets) for task in tasks)
        sets.append(
            {
                row
                for task in tasks
                for batch in (task.support, task.query)
                for row in rows(batch, with_targets=not classify)
            }
        )
    common = sets[0] & sets[1]
    if len(common) > _SHARED * min(map(len, sets)):
        found.append(
            Finding("shared_examples", f"{len(common)} examples are in {one} and in {other}")
        )
    return found


def _classes(episode: Episode) -> list[int]:
    classes = episode.extra.get("classes")
    return [] if classes is None else torch.flatten(classes).tolist()
