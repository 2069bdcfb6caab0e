"""Evaluation: isolated tasks, three protocols against naive loops, nothing changed or drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import metaccord as mc
from metaccord import tree
from metaccord.errors import UsageError
from metaccord.evaluate import BATCH, isolated
from metaccord.methods import gradient_agreement, reptile
from metaccord.statistics import over_seeds, over_tasks, t_quantile
from tests import cases, tolerances
from tests.reference import loops
from tests.reference.compare import relative_error

BLOBS = cases.Blobs()
PLANS = [mc.Plan(chunk=1), mc.Plan(chunk=2), mc.Plan(chunk="all")]


def setting(
    name: str = "maml", net: str = "batchnorm2d", plan: mc.Plan | None = None
) -> tuple[mc.Method, mc.Objective, mc.MetaState]:
    """A method on float32 pictures, somewhere in a training."""
    method, goal = cases.METHODS[name], cases.objective(net, plan, torch.float32)
    state = mc.initialise(method, goal)
    running = {k: v + 0.01 if v.is_floating_point() else v + 7 for k, v in state.running.items()}
    return method, goal, state._replace(running=running, step=3)


@pytest.mark.parametrize("plan", PLANS, ids=repr)
@pytest.mark.parametrize("name", cases.METHODS)
def test_isolated_tasks_together_equal_tasks_alone(name: str, plan: mc.Plan) -> None:
    method, goal = cases.METHODS[name], cases.objective("batchnorm2d", plan)
    state, found = mc.initialise(method, goal), cases.episodes("batchnorm2d")
    together = isolated(method, goal, state, found)
    alone = [isolated(method, goal, state, tree.split(found, 1)[i]).solution for i in range(4)]
    joined = tree.join(alone, torch.cat)
    assert relative_error(together.solution, joined) <= tolerances.CHUNK_F64
    assert len(together.path) == method.rule.steps + 1
    assert not any(v.requires_grad for v in together.solution.values())


@pytest.mark.parametrize("name", cases.METHODS)
def test_adaptation_equals_the_slow_twin(name: str) -> None:
    """Interactions do not matter for one task; Adam goes on from the training's slots."""
    method, goal = cases.METHODS[name], cases.objective("batchnorm2d")
    state, found = mc.initialise(method, goal), cases.episodes("batchnorm2d")
    trained = mc.meta_gradient(method, goal, state, found).running
    state = state._replace(running=trained)
    run = isolated(method, goal, state, found)
    params, options, rule = tree.scope(state.params, "model"), {}, "sgd"
    if isinstance(method.rule, mc.rules.Adam):
        slots = tree.scope(trained, "rule")
        second = tree.scope(slots, "second")
        options, rule = {"slots": loops.Slots({}, second, int(slots["count"]))}, "adam"
    moving = method.rule.divide(params, goal.groups)[0]
    paths = [
        loops.adapt(
            goal.model, goal.criterion, params, task.batches, method.rule.lr,
            moves=moving.__contains__, create_graph=False, rule=rule, rule_options=options,
        ).path
        for task in cases.twin_tasks(method, found)
    ]  # fmt: skip
    for step, point in enumerate(run.path):
        expected = cases.stacked([{k: path[step][k] for k in point} for path in paths])
        assert relative_error(point, expected) <= tolerances.TWIN_F64


def naive(
    goal: mc.Objective, statistics: str, params: dict[str, Tensor], support: Tensor, query: Tensor
) -> Tensor:
    """Outputs for the queries of one task, as the protocols are worded."""
    if statistics == "transductive":
        return functional_call(goal.model, params, (query,))
    if statistics == "inductive":
        return torch.cat(
            [functional_call(goal.model, params, torch.cat([support, q[None]]))[-1:] for q in query]
        )
    net = cases.module("batchnorm2d", query.dtype)
    net.load_state_dict(params, strict=False)
    norm = nn.BatchNorm2d(2, momentum=1.0).to(query.dtype)
    norm.load_state_dict(net.body[1].state_dict(), strict=False)
    net.body[1] = norm
    n = support.shape[0] * 36
    net.train()(support)
    norm.running_var *= (n - 1) / n  # the module keeps the unbiased variance
    return net.eval()(query)


