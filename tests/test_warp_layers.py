"""Warp layers start as the identity and never move inside; plans, refusals, files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import mse_loss

import metaccord as mc
from metaccord import tree
from metaccord.errors import UsageError
from metaccord.methods import WRAPPERS, coherent, gradient_sharing, maml, warp
from metaccord.models import MLP
from metaccord.types import MetaState
from tests import cases, tolerances
from tests.reference.compare import relative_error
from tests.warping import LR, built, method_of, problem, started, warps

OWN = pytest.mark.parametrize("name", ["MLP", "Conv4"])


@pytest.mark.parametrize("seed", [None, 3])
@OWN
def test_it_starts_as_the_network_without_warp_layers(name: str, seed: int | None) -> None:
    """Outputs, adaptation and the rows of the task layers; also after weights are drawn anew."""
    goal, found = problem(name)
    bare = mc.Objective(built(name, warped=False), goal.criterion, goal.plan)
    method, plain = warp(steps=2, lr=LR), maml(steps=2, lr=LR, never=())
    state = mc.initialise(method, goal, seed=seed)
    own = {k: v for k, v in state.params.items() if not k.startswith("model.warp.")}
    assert own.keys() == mc.initialise(plain, bare).params.keys()
    assert len(state.params) > len(own)
    outputs = [
        o.predict(tree.scope(p, "model"), found.query.inputs[0])
        for o, p in ((goal, state.params), (bare, own))
    ]
    assert torch.equal(*outputs) or relative_error(*outputs) <= 1e-14
    step = mc.meta_gradient(method, goal, state, found)
    base = mc.meta_gradient(plain, bare, MetaState(own, {}), found)
    assert relative_error({k: step.rows[k] for k in own}, base.rows) <= tolerances.TWIN_F64
    assert relative_error({k: step.run.solution[k] for k in base.run.solution},
                          base.run.solution) <= tolerances.TWIN_F64  # fmt: skip


@OWN
def test_the_inner_loop_leaves_them_alone_and_the_outer_loop_does_not(name: str) -> None:
    method = warp(steps=3, lr=LR)
    goal, found = problem(name)
    state = started(method, goal)
    start = tree.expand(tree.scope(state.params, "model"), 3)
    step = mc.meta_gradient(method, goal, state, found)
    for run in (step.run, mc.adapt(method, goal, state, found)):
        assert len(run.path) == 4
        assert {k for k in start if k not in run.adapted} == {k for k in start if warps(name, k)}
        for key, value in run.solution.items():
            assert torch.equal(value, start[key]) == warps(name, key), key
    assert all(grad.any() for grad in step.grads.values())


def test_each_block_is_followed_by_its_layer() -> None:
    """Also away from the identity, where the order is seen."""
    sizes = {k: tuple(v.shape) for k, v in built("MLP").named_parameters() if warps("MLP", k)}
    assert sizes == {"warp.0.weight": (4, 4), "warp.0.bias": (4,),
                     "warp.1.weight": (3, 3), "warp.1.bias": (3,)}  # fmt: skip
    names = [k for k, _ in built("Conv4").named_parameters() if warps("Conv4", k)]
    assert names == [f"warp.{i}.{leaf}" for i in range(4) for leaf in ("weight", "bias")]
    assert MLP(3, (), warp=True)(torch.ones(1, 3)).shape == (1, 1)
    for name in ("MLP", "Conv4"):
        goal, found = problem(name)
        goal.model.load_state_dict(tree.scope(started(method_of(name), goal).params, "model"))
        parts, x = dict(goal.model.named_modules()), found.query.inputs[0]
        blocks = [(f"body.{i}",) for i in range(4)]
        if name == "MLP":
            blocks = [("body.0", "body.1"), ("body.2", "body.3")]
        y = x
        for i, block in enumerate(blocks):
            for part in (*block, f"warp.{i}"):
                y = parts[part](y)
        y = parts["head"](y if name == "MLP" else y.mean((2, 3)))
        assert relative_error(goal.model(x), y) <= 1e-14


# How, never what.


@pytest.mark.parametrize("name", ["layernorm", "tied", "MLP", "Conv4"])
def test_plans_change_nothing(name: str) -> None:
    """A loop, pieces with graphs released, one vmap, the functional route; recomputed steps."""
    method = method_of(name, batch=4)

    def stepped(plan: mc.Plan) -> mc.MetaStep:
        goal, found = problem(name, plan)
        return mc.meta_gradient(method, goal, started(method, goal), found)

    alone = stepped(mc.Plan(chunk=1))
    for plan in (mc.Plan(2), mc.Plan("all"), mc.Plan("all", compile=True)):
        step = stepped(plan)
        assert relative_error(step.rows, alone.rows) <= tolerances.CHUNK_F64, plan
        assert relative_error(step.run.losses, alone.run.losses) <= tolerances.CHUNK_F64
    for chunk in (1, "all"):
        plain, again = (stepped(mc.Plan(chunk, checkpoint=on)) for on in (False, True))
        assert cases.same_bits(plain.rows, again.rows)


def test_tasks_have_no_order() -> None:
    goal, found = problem("MLP", count=4)
    method, order = method_of("MLP"), torch.tensor([2, 0, 3, 1])
    state = started(method, goal)
    step = mc.meta_gradient(method, goal, state, found)
    other = mc.meta_gradient(method, goal, state, tree.mapped(lambda v: v[order], found))
    assert relative_error(other.rows, {k: v[order] for k, v in step.rows.items()}) <= 1e-13


# Refusals and files.


def test_a_network_without_warp_layers_is_refused() -> None:
    for model in (built("MLP", warped=False), built("Conv4", warped=False)):
        goal = mc.Objective(model, mse_loss)
        with pytest.raises(UsageError, match="selects 'warp', but the model has no such part") as e:
            mc.initialise(warp(), goal)
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("options", [{"steps": 0}, {"layers": ()}])
def test_it_needs_layers_and_steps(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"layers that the inner loop leaves alone and at least"):
        warp(**options)


@pytest.mark.parametrize(
    ("wrap", "reason"),
    [(gradient_sharing, "a task's own plain step"), (coherent, "states that are not corrected")],
)
def test_what_bends_the_inner_loop_is_refused(wrap: object, reason: str) -> None:
    with pytest.raises(UsageError, match=f"has no meaning over warp: .*{reason}.*maml"):
        wrap(warp())
    assert set(WRAPPERS) >= {"agreement", "cooperative"}
    WRAPPERS["agreement"](WRAPPERS["cooperative"](warp()))


def test_a_state_comes_back(tmp_path: Path) -> None:
    """Warp layers off the identity, saved and loaded by name, adapt as before."""
    method = warp(steps=2, lr=LR)
    goal, found = problem("MLP", count=1)
    state = started(method, goal)
    mc.save(tmp_path / "saved", method, goal, state)
    again = mc.load(tmp_path / "saved", model=built("MLP"), criterion=mse_loss)
    assert again.method == method
    assert cases.same_bits(again.state.params, state.params)
    support, inputs = tree.unbind(found.support)[0], found.query.inputs[0]
    learner = mc.Learner(method, goal, state)
    assert torch.equal(again.predict(support, inputs), learner.predict(support, inputs))
    plain = mc.Learner(method, goal, mc.initialise(method, goal))
    assert not torch.equal(plain.predict(support, inputs), learner.predict(support, inputs))
