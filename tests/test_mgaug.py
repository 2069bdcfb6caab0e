"""MGAug against loops with the same masks, and at its limits."""

from __future__ import annotations

import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.estimators import MGAug
from metaccord.methods import fomaml, maml
from metaccord.rules import SGD, MetaSGD, PerStep
from metaccord.types import Params
from tests import cases, tolerances
from tests.pruning import KIND, LR, by_task, masks_of, method_of
from tests.reference.compare import relative_error
from tests.reference.inner import Task, gradient, leaves, loss_at
from tests.reference.pruned import mgaug_rows

NETS = ("batchnorm2d", "groupnorm", "layernorm", "plain", "tied")
ORDERS = pytest.mark.parametrize("first_order", [False, True])


@ORDERS
@pytest.mark.parametrize("maxup", [False, True])
@KIND
@pytest.mark.parametrize("net", NETS)
def test_rows_equal_the_slow_twin(net: str, kind: str, maxup: bool, first_order: bool) -> None:
    """Over mini-batches, given the same masks."""
    rule = SGD(steps=2, lr=LR, batch=4)
    method = method_of(kind, 3, maxup=maxup, first_order=first_order, rule=rule)
    goal, found = cases.objective(net), cases.episodes(net)
    state = mc.initialise(method, goal)
    masks = by_task(masks_of(method, goal, state, found))
    params, tasks = tree.scope(state.params, "model"), cases.twin_tasks(method, found)
    rows = mgaug_rows(
        goal.model, goal.criterion, params, tasks, masks, LR, first_order=first_order, maxup=maxup
    )
    step = mc.meta_gradient(method, goal, state, found)
    assert relative_error(cases.model_rows(step.rows), cases.stacked(rows)) <= tolerances.TWIN_F64


def test_only_the_head_may_move() -> None:
    """Masks act on what stays as well."""
    method = method_of("parameter", rule=SGD(steps=2, lr=LR, only=("head",)))
    goal, found = cases.objective("layernorm"), cases.episodes("layernorm")
    state = mc.initialise(method, goal)
    rows = mgaug_rows(
        goal.model, goal.criterion, tree.scope(state.params, "model"),
        cases.twin_tasks(method, found), by_task(masks_of(method, goal, state, found)), LR,
        moves=lambda name: name.startswith("head."),
    )  # fmt: skip
    step = mc.meta_gradient(method, goal, state, found)
    assert relative_error(cases.model_rows(step.rows), cases.stacked(rows)) <= tolerances.TWIN_F64


def rated_row(
    goal: mc.Objective, params: Params, rates: Params, task: Task, mask: Params, per_step: bool
) -> tuple[Params, Params]:
    """Gradients of one copy's query loss by theta and by the rates, slowly."""
    theta, rate = leaves(params), leaves(rates)
    now = {k: v * mask.get(k, torch.ones(())) for k, v in theta.items()}
    for step, batch in enumerate(task.batches):
        grads = gradient(loss_at(goal.model, goal.criterion, now, batch), now, create_graph=True)
        used = {k: v[step] if per_step else v for k, v in rate.items()}
        now = {k: v - used[k] * mask.get(k, torch.ones(())) * grads[k] for k, v in now.items()}
    loss = loss_at(goal.model, goal.criterion, now, task.query)
    found = gradient(loss, {**theta, **{f"rate.{k}": v for k, v in rate.items()}},
                     create_graph=False)  # fmt: skip
    return {k: found[k] for k in theta}, {k: found[f"rate.{k}"] for k in rate}


@pytest.mark.parametrize("rule", [MetaSGD(steps=2, lr=LR), PerStep(steps=2, lr=LR)])
def test_learned_rates_learn_from_the_copies(rule: MetaSGD | PerStep) -> None:
    method = method_of("width", rule=rule)
    goal, found = cases.objective("batchnorm2d"), cases.episodes("batchnorm2d", 2)
    state = mc.initialise(method, goal)
    params, learned = tree.scope(state.params, "model"), tree.scope(state.params, "rule")
    prefix = next(iter(learned)).partition(".")[0]
    rates = tree.scope(learned, prefix)
    assert rates.keys() == params.keys()
    tasks = cases.twin_tasks(method, found)
    step = mc.meta_gradient(method, goal, state, found)
    for i, copies in enumerate(by_task(masks_of(method, goal, state, found))):
        total = {k: torch.zeros_like(v) for k, v in state.params.items()}
        for mask in ({}, *copies):
            pair = rated_row(goal, params, rates, tasks[i], mask, isinstance(rule, PerStep))
            rows = {**tree.under(pair[0], "model"), **tree.under(pair[1], f"rule.{prefix}")}
            total = tree.plus(total, rows)
        assert relative_error({k: v[i] for k, v in step.rows.items()}, total) <= 1e-12


# Limits.


@ORDERS
@pytest.mark.parametrize(("kind", "copies"), [("parameter", 3), ("width", 1), ("catfish", 1)])
def test_whole_copies_are_so_many_times_the_base(kind: str, copies: int, first_order: bool) -> None:
    base = (fomaml if first_order else maml)(steps=2, lr=LR, never=())
    for net in ("batchnorm2d", "plain"):
        method = method_of(kind, copies, ratio=0.0, first_order=first_order)
        step, plain = cases.step(method, net), cases.step(base, net)
        expected = {k: (1 + copies) * v for k, v in plain.rows.items()}
        assert relative_error(step.rows, expected) <= 1e-14
        assert relative_error(step.notes["estimator.pruned_loss"], plain.run.losses) <= 1e-14


@KIND
def test_what_is_pruned_gets_nothing_from_the_copy(kind: str) -> None:
    method, net = method_of(kind, 1), "layernorm"
    goal, found = cases.objective(net), cases.episodes(net)
    state = mc.initialise(method, goal)
    (mask,) = masks_of(method, goal, state, found)
    rows = mc.meta_gradient(method, goal, state, found).rows
    base = cases.step(maml(steps=2, lr=LR, never=()), net).rows
    for name, kept in mask.items():
        extra = rows[f"model.{name}"] - base[f"model.{name}"]
        assert 0 < int((kept == 0).sum()) < kept.numel(), name
        assert not extra[kept == 0].any()
        assert extra[kept == 1].any()


def test_maxup_takes_the_worst_copy_of_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are those of one of the copies alone, and its loss is the largest."""
    goal, found = cases.objective("plain"), cases.episodes("plain", 6)
    whole, light = (method_of("width", 3, ratio=0.5, maxup=m) for m in (False, True))
    state = mc.initialise(light, goal)
    masks = masks_of(light, goal, state, found)
    with monkeypatch.context() as patched:
        one, steps = method_of("width", 1), []
        for mask in masks:
            patched.setattr(MGAug, "masks", lambda *_, mask=mask: [mask])
            steps.append(mc.meta_gradient(one, goal, state, found))
    losses = torch.stack([s.notes["estimator.pruned_loss"] for s in steps])  # [S, T]
    step = mc.meta_gradient(light, goal, state, found)
    assert torch.equal(step.notes["estimator.pruned_loss"], losses.max(0).values)
    worst = losses.argmax(0)
    assert len(set(worst.tolist())) > 1, "the tasks differ"
    for task, copy in enumerate(worst):
        row, alone = ({k: v[task] for k, v in s.rows.items()} for s in (step, steps[copy]))
        assert relative_error(row, alone) <= tolerances.TWIN_F64
    found_all = mc.meta_gradient(whole, goal, state, found).notes["estimator.pruned_loss"]
    assert relative_error(found_all, losses.mean(0)) <= 1e-14
