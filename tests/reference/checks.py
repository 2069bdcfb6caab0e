"""What the tests of the method family share: random tasks, comparison, finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests import tolerances
from tests.reference import loops, quadratics
from tests.reference.compare import relative_error
from tests.reference.modules import QuadraticModel, flat, quadratic_task, smooth_net

LR, DIM, STEPS = 0.4, 5, 3
MODEL = QuadraticModel(2, 3)
NAMES = ["parts.0", "parts.1"]
NET = smooth_net(0)
THETA = {name: tensor.detach() for name, tensor in NET.named_parameters()}


def draw(seed: int) -> tuple[list[quadratics.Quadratic], list[loops.Task], quadratics.Array]:
    """Three random tasks in both forms, and theta."""
    rng = np.random.default_rng(seed)
    tasks = [quadratics.random_quadratic(rng, DIM, 100.0) for _ in range(3)]
    return tasks, [quadratic_task(task, STEPS) for task in tasks], rng.standard_normal(DIM)


def close(found: loops.Params | Tensor, expected: Any, bar: float = tolerances.TWIN_F64) -> None:
    """Compare by the one measure; ``expected`` may be NumPy."""
    found = found if isinstance(found, Tensor) else flat(found)
    if isinstance(expected, dict):
        expected = flat(expected)
    assert relative_error(found, torch.as_tensor(expected).reshape(found.shape)) <= bar


def far(a: loops.Params, b: loops.Params) -> None:
    """The two must be told apart."""
    assert relative_error(a, b) > tolerances.CLEARLY_DIFFERENT


def waves() -> list[loops.Task]:
    """Two sine tasks of 8 support and 7 query points."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 15, 3, generator=generator, dtype=torch.float64)
    return [loops.Task([(z[:8], z[:8].sin().sum(1, keepdim=True))] * STEPS,
                       (z[8:], z[8:].sin().sum(1, keepdim=True))) for z in x]  # fmt: skip


def slope(value: Callable[[float], float], h: float = 1e-3) -> float:
    """Derivative at zero, error O(h^4)."""
    coarse, fine = ((value(s) - value(-s)) / (2 * s) for s in (h, h / 2))
    return (4 * fine - coarse) / 3


def along(gradient: loops.Params, value: Callable[[loops.Params, float], float]) -> None:
    """Compare a gradient with central differences of ``value(direction, h)``."""
    generator = torch.Generator().manual_seed(5)
    for _ in range(4):
        v = {
            n: torch.randn(t.shape, generator=generator, dtype=t.dtype) for n, t in gradient.items()
        }
        expected = slope(lambda h, v=v: value(v, h))  # type: ignore[misc]
        assert abs(float(flat(gradient) @ flat(v)) / expected - 1) <= tolerances.CENTRAL_DIFFERENCE
