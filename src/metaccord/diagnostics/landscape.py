"""The losses of two tasks over the plane through the initialisation and both solutions.

Legend: P numbers that move, R points along each axis, C points evaluated side by side.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metaccord import keys, tree
from metaccord.diagnostics.geometry import displacements, shaped
from metaccord.errors import NumericalError, UsageError
from metaccord.evaluate import isolated, predict
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.protocol import Statistics
from metaccord.tuning import settled
from metaccord.types import Adaptation, Batch, Episode, MetaState, Params

POINTS = 50  # C
_FILL = 0xA11E  # the key of directions that replace missing ones


class Plane(NamedTuple):
    """Losses of two tasks over a plane; coordinates are distances in parameter space.

    Attributes:
        x, y: Coordinates of the grid, ascending, ``[R]``.
        points: Coordinates of the initialisation (the origin), of the first and of the second
            task's solution, ``[3, 2]``.
        support, query: Losses of either task, ``[2, R, R]``: task, y, x.
        parallel: The displacements span no plane; the second axis (if nothing moved, both) is an
            arbitrary fixed direction.
    """

    x: Tensor
    y: Tensor
    points: Tensor
    support: Tensor
    query: Tensor
    parallel: bool


def plane(
    method: Method,
    objective: Objective,
    state: MetaState,
    episodes: Episode,
    *,
    resolution: int = 25,
    margin: float = 0.3,
    statistics: Statistics = "transductive",
) -> Plane:
    """Adapt two tasks, each alone, and evaluate both over the plane of their displacements.

    The first axis is the first task's displacement, the second the part of the other's that is
    orthogonal to it, both of length 1. What the inner loop does not move stays at its
    meta-trained value (of several per step, the one after the last). The grid covers the three
    points and a margin.

    Args:
        method, objective, state: As meta-trained; none is changed.
        episodes: Data of two tasks, ``[2, n, ...]``.
        resolution: R, at least 2.
        margin: Space around the points, as a fraction of their greatest extent along an axis.
        statistics: What batch normalisation sees of the query sets.

    Raises:
        UsageError: if there are not two tasks, if only one number moves, or for a resolution or
            margin out of range.
        NumericalError: if a solution is not finite.

    Example:
        >>> import metaccord as mc
        >>> tasks, method = mc.tasks.Sinusoid(), mc.methods.maml(steps=1)
        >>> objective = mc.Objective(mc.models.MLP(), mc.losses.mse)
        >>> state = mc.initialise(method, objective, seed=0)
        >>> found = plane(method, objective, state, tasks.episodes("test", 0, range(2)))
        >>> found.query.shape
        torch.Size([2, 25, 25])
    """
    if tree.common_length(episodes) != {2}:
        raise UsageError(
            f"episodes hold {sorted(tree.common_length(episodes))} tasks in their tensors: a "
            "plane goes through the solutions of exactly 2"
        )
    if resolution < 2 or not margin > 0:
        raise UsageError(f"resolution={resolution} and margin={margin}: use >= 2 and > 0")
    objective = settled(objective.planned(replace(objective.plan, compile=False, checkpoint=False)))
    episodes = tree.to(episodes, objective.place())
    run = isolated(method, objective, state, episodes)
    axes, points, parallel = _span(displacements(run))
    x, y = (_ticks(points, axis, resolution, margin) for axis in (0, 1))
    spots = torch.cartesian_prod(y, x).flip(1)  # [R * R, 2]: x runs fastest
    origin = tree.flat(run.initial)[0]
    places = [(origin.double() + c @ axes).to(origin.dtype) for c in tree.split(spots, POINTS)]
    found = [_losses(objective, run, place, statistics) for place in places]
    support, query = torch.cat(found, dim=2).reshape(2, 2, resolution, resolution).cpu()
    return Plane(x.cpu(), y.cpu(), points.cpu(), support, query, parallel)


def paths(method: Method, objective: Objective, state: MetaState, episodes: Episode) -> Tensor:
    """Return how two tasks move, as shares of their displacements: ``[2, steps + 1, 2]``.

    Each place on the path is projected on the plane of the two displacements; (1, 0) is the
    first task's solution. Multiply by ``plane.points[1:]`` for coordinates of the plane.

    Args:
        method, objective, state: As meta-trained; none is changed.
        episodes: Data of two tasks, ``[2, n, ...]``.
    """
    run = isolated(method, settled(objective), state, episodes)
    begin = tree.flat(run.initial).double()  # [2, P]
    ends = {k: run.solution[k] for k in run.initial}
    places = [tree.flat(step).double() - begin for step in (*run.path[:-1], ends)]
    moved = torch.stack(places, dim=1)  # [2, steps + 1, P]
    return moved @ torch.linalg.pinv(moved[:, -1])


def _losses(
    objective: Objective, run: Adaptation, places: Tensor, statistics: Statistics
) -> Tensor:
    """Return support and query losses of both tasks at C places: ``[C, P] -> [2, 2, C]``."""

    def one(params: Params, support: Batch, query: Batch) -> tuple[Tensor, Tensor]:
        outputs = predict(objective, statistics, params, support, query.inputs)
        return objective.loss(params, support), objective.judge(outputs, query)

    count = len(places)
    still = {k: v[0] for k, v in run.solution.items() if k not in run.initial}
    params = {**tree.expand(still, count), **shaped(places, run.initial)}
    found = []
    with torch.no_grad():
        for task in tree.unbind((run.episodes.support, run.episodes.query)):
            over = objective.over_tasks(one)
            repeated = pytree.tree_map(lambda leaf: leaf.expand(count, *leaf.shape), task)
            found.append(torch.stack(over(params, *repeated)))  # [2, C]
    return torch.stack(found, dim=1)


def _span(moved: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Return orthonormal axes ``[2, P]``, the three points ``[3, 2]``, and whether one is filled.

    Args:
        moved: Displacements of two tasks, ``[2, P]``.
    """
    size = moved.shape[1]
    if size < 2:
        raise UsageError("the inner loop moves one number: a plane needs at least 2")
    if not moved.isfinite().all():
        raise NumericalError("a solution is not finite, so there is no plane: lower rule.lr")
    tiny = torch.finfo(moved.dtype).eps ** 0.5
    moved = moved.double()
    key = torch.tensor(_FILL, dtype=torch.int64, device=moved.device)
    candidates = torch.cat([moved, 2 * keys.uniform(key, (2, size)) - 1])  # [4, P]
    axes: list[Tensor] = []
    used: list[int] = []
    for index, candidate in enumerate(candidates):
        rest = candidate
        for axis in axes * 2:  # Gram-Schmidt, twice against rounding
            rest = rest - (rest @ axis) * axis
        length = torch.linalg.vector_norm(rest)
        if len(axes) < 2 and length > tiny * torch.linalg.vector_norm(candidate):
            axes.append(rest / length)
            used.append(index)
    both = torch.stack(axes)
    points = torch.cat([moved.new_zeros(1, 2), moved @ both.T])
    return both, points, used != [0, 1]


def _ticks(points: Tensor, axis: int, resolution: int, margin: float) -> Tensor:
    low, high = points.amin(0), points.amax(0)
    extent = float((high - low).amax())
    room = margin * (extent if extent > 0 else 1.0)
    return torch.linspace(
        float(low[axis]) - room,
        float(high[axis]) + room,
        resolution,
        dtype=torch.float64,
        device=points.device,
    )
