"""G13: the NumPy re-implementation, and that it tells methods and signs apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from torch import Tensor

from metaccord import losses, methods
from metaccord.method import Method, initialise
from metaccord.models import MLP
from metaccord.objective import Objective
from metaccord.selftest.plain.cases import CASES, LR, K, unit_mean
from metaccord.selftest.plain.check import check
from metaccord.selftest.plain.inner import Adam, Momentum
from metaccord.selftest.plain.network import Loss, Net

STEPS, SEED = 5, 13


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_after_every_meta_step(name: str) -> None:
    found = check(name, CASES[name], STEPS, SEED)
    assert found.fired == STEPS and found.ok, found


def swapped(name: str, method: Method) -> float:
    found = check(name, CASES[name], STEPS, SEED, method)
    assert not found.ok
    return found.worst


PAIRS = {
    "maml": "fomaml",
    "fomaml": "maml",
    "reptile": "agreement (reptile)",
    "anil": "boil",
    "boil": "anil",
    "imaml": "imaml damped",
    "momentum": "maml",
    "adam": "maml",
    "mgaug catfish": "maml",
    "finetune": "maml",
    "agreement (maml)": "maml",
    "sharing": "sharing, differentiated",
    "sharing, additive": "sharing, additive, differentiated",
    "pcgrad": "maml",
    "aggregate": "maml",
    "coherent, rotate": "coherent, rotate, differentiated",
    "coherent, loss": "coherent, loss, differentiated",
    "coherent, shift": "coherent, shift, differentiated",
}


@pytest.mark.parametrize("name", PAIRS)
def test_another_method_is_told_apart(name: str) -> None:
    assert swapped(name, CASES[PAIRS[name]].method) > 1e-6


def test_the_length_of_the_gradient_counts_which_adam_would_hide() -> None:
    def twice(rows: Tensor) -> Tensor:
        return 2 * unit_mean(rows)

    method = methods.aggregated(methods.maml(K, LR), twice)
    assert swapped("aggregate", method) == pytest.approx(1.0, abs=0.1)


def negated(original: Callable[..., np.ndarray], fired: list[int]) -> Callable[..., np.ndarray]:
    def wrong(*given: object) -> np.ndarray:
        fired.append(1)
        return -original(*given)

    return wrong


@pytest.mark.parametrize("name", ["maml", "warp", "imaml", "sharing", "coherent, loss"])
def test_a_wrong_sign_of_the_hessian_turns_it_red(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fired: list[int] = []
    monkeypatch.setattr(Loss, "product", negated(Loss.product, fired))
    assert not check(name, CASES[name], STEPS, SEED).ok
    assert fired


@pytest.mark.parametrize(("name", "rule"), [("momentum", Momentum), ("adam", Adam)])
def test_a_forgotten_slot_turns_it_red(
    name: str, rule: type[Momentum | Adam], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rule.back

    def forgetful(self: object, *given: object) -> tuple[np.ndarray, tuple[()]]:
        return whole(self, *given)[0], ()  # type: ignore[arg-type]

    monkeypatch.setattr(rule, "back", forgetful)
    assert not check(name, CASES[name], STEPS, SEED).ok


@pytest.mark.parametrize("warped", [False, True])
def test_hand_written_derivatives_equal_differences(warped: bool) -> None:
    """The oracle itself, judged by differences of its own lower derivative."""
    net, rng = Net(warped=warped), np.random.default_rng(SEED)
    loss = Loss(net, rng.standard_normal((3, 5, 2)), rng.standard_normal((3, 5, 2)))
    rows, way = rng.standard_normal((2, 3, net.size))
    size = 1e-5

    def value(at: np.ndarray) -> np.ndarray:
        return (loss.errors(at) ** 2).mean((1, 2))

    slope = (value(rows + size * way) - value(rows - size * way)) / (2 * size)
    assert np.allclose(slope, (loss.grad(rows) * way).sum(1), rtol=1e-8)
    bend = (loss.grad(rows + size * way) - loss.grad(rows - size * way)) / (2 * size)
    assert np.allclose(bend, loss.product(rows, way), rtol=1e-7, atol=1e-8)
    dense = loss.dense(rows)
    assert np.allclose(dense, dense.transpose(0, 2, 1), rtol=1e-12, atol=1e-14)


def test_everything_learned_starts_as_published() -> None:
    """Trainings above start from random values, so the values themselves are checked here."""
    starts = {
        "meta_sgd": ("rule.rate.", LR),
        "maml_pp": ("rule.rate.", LR),
        "sharing": ("interaction.sharing.", 0.0),  # logits of one half
        "sharing, per tensor": ("interaction.sharing.", 0.0),
        "sharing, additive": ("interaction.sharing.", 0.1),
    }
    for name, (prefix, value) in starts.items():
        model = MLP(2, (4,), 2, activation="tanh").double()
        state = initialise(CASES[name].method, Objective(model, losses.mse))
        found = [v for k, v in state.params.items() if k.startswith(prefix)]
        assert found and all((v == value).all() for v in found), name
