"""Inner rules of the family: learned rates, momentum and clipping, against loops and each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.errors import UsageError
from metaccord.estimators import MAML, Estimator, MultiStep
from metaccord.methods import maml, maml_pp, meta_sgd
from metaccord.rules import SGD, Adam, InnerRule, MetaSGD, Momentum, PerStep
from metaccord.types import Params
from tests import cases, tolerances
from tests.reference import loops, rates
from tests.reference.compare import relative_error

NETS = ("batchnorm2d", "groupnorm", "layernorm", "plain", "tied", "frozen")
RATED: dict[str, InnerRule] = {
    "meta-sgd": MetaSGD(steps=3, lr=0.1),
    "meta-sgd, a part": MetaSGD(steps=3, lr=0.1, only=("head",)),
    "per step": PerStep(steps=3, lr=0.1),
    "per step, a part": PerStep(steps=3, lr=0.1, never=("head.bias",)),
}
ESTIMATORS: dict[str, Estimator] = {
    "maml": MAML(),
    "fomaml": MAML(first_order=True),
    "multi-step": MultiStep(horizon=6, epoch=2),
    "multi-step, first order": MultiStep(horizon=6, epoch=2, first_order=True),
}
DONE = 3  # meta-steps: epoch 1 of 3


def started(method: mc.Method, goal: mc.Objective) -> mc.MetaState:
    """Return a state with rates of both signs, in the middle of the schedule."""
    state, source = mc.initialise(method, goal), torch.Generator().manual_seed(5)
    params = dict(state.params)
    for name in tree.under(tree.scope(params, "rule"), "rule"):
        drawn = torch.randn(params[name].shape, generator=source, dtype=torch.float64)
        params[name] = 0.1 + 0.2 * drawn
    running = {k: torch.full_like(v, DONE) for k, v in state.running.items()}
    return mc.MetaState(params, running, DONE)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", RATED)
def test_rows_of_weights_and_rates_equal_the_slow_twin(name: str, net: str, estimator: str) -> None:
    """Every rate is different and some are negative; with the multi-step loss, too."""
    rule, order = RATED[name], ESTIMATORS[estimator]
    method = mc.Method(name="family", rule=rule, estimator=order)
    goal, found = cases.objective(net), cases.episodes(net)
    state = started(method, goal)
    step = mc.meta_gradient(method, goal, state, found)
    own = tree.scope(tree.scope(state.params, "rule"), "rate")
    assert own.keys() == rule.divide(tree.scope(state.params, "model"), goal.groups)[0].keys()
    assert any((rate < 0).any() for rate in own.values())
    twin = rates.lslr_rows if isinstance(rule, PerStep) else rates.meta_sgd_rows
    weights = rates.multi_step_weights(1, 3, 3) if isinstance(order, MultiStep) else None
    theta, by_rate = twin(
        goal.model, goal.criterion, tree.scope(state.params, "model"), own,
        cases.twin_tasks(method, found), first_order=order.first_order,
        moves=own.__contains__, weights=weights,
    )  # fmt: skip
    expected = tree.under(cases.stacked(theta), "model")
    expected |= tree.under(tree.under(cases.stacked(by_rate), "rate"), "rule")
    assert relative_error(step.rows, expected) <= tolerances.TWIN_F64
    learned = tree.scope(expected, "rule")
    assert relative_error(tree.scope(step.rows, "rule"), learned) <= tolerances.TWIN_F64
    mean = {k: v.mean(0) for k, v in expected.items()}
    assert relative_error(step.grads, mean) <= tolerances.TWIN_F64


@pytest.mark.parametrize("net", NETS)
def test_equal_rates_are_maml(net: str) -> None:
    """And a rate's row is the sum of the rows of all rates that it stands for."""
    alike = {"horizon": 1, "epoch": 1}
    base = cases.step(maml(3, 0.2), net).rows
    elementwise = cases.step(meta_sgd(3, 0.2), net).rows
    rule = PerStep(steps=3, lr=0.2, never=("batchnorm",))
    stepwise = cases.step(mc.Method(name="lslr", rule=rule, estimator=MAML()), net).rows
    for rows in (elementwise, stepwise):
        assert relative_error(cases.model_rows(rows), cases.model_rows(base)) <= tolerances.TWIN_F64
    for name, row in tree.scope(elementwise, "rule").items():
        once, each = row.flatten(1).sum(1), stepwise[f"rule.{name}"]
        assert each.shape == (4, 3)
        torch.testing.assert_close(each.sum(1), once, rtol=1e-10, atol=1e-14)
    late = maml_pp(3, 0.2, **alike)
    goal = cases.objective(net)
    state = mc.initialise(late, goal)
    state = state._replace(running={"estimator.step": torch.tensor(1)}, step=1)
    ended = mc.meta_gradient(late, goal, state, cases.episodes(net)).rows
    assert cases.same_bits(ended, {k: stepwise[k] for k in ended}), "zero weights add zeros"
    assert relative_error(ended["model.head.weight"], base["model.head.weight"]) <= 1e-12


