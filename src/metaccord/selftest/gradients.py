"""Meta-gradients beside differences of the meta-objective: no formula is shared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.gradcheck import GradcheckError

from metaccord.selftest import bounds
from metaccord.selftest.arrays import Array
from metaccord.selftest.outcome import Outcome
from metaccord.selftest.smooth import (
    Model,
    Normalised,
    Setting,
    exact,
    gelu,
    setting,
    tanh,
    tiny,
)
from metaccord.types import Params

NETWORKS: dict[str, Model] = {"tanh": tanh, "gelu": gelu, "normalised": Normalised}
HEIGHTS = np.logspace(-2, -4.5, 11)  # step sizes of the Taylor tests
ROUNDING = 300 * float(np.finfo(np.float64).eps)  # of a loss; a remainder below tells nothing


def entries(count: int, seed: int, *, second: bool = True) -> Outcome:
    """Check every entry of first and second derivatives on the smallest network.

    Args:
        count: Number of (method, draw) pairs.
        seed: Of the draws.
        second: The derivatives of the meta-gradient, too.
    """
    start, broken, fired, where = time.perf_counter(), 0, 0, ""
    for name, at in settings(count, seed):
        found = setting(exact(2, 0.2)[name], tiny, at, tasks=2, shots=3)
        try:
            _entrywise(found, second)
        except GradcheckError as error:
            broken += 1
            where = f"{name}, seed {at}: {' '.join(str(error).split())[:200]}"
        fired += 1
    return Outcome(
        name="gradcheck",
        promise="every entry of first and second derivatives equals differences",
        count=count,
        fired=fired,
        worst=float(broken),
        bound=0.0,
        seconds=time.perf_counter() - start,
        detail=where,
    )


def settings(count: int, seed: int) -> Iterator[tuple[str, int]]:
    """Yield ``count`` pairs of a method's name and a seed, all methods in turn."""
    names = list(exact(1, 0.1))
    for place in range(count):
        yield names[place % len(names)], seed * 10_000 + place


def _entrywise(found: Setting, second: bool) -> None:
    names = list(found.state.params)
    values = tuple(found.state.params[n].clone().requires_grad_() for n in names)

    def loss(*given: Tensor) -> Tensor:
        return found.loss(dict(zip(names, given, strict=True)))

    options: dict[str, Any] = {"eps": bounds.GRADCHECK_EPS, "atol": bounds.GRADCHECK_ATOL}
    options |= {"rtol": bounds.GRADCHECK_RTOL, "nondet_tol": 0.0}
    gradcheck(loss, values, check_batched_grad=True, **options)
    if second:
        gradgradcheck(loss, values, check_batched_grad=True, **options)


def directions(params: Params, count: int, seed: int) -> list[Params]:
    """Return random directions of length 1 over all tensors together."""
    noise = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        raw = {k: torch.randn(v.shape, generator=noise, dtype=v.dtype) for k, v in params.items()}
        size = torch.sqrt(sum(((v**2).sum() for v in raw.values()), torch.zeros(())).double())
        found.append({k: v / size for k, v in raw.items()})
    return found


def moved(found: Setting, way: Params, size: float) -> Setting:
    """Return the setting a distance away."""
    return found.at({k: v + size * way[k] for k, v in found.state.params.items()})


def height(found: Setting) -> float:
    """Return the mean query loss that the library's meta-step records."""
    losses = found.step().run.losses
    assert losses is not None
    return float(losses.mean())


def along(grads: Params, way: Params) -> float:
    """Return an inner product over all tensors."""
    return float(sum((grads[k] * way[k]).sum() for k in way))


def central(found: Setting, way: Params, size: float = 2e-4) -> float:
    """Return the derivative along a direction by central differences with one Richardson step."""

    def slope(step: float) -> float:
        return (height(moved(found, way, step)) - height(moved(found, way, -step))) / (2 * step)

    return (4 * slope(size / 2) - slope(size)) / 3


