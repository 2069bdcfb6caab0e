"""Tasks of different sizes and ways: hashed, measured and permuted as if each were alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import metaccord as mc
from metaccord.episode_set import Hashed
from metaccord.evaluate import isolated, predict
from metaccord.permutations import averaged, orders
from metaccord.tasks import stacked
from metaccord.uneven import singles
from tests import cases

METHOD = mc.methods.maml(steps=2, lr=0.3)
TASKS = 6


class Ragged(cases.Blobs):
    """Two or three classes, and as many examples as the number of the task says; padded."""

    def episodes(self, split: str, step: int, tasks: range) -> mc.Episode:
        found = []
        for task in tasks:
            whole = super().episodes(split, step, range(task, task + 1))
            ways, fewer = 2 + task % 2, task % 3
            parts = []
            for batch in (whole.support, whole.query):
                kept = torch.nonzero(batch.targets[0] < ways)[:, 0][: -1 - fewer]
                parts.append(mc.Batch(batch.inputs[0, kept].double(), batch.targets[0, kept]))
            extra = {k: v[0] for k, v in whole.extra.items()}
            found.append(mc.Episode(*parts, {**extra, "classes": torch.arange(ways)}))
        joined = stacked(found, [2 + task % 2 for task in tasks])
        for batch in (joined.support, joined.query):
            for row, size in enumerate(batch.sizes):
                batch.inputs[row, size:], batch.targets[row, size:] = torch.nan, -7
        return joined


def setting(plan: mc.Plan) -> tuple[mc.Method, mc.Objective, mc.MetaState]:
    goal = cases.objective("batchnorm2d", plan)
    return METHOD, goal, mc.initialise(METHOD, goal, seed=4)


@pytest.mark.parametrize("permutations", [1, 2])
@pytest.mark.parametrize("plan", [mc.Plan(chunk=1), mc.Plan(chunk="all")], ids=repr)
def test_each_task_is_measured_as_if_alone(plan: mc.Plan, permutations: int) -> None:
    method, goal, state = setting(plan)
    protocol = mc.Protocol(tasks=TASKS, seed=2, permutations=permutations)
    scores = mc.evaluate(method, goal, state, Ragged(), protocol)
    answers, counted = [], None
    for task, one in enumerate(
        singles(replace(Ragged(), seed=2).episodes("test", 0, range(TASKS)))
    ):
        ways = 2 + task % 2
        called = orders(protocol, range(task, task + 1), [ways])[0]
        logits = []
        for order in called:
            support = one.support._replace(targets=order[one.support.targets], ways=ways)
            alone = stacked([mc.Episode(support, one.query, one.extra)], [ways])
            params = {k: v[0] for k, v in isolated(method, goal, state, alone).solution.items()}
            outputs = predict(goal, "transductive", params, one.support, one.query.inputs)
            logits.append(outputs[:, :ways].detach())
        answers.append(averaged(logits, called))
        truth = one.query.targets
        loss = torch.nn.functional.nll_loss(answers[-1], truth)
        assert scores.losses[task, 1].item() == pytest.approx(loss.item(), rel=1e-10)
        right = (answers[-1].argmax(1) == truth).double().mean().item()
        assert scores.accuracies[task, 1].item() == pytest.approx(right)
        found = mc.Calibration.of_logits(answers[-1], truth)
        counted = found if counted is None else counted + found
    assert scores.calibration.counts == counted.counts
    assert scores.calibration.nll == pytest.approx(counted.nll)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_padding_does_not_change_the_hash(size: int) -> None:
    """It depends on which tasks were drawn together."""
    protocol = mc.Protocol(tasks=TASKS)
    whole = mc.EpisodeSet.of(Ragged(), protocol)
    hashed = Hashed(Ragged(), protocol)
    for start in range(0, TASKS, size):
        chosen = range(start, min(start + size, TASKS))
        hashed.add(chosen, Ragged().episodes("test", 0, chosen))
    assert hashed.result() == whole
