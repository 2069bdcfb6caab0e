"""Averages over label orders: against a loop, and free of the accident of the labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import nll_loss

import metaccord as mc
from metaccord.errors import DataError, UsageError
from metaccord.evaluate import isolated, predict
from metaccord.permutations import averaged, orders, relabelled
from tests import cases

METHOD = mc.methods.maml(steps=2, lr=0.3)


def setting(net: str = "batchnorm2d") -> tuple[mc.Method, mc.Objective, mc.MetaState]:
    goal = cases.objective(net, mc.Plan(chunk=3))
    return METHOD, goal, mc.initialise(METHOD, goal, seed=4)


@dataclass(frozen=True, kw_only=True)
class Renamed(cases.Blobs):
    """The same tasks in float64, their classes called otherwise."""

    names: tuple[int, ...] = (0, 1, 2)

    def episodes(self, split: str, step: int, tasks: range) -> mc.Episode:
        found = super().episodes(split, step, tasks)
        names = torch.tensor(self.names)
        support, query = (
            mc.Batch(part.inputs.double(), names[part.targets])
            for part in (found.support, found.query)
        )
        return mc.Episode(support, query, found.extra)


@pytest.mark.parametrize("names", [(1, 2, 0), (2, 1, 0)])
def test_all_orders_are_blind_to_the_names_of_classes(names: tuple[int, ...]) -> None:
    """3 ways have 6 orders; fewer are not enough."""
    found = {
        (given, count): mc.evaluate(
            *setting(), Renamed(names=given), mc.Protocol(tasks=7, permutations=count)
        )
        for given in ((0, 1, 2), names)
        for count in (1, 3, 6)
    }
    for count in (1, 3, 6):
        a, b = found[(0, 1, 2), count], found[names, count]
        gap = float((a.losses - b.losses).abs().max())
        assert gap < 1e-12 if count == 6 else gap > 1e-3
        if count == 6:
            assert torch.equal(a.accuracies[:, 1], b.accuracies[:, 1]), "before it all are tied"
            assert a.calibration.ece == pytest.approx(b.calibration.ece, abs=1e-12)


@pytest.mark.parametrize("statistics", ["transductive", "inductive", "frozen"])
@pytest.mark.parametrize("count", [2, 5])
def test_it_equals_a_loop_over_the_orders(statistics: str, count: int) -> None:
    """Each task and each order adapted by itself."""
    method, goal, state = setting()
    protocol = mc.Protocol(tasks=4, seed=2, permutations=count, statistics=statistics)
    scores = mc.evaluate(method, goal, state, Renamed(), protocol, at=(0, 1, 2))
    called = orders(protocol, range(4), [3] * 4)
    for task in range(4):
        episode = Renamed(seed=2).episodes("test", 0, range(task, task + 1))
        truth = episode.query.targets[0]
        mean: dict[int, Tensor] = {}
        for order in called[task]:
            renamed = episode._replace(
                support=episode.support._replace(targets=order[episode.support.targets])
            )
            run = isolated(method, goal, state, renamed)
            for step in range(3):
                params = {k: v[0] for k, v in {**run.solution, **run.path[step]}.items()}
                one = mc.Batch(episode.support.inputs[0], truth)
                outputs = predict(goal, statistics, params, one, episode.query.inputs[0])
                mean[step] = mean.get(step, 0) + outputs.softmax(1)[:, order] / count
        for step in range(3):
            loss = nll_loss(mean[step].log(), truth)
            assert scores.losses[task, step].item() == pytest.approx(loss.item(), rel=1e-10)
            right = (mean[step].argmax(1) == truth).double().mean().item()
            assert scores.accuracies[task, step].item() == pytest.approx(right)


def test_one_order_is_as_drawn() -> None:
    method, goal, state = setting()
    plain = mc.evaluate(method, goal, state, Renamed(), mc.Protocol(tasks=4))
    called = orders(mc.Protocol(permutations=1), range(4), [3] * 4)
    assert called.tolist() == [[[0, 1, 2]]] * 4
    found = relabelled(Renamed().episodes("test", 0, range(4)), called)
    assert torch.equal(
        found.support.targets, Renamed().episodes("test", 0, range(4)).support.targets
    )
    assert "orders" not in str(plain.protocol)
    assert "mean over 3 label orders" in str(replace(plain.protocol, permutations=3))


@pytest.mark.parametrize(("ways", "count"), [(3, 6), (5, 120), (5, 17), (9, 40), (20, 8)])
def test_orders_differ_and_the_first_is_the_identity(ways: int, count: int) -> None:
    protocol = mc.Protocol(permutations=count)
    found = orders(protocol, range(3, 6), [ways] * 3)
    assert found.shape == (3, count, ways)
    assert torch.equal(found[:, 0], torch.arange(ways).expand(3, -1))
    assert torch.equal(found.sort(2).values, torch.arange(ways).expand(3, count, -1))
    for task in found:
        assert len({tuple(order) for order in task.tolist()}) == count
    assert torch.equal(found[1:2], orders(protocol, range(4, 5), [ways])), "each task's own"
    assert torch.equal(
        found[:, :2], orders(replace(protocol, permutations=2), range(3, 6), [ways] * 3)
    )
    if count < math.factorial(ways):
        assert not torch.equal(found[0], found[1])
        assert not torch.equal(found, orders(replace(protocol, seed=1), range(3, 6), [ways] * 3))


def test_tasks_of_fewer_ways_keep_to_their_labels() -> None:
    found = orders(mc.Protocol(permutations=2), range(2), [2, 5])
    assert found[0].tolist() == [[0, 1, 2, 3, 4], [1, 0, 2, 3, 4]]


def test_classes_beyond_the_orders_keep_their_place() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    found = averaged([logits], torch.tensor([[1, 0]])).exp()
    torch.testing.assert_close(found, logits.softmax(1)[:, [1, 0, 2]], rtol=1e-14, atol=0)


REFUSED = {
    "too many": (lambda: mc.evaluate(*setting(), Renamed(), mc.Protocol(tasks=2, permutations=7)),
                 "only 6 orders"),
    "none": (lambda: mc.Protocol(permutations=0), "must be in 1 .. 10000"),
    "very many": (lambda: mc.Protocol(permutations=10_001), "must be in 1 .. 10000"),
    "regression": (lambda: mc.evaluate(
        METHOD, mc.Objective(mc.models.MLP(), mc.losses.mse), None, mc.tasks.Sinusoid(),
        mc.Protocol(permutations=2)), "Sinusoid has no labels"),
    "paths": (lambda: mc.diagnostics.measure(
        *setting(), Renamed(), mc.Protocol(permutations=2)), "leave it at 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_meaning_is_refused(case: str) -> None:
    make, word = REFUSED[case]
    with pytest.raises(UsageError, match=word):
        make()


def test_labels_that_are_no_classes_are_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Soft(cases.Blobs):
        def episodes(self, split: str, step: int, tasks: range) -> mc.Episode:
            found = super().episodes(split, step, tasks)
            return found._replace(query=found.query._replace(targets=found.query.targets.double()))

    with pytest.raises(DataError, match="class numbers"):
        mc.evaluate(*setting(), Soft(), mc.Protocol(tasks=2, permutations=2))
