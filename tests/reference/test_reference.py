"""The slow twins against algebra, against torch.optim and against finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests import tolerances
from tests.reference import loops, quadratics
from tests.reference.compare import relative_error
from tests.reference.modules import (
    QuadraticModel,
    flat,
    mean_value,
    quadratic_data,
    quadratic_task,
    split,
)

LR = 0.5
SIZES = (2, 3)
MODEL = QuadraticModel(*SIZES)
METHODS: dict[str, tuple[Callable[..., list[loops.Params]], Callable[..., quadratics.Array]]] = {
    "maml": (loops.maml_rows, quadratics.maml),
    "fomaml": (loops.fomaml_rows, quadratics.fomaml),
    "reptile": (loops.reptile_rows, quadratics.reptile),
}


def draw(
    seed: int, num_tasks: int = 3, condition: float = 100.0, dim: int = sum(SIZES)
) -> tuple[list[quadratics.Quadratic], quadratics.Array]:
    """Random tasks and a random theta."""
    rng = np.random.default_rng(seed)
    tasks = [quadratics.random_quadratic(rng, dim, condition) for _ in range(num_tasks)]
    return tasks, rng.standard_normal(dim)


def error(row: loops.Params, closed: quadratics.Array) -> float:
    """Relative error of a twin's row against a closed form ``[d]``."""
    return relative_error(flat(row), torch.from_numpy(closed))


@pytest.mark.parametrize("condition", [1.0, 10.0, 1e3, 1e6])
@pytest.mark.parametrize("steps", [0, 1, 2, 5, 10])
@pytest.mark.parametrize("method", METHODS)
def test_rows_equal_the_closed_forms(method: str, steps: int, condition: float) -> None:
    """Every method, condition and number of steps, K = 0 included; c = 1 is A = I."""
    twin, closed = METHODS[method]
    bar = tolerances.CLOSED_FORM_F64 * max(1.0, condition / 1e3)
    for seed in range(5):
        tasks, theta = draw(seed, condition=condition)
        data = [quadratic_task(task, steps) for task in tasks]
        rows = twin(MODEL, mean_value, split(MODEL, theta), data, LR)
        for row, task in zip(rows, tasks, strict=True):
            assert list(row) == [name for name, _ in MODEL.named_parameters()]
            assert error(row, closed(task, theta, LR, steps)) <= bar


@pytest.mark.parametrize("steps", [1, 5])
def test_a_swap_of_methods_is_seen(steps: int) -> None:
    """No twin may pass with the closed form of another method."""
    tasks, theta = draw(7)
    data = [quadratic_task(task, steps) for task in tasks]
    for method, (twin, _) in METHODS.items():
        rows = twin(MODEL, mean_value, split(MODEL, theta), data, LR)
        for other in METHODS.keys() - {method}:
            closed = METHODS[other][1]
            for row, task in zip(rows, tasks, strict=True):
                found = error(row, closed(task, theta, LR, steps))
                assert found > tolerances.CLEARLY_DIFFERENT


def test_no_step_and_no_rate_leave_theta() -> None:
    """K = 0 and alpha = 0: MAML and FOMAML give q(theta) to the bit, Reptile gives zero."""
    (task,), theta = draw(1, num_tasks=1)
    params = split(MODEL, theta)
    plain = loops.leaves(params)
    loss = loops.loss_at(MODEL, mean_value, plain, quadratic_data(task.a_q, task.b_q))
    expected = loops.gradient(loss, plain, create_graph=False)
    for steps, lr in [(0, LR), (3, 0.0)]:
        data = [quadratic_task(task, steps)]
        for twin in (loops.maml_rows, loops.fomaml_rows):
            (row,) = twin(MODEL, mean_value, params, data, lr)
            assert torch.equal(flat(row), flat(expected))
        (row,) = loops.reptile_rows(MODEL, mean_value, params, data, lr)
        assert not flat(row).any()


def test_without_curvature_maml_is_fomaml() -> None:
    """A_s = 0: J is the identity, so the rows are equal to the bit."""
    (task,), theta = draw(2, num_tasks=1)
    data = [quadratic_task(task._replace(a_s=np.zeros_like(task.a_s)), 4)]
    params = split(MODEL, theta)
    (second,) = loops.maml_rows(MODEL, mean_value, params, data, LR)
    (first,) = loops.fomaml_rows(MODEL, mean_value, params, data, LR)
    assert torch.equal(flat(second), flat(first))


