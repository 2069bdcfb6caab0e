"""Curvature: products against dense Hessians, both ends of known spectra, bounds that hold."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import metaccord as mc
from metaccord import tree
from metaccord.diagnostics import Hessians, extremes, shaped, spectral_norm
from metaccord.errors import UsageError
from metaccord.types import Batch
from tests import cases, tolerances
from tests.reference import curvature as slow
from tests.reference.compare import relative_error
from tests.reference.modules import QuadraticModel, mean_value

PLANS = [mc.Plan(chunk=1), mc.Plan(chunk=3), mc.Plan(compile=True), mc.Plan(autocast=True)]
SMOOTH = ("batchnorm1d", "layernorm", "plain", "tied")


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(
    name: str, plan: mc.Plan | None = None, only: tuple[str, ...] = ()
) -> tuple[Hessians, list[Tensor]]:
    """Four tasks, each with weights of its own, and their dense Hessians."""
    goal, found = cases.objective(name, plan), cases.episodes(name)
    rule = mc.rules.SGD(steps=1, lr=0.1, only=only)
    params = {
        k: v.detach() + 0.1 * normals(4, *v.shape, seed=i)
        for i, (k, v) in enumerate(goal.trainable().items())
    }
    moving, still = rule.divide(params, goal.groups)
    dense = [
        slow.dense_hessian(goal.model, goal.criterion, point, data, sorted(moving))
        for point, data in zip(tree.unbind(params), tree.unbind(found.support), strict=True)
    ]
    return Hessians(goal, moving, still, found.support), dense


def bowls(*matrices: Tensor) -> Hessians:
    """Tasks whose Hessians are given."""
    size = len(matrices[0])
    goal = mc.Objective(QuadraticModel(size), mean_value)
    stack = torch.stack(matrices).double()
    batch = Batch((stack[:, None], normals(len(stack), 1, size)), torch.zeros(len(stack), 1))
    at = {"parts.0": normals(len(stack), size)}
    return Hessians(goal, at, {}, batch)


def symmetric(values: Tensor, seed: int = 0) -> Tensor:
    """Return a matrix with given eigenvalues."""
    axes, _ = torch.linalg.qr(normals(len(values), len(values), seed=seed))
    return (axes * values) @ axes.T


@pytest.mark.parametrize("plan", PLANS, ids=repr)
@pytest.mark.parametrize("only", [(), ("head",)])
@pytest.mark.parametrize("name", cases.MODELS)
def test_products_equal_the_dense_hessian(name: str, only: tuple[str, ...], plan: mc.Plan) -> None:
    hessians, dense = problem(name, plan, only)
    vectors = normals(4, len(dense[0]))
    expected = torch.stack([h @ v for h, v in zip(dense, vectors, strict=True)])
    found = hessians.product(vectors)
    assert relative_error(found, expected) <= tolerances.HESSIAN_PRODUCT_F64
    assert not found.requires_grad


@pytest.mark.parametrize("name", cases.MODELS)
def test_products_are_symmetric_and_linear(name: str) -> None:
    hessians, dense = problem(name)
    u, v = normals(2, 4, len(dense[0]))
    hu, hv = hessians.product(u), hessians.product(v)
    scale = hu.norm(dim=1) * v.norm(dim=1)
    assert (((u * hv).sum(1) - (v * hu).sum(1)).abs() <= 1e-12 * scale).all()
    assert relative_error(hessians.product(2 * u - 3 * v), 2 * hu - 3 * hv) <= 1e-12


@pytest.mark.parametrize("name", SMOOTH)
def test_products_equal_central_differences(name: str) -> None:
    goal, found = cases.objective(name), cases.episodes(name)
    params = tree.expand({k: v.detach() for k, v in goal.trainable().items()}, 4)
    hessians = Hessians(goal, params, {}, found.support)
    vectors = normals(*hessians.gradients.shape)

    def slope(step: float) -> Tensor:
        def gradient(sign: int) -> Tensor:
            moved = shaped(tree.flat(params) + sign * step * vectors, params)
            return Hessians(goal, moved, {}, found.support).gradients

        return (gradient(1) - gradient(-1)) / (2 * step)

    richardson = (4 * slope(1e-4) - slope(2e-4)) / 3
    assert relative_error(hessians.product(vectors), richardson) <= tolerances.CENTRAL_DIFFERENCE


def test_losses_and_gradients_come_along() -> None:
    goal, found = cases.objective("batchnorm2d"), cases.episodes("batchnorm2d")
    params = tree.expand({k: v.detach() for k, v in goal.trainable().items()}, 4)
    hessians = Hessians(goal, params, {}, found.support)
    for task, data in enumerate(tree.unbind(found.support)):
        point = {k: v[task] for k, v in params.items()}
        expected = slow.flat_gradient(goal.model, goal.criterion, point, data, sorted(point))
        assert relative_error(hessians.gradients[task], expected) <= tolerances.TWIN_F64
    assert torch.equal(hessians.losses, goal.losses(params, found.support).detach())


def test_a_quadratic_has_its_matrix() -> None:
    matrices = [symmetric(normals(6, seed=i), seed=i) for i in range(3)]
    vectors = normals(3, 6)
    expected = torch.stack([m @ v for m, v in zip(matrices, vectors, strict=True)])
    assert relative_error(bowls(*matrices).product(vectors), expected) <= 1e-14


def test_some_tasks_can_be_chosen() -> None:
    hessians, dense = problem("batchnorm2d")
    vectors = normals(2, len(dense[0]))
    found = hessians.only(torch.tensor([3, 1])).product(vectors)
    expected = torch.stack([dense[3] @ vectors[0], dense[1] @ vectors[1]])
    assert relative_error(found, expected) <= tolerances.HESSIAN_PRODUCT_F64


SPECTRA = {
    "diagonal": torch.tensor([5.0, 3.0, 1.0, 0.5, 0.1, -1.0]),
    "clustered": torch.tensor([2.0, 2.0, 2.0, 1.999999, 1.0, -1.0]),
    "negative": torch.tensor([-7.0, -3.0, -2.0, -1.0, -0.5, -0.1]),
    "opposite": torch.tensor([3.0, -3.0, 1.0, 0.5, 0.2, 0.1]),
    "one direction": torch.tensor([0.0, 0.0, 4.0, 0.0, 0.0, 0.0]),
    "multiple of the identity": torch.full((6,), 2.5),
    "tiny": 1e-12 * torch.tensor([5.0, 3.0, 1.0, 0.5, 0.1, -1.0]),
    "zero": torch.zeros(6),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_known_spectra(name: str) -> None:
    values = SPECTRA[name].double()
    hessians = bowls(symmetric(values))
    size = float(values.abs().max())
    found = extremes(hessians)
    assert float(found.largest) == pytest.approx(float(values.max()), abs=1e-8 * size)
    assert float(found.smallest) == pytest.approx(float(values.min()), abs=1e-8 * size)
    assert float(found.norm) == pytest.approx(size, rel=1e-8)
    assert float(found.orthogonality) <= 1e-10
    power = spectral_norm(hessians)
    assert float(power.norm) == pytest.approx(size, rel=1e-3)
    assert float(power.residual) <= 1e-3 * size
    assert float(found.residual) <= 1e-8 * size


def test_a_slow_convergence_is_told() -> None:
    values = torch.cat([torch.tensor([1.0, -0.999]), torch.linspace(-0.9, 0.9, 28)]).double()
    found = spectral_norm(bowls(symmetric(values)), iterations=5)
    assert float(found.residual) > 1e-3 and int(found.products) == 5
    assert float(found.norm) < 1.0


@pytest.mark.parametrize("seed", range(20))
def test_bounds_hold_long_before_convergence(seed: int) -> None:
    """An eigenvalue within the residual, estimates inside the spectrum, the end in time."""
    size = 25
    matrices = [symmetric(normals(size, seed=10 * seed + i), seed=i) for i in range(3)]
    hessians = bowls(*matrices)
    values = torch.linalg.eigvalsh(torch.stack(matrices))
    for steps in (1, 2, 6, 12):
        found = extremes(hessians, steps=steps)
        for end, bound in (
            (found.smallest, found.smallest_residual),
            (found.largest, found.largest_residual),
        ):
            assert ((values - end[:, None]).abs().amin(1) <= bound + 1e-12).all()
        assert (found.smallest >= values[:, 0] - 1e-12).all()
        assert (found.largest <= values[:, -1] + 1e-12).all()
        power = spectral_norm(hessians, iterations=steps + 1, tolerance=1e-12)
        gap = (values.abs() - power.norm[:, None]).abs().amin(1)
        assert (gap <= power.residual + 1e-12).all()
        assert (power.norm <= values.abs().amax(1) + 1e-12).all()
    whole = extremes(hessians)
    assert (whole.smallest - values[:, 0]).abs().max() <= 1e-8
    assert (whole.largest - values[:, -1]).abs().max() <= 1e-8


@pytest.mark.parametrize("name", cases.MODELS)
def test_networks(name: str) -> None:
    hessians, dense = problem(name)
    values = torch.linalg.eigvalsh(torch.stack(dense))
    found = extremes(hessians, steps=200)
    assert relative_error(found.largest, values[:, -1]) <= 1e-8
    assert relative_error(found.smallest, values[:, 0]) <= 1e-8
    power = spectral_norm(hessians, iterations=2000, tolerance=1e-6)
    assert relative_error(power.norm, values.abs().amax(1)) <= 1e-6


def test_tasks_together_equal_tasks_alone() -> None:
    """They end at different times: those that ended are frozen, and dropped in halves."""
    values = [SPECTRA[name] for name in ("one direction", "diagonal", "negative", "clustered")]
    slow_one = torch.tensor([1.0, 0.98, 0.5, 0.4, 0.3, 0.2])
    matrices = [symmetric(v.double(), seed=i) for i, v in enumerate([slow_one, *values])]
    together = spectral_norm(bowls(*matrices))
    alone = [spectral_norm(bowls(m)) for m in matrices]
    assert together.products.tolist() == [int(a.products) for a in alone]
    assert len(set(together.products.tolist())) >= 3
    assert relative_error(together.norm, torch.cat([a.norm for a in alone])) <= 1e-12
    ends, ends_alone = extremes(bowls(*matrices)), [extremes(bowls(m)) for m in matrices]
    assert relative_error(ends.smallest, torch.cat([a.smallest for a in ends_alone])) <= 1e-12


def test_a_lost_task_does_not_spoil_the_others() -> None:
    fine = symmetric(SPECTRA["diagonal"].double())
    hessians = bowls(fine, fine * math.nan, fine)
    for found in (extremes(hessians).norm, spectral_norm(hessians).norm):
        assert found[[0, 2]].tolist() == pytest.approx([5.0, 5.0], rel=1e-3)
        assert math.isnan(found[1])


class Straight(nn.Module):
    """A loss that is linear in its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_a_linear_loss_has_no_curvature() -> None:
    goal = mc.Objective(Straight(), lambda outputs, targets: outputs.mean())
    x = normals(2, 4, 3)
    hessians = Hessians(goal, {"weight": normals(2, 3)}, {}, Batch(x, x[..., 0]))
    assert spectral_norm(hessians).norm.tolist() == [0.0, 0.0]
    assert extremes(hessians).largest.tolist() == [0.0, 0.0]


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


