"""The model, the criterion, and everything a user's module may bring along."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import metaccord as mc
from metaccord import tree
from metaccord.errors import UsageError
from metaccord.inspection import inspect
from metaccord.methods import maml, reptile
from metaccord.types import Batch, Episode
from tests import cases, tolerances
from tests.reference import loops
from tests.reference.compare import relative_error

ALL = mc.Plan(chunk="all")


class Two(nn.Module):
    """Two inputs, two outputs in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4).double(), nn.Linear(3, 1).double()

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Any]:
        """[n, 3], [n, 3] -> {"a": [n, 4], "rest": ([n, 1],)}."""
        return {"a": torch.tanh(self.body(left)), "rest": (self.head(right),)}


def tree_loss(outputs: dict[str, Any], targets: dict[str, Tensor]) -> Tensor:
    """Compare both outputs."""
    return mse_loss(outputs["a"], targets["a"]) + mse_loss(outputs["rest"][0], targets["b"])


@pytest.mark.parametrize("kind", ["tuple", "dict"])
@pytest.mark.parametrize("chunk", [1, 2, "all"])
def test_inputs_targets_and_outputs_are_trees(kind: str, chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)

    def batch() -> Batch:
        left, right, b = (
            torch.randn(3, 5, width, generator=generator, dtype=torch.float64)
            for width in (3, 3, 1)
        )
        both = (left, right) if kind == "tuple" else {"right": right, "left": left}
        return Batch(both, {"a": left.sum(-1, keepdim=True).expand(3, 5, 4), "b": b})

    found = Episode(batch(), batch())
    method, goal = maml(steps=2, lr=0.3), mc.Objective(Two(), tree_loss, mc.Plan(chunk=chunk))
    step = mc.meta_gradient(method, goal, mc.initialise(method, goal), found)
    params = {k: v.detach() for k, v in goal.trainable().items()}
    rows = loops.maml_rows(goal.model, tree_loss, params, cases.twin_tasks(method, found), 0.3)
    assert relative_error(cases.model_rows(step.rows), cases.stacked(rows)) <= tolerances.TWIN_F64


def test_shared_parameters_sum_their_gradients() -> None:
    """Untie the weight in a second model: the tied row is the sum of both."""
    tied, method = cases.objective("tied"), maml(steps=0)
    loose = cases.module("tied")
    loose.second.weight = nn.Parameter(loose.first.weight.detach().clone())
    apart = mc.Objective(loose, mse_loss, ALL)
    assert "second.weight" not in tied.trainable()
    found = cases.episodes("tied")
    rows, both = (
        cases.model_rows(mc.meta_gradient(method, goal, mc.initialise(method, goal), found).rows)
        for goal in (tied, apart)
    )
    total = both["first.weight"] + both["second.weight"]
    assert relative_error(rows["first.weight"], total) <= tolerances.TWIN_F64


def test_frozen_parameters_are_constants() -> None:
    """Not in the state, not in the rows, not moved; the result is that of the whole model."""
    goal, method = cases.objective("frozen"), maml(steps=2, lr=0.2)
    state = mc.initialise(method, goal, seed=3)
    assert sorted(state.params) == ["model.head.bias", "model.head.weight"]
    before = cases.bits(goal.model.state_dict())
    step = mc.meta_gradient(method, goal, state, cases.episodes("frozen"))
    assert step.rows.keys() == state.params.keys()
    assert cases.same_bits(before, goal.model.state_dict())
    moving = cases.module("frozen").requires_grad_(True)
    whole = mc.Objective(moving, mse_loss, ALL)
    head = mc.methods.Method(
        name="head", rule=mc.rules.SGD(steps=2, lr=0.2, only=("head",)), estimator=method.estimator
    )
    start = mc.initialise(head, whole)._replace(
        params=mc.initialise(head, whole).params | state.params
    )
    rows = mc.meta_gradient(head, whole, start, cases.episodes("frozen")).rows
    assert relative_error(step.rows, {k: rows[k] for k in step.rows}) <= tolerances.TWIN_F64
    with pytest.raises(UsageError, match="no trainable parameter"):
        mc.Objective(nn.Linear(1, 1).requires_grad_(False), mse_loss)


def tracked_net(dtype: torch.dtype = torch.float64) -> nn.Module:
    """A net as users bring it: BatchNorm with running statistics."""
    net = cases.module("batchnorm2d", dtype)
    net.body[1] = nn.BatchNorm2d(2).to(dtype)
    return net


def test_running_statistics_are_replaced_in_a_copy(caplog: pytest.LogCaptureFixture) -> None:
    """One notice; the copy shares every parameter; the user's module keeps all its bits."""
    user = tracked_net()
    before, kinds = cases.bits(user.state_dict()), [type(m) for m in user.modules()]
    with caplog.at_level(logging.WARNING, "metaccord"):
        goal = mc.Objective(user, cross_entropy, ALL)
        method = maml(steps=2, lr=0.2)
        state, found = mc.initialise(method, goal), cases.episodes("batchnorm2d")
        step = mc.meta_gradient(method, goal, state, found)
        goal.planned(mc.Plan(chunk=1))
    assert [r.getMessage().startswith("body.1 keeps running") for r in caplog.records] == [True]
    assert goal.model is not user
    for (name, ours), (other, theirs) in zip(
        goal.model.named_parameters(), user.named_parameters(), strict=True
    ):
        assert name == other
        assert ours is theirs
    assert cases.same_bits(before, user.state_dict())
    assert [type(m) for m in user.modules()] == kinds
    assert user.body[1].track_running_stats
    assert int(user.body[1].num_batches_tracked) == 0
    plain = cases.module("batchnorm2d")
    plain.load_state_dict(user.state_dict(), strict=False)
    reference = mc.meta_gradient(method, mc.Objective(plain, cross_entropy, ALL), state, found)
    assert cases.same_bits(step.rows, reference.rows)


