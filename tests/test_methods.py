"""Every method against its slow twin, closed forms and finite differences."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import metaccord as mc
from metaccord import tree
from metaccord.errors import UsageError
from metaccord.methods import fomaml, gradient_agreement, imaml, maml, reptile
from metaccord.types import Batch, Episode, Params, Stacked
from tests import cases, tolerances
from tests.reference import loops, quadratics
from tests.reference.compare import relative_error
from tests.reference.modules import QuadraticModel, flat, mean_value, smooth_net
from tests.reference.rules import Slots, mean_slots

NETS = ("batchnorm2d", "batchnorm1d", "tied", "frozen")


def twin(
    method: mc.Method, goal: mc.Objective, params: Params, found: Episode, slots: Slots
) -> tuple[list[Params], Slots]:
    """Return rows (``reconcile`` included) and the slots afterwards, slowly."""
    tasks, options = cases.twin_tasks(method, found), {}
    adam = isinstance(method.rule, mc.rules.Adam)
    if adam:
        options = {"beta1": method.rule.beta1, "beta2": method.rule.beta2, "slots": slots}
    moving = method.rule.divide(params, goal.groups)[0]
    common = {
        "moves": moving.__contains__,
        "rule": "adam" if adam else "sgd",
        "rule_options": options,
    }
    where = (goal.model, goal.criterion, params, tasks, method.rule.lr)
    displacements = loops.reptile_rows(*where, **common)
    rows = {"maml": loops.maml_rows, "fomaml": loops.fomaml_rows}.get(method.name)
    found_rows = displacements if rows is None else rows(*where, **common)
    runs = [
        loops.adapt(
            goal.model, goal.criterion, params, t.batches, method.rule.lr, create_graph=False,
            **common,
        )
        for t in tasks
    ]  # fmt: skip
    if method.interactions:
        factors = len(tasks) * loops.agreement_weights(displacements)
        found_rows = [
            {k: factor * v for k, v in row.items()}
            for factor, row in zip(factors, found_rows, strict=True)
        ]
    return found_rows, mean_slots([run.slots for run in runs]) if adam else slots


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", cases.METHODS)
def test_rows_and_mean_equal_the_slow_twin(name: str, net: str) -> None:
    """Three meta-steps, so that Adam's slots persist; the batches are the rule's own."""
    method, goal = cases.METHODS[name], cases.objective(net)
    state, slots = mc.initialise(method, goal), Slots()
    for index in range(3):
        found = cases.episodes(net, seed=index)
        step = mc.meta_gradient(method, goal, state, found)
        params = tree.scope(state.params, "model")
        rows, slots = twin(method, goal, params, found, slots)
        expected = cases.stacked(rows)
        assert relative_error(cases.model_rows(step.rows), expected) <= tolerances.TWIN_F64
        mean = {k: v.mean(0) for k, v in expected.items()}
        assert relative_error(tree.scope(step.grads, "model"), mean) <= tolerances.TWIN_F64
        moved = {k: v - 0.5 * step.grads[k] for k, v in state.params.items()}
        state = mc.MetaState(moved, step.running, index + 1)
    if slots.steps:
        kept = tree.scope(state.running, "rule")
        assert int(kept["count"]) == slots.steps == 3 * method.rule.steps
        second = {f"second.{k}": v for k, v in slots.second.items()}
        found_second = {k: v for k, v in kept.items() if k != "count"}
        assert relative_error(found_second, second) <= tolerances.TWIN_F64


@pytest.mark.parametrize("net", ["batchnorm2d", "layernorm"])
@pytest.mark.parametrize("name", ["adam", "adam, both moments"])
def test_second_order_through_adam_equals_the_slow_twin(name: str, net: str) -> None:
    rule = cases.RULES[name]
    method = mc.Method(name="maml", rule=rule, estimator=cases.ESTIMATORS["maml"])
    goal, found = cases.objective(net), cases.episodes(net)
    state = mc.initialise(method, goal)
    rows, _ = twin(method, goal, tree.scope(state.params, "model"), found, Slots())
    step = mc.meta_gradient(method, goal, state, found)
    assert relative_error(cases.model_rows(step.rows), cases.stacked(rows)) <= tolerances.TWIN_F64


def quadratic_episodes(tasks: list[quadratics.Quadratic]) -> Episode:
    """One example per set: inputs are tuples, outputs are losses already."""

    def batch(matrix: str, vector: str) -> Batch:
        a = torch.from_numpy(np.stack([getattr(t, matrix) for t in tasks])).unsqueeze(1)
        b = torch.from_numpy(np.stack([getattr(t, vector) for t in tasks])).unsqueeze(1)
        return Batch((a, b), torch.zeros(len(tasks), 1, dtype=torch.float64))

    return Episode(batch("a_s", "b_s"), batch("a_q", "b_q"))


def as_matrix(rows: Stacked) -> Tensor:
    """Return rows as ``[T, d]``, in the order of the quadratic's entries."""
    return torch.cat([rows["model.parts.0"], rows["model.parts.1"]], dim=1)


