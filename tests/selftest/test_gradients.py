"""G12 and G15: differences, Taylor slopes and dense Hessians, and that they can fail."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metaccord import methods
from metaccord.diagnostics import Extremes, Hessians
from metaccord.method import Method
from metaccord.selftest import curvature, gradients, smooth
from metaccord.selftest.outcome import Outcome

SEED = 15
METHODS = len(smooth.exact(1, 0.1))


def test_every_entry_of_first_and_second_derivatives() -> None:
    found = gradients.entries(METHODS, SEED)
    assert found.ok, found


def test_central_differences() -> None:
    found = gradients.differences(METHODS, SEED)
    assert found.ok, found


@pytest.mark.parametrize("order", [2, 3])
def test_taylor_slopes(order: int) -> None:
    found = gradients.taylor(METHODS, SEED, order)
    assert found.ok, found


def only(monkeypatch: pytest.MonkeyPatch, method: Method) -> None:
    monkeypatch.setattr(gradients, "exact", lambda steps, lr: {method.name: method})


def test_a_first_order_gradient_turns_differences_and_slopes_red(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only(monkeypatch, methods.fomaml(2, 0.3))
    assert gradients.differences(3, SEED).worst > 1e-3
    assert gradients.taylor(3, SEED).worst > 0.5, "a wrong gradient leaves a slope of 1"


def test_a_wrong_second_derivative_turns_the_slope_of_three_red(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = gradients._bent
    monkeypatch.setattr(gradients, "_bent", lambda *given: 1.1 * right(*given))
    found = gradients.taylor(3, SEED, 3)
    assert found.worst > 0.5 and not found.ok


def test_a_broken_graph_turns_gradcheck_red(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = smooth.unroll

    def cut(*given: object, create_graph: bool) -> object:
        assert create_graph
        return whole(*given, create_graph=False)  # type: ignore[arg-type]

    monkeypatch.setattr(smooth, "unroll", cut)
    only(monkeypatch, methods.maml(2, 0.2))
    found = gradients.entries(2, SEED)
    assert found.worst == 2 and not found.ok


def named(found: list[Outcome]) -> dict[str, Outcome]:
    return {outcome.name: outcome for outcome in found}


def test_curvature_tools_equal_dense_hessians() -> None:
    for found in curvature.check(40, SEED):  # networks and every known spectrum
        assert found.fired == 40 and found.ok, found


def test_a_wrong_product_turns_products_and_symmetry_red(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Hessians.product

    def skewed(self: Hessians, vectors: Tensor) -> Tensor:
        return right(self, vectors) + 1e-8 * vectors.cumsum(1)

    monkeypatch.setattr(Hessians, "product", skewed)
    found = named(curvature.check(8, SEED))
    assert not found["Hessian products"].ok and not found["symmetry"].ok


def test_wrong_eigenvalues_turn_red(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(hessians: Hessians, *, steps: int) -> Extremes:
        return right(hessians, steps=2)

    right = curvature.extremes
    monkeypatch.setattr(curvature, "extremes", few)
    power = curvature.spectral_norm
    monkeypatch.setattr(
        curvature,
        "spectral_norm",
        lambda *given, **how: power(*given, **how)._replace(residual=torch.zeros(1)),
    )
    scaled = curvature._norm
    monkeypatch.setattr(curvature, "_norm", lambda values: scaled(values) * (1 + 1e-6))
    found = named(curvature.check(8, SEED))
    assert not found["Lanczos"].ok and not found["power iteration"].ok
