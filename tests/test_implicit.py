"""iMAML against a dense Hessian and a dense solve, on networks and on quadratics."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import metaccord as mc
from metaccord import tree
from metaccord.errors import UsageError
from metaccord.estimators import Implicit
from metaccord.estimators.implicit import solve
from metaccord.memory import peak_bytes
from metaccord.methods import coherent, gradient_sharing, imaml
from metaccord.rules import SGD, MetaSGD, Proximal
from metaccord.types import Stacked
from tests import cases, tolerances
from tests.reference import family, implicit, quadratics
from tests.reference.compare import relative_error
from tests.reference.modules import QuadraticModel, mean_value
from tests.test_methods import as_matrix, quadratic_episodes

STRONG = 20.0  # above the negative curvature of these networks
DIM = 5
PARTS: dict[str, dict[str, Any]] = {
    "all": {},
    "head": {"only": ("head",)},
    "no bias of the head": {"never": ("head.bias",)},
}


@pytest.mark.parametrize("system", ["textbook", "damped"])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "net", ["batchnorm2d", "instancenorm2d", "batchnorm1d", "layernorm", "plain", "tied", "frozen"]
)
def test_rows_equal_the_dense_twin(net: str, part: str, system: str) -> None:
    """With iterations enough; what stays has the exact cross term."""
    extra = {"damping": 1.0, "shift": 10.0} if system == "damped" else {}
    pull = "end" if system == "damped" else "every"
    rule = Proximal(steps=3, lr=0.02, strength=STRONG, pull=pull, **PARTS[part])
    method = mc.Method(name="imaml", rule=rule, estimator=Implicit(iterations=60, **extra))
    goal, found = cases.objective(net), cases.episodes(net)
    state = mc.initialise(method, goal)
    params = tree.scope(state.params, "model")
    moves = rule.divide(params, goal.groups)[0].__contains__
    tasks = cases.twin_tasks(method, found)
    where = (goal.model, goal.criterion, params)
    ends = [
        implicit.proximal_adapt(
            *where, t.batches, 0.02, STRONG, every_step=pull == "every", moves=moves
        )[-1]
        for t in tasks
    ]
    rows = implicit.imaml_rows(*where, ends, tasks, STRONG, moves=moves, cross=True, **extra)
    step = mc.meta_gradient(method, goal, state, found)
    assert relative_error(step.run.solution, cases.stacked(ends)) <= tolerances.TWIN_F64
    assert relative_error(cases.model_rows(step.rows), cases.stacked(rows)) <= tolerances.TWIN_F64
    assert not step.notes["estimator.negative_curvature"].any()
    assert step.notes["estimator.residual"].max() <= 1e-15
    if part == "all":
        preset = imaml(3, 0.02, strength=STRONG, iterations=60, system=system)  # type: ignore[arg-type]
        assert preset == method
        usual = mc.Method(name="imaml", rule=Proximal(steps=3, lr=0.02), estimator=Implicit())
        assert imaml(3, 0.02) == usual
    elif net != "frozen":
        direct = implicit.imaml_rows(*where, ends, tasks, STRONG, moves=moves, **extra)
        assert relative_error(cases.model_rows(step.rows), cases.stacked(direct)) > 1e-4


def bowls(
    *tasks: quadratics.Quadratic, chunk: Any = "all", theta: Any = None, **options: Any
) -> Any:
    """One meta-step on quadratics, from theta."""
    settings = {"steps": 45, "lr": 0.3, "strength": 2.0, "iterations": 40, **options}
    kept = {k: settings.pop(k) for k in ("iterations", "damping", "shift") if k in settings}
    method = mc.Method(name="imaml", rule=Proximal(**settings), estimator=Implicit(**kept))
    goal = mc.Objective(QuadraticModel(2, DIM - 2), mean_value, mc.Plan(chunk=chunk))
    start = torch.from_numpy(THETA if theta is None else theta)
    state = mc.MetaState({"model.parts.0": start[:2], "model.parts.1": start[2:]}, {})
    return mc.meta_gradient(method, goal, state, quadratic_episodes(list(tasks)))


def rows_of(step: mc.MetaStep) -> Tensor:
    """Return all rows, ``[T, d]``."""
    return as_matrix(step.rows)


RNG = np.random.default_rng(3)
THETA = RNG.standard_normal(DIM)
TASKS = [quadratics.random_quadratic(RNG, DIM, 100.0) for _ in range(4)]
FLAT = TASKS[0]._replace(a_q=np.zeros((DIM, DIM)), b_q=np.zeros(DIM))  # no query gradient
ROUND = TASKS[1]._replace(a_s=0.7 * np.eye(DIM))  # solved in one iteration
SADDLE = TASKS[2]._replace(a_s=TASKS[2].a_s - 6 * np.eye(DIM))  # 1 + eigenvalue / 2 below 0


@pytest.mark.parametrize("extra", [{}, {"damping": 1.0, "shift": 10.0}], ids=["textbook", "damped"])
def test_quadratics_equal_algebra(extra: dict[str, float]) -> None:
    """At the exact solution; with few iterations, the same as so many of the slow loop."""
    step = bowls(*TASKS, **extra)
    ends = [family.proximal_solution(t, THETA, 2.0) for t in TASKS]
    solution = torch.cat([step.run.solution["parts.0"], step.run.solution["parts.1"]], 1)
    assert relative_error(solution, torch.from_numpy(np.stack(ends))) <= tolerances.CLOSED_FORM_F64
    rows = [family.imaml(t, w, 2.0, **extra) for t, w in zip(TASKS, ends, strict=True)]
    exact = torch.from_numpy(np.stack(rows))
    assert relative_error(rows_of(step), exact) <= tolerances.CLOSED_FORM_F64
    for count in (1, 2, 3, 4):
        few = bowls(*TASKS, iterations=count, **extra)
        for i, (task, w) in enumerate(zip(TASKS, ends, strict=True)):
            scale, damped = 2.0 + extra.get("shift", 0), 1 + extra.get("damping", 0)
            system = damped * np.eye(DIM) + task.a_s / scale
            right = quadratics.query_gradient(task, w)
            slow = implicit.conjugate_gradients(system.__matmul__, right, count)
            assert relative_error(rows_of(few)[i], torch.from_numpy(slow)) <= 1e-11
            left = np.linalg.norm(right - system @ slow) / np.linalg.norm(right)
            assert few.notes["estimator.residual"][i].item() == pytest.approx(left, rel=1e-6)
            assert left > 1e-12, "not solved yet"


def test_what_stays_of_a_quadratic_is_exact() -> None:
    """Against the derivative of the exact solution by all of theta."""
    still = np.array([0.0, 0.0, 1.0, 1.0, 1.0])
    step = bowls(*TASKS, only=("parts.1",))
    exact = np.stack([family.imaml_part(t, THETA, 2.0, still)[1] for t in TASKS])
    assert relative_error(rows_of(step), torch.from_numpy(exact)) <= tolerances.CLOSED_FORM_F64


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 3, "lr": 1e-14}], ids=str)
def test_a_strong_pull_gives_the_gradient_at_theta(options: dict[str, Any]) -> None:
    """Strength to infinity: the gradient of the query loss where it stands."""
    step = bowls(*TASKS, strength=1e14, **options)
    plain = np.stack([quadratics.query_gradient(t, THETA) for t in TASKS])
    assert relative_error(rows_of(step), torch.from_numpy(plain)) <= tolerances.CLOSED_FORM_F64
    weak = bowls(*TASKS, strength=1.0, steps=0)
    assert relative_error(rows_of(weak), torch.from_numpy(plain)) > tolerances.CLEARLY_DIFFERENT


@pytest.mark.parametrize("chunk", [1, 2, "all"])
def test_rows_that_have_converged_are_frozen(chunk: Any) -> None:
    """Fast, slow and empty systems side by side: more iterations change no bit, nothing is NaN."""
    tasks = (FLAT, ROUND, TASKS[0], TASKS[3])
    some, more = (bowls(*tasks, chunk=chunk, iterations=n) for n in (40, 120))
    assert cases.same_bits((some.rows, some.notes), (more.rows, more.notes))
    assert rows_of(some)[0].tolist() == [0.0] * DIM
    residual = some.notes["estimator.residual"]
    assert residual[0] == 0
    assert residual.isfinite().all()
    assert residual.max() <= torch.finfo(torch.float64).eps
    ends = [family.proximal_solution(t, THETA, 2.0) for t in tasks]
    exact = [family.imaml(t, w, 2.0) for t, w in zip(tasks, ends, strict=True)]
    expected = torch.from_numpy(np.stack(exact))
    for row, right in zip(rows_of(some), expected, strict=True):
        assert relative_error(row, right) <= tolerances.CLOSED_FORM_F64
    once = bowls(*tasks, chunk=chunk, iterations=1)
    assert relative_error(rows_of(once)[1], expected[1]) <= tolerances.CLOSED_FORM_F64
    assert relative_error(rows_of(once)[2], expected[2]) > 1e-3


def test_negative_curvature_is_flagged_and_stops_its_row_alone() -> None:
    """The row keeps what the iterations before gave; the other rows keep their bits."""
    plain, mixed = bowls(TASKS[0], TASKS[1], TASKS[3]), bowls(TASKS[0], TASKS[1], SADDLE, TASKS[3])
    assert mixed.notes["estimator.negative_curvature"].tolist() == [0, 0, 1, 0]
    assert not plain.notes["estimator.negative_curvature"].any()
    assert cases.same_bits(rows_of(mixed)[[0, 1, 3]], rows_of(plain))
    near = SADDLE._replace(a_s=TASKS[2].a_s - 2.2 * np.eye(DIM))  # some directions bend upwards
    step = bowls(near, steps=1, lr=0.1)
    assert step.notes["estimator.negative_curvature"].tolist() == [1]
    system = np.eye(DIM) + near.a_s / 2
    end = torch.cat([step.run.solution["parts.0"], step.run.solution["parts.1"]], 1)[0].numpy()
    right = quadratics.query_gradient(near, end)
    kept, rest, way, count = np.zeros(DIM), right.copy(), right.copy(), 0
    while (bend := way @ system @ way) > 0:
        length = rest @ rest / bend
        after = rest - length * system @ way
        kept, way = kept + length * way, after + (after @ after) / (rest @ rest) * way
        rest, count = after, count + 1
    assert 0 < count < DIM, "some iterations came before"
    assert relative_error(rows_of(step)[0], torch.from_numpy(kept)) <= tolerances.TWIN_F64
    left = np.linalg.norm(right - system @ kept) / np.linalg.norm(right)
    assert step.notes["estimator.residual"].item() == pytest.approx(left, rel=1e-9)
    assert not bowls(near, damping=1.0).notes["estimator.negative_curvature"].any()


def test_a_direction_without_curvature_stops_as_well() -> None:
    """A matrix of zeros divides by nothing; the right side is kept, as for a strong pull."""
    right: Stacked = {"x": torch.tensor([[1.0, 2.0], [0.0, 0.0]])}
    found = solve(lambda v: {"x": 0 * v["x"]}, right, 3)
    assert torch.equal(found.rows["x"], right["x"])
    assert found.residual.tolist() == [1.0, 0.0]
    assert found.negative.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_the_residual_is_relative(size: float) -> None:
    """A right side of any length leaves the same share of itself, and exactly the same rows."""
    matrix = torch.diag(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))
    right = {"x": torch.tensor([[3.0, -1.0, 2.0]], dtype=torch.float64)}
    plain, scaled = (
        solve(lambda v: {"x": v["x"] @ matrix}, {"x": factor * right["x"]}, 2)
        for factor in (1.0, size)
    )
    left = right["x"] - plain.rows["x"] @ matrix
    assert plain.residual.item() == pytest.approx(float(left.norm() / right["x"].norm()), rel=1e-9)
    assert scaled.residual.item() == pytest.approx(plain.residual.item(), rel=1e-9)
    assert relative_error(scaled.rows["x"] / size, plain.rows["x"]) <= tolerances.TWIN_F64


def test_mini_batches_have_no_solution() -> None:
    rule = Proximal(steps=2, lr=0.1, batch=2)
    with pytest.raises(UsageError, match=r"rule\.batch is 2: .*use rule\.batch=none"):
        mc.Method(name="x", rule=rule, estimator=Implicit())


def test_no_slope_at_all_is_finite() -> None:
    """A loss of nothing, over a network: rows and notes are zero."""
    goal = mc.Objective(cases.module("layernorm"), lambda o, t: 0.0 * (o - t).sum(), mc.Plan("all"))
    method = imaml(2, 0.1)
    step = mc.meta_gradient(method, goal, mc.initialise(method, goal), cases.episodes("layernorm"))
    assert not any(v.any() for v in (*step.rows.values(), *step.notes.values()))


def test_the_path_is_not_kept() -> None:
    """More inner steps, one more forward pass each: nothing is differentiated through them."""
    calls: list[int] = []

    def counted(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(1)
        return torch.nn.functional.mse_loss(outputs, targets)

    counts, memory = {}, []
    for steps in (2, 7):
        for on in (False, True):
            plan, method = mc.Plan("all", checkpoint=on), imaml(steps, 0.01, iterations=3)
            goal = mc.Objective(cases.module("plain"), counted, plan)
            calls.clear()
            mc.meta_gradient(method, goal, mc.initialise(method, goal), cases.episodes("plain"))
            counts[steps, on] = len(calls)
        again = method, goal.planned(mc.Plan("all")), mc.initialise(method, goal)
        found = cases.episodes("plain")
        call = partial(mc.meta_gradient, *again, found)
        memory.append(peak_bytes(call, torch.device("cpu")))
    assert memory[1] - memory[0] < 1024, "graphs of inner steps are kept"
    assert counts[7, False] - counts[2, False] == 5
    assert counts[2, False] == 2 + 1 + 3, "inner steps, query, one product each"
    assert counts[7, True] - counts[2, True] == 5, "checkpoints have nothing to recompute"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Implicit(iterations=0), "iterations is 0: it must be at least 1"),
        (lambda: Implicit(damping=-1.0), "damping is -1.0"),
        (lambda: Implicit(shift=float("inf")), "shift is inf"),
        (lambda: Proximal(steps=1, lr=0.1, strength=0.0), "rule.strength is 0.0"),
        (lambda: Proximal(steps=1, lr=0.1, strength=float("nan")), "rule.strength is nan"),
        (lambda: Proximal(steps=1, lr=0.1, pull="evry"), "did you mean 'every'"),
        (lambda: gradient_sharing(imaml()), "without others' gradients; put it over maml"),
        (lambda: coherent(imaml()), "holds at the solution, not beside it; put it over maml"),
        *(
            (lambda r=r: mc.Method(name="x", rule=r(steps=1, lr=0.1), estimator=Implicit()),
             f"the inner rule {r.__name__} has not: use rules.Proximal")
            for r in (SGD, MetaSGD)
        ),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(build: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build()