@pytest.mark.parametrize("kind", ["BatchNorm", "InstanceNorm"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_no_norm_keeps_running_statistics(kind: str, dims: int) -> None:
    norm = getattr(nn, f"{kind}{dims}d")(2, affine=True, track_running_stats=True)
    model: Any = mc.Objective(nn.Sequential(norm), mse_loss).model
    assert model[0].running_mean is None
    assert norm.running_mean is not None


def test_the_model_is_used_as_it_is_without_running_statistics() -> None:
    net = cases.module("batchnorm2d")
    assert mc.Objective(net, cross_entropy).model is net


class Counting(nn.Module):
    """A buffer that is changed in place by every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 1, dtype=torch.float64)
        self.register_buffer("level", torch.ones(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3] -> [n, 1]."""
        self.level += 1
        return self.head(x) * self.level


@pytest.mark.parametrize("chunk", [1, 2, "all"])
def test_buffers_are_constants(chunk: int) -> None:
    """The module is only called: not even an in-place write of its own reaches it."""
    plan = mc.Plan(chunk=chunk)
    goal, method = mc.Objective(Counting(), mse_loss, plan), reptile(steps=2, batch=3)
    state = mc.initialise(method, goal)
    assert sorted(state.params) == ["model.head.bias", "model.head.weight"]
    before = cases.bits(goal.model.state_dict())
    mc.meta_gradient(method, goal, state, cases.episodes("plain"))
    assert cases.same_bits(before, goal.model.state_dict())


def test_initialise_is_reproducible_and_private() -> None:
    """Equal seeds, equal bits; the global generator does not notice."""
    goal, method = cases.objective("batchnorm2d"), maml()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (mc.initialise(method, goal, seed=s).params for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert cases.same_bits(first, again)
    assert not torch.equal(first["model.head.weight"], other["model.head.weight"])
    kept = mc.initialise(method, goal).params
    assert cases.same_bits(tree.scope(kept, "model"), goal.trainable())
    assert all(kept[f"model.{k}"] is not v for k, v in goal.trainable().items())
    assert first["model.body.1.weight"].tolist() == [1.0, 1.0]


def test_weights_that_cannot_be_drawn_anew_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((2,), 7.0))

    with caplog.at_level(logging.WARNING, "metaccord"):
        state = mc.initialise(maml(), mc.Objective(Bare(), mse_loss), seed=0)
    assert state.params["model.weight"].tolist() == [7.0, 7.0]
    assert "Bare has no reset_parameters" in caplog.text


class Idle(nn.Linear):
    """A layer with a parameter that nothing uses."""

    def __init__(self) -> None:
        super().__init__(3, 1, dtype=torch.float64)
        self.spare = nn.Parameter(torch.ones(2, dtype=torch.float64))


LINEAR = nn.Linear(3, 1).double()
BAD = {
    "inputs": (nn.Linear(4, 1).double(), mse_loss, r"the model fails on inputs of shape \(6, 3\)"),
    "broadcast": (nn.Linear(3, 2).double(), mse_loss, r"outputs \(6, 2\) for targets \(6, 1\)"),
    "no mean": (
        LINEAR,
        lambda o, t: mse_loss(o, t, reduction="none"),
        r"gives \(6, 1\), expected one number: use mean reduction",
    ),
    "a float": (LINEAR, lambda o, t: mse_loss(o, t).item(), "gives float, expected one number"),
    "detached": (LINEAR, lambda o, t: mse_loss(o.detach(), t), "does not depend on any"),
    "criterion": (LINEAR, lambda o, t: o @ t, "the criterion fails on outputs"),
    "unused": (Idle(), mse_loss, r"'spare' never receives a gradient \(1 in all\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_inspection_names_the_defect(name: str) -> None:
    model, criterion, message = BAD[name]
    goal = mc.Objective(model, criterion, ALL)
    with pytest.raises(UsageError, match=message) as caught:
        inspect(goal, mc.initialise(maml(), goal), cases.episodes("plain"))
    assert "\n" not in str(caught.value)
    if name == "unused":
        declared = mc.Objective(model, criterion, ALL, unused=("spare",))
        inspect(declared, mc.initialise(maml(), declared), cases.episodes("plain"))


def test_inspection_names_a_label_out_of_range() -> None:
    goal, found = cases.objective("convolution"), cases.episodes("convolution")
    inspect(goal, mc.initialise(maml(), goal), found)
    large = found._replace(support=found.support._replace(targets=found.support.targets + 3))
    top = int(large.support.targets[0].max())
    with pytest.raises(
        UsageError, match=f"3 classes but a label is {top}: set model.ways={top + 1}"
    ):
        inspect(goal, mc.initialise(maml(), goal), large)
