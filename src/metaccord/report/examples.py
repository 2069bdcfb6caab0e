"""Real test tasks before and after adaptation, as numbers that a page can draw.

Legend: T tasks, K numbers of inner steps that are shown, n examples of a task.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metaccord.evaluate import predict
from metaccord.report.images import picture
from metaccord.report.naming import class_names, classes_of, task_names
from metaccord.report.scene import Scene, odds, rounded
from metaccord.types import Batch, Params
from metaccord.uneven import cut, singles

TASKS = 3  # the first ones of the split, not chosen by their results
GRID = 121  # points of a curve
WAYS, SHOTS, QUERIES = 10, 5, 15  # of a picture task that are drawn at most
POINTS = 200  # examples of a task that are kept at most


def examples(scene: Scene, tasks: int = TASKS) -> dict[str, Any]:
    """Return the first test tasks with what the model says after each number of inner steps.

    Args:
        scene: The run.
        tasks: How many.
    """
    episodes = scene.episodes(tasks)
    run, at, points = scene.adapted(episodes)
    names = task_names(scene.source, scene.protocol.split, episodes)
    kind = _kind(scene, run.episodes.query)
    known = classes_of(class_names(scene.source, scene.protocol.split), episodes)
    alone, found = singles(run.episodes), []
    for i in range(tasks):
        places = [{k: v[i] for k, v in point.items()} for point in points]
        support, query = alone[i].support, alone[i].query
        with torch.no_grad():
            task = _DRAWN[kind](scene, places, support, query)
        losses = [_loss(scene, place, support, query) for place in places]
        named = known[i] if known else _numbered(task)
        found.append({"name": names[i], "classes": named, "losses": losses, **task})
    trained = scene.method.rule.steps
    return {"kind": kind, "at": at, "trained": trained, "tasks": found}


def _kind(scene: Scene, query: Batch) -> str:
    """Return how tasks of this shape are drawn."""
    shape = tuple(getattr(query.inputs, "shape", ()))
    if scene.source.classifies:
        return "pictures" if len(shape) == 5 and shape[2] in (1, 3) else "odds"
    targets = tuple(query.targets.shape)
    one_number = targets[2:] in ((), (1,)) and query.targets.is_floating_point()
    if one_number and shape[2:] == (1,):
        return "curve"
    return "values" if one_number and len(shape) >= 2 and query.targets.shape[1] > 1 else "losses"


def _loss(scene: Scene, place: Params, support: Batch, query: Batch) -> float:
    with torch.no_grad():
        outputs = _predicted(scene, place, support, query)
        return float(scene.objective.criterion(outputs, query.targets))


def _numbered(task: dict[str, Any]) -> list[str]:
    return [f"class {i}" for i in range(task.get("ways", 0))]


def _curve(scene: Scene, places: list[Params], support: Batch, query: Batch) -> dict[str, Any]:
    """Return points and the model's curve over their range."""
    x = torch.cat([support.inputs, query.inputs]).flatten()
    low, high = float(x.min()), float(x.max())
    grid = torch.linspace(low, high, GRID, dtype=x.dtype, device=x.device)[:, None]
    how = scene.protocol.statistics
    asked = [predict(scene.objective, how, p, support, grid).flatten() for p in places]
    order = query.inputs.flatten().argsort()[:POINTS]
    return {
        "grid": rounded(grid.flatten()),
        "curves": [rounded(curve) for curve in asked],
        "support": [rounded(support.inputs.flatten()), rounded(support.targets.flatten())],
        "query": [
            rounded(query.inputs.flatten()[order]),
            rounded(query.targets.flatten()[order]),
        ],
    }


def _values(scene: Scene, places: list[Params], support: Batch, query: Batch) -> dict[str, Any]:
    """Return truth and prediction of the query examples, in the user's units if they are known."""
    coding = getattr(scene.source, "coding", None)
    units = coding.values if coding is not None else lambda values: values
    outputs = [_predicted(scene, place, support, query) for place in places]
    return {
        "truth": rounded(units(query.targets).flatten()[:POINTS]),
        "predicted": [rounded(units(out).flatten()[:POINTS]) for out in outputs],
        "shots": len(support.targets),
    }


def _losses(scene: Scene, places: list[Params], support: Batch, query: Batch) -> dict[str, Any]:
    """Return nothing beside the losses: the task has no examples that can be drawn."""
    return {"shots": len(support.targets)}


def _odds(scene: Scene, places: list[Params], support: Batch, query: Batch) -> dict[str, Any]:
    """Return the probability of each class for the query examples."""
    outputs = [_predicted(scene, place, support, query) for place in places]
    keep = min(len(query.targets), POINTS)
    found = [odds(out)[:keep] for out in outputs]
    truth = query.targets[:keep].cpu()
    return {
        "ways": int(found[0].shape[-1]),
        "truth": truth.tolist(),
        "odds": [rounded(table, 3) for table in found],
        "shots": len(support.targets),
        "right": [float((table.argmax(-1) == truth).double().mean()) for table in found],
    }


def _pictures(scene: Scene, places: list[Params], support: Batch, query: Batch) -> dict[str, Any]:
    """Return small pictures, and the probability of each class for the query pictures."""
    outputs = [odds(_predicted(scene, place, support, query)) for place in places]
    ways = int(outputs[0].shape[-1])
    truth = query.targets.cpu()
    shown = _spread(truth, min(ways, WAYS), QUERIES)
    low, high = _range(support.inputs)
    return {
        "ways": ways,
        "support": [
            [picture(support.inputs[i], low, high) for i in _of(support.targets, label, SHOTS)]
            for label in range(min(ways, WAYS))
        ],
        "query": [picture(query.inputs[i], low, high) for i in shown],
        "truth": truth[shown].tolist(),
        "odds": [rounded(table[shown], 3) for table in outputs],
        "right": [float((table.argmax(-1) == truth).double().mean()) for table in outputs],
        "queries": len(truth),
        "shots": len(support.targets),
    }


def _predicted(scene: Scene, place: Params, support: Batch, query: Batch) -> Tensor:
    statistics = scene.protocol.statistics
    found: Tensor = predict(scene.objective, statistics, place, support, query.inputs)
    return cut(found, query.ways)


def _of(targets: Tensor, label: int, most: int) -> list[int]:
    found: list[int] = (targets == label).nonzero().flatten()[:most].tolist()
    return found


def _spread(truth: Tensor, ways: int, most: int) -> list[int]:
    """Return at most so many examples, class by class as evenly as possible."""
    each = max(1, most // ways)
    return [i for label in range(ways) for i in _of(truth, label, each)]


def _range(inputs: Tensor) -> tuple[float, float]:
    """Return what black and white are: 0 and 1 if all values lie there, else their extremes."""
    low, high = float(inputs.min()), float(inputs.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


_DRAWN = {
    "curve": _curve,
    "values": _values,
    "losses": _losses,
    "odds": _odds,
    "pictures": _pictures,
}