@pytest.mark.parametrize("plan", PLANS, ids=repr)
@pytest.mark.parametrize("statistics", ["transductive", "inductive", "frozen"])
@pytest.mark.parametrize("name", ["maml", "reptile, adam, agreement"])
def test_protocols_equal_naive_loops(name: str, statistics: str, plan: mc.Plan) -> None:
    method, goal, state = setting(name, plan=plan)
    protocol = mc.Protocol(statistics=statistics, tasks=7, seed=5)
    scores = mc.evaluate(method, goal, state, BLOBS, protocol, at=(0, 1))
    assert scores.at == (0, 1, method.rule.steps)
    found = cases.Blobs(seed=5).episodes("test", 0, range(7))
    run = isolated(method, goal, state, found)
    for task in range(7):
        for column, step in enumerate(scores.at):
            point = {k: v[task] for k, v in {**run.solution, **run.path[step]}.items()}
            outputs = naive(
                goal, statistics, point, found.support.inputs[task], found.query.inputs[task]
            )
            targets = found.query.targets[task]
            loss = cross_entropy(outputs, targets)
            torch.testing.assert_close(scores.losses[task, column], loss, rtol=1e-4, atol=1e-5)
            right = (outputs.argmax(1) == targets).double().mean().item()
            assert scores.accuracies[task, column].item() == pytest.approx(right)


def test_the_protocols_differ() -> None:
    """Where there are batch statistics, and only there."""
    for net, expected in (("batchnorm2d", 3), ("groupnorm", 1)):
        method, goal, state = setting(net=net)
        losses = {
            mc.evaluate(method, goal, state, BLOBS, mc.Protocol(statistics=word, tasks=4)).loss.mean
            for word in ("transductive", "inductive", "frozen")
        }
        assert len(losses) == expected


@pytest.mark.parametrize("name", cases.METHODS)
def test_nothing_is_changed_or_drawn(name: str) -> None:
    """Evaluating in the middle of a training leaves every bit of the training as it was."""
    method, goal, state = setting(name)
    before = cases.bits((state[:2], goal.model.state_dict()))
    random = torch.get_rng_state()
    first = mc.evaluate(method, goal, state, BLOBS, mc.Protocol(tasks=3))
    assert torch.equal(random, torch.get_rng_state())
    assert cases.same_bits(before, (state[:2], goal.model.state_dict()))
    again = mc.evaluate(method, goal, state, BLOBS, mc.Protocol(tasks=3))
    assert cases.same_bits((first.losses, first.accuracies), (again.losses, again.accuracies))

    def trained(*, looking: bool) -> mc.MetaState:
        last = None
        for record in mc.train(method, goal, BLOBS, steps=3, num_tasks=2):
            if looking:
                mc.evaluate(method, goal, record.state, BLOBS, mc.Protocol(tasks=2))
            last = record.state
        assert last is not None
        return last

    assert cases.same_bits(trained(looking=True)[:2], trained(looking=False)[:2])


def test_batches_of_tasks_do_not_matter() -> None:
    """More tasks than fit side by side: the first ones keep their scores."""
    method, goal, state = setting(net="convolution")
    many = mc.evaluate(method, goal, state, BLOBS, mc.Protocol(tasks=BATCH + 2))
    few = mc.evaluate(method, goal, state, BLOBS, mc.Protocol(tasks=3))
    assert many.losses.shape == (BATCH + 2, 2)
    torch.testing.assert_close(many.losses[:3], few.losses, rtol=1e-5, atol=1e-6)


def test_equal_seeds_give_equal_tasks_to_every_method() -> None:
    """Before the first inner step all methods are the same function."""
    losses = []
    for name in ("maml", "reptile, adam"):
        method, goal, state = setting(name, net="convolution")
        tasks = cases.Blobs(seed=len(losses))
        losses.append(mc.evaluate(method, goal, state, tasks, mc.Protocol(tasks=4, seed=2)).losses)
    assert torch.equal(losses[0][:, 0], losses[1][:, 0])


