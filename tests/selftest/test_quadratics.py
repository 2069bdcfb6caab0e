"""G12: meta-gradients beside closed forms, and that the closed forms tell methods apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaccord import methods
from metaccord.method import Method
from metaccord.selftest import quadratics
from metaccord.selftest.bowls import KINDS, drawn
from metaccord.selftest.problem import Problem
from metaccord.selftest.quadratic_cases import CASES
from metaccord.selftest.quadratics import check
from metaccord.types import MetaStep

COUNT = 20  # quadratics per method; 26 methods
SEED = 12
WRONG = {
    "maml": "fomaml",
    "fomaml": "maml",
    "reptile": "fomaml",
    "anil": "boil",
    "boil": "anil",
    "imaml": "imaml damped",
    "imaml damped": "imaml",
    "momentum": "maml",
    "adam": "maml",
    "mgaug catfish": "maml",
    "agreement (maml)": "maml",
    "agreement (reptile)": "reptile",
    "sharing": "sharing, differentiated",
    "sharing, differentiated": "sharing",
    "cooperative": "maml",
    "pcgrad": "maml",
    "coherent, rotate": "coherent, shift",
    "coherent, rotate, differentiated": "coherent, rotate",
    "coherent, shift": "maml",
    "coherent, shift, differentiated": "coherent, shift",
    "coherent, loss": "maml",
    "coherent, loss, differentiated": "coherent, loss",
}


@pytest.mark.parametrize("name", CASES)
def test_rows_equal_the_closed_form(name: str) -> None:
    found = check(CASES[name], COUNT, SEED)
    assert found.fired == COUNT and found.ok, found


@pytest.mark.parametrize("name", WRONG)
def test_another_method_is_told_apart(name: str) -> None:
    other = CASES[WRONG[name]].method

    def wrong(p: Problem) -> Method:
        return other(p)

    case = CASES[name]
    try:
        found = check(case, COUNT, SEED, wrong)
    except AssertionError as error:  # rows of other names are told apart, too
        assert name == "cooperative" and "is expected" in str(error)
        return
    assert not found.ok and found.worst > 1e-3, found


@pytest.mark.parametrize("name", ["meta_sgd", "maml_pp", "sharing, additive", "warp"])
def test_first_order_is_told_apart_where_rates_and_shares_are_learned(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = quadratics.meta_gradient

    def first_order(method: Method, *rest: object) -> MetaStep:
        estimator = type(method.estimator)(first_order=True)
        found = Method(
            name=method.name,
            rule=method.rule,
            estimator=estimator,
            interactions=method.interactions,
        )
        return whole(found, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(quadratics, "meta_gradient", first_order)
    assert check(CASES[name], COUNT, SEED).worst > 1e-3


def planted(change: object, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    whole, fired = quadratics.meta_gradient, []

    def changed(*given: object) -> MetaStep:
        step = whole(*given)  # type: ignore[arg-type]
        fired.append(len(step.rows))
        return step._replace(rows={k: change(v) for k, v in step.rows.items()})  # type: ignore[operator]

    monkeypatch.setattr(quadratics, "meta_gradient", changed)
    return fired


CHANGES = {
    "sign": lambda v: -v,
    "rows in another order": lambda v: v.flip(0),
    "one row scaled by 1 + 1e-9": lambda v: torch.cat([v[:-1], v[-1:] * (1 + 1e-9)]),
    "mean instead of rows": lambda v: v.mean(0, keepdim=True).expand_as(v),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["maml", "reptile", "sharing", "agreement (maml)"])
def test_a_planted_error_turns_it_red(
    name: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fired = planted(CHANGES[change], monkeypatch)
    assert not check(CASES[name], COUNT, SEED).ok
    assert fired


def test_the_bound_grows_above_a_condition_of_a_thousand_only() -> None:
    assert quadratics.growth(np.array([1.0, 1e3, 1e4, 1e6])).tolist() == [1.0, 1.0, 10.0, 1e3]


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_drawn_bowls_have_the_spectrum_they_say(kind: str) -> None:
    bowls = drawn(np.random.default_rng(3), 20, 1 if kind == "line" else 9, kind)
    values = np.linalg.eigvalsh(bowls.a)
    if kind == "flat":
        assert not values.any()
        return
    assert values.min() > 0
    measured = values[:, -1] / values[:, 0]
    assert np.allclose(measured, bowls.condition, rtol=1e-6 if kind != "steep" else 1e-3)


def test_zero_curvature_makes_maml_and_fomaml_equal_to_the_bit() -> None:
    rng = np.random.default_rng(5)
    case = CASES["maml"]
    p = quadratics.problem(case, rng, 4, "flat")
    both = [
        quadratics.measured(case, p, make(p.steps, p.lr)) for make in (methods.maml, methods.fomaml)
    ]
    for name, rows in both[0].rows.items():
        assert rows.equal(both[1].rows[name])
