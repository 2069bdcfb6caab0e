"""Pre-training against plain autograd on the large last layer, and fine-tuning at test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, linear, mse_loss

import metaccord as mc
from metaccord import tree
from metaccord.errors import UsageError
from metaccord.estimators import Pretrain
from metaccord.interactions import Interaction
from metaccord.methods import coherent, cooperative, finetune, gradient_agreement, gradient_sharing
from metaccord.rules import SGD, Adam, InnerRule, MetaSGD, PerStep
from metaccord.types import Episode, Stacked
from tests import cases, tolerances
from tests.reference.compare import relative_error

FAMILY = 7  # classes in all, of which a task has three


def classified(net: str, count: int = 4, seed: int = 0) -> Episode:
    """Return episodes that know their classes, in an order of their own."""
    found, source = cases.episodes(net, count, seed=seed), torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(FAMILY, generator=source)[:3] for _ in range(count)]
    return found._replace(extra={**found.extra, "classes": torch.stack(drawn)})


def plainly(goal: mc.Objective, state: mc.MetaState, task: Episode) -> tuple[Stacked, Any]:
    """Gradient and loss of one task: body, large layer, true classes of all its examples."""
    leaves = {k: v.detach().clone().requires_grad_() for k, v in state.params.items()}
    model = tree.scope(leaves, "model")
    body = {k.removeprefix("body."): v for k, v in model.items() if k.startswith("body.")}
    inputs = torch.cat([task.support.inputs[0], task.query.inputs[0]])
    targets = torch.cat([task.support.targets[0], task.query.targets[0]])
    features = functional_call(goal.model.get_submodule("body"), body, (inputs,))
    large = leaves["estimator.weight"], leaves["estimator.bias"]
    loss = cross_entropy(linear(features, *large), task.extra["classes"][0][targets])
    used = {k: v for k, v in leaves.items() if not k.startswith("model.head")}
    grads = torch.autograd.grad(loss, list(used.values()))
    return dict(zip(used, grads, strict=True)), loss.detach()


@pytest.mark.parametrize("net", ["batchnorm2d", "instancenorm2d", "groupnorm", "convolution"])
def test_rows_equal_plain_autograd_on_the_large_layer(net: str) -> None:
    """Each task by itself, support and query in one batch; its own layer has rows of zeros."""
    method, goal, found = finetune(classes=FAMILY), cases.objective(net), classified(net)
    state = mc.initialise(method, goal, seed=3)
    step = mc.meta_gradient(method, goal, state, found)
    plain = [plainly(goal, state, task) for task in tree.split(found, 1)]
    expected = cases.stacked([row for row, _ in plain])
    own = ("model.head.weight", "model.head.bias")
    assert step.rows.keys() == expected.keys() | set(own)
    assert relative_error({k: step.rows[k] for k in expected}, expected) <= tolerances.TWIN_F64
    for name in own:
        assert not step.rows[name].any()
        assert step.rows[name].shape == (4, *state.params[name].shape)
    mean = {k: v.mean(0) for k, v in expected.items()}
    assert relative_error({k: step.grads[k] for k in mean}, mean) <= tolerances.TWIN_F64
    losses = torch.stack([loss for _, loss in plain])
    assert relative_error(step.run.losses, losses) <= tolerances.TWIN_F64
    other = found._replace(extra={"classes": found.extra["classes"].roll(1, 1)})
    moved = mc.meta_gradient(method, goal, state, other).rows
    assert relative_error(moved["estimator.weight"], step.rows["estimator.weight"]) > 0.1


@pytest.mark.parametrize("net", ["batchnorm1d", "layernorm", "plain", "tied", "frozen"])
def test_regression_is_one_gradient_of_all_examples(net: str) -> None:
    """No layer is replaced, and the number of inner steps means nothing in training."""
    goal, found = cases.objective(net), cases.episodes(net)
    state = mc.initialise(finetune(), goal)
    assert {k.split(".")[0] for k in state.params} == {"model"}
    rows = []
    for task in tree.split(found, 1):
        x, y = (
            torch.cat([a[0], b[0]]) for a, b in zip(task.support[:2], task.query[:2], strict=True)
        )
        leaves = {k: v.clone().requires_grad_() for k, v in goal.trainable().items()}
        loss = mse_loss(functional_call(goal.model, leaves, (x,)), y)
        rows.append(
            dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        )
    steps = [mc.meta_gradient(finetune(steps=n), goal, state, found) for n in (0, 5)]
    mine = cases.model_rows(steps[0].rows)
    assert relative_error(mine, cases.stacked(rows)) <= tolerances.TWIN_F64
    assert cases.same_bits(steps[0].rows, steps[1].rows)


def test_the_large_layer_is_drawn_as_pytorch_draws_one() -> None:
    """By the seed alone, within the limits, without touching the global generator."""
    goal, before = cases.objective("batchnorm2d"), torch.get_rng_state()
    first, again, other = (
        tree.scope(mc.initialise(finetune(classes=500), goal, seed=s).params, "estimator")
        for s in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert {k: tuple(v.shape) for k, v in first.items()} == {"weight": (500, 18), "bias": (500,)}
    assert cases.same_bits(first, again)
    assert not any(torch.equal(first[k], other[k]) for k in first)
    assert not torch.equal(first["weight"].flatten()[:500], first["bias"])
    limit = 18**-0.5
    for values in first.values():
        assert values.dtype == torch.float64
        assert limit * 0.97 < values.abs().max() <= limit
        assert abs(values.mean()) < 0.1 * limit
        assert values.std().item() == pytest.approx(limit / 3**0.5, rel=0.1)
    bare = nn.Sequential()
    bare.add_module("last", nn.Linear(4, 3, bias=False))
    method = mc.Method(name="x", rule=finetune().rule, estimator=Pretrain(classes=9, head="last"))
    state = mc.initialise(method, mc.Objective(bare, cross_entropy))
    assert set(tree.scope(state.params, "estimator")) == {"weight"}


@dataclass(frozen=True, kw_only=True)
class Labelled(cases.Blobs):
    """Pictures that know their class: each has a bright place of its own."""

    @property
    def labels(self) -> int:
        return FAMILY

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        found = super().episodes(split, step, tasks)
        drawn = [torch.randperm(FAMILY, generator=torch.Generator().manual_seed(1000 * step + t))
                 for t in tasks]  # fmt: skip
        classes = torch.stack(drawn)[:, :3]

        def lit(batch: Any) -> Any:
            places = torch.nn.functional.one_hot(classes.gather(1, batch.targets), 9)
            bright = torch.zeros_like(batch.inputs)
            bright[..., ::2, ::2] = 3.0 * places.unflatten(-1, (1, 3, 3)).float()
            return batch._replace(inputs=batch.inputs + bright)

        extra = {**found.extra, "classes": classes}
        return Episode(lit(found.support), lit(found.query), extra)


def test_training_then_fine_tuning_at_test() -> None:
    """The network's own layer keeps its bits in training and moves at test; the loss falls."""
    net = cases.module("convolution", torch.float32)
    goal, tasks = mc.Objective(net, cross_entropy, mc.Plan("all")), Labelled()
    method = finetune(steps=5, lr=0.05, classes=tasks.labels)
    start = mc.initialise(method, goal, seed=0)
    outer, losses = mc.Outer(lr=0.01), []
    for record in mc.train(method, goal, tasks, steps=60, num_tasks=8, outer=outer):
        losses.append(record.loss)
    state = record.state
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    for name, tensor in state.params.items():
        assert torch.equal(tensor, start.params[name]) == name.startswith("model.head"), name
    scores = mc.evaluate(method, goal, state, tasks, mc.Protocol(tasks=20, steps=10), at=(0, 1, 10))
    assert scores.losses.shape == scores.accuracies.shape == (20, 3)
    before, _, after = scores.losses.mean(0)
    assert after < before, "fine-tuning helps"
    run = mc.adapt(method, goal, state, tasks.episodes("test", 0, range(3)))
    own = tree.scope(state.params, "model")
    assert all((v != own[k]).flatten(1).any(1).all() for k, v in run.solution.items())
    assert all(v.shape[1] == 3 for k, v in run.solution.items() if k == "head.weight")


