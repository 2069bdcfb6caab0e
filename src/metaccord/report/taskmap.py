"""How test tasks relate: cosines between their meta-gradients, and how sure these are.

Legend: T tasks, P numbers of the model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.clusters import adjusted_rand, clustering
from metaccord.diagnostics import displacements
from metaccord.errors import UsageError
from metaccord.evaluate import isolated
from metaccord.report.naming import class_names, classes_of, task_names
from metaccord.report.scene import Scene, rounded
from metaccord.step import meta_gradient
from metaccord.tuning import settled
from metaccord.types import Episode
from metaccord.uneven import width

TASKS = 60
LEAST = 8
ROOM = 2**27  # numbers of all gradients together
PIECE = 10  # tasks whose gradients are taken together


def task_map(scene: Scene, tasks: int = TASKS) -> dict[str, Any]:
    """Return cosines, groups, names and stability of some test tasks.

    The gradient of a task is that of its query loss after adaptation with respect to the
    meta-trained weights, of the base method alone: no interaction weighs or mixes it. The labels
    of a task are put into the order of its classes first, so that one pair of classes is one task
    whatever number each class drew. Where the estimator has no such gradient, the displacement of
    the inner loop stands for it.

    Args:
        scene: The run.
        tasks: At most so many, fewer for a large model.
    """
    size = sum(v.numel() for k, v in scene.state.params.items() if k.startswith("model."))
    count = min(tasks, max(LEAST, ROOM // max(size, 1)))
    episodes = sorted_labels(scene.episodes(count))
    rows, kind = gradients(scene, episodes)
    table = cosines(rows)
    groups = clustering(table)
    found: dict[str, Any] = {
        "names": task_names(scene.source, scene.protocol.split, episodes),
        "classes": _classes(scene, episodes),
        "kind": kind,
        "parameters": size,
        "cosines": rounded(torch.from_numpy(table), 3),
        "order": groups.order,
        "groups": groups.groups,
        "merges": [[a, b, round(at, 4)] for a, b, at in groups.merges],
        "split": scene.protocol.split,
    }
    return found | _stability(scene, episodes, table, groups.groups)


def gradients(scene: Scene, episodes: Episode) -> tuple[Tensor, str]:
    """Return one row per task, ``[T, P]`` float32, and what it is: gradient or displacement."""
    bare = replace(scene.method, interactions=())
    names = [k for k in scene.state.params if not k.startswith("interaction.")]
    state = scene.state._replace(
        params={k: scene.state.params[k] for k in names},
        running={k: v for k, v in scene.state.running.items() if not k.startswith("interaction.")},
    )
    pieces = []
    for piece in tree.split(episodes, PIECE):
        axis = TaskAxis(tree.tasks_in(piece), isolated=True)
        try:
            step = meta_gradient(bare, settled(scene.objective), state, piece, axis)
        except UsageError:
            break
        model = {k: v for k, v in step.rows.items() if k.startswith("model.")}
        pieces.append(tree.flat(model).detach().float().cpu())
    else:
        return torch.cat(pieces), "meta-gradient"
    moved = [
        displacements(isolated(bare, scene.objective, state, piece)).detach().float().cpu()
        for piece in tree.split(episodes, PIECE)
    ]
    return torch.cat(moved), "displacement of the inner loop"


def cosines(rows: Tensor) -> np.ndarray:
    """Return the cosines of all pairs, NaN where a row has no direction: ``[T, T]``."""
    length = torch.linalg.vector_norm(rows.double(), dim=1, keepdim=True)
    unit = torch.where(length > 0, rows.double() / length, float("nan"))
    found: np.ndarray = (unit @ unit.T).clamp(-1, 1).numpy()
    return found


def sorted_labels(episodes: Episode) -> Episode:
    """Return the episodes with labels in the order of the classes' numbers."""
    classes = episodes.extra.get("classes")
    whole = episodes.query.targets
    if classes is None or whole.is_floating_point():
        return episodes
    last = torch.iinfo(classes.dtype).max  # for tasks with fewer ways, whose classes end in -1
    filled = classes.masked_fill(classes < 0, last)
    rank = filled.argsort(1).argsort(1).to(whole.device)  # [T, ways]
    support, query = (
        batch._replace(targets=rank.gather(1, batch.targets))
        for batch in (episodes.support, episodes.query)
    )
    ordered = filled.sort(1).values
    extra = {**episodes.extra, "classes": ordered.masked_fill(ordered == last, -1)}
    return episodes._replace(support=support, query=query, extra=extra)


def halves(episodes: Episode) -> tuple[Episode, Episode] | None:
    """Return the tasks with one half of their query examples each; None if that has no meaning."""
    query = episodes.query
    if isinstance(query.inputs, dict) and "place" in query.inputs:
        return None  # a neighbourhood may not be cut
    sizes = query.sizes
    least = int(sizes.min()) if isinstance(sizes, Tensor) else width(query)
    if least < 2:
        return None

    def half(start: int) -> Episode:
        inputs, targets = (
            tree.mapped(lambda leaf: leaf[:, start::2], part)
            for part in (query.inputs, query.targets)
        )
        part = query._replace(inputs=inputs, targets=targets)
        if isinstance(sizes, Tensor):
            part = part._replace(sizes=(sizes + 1 - start) // 2)
        return episodes._replace(query=part)

    return half(0), half(1)


def _stability(
    scene: Scene, episodes: Episode, table: np.ndarray, groups: list[int]
) -> dict[str, Any]:
    """Return how far two halves of the query examples tell the same, and interval of the mean."""
    off = np.triu_indices(len(table), 1)
    values = table[off][np.isfinite(table[off])]
    facts: dict[str, Any] = {
        "mean": float(values.mean()) if len(values) else None,
        "conflicts": float((values < 0).mean()) if len(values) else None,
        "stability": None,
        "rand": None,
    }
    parts = halves(episodes) if scene.method.estimator.takes_query else None
    if parts is None or len(values) < 3:
        return facts
    tables = [cosines(gradients(scene, part)[0]) for part in parts]
    both = np.isfinite(tables[0][off]) & np.isfinite(tables[1][off])
    one, other = tables[0][off][both], tables[1][off][both]
    if len(one) > 2 and one.std() > 0 and other.std() > 0:
        facts["stability"] = float(np.corrcoef(one, other)[0, 1])
    labels = [clustering(t).groups for t in tables]
    facts["rand"] = float(np.mean([adjusted_rand(groups, found) for found in labels]))
    return facts


def _classes(scene: Scene, episodes: Episode) -> list[list[str]]:
    return classes_of(class_names(scene.source, scene.protocol.split), episodes)