def differences(count: int, seed: int) -> Outcome:
    """Compare meta-gradients with central differences along 8 directions, on three networks."""

    def error(name: str, at: int) -> tuple[float, str]:
        kind = list(NETWORKS)[at % len(NETWORKS)]
        return _difference(setting(exact(3, 0.1)[name], NETWORKS[kind], at), at), f" on {kind}"

    return _worst(
        "central differences",
        "meta-gradients on smooth networks equal differences of the query loss",
        bounds.CENTRAL_DIFFERENCE,
        error,
        settings(count, seed),
    )


def _worst(
    name: str,
    promise: str,
    bound: float,
    error: Callable[[str, int], tuple[float, str]],
    cases: Iterator[tuple[str, int]],
) -> Outcome:
    """Return the worst error over methods and seeds; ``error`` also tells where it was."""
    start, worst, where, count, fired = time.perf_counter(), 0.0, "", 0, 0
    for method, seed in cases:
        count += 1
        found, place = error(method, seed)
        fired += int(np.isfinite(found))
        if found > worst:
            worst, where = found, f"worst: {method}{place}, seed {seed}"
    return Outcome(name, promise, count, fired, worst, bound, time.perf_counter() - start, where)


def _difference(found: Setting, seed: int) -> float:
    grads, ways = found.step().grads, directions(found.state.params, 8, seed)
    exactly = np.array([along(grads, way) for way in ways])
    measured = np.array([central(found, way) for way in ways])
    return float(np.linalg.norm(measured - exactly) / np.linalg.norm(exactly))


def slope_of(sizes: Array, remainders: Array, floor: float) -> float:
    """Return the median slope at the three smallest steps above rounding, on a logarithmic scale.

    The larger steps may see the next term of the series, or a kink: Adam's root has one where an
    inner gradient changes sign. Infinite if fewer than three remainders are above the floor.
    """
    above = remainders > floor
    if above.sum() < 3:
        return float("inf")
    slopes = np.diff(np.log(remainders[above])) / np.diff(np.log(sizes[above]))
    return float(np.median(slopes[-3:]))


def taylor(count: int, seed: int, order: int = 2) -> Outcome:
    """Measure how fast the remainder of the Taylor series shrinks.

    Args:
        count: Number of (method, draw) pairs, with 4 directions each.
        seed: Of the draws.
        order: 2: the meta-gradient is tested; 3: the meta-gradient and the Hessian-vector product.
    """

    def error(name: str, at: int) -> tuple[float, str]:
        found = setting(exact(2, 0.1)[name], tanh, at)
        floor = ROUNDING * max(1.0, abs(height(found)))
        return abs(slope_of(HEIGHTS, remainders(found, at, order), floor) - order), ""

    return _worst(
        f"Taylor, order {order}",
        f"what is left after {order} terms shrinks with slope {order}",
        bounds.TAYLOR_SLOPE,
        error,
        settings(count, seed),
    )


def remainders(found: Setting, seed: int, order: int) -> Array:
    """Return what is left of the query loss after ``order`` terms, for all step sizes.

    It is the length over 4 directions: along one of them the next term may happen to vanish.
    """
    here, grads, squares = height(found), found.step().grads, np.zeros_like(HEIGHTS)
    for way in directions(found.state.params, 4, seed):
        bent = _bent(found, way) if order == 3 else 0.0
        away = np.array([height(moved(found, way, size)) for size in HEIGHTS])
        squares += (away - here - HEIGHTS * along(grads, way) - 0.5 * HEIGHTS**2 * bent) ** 2
    return np.sqrt(squares)


def _bent(found: Setting, way: Params) -> float:
    """Return ``v' H v`` of the meta-objective, by two backward passes."""
    values = {k: v.clone().requires_grad_() for k, v in found.state.params.items()}
    first = torch.autograd.grad(
        found.loss(values), tuple(values.values()), create_graph=True, materialize_grads=True
    )
    total = sum((g * w).sum() for g, w in zip(first, way.values(), strict=True))
    assert isinstance(total, Tensor)
    second = torch.autograd.grad(total, tuple(values.values()), materialize_grads=True)
    return along(dict(zip(values, second, strict=True)), way)