QUADRATICS = {
    "maml": (maml, quadratics.maml),
    "fomaml": (fomaml, quadratics.fomaml),
    "reptile": (lambda steps, lr: reptile(steps, lr, batch=None), quadratics.reptile),
}


@pytest.mark.parametrize("dim", [2, 5, 16])
@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("form", QUADRATICS)
def test_quadratics_equal_algebra(form: str, steps: int, dim: int) -> None:
    """27 x 20 quadratics: rows, and the step of Gradient Agreement."""
    rng = np.random.default_rng([dim, steps])
    tasks = [quadratics.random_quadratic(rng, dim, 100.0) for _ in range(20)]
    theta = rng.standard_normal(dim)
    build, closed = QUADRATICS[form]
    goal = mc.Objective(QuadraticModel(1, dim - 1), mean_value, mc.Plan(chunk="all"))
    start = torch.from_numpy(theta)
    state = mc.MetaState({"model.parts.0": start[:1], "model.parts.1": start[1:]}, {})
    found = quadratic_episodes(tasks)
    step = mc.meta_gradient(build(steps, 0.5), goal, state, found)
    expected = torch.from_numpy(np.stack([closed(t, theta, 0.5, steps) for t in tasks]))
    assert relative_error(as_matrix(step.rows), expected) <= tolerances.CLOSED_FORM_F64
    if steps == 0 and form == "reptile":
        return  # nothing moved, so there is nothing to agree about
    weighted = mc.meta_gradient(gradient_agreement(build(steps, 0.5)), goal, state, found)
    g = np.stack([quadratics.reptile(t, theta, 0.5, steps) for t in tasks])
    weights = torch.from_numpy(quadratics.agreement_weights(g))
    assert relative_error(weighted.notes["agreement.weights"], weights) <= tolerances.TWIN_F64
    step_closed = weights @ expected
    found_step = torch.cat([weighted.grads["model.parts.0"], weighted.grads["model.parts.1"]])
    assert relative_error(found_step, step_closed) <= tolerances.CLOSED_FORM_F64


def test_the_methods_are_told_apart() -> None:
    """Swapping any two of them is seen at once."""
    steps = {name: cases.step(m, "batchnorm1d").rows for name, m in cases.METHODS.items()}
    for a in steps:
        for b in steps:
            if a != b:
                assert relative_error(steps[a], steps[b]) > tolerances.CLEARLY_DIFFERENT, (a, b)