def test_rates_start_equal_and_train() -> None:
    """Adam moves each of them, and another start is another method."""
    goal = mc.Objective(mc.models.MLP(hidden=(4,)), torch.nn.functional.mse_loss, mc.Plan("all"))
    for method in (meta_sgd(2, 0.03), maml_pp(2, 0.03, horizon=3, epoch=1)):
        first = tree.scope(mc.initialise(method, goal, seed=0).params, "rule")
        assert first
        assert all((v == torch.full_like(v, 0.03)).all() for v in first.values())
        *_, last = mc.train(method, goal, mc.tasks.Sinusoid(shots=4), steps=3, num_tasks=2)
        moved = tree.scope(last.state.params, "rule")
        alive = [k for k in moved if not torch.equal(moved[k], first[k])]
        assert alive == list(first)


@pytest.mark.parametrize("net", ["layernorm", "batchnorm2d"])
def test_the_last_rate_repeats_beyond_the_trained_steps(net: str) -> None:
    """Adapting with 1, 2 and 5 steps after training with 2."""
    method = mc.Method(name="lslr", rule=PerStep(steps=2, lr=0.1), estimator=MAML())
    goal, found = cases.objective(net), cases.episodes(net, count=2)
    state = started(method, goal)
    own = tree.scope(tree.scope(state.params, "rule"), "rate")
    assert {v.shape for v in own.values()} == {(2,)}
    for count in (1, 2, 5):
        longer = method.with_steps(count)
        run = mc.adapt(longer, goal, state, found)
        assert len(run.path) == count + 1
        for index, task in enumerate(cases.twin_tasks(longer, found)):
            path = rates.rated_path(
                goal.model, goal.criterion, loops.leaves(tree.scope(state.params, "model")),
                loops.leaves(own), task.batches, rates.at_step,
            )  # fmt: skip
            for fast, slow in zip(run.path, path, strict=True):
                mine = {k: v[index] for k, v in fast.items()}
                assert relative_error(mine, slow) <= tolerances.TWIN_F64


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_momentum_equals_the_slow_twin(net: str, first_order: bool) -> None:
    rule = Momentum(steps=4, lr=0.1, momentum=0.7)
    method = mc.Method(name="maml", rule=rule, estimator=MAML(first_order=first_order))
    goal, found = cases.objective(net), cases.episodes(net)
    state = mc.initialise(method, goal)
    rows = (loops.fomaml_rows if first_order else loops.maml_rows)(
        goal.model, goal.criterion, tree.scope(state.params, "model"),
        cases.twin_tasks(method, found), 0.1, rule="momentum", rule_options={"momentum": 0.7},
    )  # fmt: skip
    step = mc.meta_gradient(method, goal, state, found)
    assert relative_error(cases.model_rows(step.rows), cases.stacked(rows)) <= tolerances.TWIN_F64


@pytest.mark.parametrize("estimator", cases.ESTIMATORS)
def test_no_momentum_is_sgd_to_the_bit(estimator: str) -> None:
    if estimator == "implicit":
        return
    options = {"name": "x", "estimator": cases.ESTIMATORS[estimator]}
    plain, still, heavy = (
        cases.step(mc.Method(rule=rule, **options), "layernorm")
        for rule in (
            SGD(steps=3, lr=0.1),
            Momentum(steps=3, lr=0.1, momentum=0.0),
            Momentum(steps=3, lr=0.1, momentum=0.9),
        )
    )
    assert cases.same_bits(plain.rows, still.rows)
    assert cases.same_bits(plain.run.solution, still.run.solution)
    assert relative_error(heavy.rows, plain.rows) > 1e-3


def clipped_rows(goal: mc.Objective, theta: Params, tasks: list[Any], rule: InnerRule) -> Any:
    """MAML through clipping, slowly; also how often each limit was met, of how many times."""
    rows, met = [], []
    for task in tasks:
        start = loops.leaves(theta)
        now = dict(start)
        for batch in task.batches:
            loss = loops.loss_at(goal.model, goal.criterion, now, batch)
            grads = loops.gradient(loss, now, create_graph=True)
            if rule.clip_value is not None:
                most = rule.clip_value
                met += [bool((g.abs() > most).any()) for g in grads.values()]
                grads = {
                    k: torch.where(g.abs() > most, most * g.sign(), g) for k, g in grads.items()
                }
            if rule.clip_norm is not None:
                norm = torch.cat([g.flatten() for g in grads.values()]).norm()
                met.append(bool(norm > rule.clip_norm))
                if norm > rule.clip_norm:
                    grads = {k: g * rule.clip_norm / norm for k, g in grads.items()}
            now = {k: v - rule.lr * grads[k] for k, v in now.items()}
        loss = loops.loss_at(goal.model, goal.criterion, now, task.query)
        rows.append(loops.gradient(loss, start, create_graph=False))
    return rows, met