class Once(Straight):
    """Has no second derivative, and torch would take it for 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ _Once.apply(self.weight)


HIDDEN = "scaled_dot_product_attention"  # from the switch that would make it differentiable


class Fused(Straight):
    """Fused attention, whose second derivative is not implemented on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        y = (x * self.weight)[None, None]
        return getattr(nn.functional, HIDDEN)(y, y, y)[0, 0].sum(1)


@pytest.mark.parametrize(
    ("model", "words"), [(Once, "once_differentiable"), (Fused, "not implemented")]
)
def test_an_operation_without_second_derivative_is_named(model: type, words: str) -> None:
    goal = mc.Objective(model(), nn.functional.mse_loss, mc.Plan(chunk=1))
    x = normals(2, 4, 3)
    with pytest.raises(UsageError, match=f"without second derivative.*{words}"):
        Hessians(goal, {"weight": normals(2, 3)}, {}, Batch(x, x[..., 0])).product(normals(2, 3))


def test_bad_numbers_are_refused() -> None:
    hessians = bowls(torch.eye(3))
    with pytest.raises(UsageError, match="iterations=1"):
        spectral_norm(hessians, iterations=1)
    with pytest.raises(UsageError, match="tolerance=0"):
        spectral_norm(hessians, tolerance=0.0)
    with pytest.raises(UsageError, match="steps=0"):
        extremes(hessians, steps=0)


def test_nothing_is_drawn_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    hessians = bowls(symmetric(SPECTRA["diagonal"].double()))
    first = spectral_norm(hessians), extremes(hessians)
    torch.manual_seed(5)
    after = torch.get_rng_state()
    second = spectral_norm(hessians), extremes(hessians)
    assert torch.equal(torch.get_rng_state(), after) and not torch.equal(before, after)
    for one, two in zip(first, second, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