@pytest.mark.parametrize("agreement", [False, True])
def test_maml_equals_finite_differences_of_the_meta_loss(agreement: bool) -> None:
    """Central differences along random directions, with the agreement weights held constant."""
    method = maml(steps=3, lr=0.2)
    method = gradient_agreement(method) if agreement else method
    goal = mc.Objective(smooth_net(0), torch.nn.functional.mse_loss, mc.Plan(chunk="all"))
    found, state = cases.episodes("plain"), mc.initialise(method, goal)
    step = mc.meta_gradient(method, goal, state, found)
    weights = step.notes["agreement.weights"] if agreement else torch.full((4,), 0.25).double()

    def loss(params: Params) -> float:
        losses = mc.meta_gradient(method, goal, state._replace(params=params), found).run.losses
        assert losses is not None
        return float(weights @ losses)

    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        v = {
            k: torch.randn(t.shape, generator=generator, dtype=t.dtype)
            for k, t in state.params.items()
        }
        coarse, fine = (
            (
                loss({k: t + h * v[k] for k, t in state.params.items()})
                - loss({k: t - h * v[k] for k, t in state.params.items()})
            )
            / (2 * h)
            for h in (1e-4, 5e-5)
        )
        slope = torch.tensor((4 * fine - coarse) / 3, dtype=torch.float64)
        exact = flat(step.grads) @ flat(v)
        assert relative_error(exact, slope) <= tolerances.CENTRAL_DIFFERENCE
        first = mc.meta_gradient(fomaml(steps=3, lr=0.2), goal, state, found)
        assert relative_error(flat(first.grads) @ flat(v), slope) > 1e-3


def test_state_and_episodes_are_not_changed() -> None:
    for method in cases.METHODS.values():
        goal, found = cases.objective("batchnorm2d"), cases.episodes("batchnorm2d")
        state = mc.initialise(method, goal)
        before = cases.bits((state.params, state.running, tuple(found), dict(goal.trainable())))
        mc.meta_gradient(method, goal, state, found)
        after = cases.bits((state.params, state.running, tuple(found), dict(goal.trainable())))
        assert cases.same_bits(before, after)
        assert all(p.grad is None for p in goal.model.parameters())


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_second_order_through_adam_is_finite_where_nothing_flows(beta1: float) -> None:
    """The root of the second moment has no slope at zero; torch's search for NaN is silent."""
    rule = mc.rules.Adam(steps=2, lr=0.1, beta1=beta1)
    method = mc.Method(name="maml", rule=rule, estimator=mc.estimators.MAML())
    goal, found = cases.objective("plain", mc.Plan(chunk=1)), cases.episodes("plain")
    blind = found.support.inputs.clone()
    blind[..., 0] = 0
    found = found._replace(support=found.support._replace(inputs=blind))
    with torch.autograd.set_detect_anomaly(True):
        step = mc.meta_gradient(method, goal, mc.initialise(method, goal), found)
    assert all(row.isfinite().all() for row in step.rows.values())
    assert step.rows["model.body.0.weight"][..., 0].any(), "the query set is not blind"


@pytest.mark.parametrize(
    "options",
    [{"beta1": 1.0}, {"beta1": 1.5}, {"beta1": -0.1}, {"beta2": 1.0}, {"beta2": 1.5},
     {"beta2": 0.0}, {"beta2": -0.1}, {"eps": 0.0}, {"eps": -1e-8}, {"eps": float("nan")}],
    ids=str,
)  # fmt: skip
def test_moments_of_adam_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"rule.{next(iter(options))} is "):
        mc.rules.Adam(steps=1, lr=0.1, **options)


class Watched(torch.autograd.Function):
    """The identity, which notes whether its gradient is to be differentiated again."""

    graphs: ClassVar[list[bool]] = []

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the same numbers."""
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the same gradient."""
        Watched.graphs.append(torch.is_grad_enabled())
        return grad


class Watching(torch.nn.Module):
    """A layer that is watched."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3] -> [n, 1]."""
        return Watched.apply(self.head(x))


@pytest.mark.parametrize(
    "method", [maml(steps=2), fomaml(steps=2), reptile(steps=2), imaml(steps=2, iterations=1)]
)
def test_only_second_order_pays_for_graphs_of_gradients(method: mc.Method) -> None:
    """Inner steps of the others must not keep what is needed to differentiate them."""
    goal = mc.Objective(Watching().double(), torch.nn.functional.mse_loss, mc.Plan(chunk=1))
    state, found = mc.initialise(method, goal), cases.episodes("plain", 1)
    Watched.graphs.clear()
    mc.meta_gradient(method, goal, state, found)
    inner = Watched.graphs[: method.rule.steps]
    assert inner == [method.name == "maml"] * len(inner)
    assert inner
