"""CML: equal to the slow twin, what it reaches at each order, and that nothing of it is left."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import metaccord as mc
from metaccord import tree
from metaccord.interactions import CoLearner
from metaccord.methods import anil, boil, cooperative, fomaml, maml
from metaccord.models.heads import read
from tests import cases, tolerances
from tests.interactions.support import colearner, noise, once, own
from tests.reference import colearner as twin
from tests.reference.compare import relative_error

BASES = {
    "maml": maml(steps=2, lr=0.2),
    "fomaml": fomaml(steps=2, lr=0.2),
    "anil": anil(steps=2, lr=0.2),
    "boil": boil(steps=2, lr=0.2),
}


class Conv(nn.Module):
    """A convolution whose pictures are features; pooled afterwards."""

    features = "body.2"
    feature_shape = (2, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1, bias=False),
            nn.BatchNorm2d(2, track_running_stats=False),
            nn.Tanh(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 1, 6, 6] -> [n, 3]."""
        return self.head(self.body(x).flatten(1))


def conv(plan: mc.Plan | None = None) -> mc.Objective:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Conv().double()
    return mc.Objective(model, cross_entropy, plan or mc.Plan(chunk="all"))


def goal_of(net: str, plan: mc.Plan | None = None) -> mc.Objective:
    return conv(plan) if net == "conv" else cases.objective(net, plan)


def episodes_of(net: str, seed: int = 0) -> Any:
    return cases.episodes("batchnorm2d" if net == "conv" else net, seed=seed)


def agrees_with_the_twin(
    method: mc.Method, goal: mc.Objective, net: str, head: nn.Module, place: str
) -> None:
    """Rows of the model and of the co-learner, means, losses and the penalty that is noted."""
    part = method.interactions[0]
    assert isinstance(part, CoLearner)
    state = mc.initialise(method, goal)
    for index in range(2):
        found = episodes_of(net, index)
        step = mc.meta_gradient(method, goal, state, found)
        params, phi = tree.scope(state.params, "model"), own(state.params, "cooperative")
        slow = twin.cml_step(
            goal.model, goal.criterion, params, head, phi, cases.twin_tasks(method, found), 0.2,
            part.weight, features=place, first_order=method.estimator.first_order,
            moves=method.rule.divide(params, goal.groups)[0].__contains__,
        )  # fmt: skip
        rows, extra = cases.stacked(slow.rows), cases.stacked(slow.colearner_rows)
        assert relative_error(cases.model_rows(step.rows), rows) <= tolerances.TWIN_F64
        assert relative_error(own(step.rows, "cooperative"), extra) <= tolerances.TWIN_F64
        mean = {k: v.mean(0) for k, v in rows.items()}
        assert relative_error(tree.scope(step.grads, "model"), mean) <= tolerances.TWIN_F64
        assert step.run.losses is not None
        assert relative_error(step.run.losses, torch.stack(slow.losses)) <= tolerances.TWIN_F64
        penalty = part.weight * torch.stack(slow.colearner_losses)
        assert relative_error(step.notes["estimator.penalty"], penalty) <= tolerances.TWIN_F64
        moved = {k: v - 0.3 * step.grads[k] for k, v in state.params.items()}
        state = mc.MetaState(moved, step.running, index + 1)


@pytest.mark.parametrize("net", ["plain", "batchnorm1d", "frozen", "batchnorm2d"])
@pytest.mark.parametrize("base", BASES)
def test_vectors_equal_the_slow_twin(base: str, net: str) -> None:
    """The width of the features is that of the head, and so is the number of outputs."""
    if (base, net) == ("boil", "frozen"):
        return  # nothing moves
    pictures = cases.MODELS[net].pictures
    head = colearner((18,), 3) if pictures else colearner((4,), 1)
    agrees_with_the_twin(cooperative(BASES[base]), cases.objective(net), net, head, "body")


@pytest.mark.parametrize("hidden", [None, 3])
@pytest.mark.parametrize("base", BASES)
def test_pictures_equal_the_slow_twin(base: str, hidden: int | None) -> None:
    """Features before pooling, where the model says they are; another gamma and width."""
    method = cooperative(BASES[base], weight=0.7, hidden=hidden)
    agrees_with_the_twin(method, conv(), "conv", colearner((2, 6, 6), 3, hidden), "body.2")


