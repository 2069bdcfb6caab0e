"""The plane of two tasks: closed forms, a slow twin, and displacements that span no plane."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

import metaccord as mc
from metaccord import tree
from metaccord.diagnostics import Plane, landscape, plane
from metaccord.errors import NumericalError, UsageError
from metaccord.evaluate import isolated
from metaccord.methods import maml
from tests import cases, tolerances
from tests.reference.compare import relative_error

METHOD = maml(steps=2, lr=0.2)


def networks(
    name: str = "batchnorm2d", plan: mc.Plan | None = None, method: mc.Method = METHOD, **options
) -> Plane:
    goal, found = cases.objective(name, plan), cases.episodes(name, 2)
    return plane(method, goal, mc.initialise(method, goal), found, resolution=4, **options)


def test_quadratic_worlds_have_closed_forms() -> None:
    tasks, method = mc.tasks.Quadratics(dim=5, condition=6.0), maml(steps=3, lr=0.1)
    goal = mc.Objective(mc.tasks.Point(5).double(), mc.tasks.mean_height)
    state = mc.initialise(method, goal, seed=0)
    found = plane(method, goal, state, tasks.episodes("test", 0, range(2)), resolution=9)
    weight = state.params["model.weight"].numpy()
    moved = tasks.adapted(weight, 0.1, 3, "test", 0, range(2)) - weight
    axes, _ = np.linalg.qr(moved.T)
    axes = (axes * np.sign(np.einsum("pi,ip->i", axes, moved))).T  # [2, P]: first along the first
    assert np.allclose(found.points.numpy(), [(0, 0), *(moved @ axes.T)], atol=1e-12)
    centres, metrics = tasks.bowls("test", 0, range(2))
    for task in range(2):
        for row, y in enumerate(found.y.numpy()):
            for column, x in enumerate(found.x.numpy()):
                apart = weight + x * axes[0] + y * axes[1] - centres[task]
                height = 0.5 * apart @ metrics[task] @ apart
                assert float(found.support[task, row, column]) == pytest.approx(height, rel=1e-12)
    assert torch.equal(found.support, found.query) and not found.parallel


@pytest.mark.parametrize("name", ["batchnorm2d", "layernorm", "frozen"])
@pytest.mark.parametrize("plan", [mc.Plan(chunk=1), mc.Plan(chunk="all"), mc.Plan(compile=True)])
def test_networks_equal_a_loop_over_points(name: str, plan: mc.Plan) -> None:
    found = networks(name, plan)
    goal, episodes = cases.objective(name), cases.episodes(name, 2)
    state = mc.initialise(METHOD, goal)
    theta = tree.scope(state.params, "model")
    run = isolated(METHOD, goal, state, episodes)
    names = sorted(run.initial)
    d = [torch.cat([(run.adapted[k][i] - theta[k]).flatten() for k in names]) for i in (0, 1)]
    first = d[0] / d[0].norm()
    rest = d[1] - (d[1] @ first) * first
    second = rest / rest.norm()

    def loss(x: Tensor, y: Tensor, batch: mc.Batch) -> Tensor:
        offset, point = x * first + y * second, dict(theta)
        for k in names:
            piece, offset = offset[: theta[k].numel()], offset[theta[k].numel() :]
            point[k] = theta[k] + piece.reshape(theta[k].shape)
        return goal.criterion(functional_call(goal.model, point, (batch.inputs,)), batch.targets)

    for kind, grid in (("support", found.support), ("query", found.query)):
        for task, one in enumerate(tree.unbind(getattr(episodes, kind))):
            expected = torch.stack(
                [torch.stack([loss(x, y, one) for x in found.x]) for y in found.y]
            )
            assert relative_error(grid[task], expected) <= tolerances.CHUNK_F64


def test_distances_in_the_plane_are_true() -> None:
    found = networks()
    goal = cases.objective("batchnorm2d")
    run = isolated(METHOD, goal, mc.initialise(METHOD, goal), cases.episodes("batchnorm2d", 2))
    at = [tree.flat(run.initial)[0], *tree.flat(run.adapted)]
    true = torch.stack([torch.stack([(a - b).norm() for a in at]) for b in at])
    assert relative_error(torch.cdist(found.points, found.points), true) <= 1e-12
    assert found.points[0].tolist() == [0.0, 0.0] and abs(float(found.points[1, 1])) <= 1e-12
    assert found.points[2, 1] > 0


@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_the_grid_covers_the_points_and_a_margin(margin: float) -> None:
    found = networks(margin=margin)
    low, high = found.points.amin(0), found.points.amax(0)
    room = margin * float((high - low).max())
    for axis, ticks in enumerate((found.x, found.y)):
        assert float(ticks[0]) == pytest.approx(float(low[axis]) - room)
        assert float(ticks[-1]) == pytest.approx(float(high[axis]) + room)
        assert (ticks.diff() > 0).all()


def twice(episodes: mc.Episode) -> mc.Episode:
    """Return the first task two times."""
    return tree.mapped(lambda leaf: leaf[[0, 0]], episodes)


def test_equal_tasks_span_no_plane() -> None:
    goal = cases.objective("batchnorm2d")
    state, same = mc.initialise(METHOD, goal), twice(cases.episodes("batchnorm2d"))
    found = plane(METHOD, goal, state, same, resolution=5)
    assert found.parallel
    assert relative_error(found.points[1], found.points[2]) <= 1e-12
    assert relative_error(found.support[0], found.support[1]) <= 1e-12
    run = isolated(METHOD, goal, state, same)
    length = (tree.flat(run.adapted) - tree.flat(run.initial)).norm(dim=1)[0]
    assert float(found.points[1].norm()) == pytest.approx(float(length))
    assert (found.y.diff() > 0).all() and found.support.isfinite().all()
    assert float(found.support.std(1).max()) > 0  # the second axis leads somewhere


@pytest.mark.parametrize("still", [0, 1])
def test_one_task_that_stands_still(still: int) -> None:
    """A bowl around the initialisation itself: the other task gives the first axis."""
    tasks, method = mc.tasks.Quadratics(dim=4), maml(steps=2, lr=0.05)
    goal = mc.Objective(mc.tasks.Point(4).double(), mc.tasks.mean_height)
    state = mc.initialise(method, goal, seed=0)
    episodes = tasks.episodes("test", 0, range(2))
    episodes.support.inputs[0][still] = state.params["model.weight"]
    found = plane(method, goal, state, episodes, resolution=3)
    assert found.parallel
    assert found.points[1 + still].tolist() == [0.0, 0.0]
    assert float(found.points[2 - still, 0]) > 0
    assert abs(float(found.points[2 - still, 1])) <= 1e-12


def test_nothing_moves() -> None:
    found = networks(method=maml(steps=0, lr=0.1))
    assert found.parallel and found.points.abs().max() == 0.0
    assert float(found.x[-1]) == pytest.approx(0.3) and found.query.isfinite().all()


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = networks()
    monkeypatch.setattr(landscape, "POINTS", 3)
    pieces = networks()
    for a, b in zip(whole[:-1], pieces[:-1], strict=True):
        assert relative_error(a, b) <= tolerances.CHUNK_F64


def test_queries_follow_the_protocol() -> None:
    """At the solutions the grid would hold what evaluate measures."""
    found = {s: networks(statistics=s) for s in ("transductive", "inductive", "frozen")}
    for name, one in found.items():
        assert torch.equal(one.support, found["frozen"].support)
        for other in found.keys() - {name}:
            assert relative_error(one.query, found[other].query) > 1e-3


def test_bad_arguments_are_refused() -> None:
    goal = cases.objective("plain")
    state = mc.initialise(METHOD, goal)
    with pytest.raises(UsageError, match="hold \\[3\\] tasks"):
        plane(METHOD, goal, state, cases.episodes("plain", 3))
    for wrong in ({"resolution": 1}, {"margin": 0.0}, {"margin": math.nan}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            plane(METHOD, goal, state, cases.episodes("plain", 2), **wrong)
    point = mc.Objective(mc.tasks.Point(1).double(), mc.tasks.mean_height)
    line = mc.tasks.Quadratics(dim=1).episodes("test", 0, range(2))
    with pytest.raises(UsageError, match="moves one number"):
        plane(METHOD, point, mc.initialise(METHOD, point), line)
    with pytest.raises(NumericalError, match="not finite"):
        networks(method=maml(steps=3, lr=1e200))


def test_nothing_is_changed_or_drawn() -> None:
    goal = cases.objective("batchnorm2d")
    state = mc.initialise(METHOD, goal)
    held, before = cases.bits(state.params), torch.get_rng_state()
    plane(METHOD, goal, state, twice(cases.episodes("batchnorm2d")), resolution=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, held, cases.bits(state.params)))
