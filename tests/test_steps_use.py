"""Scale and shift of BatchNorm for each step, in use: evaluation, diagnostics, learners."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.diagnostics import measure
from metaccord.estimators import MAML
from metaccord.evaluate import isolated
from metaccord.methods import maml_pp
from metaccord.protocol import Statistics
from tests import cases
from tests.reference import steps as slow
from tests.reference.compare import relative_error
from tests.reference.inner import gradient, leaves, loss_at
from tests.stepping import K, method_of, parts, started


@pytest.mark.parametrize("statistics", ["transductive", "frozen"])
def test_evaluation_takes_the_entry_of_each_number_of_steps(statistics: Statistics) -> None:
    """With the number trained, fewer, and more, where the last one repeats; and gradients at 0."""
    trained, tasks = method_of(), cases.Blobs(seed=5)
    goal = cases.objective("batchnorm2d", dtype=torch.float32)
    state, found = started(trained, goal), tasks.episodes("test", 0, range(3))
    theta, rates, norms = parts(state)
    protocol = mc.Protocol(tasks=3, seed=5, statistics=statistics)
    for count in (0, 2, K, K + 2):
        method = trained.with_steps(count)
        at = tuple(range(count + 1))
        scores = mc.evaluate(trained, goal, state, tasks, replace(protocol, steps=count), at=at)
        run = isolated(method, goal, state, found)
        for index, task in enumerate(cases.twin_tasks(method, found)):
            path = slow.stepped_path(
                goal.model, goal.criterion, leaves(theta), rates, norms, task.batches
            )
            points = [slow.met_at(p, norms, done) for done, p in enumerate(path)]
            support = tree.unbind(found.support)[index]
            for done, point in enumerate(points):
                with torch.no_grad():
                    outputs = goal.predict(point, task.query[0])
                    if statistics == "frozen":
                        outputs = goal.predict_frozen(point, support.inputs, task.query[0])
                    loss = goal.criterion(outputs, task.query[1])
                torch.testing.assert_close(scores.losses[index, done], loss, rtol=1e-4, atol=1e-5)
            mine = {k: v[index] for k, v in run.solution.items()}
            assert relative_error(mine, points[-1]) <= 1e-5
            own = mc.Learner(trained, goal, state).adapted(support, count)
            assert relative_error(own, points[-1]) <= 1e-5


def test_diagnostics_see_the_first_entry_at_the_start_and_the_last_at_the_end() -> None:
    """Gradient coherence is of gradients at the start; the support loss is that after K steps."""
    method, tasks = method_of(MAML()), cases.Blobs(seed=5)
    goal = cases.objective("batchnorm2d", dtype=torch.float32)
    state, found = started(method, goal), tasks.episodes("test", 0, range(3))
    theta, rates, norms = parts(state)
    pulls, losses = [], []
    for task in cases.twin_tasks(method, found):
        path = slow.stepped_path(
            goal.model, goal.criterion, leaves(theta), rates, norms, task.batches
        )
        moving = leaves({k: theta[k] for k in rates})
        start = slow.met_at({**theta, **moving}, norms, 0)
        first = loss_at(goal.model, goal.criterion, start, task.batches[0])
        grads = gradient(first, moving, create_graph=False)
        pulls.append(torch.cat([grads[k].flatten() for k in sorted(grads)]))
        end = slow.met_at(path[-1], norms, K)
        losses.append(loss_at(goal.model, goal.criterion, end, task.batches[0]).item())
    scores = measure(method, goal, state, tasks, mc.Protocol(tasks=3, seed=5), curvature_tasks=0)
    pairs = [float(a @ b) for a, b in itertools.combinations(pulls, 2)]
    assert scores.gradient_coherence.mean == pytest.approx(sum(pairs) / 3, rel=1e-4)
    assert scores.support_loss.mean == pytest.approx(sum(losses) / 3, rel=1e-4)


def test_a_learner_is_saved_adapts_and_predicts_with_the_last_entry(tmp_path: Path) -> None:
    method = maml_pp(2, 0.1, horizon=4, epoch=1, norms=True)
    goal = cases.objective("batchnorm2d", dtype=torch.float32)
    *_, last = mc.train(method, goal, cases.Blobs(), steps=3, num_tasks=2)
    first = mc.initialise(method, goal, seed=0)
    for name, value in tree.scope(last.state.params, "rule").items():
        moved = (value != first.params[f"rule.{name}"]).reshape(len(value), -1)
        assert moved.any(1).all(), f"each entry of {name} learns"
    kept = {f"model.{k}" for k in goal.groups["batchnorm"]}
    assert all(torch.equal(last.state.params[k], first.params[k]) for k in kept)
    mc.save(tmp_path / "own", method, goal, last.state)
    found = mc.load(tmp_path / "own", model=goal.model, criterion=goal.criterion)
    assert found.method == method
    assert cases.same_bits(found.state.params, last.state.params)
    episodes = cases.Blobs(seed=9).episodes("test", 0, range(1))
    support, query = (tree.unbind(part)[0] for part in (episodes.support, episodes.query))
    module = found.adapt(support)
    norms = parts(last.state)[2]
    own = dict(module.named_parameters())
    assert all(torch.equal(own[k], v) for k, v in norms[-1].items())
    torch.testing.assert_close(module(query.inputs), found.predict(support, query.inputs))
    with pytest.raises(mc.errors.CheckpointError, match=r"for 'rule.norm.body.1.bias'"):
        mc.load(
            tmp_path / "own", model=goal.model, criterion=goal.criterion,
            method=maml_pp(2, 0.1, horizon=4, epoch=1),
        )  # fmt: skip