LIMITS = [{"clip_norm": 0.75}, {"clip_value": 0.25}, {"clip_norm": 0.5, "clip_value": 0.25}]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize(("net", "size"), [("layernorm", 1), ("batchnorm2d", 2), ("plain", 1)])
def test_clipping_equals_a_loop_at_second_order(
    net: str, size: int, limits: dict[str, float]
) -> None:
    """Some gradients are above the limit, some below; each task is cut by itself."""
    limits = {k: size * v for k, v in limits.items()}
    method = mc.Method(name="maml", rule=SGD(steps=3, lr=0.3, **limits), estimator=MAML())
    goal, found = cases.objective(net), cases.episodes(net, count=6)
    state = mc.initialise(method, goal)
    theta = tree.scope(state.params, "model")
    rows, met = clipped_rows(goal, theta, cases.twin_tasks(method, found), method.rule)
    assert {True, False} == set(met), "the limit must matter, and not always"
    step = mc.meta_gradient(method, goal, state, found)
    assert relative_error(cases.model_rows(step.rows), cases.stacked(rows)) <= tolerances.TWIN_F64
    free = cases.step(
        mc.Method(name="maml", rule=SGD(steps=3, lr=0.3), estimator=MAML()), net, count=6
    )
    assert relative_error(step.rows, free.rows) > 1e-3
    wide = replace(method, rule=SGD(steps=3, lr=0.3, clip_norm=1e3, clip_value=1e3))
    assert relative_error(cases.step(wide, net, count=6).rows, free.rows) <= tolerances.TWIN_F64


def test_clipped_gradients_keep_within_their_limits_and_are_finite_at_zero() -> None:
    grads = {"a": torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]), "b": torch.zeros(3, 1)}
    rule = SGD(steps=1, lr=1.0, clip_norm=1.0)
    found = rule.clipped(grads)["a"]
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
    assert torch.equal(found[1:], grads["a"][1:]), "what is within its limit keeps its bits"
    both = SGD(steps=1, lr=1.0, clip_norm=1.0, clip_value=2.0).clipped(grads)["a"]
    torch.testing.assert_close(both[0], torch.full((2,), 0.5**0.5)), "value before norm"
    leaf = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(rule.clipped({"a": leaf})["a"].sum(), leaf)
    assert torch.equal(slope, torch.ones_like(slope)), "no limit is met at zero"
    assert SGD(steps=1, lr=1.0).clipped(grads) is grads


@pytest.mark.parametrize("rule", [SGD, Momentum, MetaSGD, PerStep, Adam])
@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
def test_limits_out_of_range_are_refused(name: str, rule: type[InnerRule]) -> None:
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=f"rule.{name} is {value}: it must be finite"):
            rule(steps=1, lr=0.1, **{name: value})
    for momentum in (-0.1, 1.0, float("nan")):
        with pytest.raises(UsageError, match=f"rule.momentum is {momentum}"):
            Momentum(steps=1, lr=0.1, momentum=momentum)


@pytest.mark.parametrize("name", cases.RULES)
def test_what_is_not_carried_is_empty(name: str) -> None:
    """At the first step there is a tree of tensors, with a row per task, or an empty one."""
    rule, rows = cases.RULES[name], {"a": torch.ones(3, 2), "b": torch.ones(3)}
    _, running = rule.init(tree.first(rows))
    carry = rule.begin(rows, running)
    assert isinstance(carry, dict)
    assert bool(carry) == rule.carries
    assert all(len(v) == 3 for v in carry.values())


@pytest.mark.parametrize("batch", [0, -1])
def test_an_empty_batch_is_refused(batch: int) -> None:
    with pytest.raises(UsageError, match=f"rule.batch is {batch}"):
        SGD(steps=1, lr=0.1, batch=batch)


def test_what_never_moves_is_taken_from_what_may_move() -> None:
    model = {k: torch.ones(1) for k in ("head.weight", "head.bias", "body.bias")}
    groups = {"biases": ("head.bias", "body.bias")}
    chosen = SGD(steps=1, lr=0.1, only=("head",), never=("biases",))
    moves, stays = chosen.divide(model, groups)
    assert list(moves) == ["head.weight"]
    assert list(stays) == ["head.bias", "body.bias"]
    with pytest.raises(
        UsageError, match=r"leave nothing that moves: the model has body\.bias, head"
    ):
        SGD(steps=1, lr=0.1, only=("biases",), never=("biases",)).divide(model, groups)
