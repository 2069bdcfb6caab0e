"""WarpGrad against its loops and algebra; warp layers start as the identity and never move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import metaccord as mc
from metaccord import keys, tree
from metaccord.errors import UsageError
from metaccord.estimators import Warp
from metaccord.methods import WRAPPERS, coherent, gradient_sharing, maml, warp
from metaccord.models import MLP, Conv4
from metaccord.rules import SGD
from metaccord.types import Batch, Episode, MetaState
from tests import cases, tolerances
from tests.reference import family, quadratics
from tests.reference.compare import relative_error
from tests.reference.modules import mean_value
from tests.reference.warp import warp_rows

LR = 0.2
LAYERS = {  # of the models of the matrix, what serves as warp layers
    "plain": ("body.0",), "layernorm": ("body.0", "body.1"), "batchnorm2d": ("body.0",),
    "groupnorm": ("body.1",), "instancenorm2d": ("head",), "tied": ("first",),
    "MLP": ("warp",), "Conv4": ("warp",),
}  # fmt: skip
ORDERS = pytest.mark.parametrize("first_order", [False, True])
OWN = pytest.mark.parametrize("name", ["MLP", "Conv4"])


def built(name: str, *, warped: bool = True) -> nn.Module:
    """Return a model of ours from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if name == "MLP":
            return MLP(3, (4, 3), activation="tanh", warp=warped).double()
        return Conv4(3, hidden=2, size=6, warp=warped).double()


def problem(name: str, plan: mc.Plan | None = None, count: int = 3) -> tuple[mc.Objective, Episode]:
    """Return an objective and episodes for a model of the matrix or of ours."""
    net = {"MLP": "plain", "Conv4": "batchnorm2d"}.get(name, name)
    found = cases.episodes(net, count)
    if net == name:
        return cases.objective(name, plan), found
    criterion = mse_loss if name == "MLP" else cross_entropy
    return mc.Objective(built(name), criterion, plan or mc.Plan(chunk="all")), found


def started(method: mc.Method, goal: mc.Objective, by: float = 0.3) -> MetaState:
    """Return a state whose tensors, and so the warp layers, are moved off their start."""
    state = mc.initialise(method, goal)
    moved = {
        k: v + by * (keys.uniform(torch.tensor(i), tuple(v.shape)).to(v) - 0.5)
        for i, (k, v) in enumerate(state.params.items())
    }
    return state._replace(params=moved)


def warps(name: str, key: str) -> bool:
    return any(key.startswith(f"{layer}.") for layer in LAYERS[name])


def method_of(
    name: str, *, start: bool = False, ahead: bool = False, batch: int | None = None
) -> mc.Method:
    rule = SGD(steps=2, lr=LR, never=LAYERS[name], batch=batch)
    estimator = Warp(first_order=start, lookahead_first_order=ahead)
    return mc.Method(name="warp", rule=rule, estimator=estimator)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_rows_equal_the_slow_twin(name: str, ahead: bool, start: bool) -> None:
    """Warp layers away from the identity; mini-batches, so that each state has its own."""
    method = method_of(name, start=start, ahead=ahead, batch=4)
    goal, found = problem(name)
    state = started(method, goal)
    rows = warp_rows(
        goal.model, goal.criterion, tree.scope(state.params, "model"),
        cases.twin_tasks(method, found), LR, warps=lambda key: warps(name, key),
        first_order=ahead, first_order_start=start,
    )  # fmt: skip
    step = mc.meta_gradient(method, goal, state, found)
    expected = cases.stacked(rows)
    assert relative_error(cases.model_rows(step.rows), expected) <= tolerances.TWIN_F64
    phi = {k: v for k, v in expected.items() if warps(name, k)}
    mine = {k: step.rows[f"model.{k}"] for k in phi}
    assert relative_error(mine, phi) <= tolerances.TWIN_F64
    assert all(v.flatten(1).any(1).all() for v in mine.values())