def test_regression_has_no_accuracy_and_json_is_complete() -> None:
    goal = mc.Objective(mc.models.MLP(), mc.losses.mse)
    method = gradient_agreement(reptile())
    scores = mc.evaluate(
        method,
        goal,
        mc.initialise(method, goal),
        mc.tasks.Sinusoid(),
        mc.Protocol(tasks=4, steps=2),
    )
    assert scores.accuracies is None
    assert scores.accuracy is None
    assert scores.json().keys() == {
        *("protocol", "episodes", "loss", "at", "losses", "losses_half", "regression")
    }
    assert scores.json()["at"] == [0, 2]
    assert "2 steps" in str(scores)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: mc.Protocol(statistics="running"), "unknown protocol 'running'"),
        (lambda: mc.Protocol(tasks=1), "needs at least 2"),
        (lambda: mc.Protocol(steps=-1), "it must be in 0"),
        (lambda: mc.Protocol(steps=2**31), "it must be in 0"),
        (lambda: mc.Protocol(tasks=2**31), "at most"),
        (lambda: mc.Protocol(seed=-1), "protocol.seed is -1: it must be between 0"),
        (lambda: mc.Protocol(seed=2**63), "protocol.seed is 9223372036854775808"),
        (lambda: mc.Protocol(permutations=0), "protocol.permutations is 0"),
        (lambda: mc.Protocol(permutations=10_001), "protocol.permutations is 10001"),
        (lambda: mc.evaluate(*setting(), BLOBS, mc.Protocol(tasks=2), at=(9,)), "must lie in 0..2"),
        (
            lambda: mc.evaluate(*setting(), BLOBS, mc.Protocol(split="all")),
            "unknown protocol split",
        ),
    ],
)
def test_bad_calls_are_refused(make: object, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        make()


def test_the_ends_of_the_protocol_are_allowed() -> None:
    ends = [mc.Protocol(tasks=2, steps=0, seed=0, permutations=1)]
    ends.append(mc.Protocol(tasks=2**31 - 1, steps=2**31 - 1, seed=2**63 - 1, permutations=10_000))
    assert len({str(end) for end in ends}) == 2


def test_a_protocol_says_what_was_asked_for() -> None:
    """And nothing of what was not: numbers of the same words are comparable."""
    assert str(mc.Protocol()) == "transductive, 600 test tasks, trained steps, seed 0"
    other = mc.Protocol(statistics="frozen", tasks=9, steps=0, split="validation", seed=7,
                        branch="colearner", permutations=2)  # fmt: skip
    assert str(other) == (
        "frozen, 9 validation tasks, 0 steps, seed 7, answers of the co-learner, "
        "mean over 2 label orders"
    )


def test_quantiles_equal_scipy() -> None:
    for degrees in (*range(1, 60), 100, 1000, 10**6):
        assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=1e-4)


def test_intervals_equal_scipy() -> None:
    x = np.random.default_rng(0).normal(3, 2, 600)
    wide = over_tasks(x.tolist())
    assert wide.mean == pytest.approx(x.mean())
    assert wide.half == pytest.approx(1.96 * stats.sem(x))
    for n in (2, 3, 5, 40):
        low, high = stats.t.interval(0.95, n - 1, loc=x[:n].mean(), scale=stats.sem(x[:n]))
        found = over_seeds(x[:n].tolist())
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-4)
    with pytest.raises(UsageError, match="at least 2 seeds"):
        over_seeds([1.0])


@pytest.mark.parametrize("n", [3, 5])
def test_intervals_over_seeds_cover(n: int) -> None:
    """95 +- 1 % of 20 000 simulated comparisons; the half-width is five standard errors."""
    x = np.random.default_rng(n).normal(size=(20_000, n))
    covered = np.mean([abs(i.mean) <= i.half for i in map(over_seeds, x.tolist())])
    assert abs(covered - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 20_000)


def test_each_column_is_what_so_many_steps_give() -> None:
    method, goal, state = setting("maml")
    protocol = mc.Protocol(tasks=4, steps=3)
    curve = mc.evaluate(method, goal, state, BLOBS, protocol, at=(0, 1, 2)).losses
    for steps in range(4):
        alone = mc.evaluate(method, goal, state, BLOBS, mc.Protocol(tasks=4, steps=steps)).losses
        assert torch.equal(alone[:, -1], curve[:, steps])
    assert len({tuple(column.tolist()) for column in curve.T}) == 4
