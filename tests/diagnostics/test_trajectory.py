"""The measurements of one state: closed forms, slow twins, and what they must not depend on."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

import metaccord as mc
from metaccord import jsontree, tree
from metaccord.diagnostics import TrajectoryScores, measure, trajectory
from metaccord.errors import UsageError
from metaccord.methods import gradient_agreement, maml, reptile
from metaccord.statistics import over_tasks
from tests import cases
from tests.reference import curvature as slow
from tests.reference import loops

N = 7
PROTOCOL = mc.Protocol(tasks=N, seed=5)


class Pictures(cases.Blobs):
    """Noisy pictures in float64."""

    def episodes(self, split: str, step: int, tasks: range) -> mc.Episode:
        found = super().episodes(split, step, tasks)
        return tree.mapped(lambda t: t.double() if t.is_floating_point() else t, found)


def setting(plan: mc.Plan | None = None) -> tuple[mc.Method, mc.Objective, mc.MetaState, Pictures]:
    """A network with batch normalisation, whose scale and shift stay."""
    method, goal = maml(steps=2, lr=0.2), cases.objective("batchnorm2d", plan)
    return method, goal, mc.initialise(method, goal), Pictures()


def flattened(scores: TrajectoryScores) -> np.ndarray:
    """Return all numbers."""
    found = []
    for value in scores:
        found += list(value) if isinstance(value, tuple) else []
    return np.array([x for x in found if isinstance(x, float)])


@pytest.mark.parametrize(
    "method", [maml(2, 0.2), reptile(3, 0.2, batch=4), gradient_agreement(maml(2, 0.2))], ids=repr
)
def test_every_quantity_equals_its_slow_twin(method: mc.Method) -> None:
    _, goal, state, tasks = setting()
    theta = tree.scope(state.params, "model")
    moving = sorted(method.rule.divide(theta, goal.groups)[0])
    found = replace(tasks, seed=5).episodes("test", 0, range(N))
    moved, pulls, columns = [], [], {k: [] for k in ("norm", "top", "low", "loss", "far", "goal")}
    supports = tree.unbind(found.support)
    model = goal.model, goal.criterion
    for task, support in zip(cases.twin_tasks(method, found), supports, strict=True):
        path = loops.adapt(
            *model, theta, task.batches, method.rule.lr,
            moves=moving.__contains__, create_graph=False,
        ).path  # fmt: skip
        moved.append(slow.flat({k: path[-1][k] - theta[k] for k in moving}))
        pulls.append(slow.flat_gradient(*model, theta, support, moving))
        values = torch.linalg.eigvalsh(slow.dense_hessian(*model, path[-1], support, moving))
        columns["norm"].append(float(values.abs().max()))
        columns["top"].append(float(values[-1]))
        columns["low"].append(float(values[0]))
        columns["loss"].append(float(loops.loss_at(*model, path[-1], support)))
        columns["goal"].append(float(loops.loss_at(*model, path[-1], task.query)))
        columns["far"].append(float(moved[-1].norm()))
    scores = measure(method, goal, state, tasks, PROTOCOL)
    close = partial(pytest.approx, rel=1e-9)
    assert scores.spectral_norm == pytest.approx(over_tasks(columns["norm"]), rel=1e-4)
    assert scores.largest_eigenvalue == pytest.approx(over_tasks(columns["top"]), rel=1e-4)
    assert scores.smallest_eigenvalue == pytest.approx(over_tasks(columns["low"]), rel=1e-2)
    assert scores.support_loss == close(over_tasks(columns["loss"]))
    assert scores.distance == close(over_tasks(columns["far"]))
    assert scores.target_loss == close(over_tasks(columns["goal"]))
    assert scores.trajectory_coherence.mean == close(slow.mean_over_pairs(moved, unit=True))
    assert scores.gradient_coherence.mean == close(slow.mean_over_pairs(pulls))
    assert scores.gradient_cosine.mean == close(slow.mean_over_pairs(pulls, unit=True))
    assert (scores.curvature_tasks, scores.uncertain, scores.unmoved) == (N, 0, 0)


def test_quadratic_worlds_have_closed_forms() -> None:
    tasks = mc.tasks.Quadratics(dim=6, condition=8.0)
    goal = mc.Objective(mc.tasks.Point(6).double(), mc.tasks.mean_height)
    method = maml(steps=3, lr=0.05)
    state = mc.initialise(method, goal, seed=0)
    scores = measure(method, goal, state, tasks, mc.Protocol(tasks=60))
    weight = state.params["model.weight"].numpy()
    centres, metrics = tasks.bowls("test", 0, range(60))
    after = tasks.adapted(weight, 0.05, 3, "test", 0, range(60))
    heights = 0.5 * np.einsum("ti,tij,tj->t", after - centres, metrics, after - centres)
    slopes = np.einsum("tij,tj->ti", metrics, weight - centres)
    moved, pulls = torch.from_numpy(after - weight), torch.from_numpy(slopes)
    assert scores.spectral_norm == pytest.approx((8.0, 0.0), abs=1e-9)
    assert scores.smallest_eigenvalue == pytest.approx((1.0, 0.0), abs=1e-9)
    assert scores.distance == pytest.approx(over_tasks(moved.norm(dim=1).tolist()), rel=1e-10)
    assert scores.support_loss == pytest.approx(over_tasks(heights), rel=1e-10)
    assert scores.target_loss == scores.support_loss and scores.target_accuracy is None
    coherence = slow.mean_over_pairs(list(moved), unit=True)
    assert scores.trajectory_coherence.mean == pytest.approx(coherence, rel=1e-10)
    agreement = slow.mean_over_pairs(list(pulls))
    assert scores.gradient_coherence.mean == pytest.approx(agreement, rel=1e-10)


@pytest.mark.parametrize("statistics", ["transductive", "inductive", "frozen"])
def test_targets_are_those_of_evaluate(statistics: str) -> None:
    method, goal, state, tasks = setting()
    protocol = replace(PROTOCOL, statistics=statistics, steps=1)
    expected = mc.evaluate(method, goal, state, tasks, protocol)
    scores = measure(method, goal, state, tasks, protocol, curvature_tasks=0)
    assert scores.protocol == expected.protocol
    assert scores.target_loss == pytest.approx(expected.loss, rel=1e-12)
    assert scores.target_accuracy == pytest.approx(expected.accuracy, rel=1e-6)
    assert scores.spectral_norm is scores.largest_eigenvalue is scores.smallest_eigenvalue is None


@pytest.mark.parametrize("plan", [mc.Plan(chunk=1), mc.Plan(chunk=3), mc.Plan(compile=True)])
def test_plans_and_batches_change_nothing(plan: mc.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    method, goal, state, tasks = setting()
    whole = flattened(measure(method, goal, state, tasks, PROTOCOL, curvature_tasks=5))
    monkeypatch.setattr(importlib.import_module("metaccord.evaluate"), "BATCH", 3)
    monkeypatch.setattr(trajectory, "ROOM", 1)
    pieces = measure(*setting(plan), PROTOCOL, curvature_tasks=5)
    assert pieces.curvature_tasks == 5
    assert flattened(pieces) == pytest.approx(whole, rel=1e-9)


def test_the_first_tasks_are_curved() -> None:
    method, goal, state, tasks = setting()
    few = measure(method, goal, state, tasks, replace(PROTOCOL, tasks=3))
    some = measure(method, goal, state, tasks, PROTOCOL, curvature_tasks=3)
    assert some.spectral_norm == pytest.approx(few.spectral_norm, rel=1e-12)
    assert some.distance != few.distance


@pytest.mark.parametrize("wrong", [-1, 1, N + 1])
def test_a_number_of_curved_tasks_out_of_range_is_refused(wrong: int) -> None:
    with pytest.raises(UsageError, match=f"curvature_tasks={wrong}"):
        measure(*setting(), PROTOCOL, curvature_tasks=wrong)


def test_tasks_that_do_not_move_are_counted() -> None:
    scores = measure(*setting(), replace(PROTOCOL, steps=0))
    assert scores.unmoved == N and scores.distance == (0.0, 0.0)
    assert math.isnan(scores.trajectory_coherence.mean)
    assert math.isfinite(scores.gradient_cosine.mean)


def test_a_task_that_diverges_is_not_hidden() -> None:
    method, goal, state, tasks = setting()
    method = maml(steps=2, lr=1e200)
    scores = measure(method, goal, state, tasks, PROTOCOL)
    assert math.isnan(scores.spectral_norm.mean) and scores.uncertain == N
    assert not math.isfinite(scores.distance.mean) or scores.distance.mean > 1e100


def test_json_holds_everything() -> None:
    scores = measure(*setting(), replace(PROTOCOL, steps=0))
    shown = jsontree.decode(jsontree.encode(scores.json()))
    assert shown.keys() == set(TrajectoryScores._fields)
    assert shown["protocol"] == vars(scores.protocol) and shown["unmoved"] == N
    assert shown["support_loss"] == scores.support_loss._asdict()
    assert math.isnan(shown["trajectory_coherence"]["mean"])


def test_nothing_is_changed_or_drawn() -> None:
    method, goal, state, tasks = setting()
    held = cases.bits((state.params, state.running, goal.trainable()))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = measure(method, goal, state, tasks, PROTOCOL)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert measure(method, goal, state, tasks, PROTOCOL) == first
    after = cases.bits((state.params, state.running, goal.trainable()))
    assert all(map(torch.equal, held, after))
    assert all(p.grad is None for p in goal.model.parameters())


def test_single_precision_agrees() -> None:
    method, goal, state, tasks = setting()
    narrow = cases.objective("batchnorm2d", dtype=torch.float32)
    wide = measure(method, goal, state, tasks, PROTOCOL)

    def single(tree_: mc.MetaState) -> mc.MetaState:
        return tree_._replace(params={k: v.float() for k, v in tree_.params.items()})

    found = measure(method, narrow, single(state), cases.Blobs(), PROTOCOL)
    assert isinstance(found.distance.mean, float)
    assert flattened(found) == pytest.approx(flattened(wide), rel=1e-2, abs=1e-4)


def test_only_what_moves_counts() -> None:
    """The head alone: its Hessian and displacement, not those of the network."""
    method, goal, state, tasks = setting()
    method = replace(method, rule=replace(method.rule, only=("head",)))
    theta = tree.scope(state.params, "model")
    found = replace(tasks, seed=5).episodes("test", 0, range(N))
    norms: list[float] = []
    for task in cases.twin_tasks(method, found):
        names = ["head.bias", "head.weight"]
        end = loops.adapt(
            goal.model, goal.criterion, theta, task.batches, method.rule.lr,
            moves=names.__contains__, create_graph=False,
        ).path[-1]  # fmt: skip
        dense: Tensor = slow.dense_hessian(goal.model, goal.criterion, end, task.batches[0], names)
        norms.append(float(torch.linalg.eigvalsh(dense).abs().max()))
    scores = measure(method, goal, state, tasks, PROTOCOL)
    assert scores.spectral_norm == pytest.approx(over_tasks(norms), rel=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_agrees() -> None:
    method, goal, state, tasks = setting()
    expected = flattened(measure(method, goal, state, tasks, PROTOCOL))
    there = mc.Objective(goal.model, goal.criterion, goal.plan, device="cuda")
    state = state._replace(params=tree.to(state.params, there.place()))
    found = flattened(measure(method, there, state, tasks, PROTOCOL))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
