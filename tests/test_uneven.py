"""Tasks of different sizes and ways: every method against its slow twin, and laws."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.types import Batch, Episode
from tests import cases, test_methods, tolerances
from tests.reference.compare import relative_error

NETS = ("batchnorm2d", "batchnorm1d", "layernorm")


@pytest.fixture(autouse=True)
def padded_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests of other files compare with their twins is uneven here."""
    monkeypatch.setattr(cases, "episodes", cases.uneven)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", cases.METHODS)
def test_rows_mean_and_slots_equal_the_slow_twin(name: str, net: str) -> None:
    test_methods.test_rows_and_mean_equal_the_slow_twin(name, net)


def alone(found: Episode, task: int) -> Episode:
    """Return one task as an even episode with its ways."""

    def one(batch: Batch) -> Batch:
        inputs, targets, sizes, ways = tree.unbind(tuple(batch))[task]
        size = int(sizes)
        ways = ways if isinstance(ways, tuple) else ways[None]
        return Batch(inputs[None, :size], targets[None, :size], ways=ways)

    extra = {k: v[task : task + 1] for k, v in found.extra.items()}
    return Episode(one(found.support), one(found.query), extra)


@pytest.mark.parametrize("plan", [1, 2, "all", "checkpoint"])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("base", cases.BASES)
def test_rows_are_those_of_each_task_alone(base: str, net: str, plan: int | str) -> None:
    kind = mc.Plan(chunk="all", checkpoint=True) if plan == "checkpoint" else mc.Plan(chunk=plan)
    method, goal, found = cases.BASES[base], cases.objective(net, kind), cases.uneven(net)
    state = mc.initialise(method, goal)
    step = mc.meta_gradient(method, goal, state, found)
    for task in range(4):
        single = replace(goal, plan=mc.Plan(chunk=1))
        own = mc.meta_gradient(method, single, state, alone(found, task))
        row = {k: v[task : task + 1] for k, v in step.rows.items()}
        assert relative_error(row, own.rows) <= tolerances.TWIN_F64


def test_stacked_pads_what_is_shorter() -> None:
    def task(count: int, ways: int) -> Episode:
        batch = Batch({"x": torch.ones(count, 3)}, torch.zeros(count, dtype=torch.int64))
        return Episode(batch, batch, {"order": torch.tensor(count), "classes": torch.ones(ways)})

    found = mc.tasks.stacked([task(2, 2), task(3, 4)], ways=[2, 4])
    assert found.support.inputs["x"].tolist() == [[[1.0] * 3] * 2 + [[0.0] * 3], [[1.0] * 3] * 3]
    assert found.support.sizes.tolist() == [2, 3]
    assert found.query.ways.tolist() == [2, 4]
    assert found.extra["order"].tolist() == [2, 3]
    assert found.extra["classes"].tolist() == [[1, 1, -1, -1], [1, 1, 1, 1]]
    even = mc.tasks.stacked([task(2, 2), task(2, 2)])
    assert even.support.sizes == even.support.ways == ()