def test_shape_outputs_and_place_may_be_given() -> None:
    """The tied network has neither a body nor a head of that width."""
    model = cases.module("tied")
    goal = mc.Objective(model, nn.functional.mse_loss, mc.Plan(chunk="all"), features="second")
    method = cooperative(BASES["maml"], shape=(3,), outputs=1, hidden=6)
    agrees_with_the_twin(method, goal, "tied", colearner((3,), 1, 6), "second")


@pytest.mark.parametrize("chunk", [1, "all"])
@pytest.mark.parametrize("base", BASES)
def test_weight_zero_is_the_base_to_the_bit(base: str, chunk: Any) -> None:
    """Losses always; rows, too, unless zeros of another memory layout are added under ``vmap``."""
    for net in ("batchnorm2d", "plain", "conv"):
        goal, found = goal_of(net, mc.Plan(chunk=chunk)), episodes_of(net)
        step = once(cooperative(BASES[base], weight=0.0), goal, found)
        plain = once(BASES[base], goal, found)
        assert cases.same_bits((step.run.losses, step.run.solution),
                               (plain.run.losses, plain.run.solution))  # fmt: skip
        rows = [cases.model_rows(s.rows) for s in (step, plain)]
        assert relative_error(*rows) <= tolerances.CHUNK_F64
        assert cases.same_bits(*rows) or (net, chunk) == ("conv", "all")
        assert not any(v.any() for v in own(step.rows, "cooperative").values())


@pytest.mark.parametrize("net", ["plain", "conv"])
def test_the_weight_scales_what_is_added(net: str) -> None:
    """Rows are affine in gamma: what is added at 3 is three times what is added at 1."""
    goal, found = goal_of(net), episodes_of(net)
    zero, one, three = (
        once(cooperative(BASES["maml"], weight=w), goal, found).rows for w in (0.0, 1.0, 3.0)
    )
    added = tree.difference(one, zero)
    assert relative_error(tree.plus(zero, {k: 3 * v for k, v in added.items()}), three) <= 1e-12
    assert relative_error(one, zero) > 1e-3


def test_the_head_is_reached_at_second_order_alone() -> None:
    """L^c = cooperative row minus plain row: zero to the bit on the head if J_i = I."""
    for net in ("plain", "conv"):
        goal, found = goal_of(net), episodes_of(net)
        for base in ("fomaml", "maml"):
            plain, step = (
                cases.model_rows(once(m, goal, found).rows)
                for m in (BASES[base], cooperative(BASES[base]))
            )
            for name in plain:
                same = torch.equal(plain[name], step[name])
                assert same == (name.startswith("head.") and base == "fomaml"), (base, name)


def test_the_outer_loop_alone_teaches_the_co_learner() -> None:
    """Its rows are gradients at given features; its weights do not move solutions."""
    for net in ("plain", "conv"):
        goal, found = goal_of(net), episodes_of(net)
        method = cooperative(BASES["maml"], weight=0.7)
        state = mc.initialise(method, goal)
        step = mc.meta_gradient(method, goal, state, found)
        rows = own(step.rows, "cooperative")
        assert isinstance(step.run.features, Tensor)
        for i in range(4):
            phi = {
                k: v.clone().requires_grad_() for k, v in own(state.params, "cooperative").items()
            }
            loss = goal.criterion(read(phi, step.run.features[i]), found.query.targets[i])
            grads = torch.autograd.grad(0.7 * loss, list(phi.values()))
            here = {k: v[i] for k, v in rows.items()}
            assert here["last.weight"].any(), "every task teaches it"
            assert relative_error(here, dict(zip(phi, grads, strict=True))) <= tolerances.TWIN_F64
        other = {k: v for k, v in state.params.items() if "cooperative" in k}
        again = mc.meta_gradient(
            method, goal, state._replace(params=state.params | noise(other, 4)), found
        )
        assert cases.same_bits(again.run.solution, step.run.solution)
        assert torch.equal(again.run.losses, step.run.losses)  # type: ignore[arg-type]


def test_the_seed_draws_it_and_nothing_global_is_touched() -> None:
    method, goal = cooperative(maml()), conv()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = [own(mc.initialise(method, goal, seed=s).params, "cooperative") for s in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    assert cases.same_bits(found[0], found[1])
    assert not torch.equal(found[0]["first.weight"], found[2]["first.weight"])
    assert all(v.dtype == torch.float64 for v in found[0].values())
    model = tree.scope(mc.initialise(method, goal, seed=0).params, "model")
    assert cases.same_bits(model, tree.scope(mc.initialise(maml(), goal, seed=0).params, "model"))