def test_the_readings_are_told_apart() -> None:
    """First order of either part, and MAML's own rows of what stays."""
    goal, found = problem("MLP")
    state = started(method_of("MLP"), goal)
    methods = [method_of("MLP", start=s, ahead=a) for s in (False, True) for a in (False, True)]
    methods.append(maml(steps=2, lr=LR, never=("warp",)))
    rows = [mc.meta_gradient(m, goal, state, found).rows for m in methods]
    for i, one in enumerate(rows):
        for other in rows[:i]:
            assert relative_error(one, other) > 1e-3
    assert warp(first_order=True).estimator == Warp(first_order=True, lookahead_first_order=True)


class Linear(nn.Module):
    """The quadratic of y = W theta: task tensor ``theta`` [e], warp tensor ``warp`` [d, e]."""

    def __init__(self, outer: int, inner: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(inner, dtype=torch.float64))
        self.warp = nn.Parameter(torch.zeros(outer, inner, dtype=torch.float64))

    def forward(self, matrix: Tensor, vector: Tensor) -> Tensor:
        y = self.warp @ self.theta
        return (y * (matrix @ y)).sum(-1) / 2 - (vector * y).sum(-1)


@ORDERS
@pytest.mark.parametrize("steps", [1, 4])
def test_a_linear_warp_equals_algebra(steps: int, first_order: bool) -> None:
    """The preconditioner W W^T in y, the lookahead's gradient by W, and where the path ends."""
    rng = np.random.default_rng(steps)
    tasks = [quadratics.random_quadratic(rng, 5, 50.0) for _ in range(6)]
    theta, matrix = rng.standard_normal(4), rng.standard_normal((5, 4)) / 2

    def batch(a: str, b: str) -> Batch:
        given = (
            torch.from_numpy(np.stack([getattr(t, k) for t in tasks]))[:, None] for k in (a, b)
        )
        return Batch(tuple(given), torch.zeros(len(tasks), 1, dtype=torch.float64))

    method = warp(steps=steps, lr=LR, first_order=first_order)
    goal = mc.Objective(Linear(5, 4), mean_value, mc.Plan(chunk="all"))
    start = {"model.theta": torch.from_numpy(theta), "model.warp": torch.from_numpy(matrix)}
    found = Episode(batch("a_s", "b_s"), batch("a_q", "b_q"))
    step = mc.meta_gradient(method, goal, MetaState(start, {}), found)
    closed = {
        "model.theta": [
            family.warp_start(t, theta, matrix, LR, steps, first_order=first_order) for t in tasks
        ],
        "model.warp": [
            family.warp_objective(t, theta, matrix, LR, steps, first_order=first_order)
            for t in tasks
        ],
    }
    expected = {k: torch.from_numpy(np.stack(v)) for k, v in closed.items()}
    assert relative_error(step.rows, expected) <= tolerances.CLOSED_FORM_F64
    w = torch.from_numpy(matrix @ theta)
    for _ in range(steps):  # plain steps in y under the preconditioner
        slopes = torch.stack([torch.from_numpy(t.a_s @ y.numpy() - t.b_s) for t, y in zip(
            tasks, w.expand(len(tasks), 5), strict=True)])  # fmt: skip
        w = w - LR * slopes @ torch.from_numpy(matrix @ matrix.T)
    reached = step.run.solution["theta"] @ torch.from_numpy(matrix).T
    assert relative_error(reached, w) <= tolerances.CLOSED_FORM_F64


# Warp layers.


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


def test_the_models_have_one_layer_after_each_block() -> None:
    sizes = {k: tuple(v.shape) for k, v in built("MLP").named_parameters() if warps("MLP", k)}
    assert sizes == {"warp.0.weight": (4, 4), "warp.0.bias": (4,),
                     "warp.1.weight": (3, 3), "warp.1.bias": (3,)}  # fmt: skip
    names = [k for k, _ in built("Conv4").named_parameters() if warps("Conv4", k)]
    assert names == [f"warp.{i}.{leaf}" for i in range(4) for leaf in ("weight", "bias")]
    assert MLP(3, (), warp=True)(torch.ones(1, 3)).shape == (1, 1)


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
