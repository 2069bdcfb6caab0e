"""Laws of uneven tasks: each is its own, padding is never looked at, one shape changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import metaccord as mc
from metaccord import tree, uneven
from metaccord.errors import DataError, UsageError
from metaccord.estimators import Pretrain
from metaccord.methods import maml, reptile
from metaccord.rules import SGD
from metaccord.tasks import stacked
from metaccord.types import Batch, Episode
from tests import cases, tolerances
from tests.reference.compare import relative_error

BASES = {
    **cases.BASES,
    "pretrain": mc.Method(name="pretrain", rule=SGD(steps=1, lr=0.1), estimator=Pretrain()),
}
NETS = ("batchnorm2d", "batchnorm1d")


def alone(found: Episode, task: int) -> Episode:
    """Return one task as an even episode with its ways."""

    def one(batch: Batch) -> Batch:
        inputs, targets, sizes, ways = tree.unbind(tuple(batch))[task]
        size = int(sizes)
        ways = ways if isinstance(ways, tuple) else ways[None]
        return Batch(inputs[None, :size], targets[None, :size], ways=ways)

    extra = {k: v[task : task + 1] for k, v in found.extra.items()}
    return Episode(one(found.support), one(found.query), extra)


@pytest.mark.parametrize(
    ("base", "net", "plan"),
    [(base, NETS[0], 3) for base in BASES]
    + [(base, NETS[1], 1) for base in BASES]
    + [(base, NETS[1], "checkpoint") for base in ("maml", "maml_pp", "meta_sgd")],
)
def test_rows_are_those_of_each_task_alone(base: str, net: str, plan: int | str) -> None:
    """To the bit task by task, and to rounding in buckets."""
    kind = mc.Plan(chunk="all", checkpoint=True) if plan == "checkpoint" else mc.Plan(chunk=plan)
    method, goal, found = BASES[base], cases.objective(net, kind), cases.uneven(net)
    state = mc.initialise(method, goal)
    step = mc.meta_gradient(method, goal, state, found)
    single = goal.planned(mc.Plan(chunk=1))
    for task in range(4):
        own = mc.meta_gradient(method, single, state, alone(found, task))
        row = {k: v[task : task + 1] for k, v in step.rows.items()}
        assert relative_error(row, own.rows) <= tolerances.TWIN_F64
        assert plan != 1 or cases.same_bits(row, own.rows)


@pytest.mark.parametrize("chunk", [1, 2, "all"])
@pytest.mark.parametrize("name", ["together", "cooperative", "none"])
def test_tasks_of_one_shape_are_even_tasks_to_the_bit(name: str, chunk: Any) -> None:
    """One bucket: nothing is permuted or copied."""
    method = maml(steps=2, lr=0.2).with_interaction(cases.INTERACTIONS[name])
    goal, even = cases.objective("batchnorm2d", mc.Plan(chunk=chunk)), cases.even("batchnorm2d")
    sizes, ways = (torch.full((4,), n) for n in (6, 3))
    same = even._replace(
        support=even.support._replace(sizes=sizes, ways=ways),
        query=even.query._replace(sizes=sizes - 1, ways=ways),
    )
    state = mc.initialise(method, goal)
    steps = [mc.meta_gradient(method, goal, state, found) for found in (even, same)]
    assert cases.same_bits(steps[0].rows, steps[1].rows)
    assert cases.same_bits(steps[0].grads, steps[1].grads)


@pytest.mark.parametrize("name", ["together", "pcgrad", "none"])
def test_permuting_tasks_permutes_rows(name: str) -> None:
    method = maml(steps=2, lr=0.2).with_interaction(cases.INTERACTIONS[name])
    goal, found = cases.objective("batchnorm2d"), cases.uneven("batchnorm2d", 7)
    state, order = mc.initialise(method, goal), torch.tensor([3, 0, 6, 1, 5, 2, 4])
    step = mc.meta_gradient(method, goal, state, found)
    turned = mc.meta_gradient(method, goal, state, tree.take(found, order))
    rows = {k: v[order] for k, v in step.rows.items()}
    assert relative_error(turned.rows, rows) <= tolerances.TWIN_F64
    assert relative_error(turned.grads, step.grads) <= tolerances.TWIN_F64
    losses = step.run.losses
    assert losses is not None and turned.run.losses is not None
    assert relative_error(turned.run.losses, losses[order]) <= tolerances.TWIN_F64


@pytest.mark.parametrize("chunk", [1, 2, "all"])
@pytest.mark.parametrize("base", ["maml", "reptile", "maml_pp"])
def test_padding_never_matters(base: str, chunk: Any) -> None:
    """NaN or zeros beyond the end, and however far it goes on: the same bits."""
    method, goal = cases.BASES[base], cases.objective("batchnorm2d", mc.Plan(chunk=chunk))
    found, state = cases.uneven("batchnorm2d"), mc.initialise(method, goal)

    def longer(batch: Batch) -> Batch:
        x, y = (torch.cat([leaf, leaf[:, :3]], 1).nan_to_num(7) for leaf in batch[:2])
        return batch._replace(inputs=x, targets=y.abs())

    other = found._replace(support=longer(found.support), query=longer(found.query))
    rows = [mc.meta_gradient(method, goal, state, e).rows for e in (found, other)]
    assert all(v.isfinite().all() for v in rows[0].values())
    assert cases.same_bits(*rows)


def test_mini_batches_are_drawn_from_true_examples() -> None:
    """Each task reads what it would read alone, whole passes before anything twice."""
    rule, found = reptile(steps=5, lr=0.1, batch=3).rule, cases.uneven("plain", 6)
    together = rule.arranged(found).support
    assert together.sizes == () and together.inputs.shape[:2] == (6, 15)
    for task, size in enumerate(found.support.sizes.tolist()):
        own = rule.arranged(alone(found, task)).support
        assert torch.equal(together.inputs[task], own.inputs[0])
        assert torch.equal(together.targets[task], own.targets[0])
        first = together.inputs[task, :size]
        assert len(first.unique(dim=0)) == size


def test_features_are_padded_with_zeros() -> None:
    """Wherever a chunk ends: the width is that of the episode."""
    method = mc.methods.cooperative(maml(steps=1, lr=0.2))
    found = cases.uneven("batchnorm1d")
    for chunk in (1, 2, "all"):
        goal = cases.objective("batchnorm1d", mc.Plan(chunk=chunk))
        run = mc.meta_gradient(method, goal, mc.initialise(method, goal), found).run
        assert isinstance(run.features, Tensor)
        assert run.features.shape[:2] == (4, 5)
        for features, size in zip(run.features, [5, 2, 4, 5], strict=True):
            assert features[:size].any(1).all() and not features[size:].any()


def test_more_ways_than_outputs_are_refused() -> None:
    goal, found = cases.objective("batchnorm2d"), cases.uneven("batchnorm2d")
    many = found._replace(support=found.support._replace(ways=torch.tensor([2, 3, 4, 2])))
    with pytest.raises(UsageError, match="3 classes but a task has 4"):
        mc.meta_gradient(maml(), goal, mc.initialise(maml(), goal), many)
    long = found._replace(query=found.query._replace(sizes=torch.tensor([2, 3, 6, 2])))
    with pytest.raises(UsageError, match="the tensors hold 5"):
        mc.meta_gradient(maml(), goal, mc.initialise(maml(), goal), long)


def example(count: int, ways: int, width: int = 3) -> Episode:
    batch = Batch({"x": torch.ones(count, width)}, torch.zeros(count, dtype=torch.int64))
    return Episode(batch, batch, {"order": torch.tensor(count), "classes": torch.ones(ways)})


def test_stacked_pads_what_is_shorter() -> None:
    found = stacked([example(2, 2), example(3, 4)], ways=[2, 4])
    assert found.support.inputs["x"].tolist() == [[[1.0] * 3] * 2 + [[0.0] * 3], [[1.0] * 3] * 3]
    assert found.support.sizes.tolist() == [2, 3]
    assert found.query.ways.tolist() == [2, 4]
    assert found.extra["order"].tolist() == [2, 3]
    assert found.extra["classes"].tolist() == [[1, 1, -1, -1], [1, 1, 1, 1]]
    even = stacked([example(2, 2), example(2, 2)])
    assert even.support.sizes == even.support.ways == ()
    back = uneven.singles(found)
    assert [len(task.support.targets) for task in back] == [2, 3]
    assert [task.query.ways for task in back] == [2, 4]


BAD = {
    "no task": ([], None, "no task to stack"),
    "ways": ([example(2, 2)], [2, 3], "2 entries for 1 tasks"),
    "shapes": ([example(2, 2), example(2, 2, 4)], None, "differ in more than the number"),
    "empty": ([example(0, 2)], None, r"holds \[0\] examples"),
    "lengths": (
        [example(2, 2)._replace(support=Batch(torch.ones(2, 1), torch.ones(3)))],
        None,
        r"holds \[2, 3\] examples",
    ),
    "extra": ([example(2, 2), example(2, 2)._replace(extra={})], None, "others have not"),
}


@pytest.mark.parametrize("name", BAD)
def test_stacked_refuses(name: str) -> None:
    tasks, ways, said = BAD[name]
    with pytest.raises(DataError, match=said):
        stacked(tasks, ways)


def test_together_puts_padding_last() -> None:
    """What pre-training joins; labels of padding are labels that exist."""
    found = cases.uneven("batchnorm2d")
    both = uneven.together(found.support, found.query)
    assert both.sizes.tolist() == [9, 8, 7, 9]
    assert both.targets.min() == 0
    for task in range(4):
        one = alone(found, task)
        expected = torch.cat([one.support.inputs, one.query.inputs], 1)[0]
        assert torch.equal(both.inputs[task, : both.sizes[task]], expected)
    even = uneven.together(*(part._replace(sizes=()) for part in found[:2]))
    assert even.sizes == () and even.inputs.shape[:2] == (4, 11)


def test_sizes_stay_on_the_processor() -> None:
    found = tree.to(cases.uneven("batchnorm2d"), torch.device("meta"))
    assert found.support.inputs.is_meta and found.extra["order"].is_meta
    assert found.support.sizes.device.type == found.query.ways.device.type == "cpu"


def test_objective_of_one_task_slices_as_well() -> None:
    """A loop of a user over single tasks gives the same losses."""
    goal, found = cases.objective("batchnorm2d"), cases.uneven("batchnorm2d")
    params = {k: v.detach() for k, v in goal.trainable().items()}
    losses = goal.losses(tree.expand(params, 4), found.query)
    one = [goal.loss(params, task) for task in tree.unbind(found.query)]
    assert relative_error(torch.stack(one).detach(), losses) <= tolerances.TWIN_F64