def test_what_pre_training_needs() -> None:
    goal, method = cases.objective("batchnorm2d"), finetune(classes=FAMILY)
    state, found = mc.initialise(method, goal), cases.episodes("batchnorm2d")
    with pytest.raises(UsageError, match=r"true classes .* episodes\.extra\['classes'\]"):
        mc.meta_gradient(method, goal, state, found)
    with pytest.raises(UsageError, match=r"estimator\.classes is -1: it must be 0"):
        Pretrain(classes=-1)
    plain = mc.Objective(nn.Linear(3, 3), cross_entropy)
    conv = nn.Sequential()
    conv.add_module("head", nn.Conv2d(1, 3, 2))
    for other in (plain, mc.Objective(conv, cross_entropy)):
        with pytest.raises(UsageError, match=r"no linear layer called 'head': .*estimator\.head"):
            mc.initialise(method, other)


@pytest.mark.parametrize(
    "rule",
    [MetaSGD(steps=1, lr=0.1), PerStep(steps=1, lr=0.1), SGD(steps=1, lr=0.1, batch=2),
     Adam(steps=1, lr=0.1, persist=True)],
)  # fmt: skip
def test_rules_that_need_an_inner_loop_in_training_are_refused(rule: InnerRule) -> None:
    with pytest.raises(UsageError, match=f"so {type(rule).__name__} could not"):
        mc.Method(name="x", rule=rule, estimator=Pretrain())
    plain = Adam(steps=1, lr=0.1)
    assert mc.Method(name="x", rule=plain, estimator=Pretrain()).rule == plain


@pytest.mark.parametrize("wrap", [gradient_agreement, gradient_sharing, cooperative, coherent])
def test_interactions_are_refused(wrap: Any) -> None:
    with pytest.raises(UsageError, match="has no inner loop in which tasks could influence each"):
        wrap(finetune())
    finetune().with_interaction(Interaction())