@pytest.mark.parametrize("method", METHODS)
def test_one_parameter(method: str) -> None:
    """With d = 1 everything is a scalar."""
    model = QuadraticModel(1)
    (task,), theta = draw(3, num_tasks=1, dim=1)
    twin, closed = METHODS[method]
    (row,) = twin(model, mean_value, split(model, theta), [quadratic_task(task, 3)], 0.3)
    assert error(row, closed(task, theta, 0.3, 3)) <= tolerances.CLOSED_FORM_F64


def test_each_step_sees_its_own_batch() -> None:
    """Different mini-batches, in order: w_K, and MAML's J^T q through all of them."""
    tasks, theta = draw(4, num_tasks=4)
    pairs = [(task.a_s, task.b_s) for task in tasks]
    last = tasks[-1]
    data = [loops.Task([quadratic_data(*p) for p in pairs], quadratic_data(last.a_q, last.b_q))]
    params = split(MODEL, theta)
    w, jacobian = quadratics.adapted_on_batches(pairs, theta, LR)
    (reptile,) = loops.reptile_rows(MODEL, mean_value, params, data, LR)
    (maml,) = loops.maml_rows(MODEL, mean_value, params, data, LR)
    assert error(reptile, theta - w) <= tolerances.CLOSED_FORM_F64
    closed = jacobian.T @ quadratics.query_gradient(last, w)
    assert error(maml, closed) <= tolerances.CLOSED_FORM_F64


@pytest.mark.parametrize("still", ["parts.0", "parts.1"])
def test_only_what_moves_is_adapted(still: str) -> None:
    """ANIL and BOIL: what stands still keeps its bits and has its full MAML gradient."""
    (task,), theta = draw(5, num_tasks=1)
    params, data = split(MODEL, theta), [quadratic_task(task, 4)]
    moves = np.concatenate([np.full(p.numel(), float(n != still)) for n, p in params.items()])
    w, closed = quadratics.partial_maml(task, theta, LR, 4, moves)
    options: dict[str, Any] = {"moves": lambda name: name != still}
    (maml,) = loops.maml_rows(MODEL, mean_value, params, data, LR, **options)
    (reptile,) = loops.reptile_rows(MODEL, mean_value, params, data, LR, **options)
    assert error(maml, closed) <= tolerances.CLOSED_FORM_F64
    assert error(reptile, theta - w) <= tolerances.CLOSED_FORM_F64
    assert not reptile[still].any()


def test_nothing_moves_like_no_step() -> None:
    """An inner loop without tensors is K = 0."""
    (task,), theta = draw(6, num_tasks=1)
    params = split(MODEL, theta)
    (row,) = loops.maml_rows(
        MODEL, mean_value, params, [quadratic_task(task, 2)], LR, moves=lambda name: False
    )
    assert error(row, quadratics.query_gradient(task, theta)) <= tolerances.CLOSED_FORM_F64


def test_meta_hessian() -> None:
    """MAML's gradient is affine on quadratics: its differences are columns of (M^K)^T A_q M^K."""
    (task,), theta = draw(8, num_tasks=1)
    points = [theta, *(theta + np.eye(len(theta)))]
    at = [
        flat(loops.maml_rows(MODEL, mean_value, split(MODEL, p), [quadratic_task(task, 3)], LR)[0])
        for p in points
    ]
    columns = torch.stack([there - at[0] for there in at[1:]], dim=1)
    closed = torch.from_numpy(quadratics.meta_hessian(task, LR, 3))
    assert relative_error(columns, closed) <= tolerances.CLOSED_FORM_F64


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_momentum(steps: int) -> None:
    """Heavy ball: solution and row against the block matrix."""
    (task,), theta = draw(9, num_tasks=1)
    w, closed = quadratics.momentum_maml(task, theta, 0.2, steps, 0.9)
    params, data = split(MODEL, theta), [quadratic_task(task, steps)]
    rule: dict[str, Any] = {"rule": "momentum", "rule_options": {"momentum": 0.9}}
    (reptile,) = loops.reptile_rows(MODEL, mean_value, params, data, 0.2, **rule)
    (maml,) = loops.maml_rows(MODEL, mean_value, params, data, 0.2, **rule)
    assert error(reptile, theta - w) <= tolerances.CLOSED_FORM_F64
    assert error(maml, closed) <= tolerances.CLOSED_FORM_F64


