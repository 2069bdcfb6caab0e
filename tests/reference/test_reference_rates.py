"""The twins of learned rates and MAML++ against algebra, limits and finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from tests.reference import family, loops, rates
from tests.reference.checks import (
    DIM,
    LR,
    MODEL,
    NAMES,
    NET,
    STEPS,
    THETA,
    along,
    close,
    draw,
    waves,
)
from tests.reference.modules import flat, mean_value, split

ORDERS = pytest.mark.parametrize("first_order", [False, True])


@ORDERS
@pytest.mark.parametrize("weights", [None, [0.2, 0.5, 0.3]])
def test_learned_rates(weights: list[float] | None, first_order: bool) -> None:
    """Meta-SGD and LSLR, with and without the multi-step loss (MAML++), negative rates too."""
    tasks, data, theta = draw(0)
    params = split(MODEL, theta)
    options: dict[str, Any] = {"first_order": first_order, "weights": weights}
    rng = np.random.default_rng(1)
    whole, steps = rng.normal(0.3, 0.3, DIM), rng.normal(0.3, 0.3, (2, STEPS))
    each = {name: torch.from_numpy(row) for name, row in zip(NAMES, steps, strict=True)}
    sgd = rates.meta_sgd_rows(MODEL, mean_value, params, split(MODEL, whole), data, **options)
    lslr = rates.lslr_rows(MODEL, mean_value, params, each, data, **options)
    grid = np.repeat(steps.T, [2, 3], axis=1)
    for i, task in enumerate(tasks):
        p, by_rate = family.per_step_rates(task, theta, np.tile(whole, (STEPS, 1)), **options)
        close(sgd[0][i], p)
        close(sgd[1][i], by_rate.sum(0))
        p, by_rate = family.per_step_rates(task, theta, grid, **options)
        close(lslr[0][i], p)
        close(lslr[1][i], np.concatenate([by_rate[:, :2].sum(1), by_rate[:, 2:].sum(1)]))


@ORDERS
def test_constant_rates_are_maml(first_order: bool) -> None:
    """Rates all alpha: MAML or FOMAML, whole or with one tensor still; a missing rate is none."""
    _, data, theta = draw(2)
    params, base = split(MODEL, theta), loops.fomaml_rows if first_order else loops.maml_rows
    for moves in (loops.always, lambda name: name != "parts.0"):
        options: dict[str, Any] = {"first_order": first_order, "moves": moves}
        alpha = {name: torch.full_like(params[name], LR) for name in NAMES if moves(name)}
        steps = {name: torch.full((STEPS,), LR, dtype=torch.float64) for name in alpha}
        expected = base(MODEL, mean_value, params, data, LR, moves=moves)
        sgd, by_rate = rates.meta_sgd_rows(MODEL, mean_value, params, alpha, data, **options)
        lslr, _ = rates.lslr_rows(MODEL, mean_value, params, steps, data, **options)
        assert list(by_rate[0]) == list(alpha)
        for i, row in enumerate(expected):
            close(sgd[i], row)
            close(lslr[i], row)


def test_the_last_rate_repeats() -> None:
    """One stored rate serves all steps and gathers their gradients; a spare one has zero."""
    _, data, theta = draw(3)
    params = split(MODEL, theta)

    def run(stored: int) -> loops.Params:
        some = {name: torch.full((stored,), LR, dtype=torch.float64) for name in NAMES}
        return rates.lslr_rows(MODEL, mean_value, params, some, data)[1][0]

    one, three, four = run(1), run(STEPS), run(STEPS + 1)
    for name in NAMES:
        close(one[name].sum(), three[name].sum())
        close(four[name][:STEPS], three[name])
        assert four[name][STEPS] == 0


@pytest.mark.parametrize("rows", [rates.meta_sgd_rows, rates.lslr_rows])
def test_rates_equal_central_differences(rows: Callable[..., Any]) -> None:
    """On a network with batch statistics, theta and rates together, multi-step loss."""
    tasks, weights = waves(), [0.2, 0.3, 0.5]
    lslr = rows is rates.lslr_rows
    generator = torch.Generator().manual_seed(4)
    start = {
        name: 0.1 + 0.1 * torch.rand((STEPS,) if lslr else t.shape, generator=generator).double()
        for name, t in THETA.items()
    }
    by_theta, by_rate = rows(NET, mse_loss, THETA, start, tasks, weights=weights)
    at = rates.at_step if lslr else rates.whole

    def value(v: loops.Params, h: float) -> float:
        theta = loops.leaves({n: THETA[n] + h * v[f"t{n}"] for n in THETA})
        rate = loops.leaves({n: start[n] + h * v[f"r{n}"] for n in THETA})
        path = rates.rated_path(NET, mse_loss, theta, rate, tasks[0].batches, at)
        assert tasks[0].query is not None
        losses = [loops.loss_at(NET, mse_loss, point, tasks[0].query).item() for point in path[1:]]
        return float(np.dot(weights, losses))

    rates_too = {f"r{n}": t for n, t in by_rate[0].items()}
    along({f"t{n}": t for n, t in by_theta[0].items()} | rates_too, value)


@ORDERS
def test_multi_step_loss(first_order: bool) -> None:
    """Closed form; the last step alone is MAML or FOMAML to the bit."""
    tasks, data, theta = draw(6)
    params, base = split(MODEL, theta), loops.fomaml_rows if first_order else loops.maml_rows
    for weights in (rates.multi_step_weights(2, 10, STEPS), [0.0, 0.0, 1.0]):
        rows = rates.multi_step_rows(
            MODEL, mean_value, params, data, LR, weights, first_order=first_order
        )
        for row, task in zip(rows, tasks, strict=True):
            close(row, family.multi_step(task, theta, LR, weights, first_order=first_order))
    for row, expected in zip(rows, base(MODEL, mean_value, params, data, LR), strict=True):
        assert torch.equal(flat(row), flat(expected))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_multi_step_schedule(steps: int) -> None:
    """Uniform at the start, sum one, the floor near the end, then the last step only."""
    assert rates.multi_step_weights(0, 10, steps) == [1 / steps] * steps
    for epoch in range(14):
        weights = rates.multi_step_weights(epoch, 10, steps)
        assert (len(weights), abs(sum(weights) - 1) < 1e-12) == (steps, True)
        assert epoch < 10 or weights == [0.0] * (steps - 1) + [1.0]
        assert epoch >= 10 or min(weights) >= 0.03 / steps
    assert np.allclose(rates.multi_step_weights(4, 10, 5), [0.12] * 4 + [0.52], rtol=1e-14)
    assert np.allclose(rates.multi_step_weights(99, 100, 5), [0.006] * 4 + [0.976], rtol=1e-14)