@pytest.mark.parametrize("beta1", [0.0, 0.9])
@pytest.mark.parametrize("eps", [1e-8, 0.1])
def test_two_steps_of_adam(beta1: float, eps: float) -> None:
    """Points and derivatives of the scalar formula; D_2 reaches theta through the query loss."""
    model, scalars = QuadraticModel(1), {"beta1": beta1, "beta2": 0.999, "eps": eps}
    a, b, theta = 1.7, 0.4, 2.3
    closed = quadratics.adam_two_steps(a, b, theta, 0.3, **scalars)
    expected = [(closed.first, closed.first_slope), (closed.second, closed.second_slope)]
    params = split(model, np.array([theta]))
    for steps, (point, slope) in enumerate(expected, start=1):
        task = quadratics.Quadratic(*(np.array(v) for v in ([[a]], [b], [[0.0]], [-1.0])))
        data = [quadratic_task(task, steps)]  # query loss w, so that the row is the slope
        rule: dict[str, Any] = {"rule": "adam", "rule_options": scalars}
        (maml,) = loops.maml_rows(model, mean_value, params, data, 0.3, **rule)
        (reptile,) = loops.reptile_rows(model, mean_value, params, data, 0.3, **rule)
        assert error(maml, np.array([slope])) <= tolerances.CLOSED_FORM_F64
        assert error(reptile, np.array([theta - point])) <= tolerances.CLOSED_FORM_F64


def test_adam_at_a_stationary_point() -> None:
    """A gradient of exactly zero: D_1 = 1 - alpha a / eps, where the naive root gives NaN."""
    model = QuadraticModel(1)
    task = quadratics.Quadratic(*(np.array(v) for v in ([[2.0]], [6.0], [[0.0]], [-1.0])))
    params, data = split(model, np.array([3.0])), [quadratic_task(task, 1)]
    options: dict[str, Any] = {"rule": "adam", "rule_options": {"eps": 0.1}}
    (row,) = loops.maml_rows(model, mean_value, params, data, 0.01, **options)
    assert error(row, np.array([1 - 0.01 * 2.0 / 0.1])) <= tolerances.CLOSED_FORM_F64


OPTIMISERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], Any, Any]] = {
    "sgd": (torch.optim.SGD, {}, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.8}, {"momentum": 0.8}),
    "adam": (torch.optim.Adam, {"betas": (0.0, 0.999)}, {}),
    "adam with momentum": (torch.optim.Adam, {"betas": (0.7, 0.9)}, {"beta1": 0.7, "beta2": 0.9}),
}


@pytest.mark.parametrize("case", OPTIMISERS)
def test_rules_equal_torch_optim(case: str) -> None:
    """Six steps; and six steps are two plus four with the slots carried."""
    kind, theirs, ours = OPTIMISERS[case]
    rule = case.split()[0]
    (task,), theta = draw(10, num_tasks=1)
    batches, params = quadratic_task(task, 6).batches, split(MODEL, theta)
    common: dict[str, Any] = {"create_graph": False, "rule": rule}
    whole = loops.adapt(MODEL, mean_value, params, batches, 0.1, **common, rule_options=ours)
    w = loops.leaves(params)
    optimiser = kind(list(w.values()), lr=0.1, **theirs)
    for batch in batches:
        loss = loops.loss_at(MODEL, mean_value, w, batch)
        for name, grad in loops.gradient(loss, w, create_graph=False).items():
            w[name].grad = grad
        optimiser.step()
    assert relative_error(whole.path[-1], w) <= tolerances.TWIN_F64
    head = loops.adapt(MODEL, mean_value, params, batches[:2], 0.1, **common, rule_options=ours)
    carried = {**ours, "slots": head.slots}
    tail = loops.adapt(
        MODEL, mean_value, head.path[-1], batches[2:], 0.1, **common, rule_options=carried
    )
    assert torch.equal(flat(tail.path[-1]), flat(whole.path[-1]))
    assert (tail.slots.steps, len(whole.path)) == (6, 7)
