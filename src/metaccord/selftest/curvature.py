"""The curvature tools beside dense Hessians that were written out by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch

from metaccord import losses
from metaccord.diagnostics import Hessians, extremes, spectral_norm
from metaccord.engine import Plan
from metaccord.models import MLP
from metaccord.objective import Objective
from metaccord.selftest import bounds
from metaccord.selftest.arrays import Array, dots, lengths, tensor, times
from metaccord.selftest.bowls import Bowl, objective, with_spectrum
from metaccord.selftest.outcome import Outcome
from metaccord.selftest.plain.network import Loss, Net
from metaccord.types import Batch

TASKS = 20  # Hessians of one batch; fewer if there would be less than eight batches
SPECTRA = ("spread", "clustered", "negative", "zero")


def networks(rng: np.random.Generator, tasks: int) -> tuple[Hessians, Array]:
    """Return the library's Hessians of random networks, and the same as matrices ``[T, P, P]``."""
    net = Net(hidden=int(rng.integers(2, 9)))
    rows = rng.standard_normal((tasks, net.size))
    x, y = rng.standard_normal((2, tasks, 6, 2))
    model = MLP(2, (net.hidden,), 2, activation="tanh").double()
    task = Objective(model, losses.mse, Plan(chunk="all"))
    params = {k: tensor(v) for k, v in net.unpacked(rows).items()}
    places = net.unpacked(np.arange(net.size, dtype=np.float64))
    order = np.concatenate([places[k].ravel() for k in sorted(places)]).astype(np.int64)
    dense = Loss(net, x, y).dense(rows)[:, order][:, :, order]
    return Hessians(task, params, {}, Batch(tensor(x), tensor(y))), dense


def bowls(rng: np.random.Generator, tasks: int, kind: str) -> tuple[Hessians, Array]:
    """Return the library's Hessians of quadratics with known spectra, and their matrices."""
    dim = int(rng.integers(2, 25))
    values = rng.uniform(0.1, 3.0, (tasks, dim))
    if kind == "clustered":
        values = np.where(values > 1.5, 2.0, 0.5)
    if kind == "negative":
        values = values - 2.0
    if kind == "zero":
        values[:, ::2] = 0.0
    if kind == "zero" and rng.uniform() < 0.5:
        values[0] = 0.0
    dense = with_spectrum(rng, values)
    vectors = rng.standard_normal((tasks, dim))
    zeros = torch.zeros(tasks, 1, dtype=torch.float64)
    batch = Batch((tensor(dense)[:, None], tensor(vectors)[:, None]), zeros)
    params = {"head": tensor(rng.standard_normal((tasks, dim)))}
    return Hessians(objective(Bowl(dim, dim)), params, {}, batch), dense


def batches(count: int, seed: int) -> Iterator[tuple[str, Hessians, Array]]:
    """Yield ``count`` Hessians in batches, networks and known spectra in turn."""
    rng, done, place = np.random.default_rng([seed, 15]), 0, 0
    size = max(1, min(TASKS, count // 8))
    while done < count:
        tasks = min(size, count - done)
        kind = SPECTRA[place // 2 % len(SPECTRA)]
        named = (
            ("networks", *networks(rng, tasks))
            if place % 2 == 0
            else (kind, *bowls(rng, tasks, kind))
        )
        yield named
        done, place = done + tasks, place + 1


def check(count: int, seed: int) -> list[Outcome]:
    """Compare ``count`` Hessians: products, symmetry, both ends of the spectrum, its norm.

    Args:
        count: Number of Hessians.
        seed: Of networks, spectra and vectors.
    """
    found: dict[str, list[Array]] = {name: [] for name in PROMISES}
    seconds = dict.fromkeys(PROMISES, 0.0)
    noise = np.random.default_rng([seed, 16])
    places: list[str] = []
    for kind, hessians, dense in batches(count, seed):
        places += [kind] * len(dense)
        u, v = noise.standard_normal((2, *dense.shape[:2]))
        values: Array = np.linalg.eigvalsh(dense).astype(np.float64)
        for name, measure in PROMISES.items():
            start = time.perf_counter()
            found[name].append(measure[2](hessians, dense, values, u, v))
            seconds[name] += time.perf_counter() - start
    return [
        _outcome(name, np.concatenate(errors), count, seconds[name], places, seed)
        for name, errors in found.items()
    ]


def _outcome(
    name: str, errors: Array, count: int, seconds: float, places: list[str], seed: int
) -> Outcome:
    promise, bound, _ = PROMISES[name]
    errors = np.where(np.isnan(errors), np.inf, errors)
    where = f"worst: {places[int(errors.argmax())]}, seed {seed}"
    return Outcome(name, promise, count, len(errors), float(errors.max()), bound, seconds, where)


def _product(hessians: Hessians, dense: Array, values: Array, u: Array, v: Array) -> Array:
    expected = times(dense, v)
    found = hessians.product(tensor(v)).numpy()
    return lengths(found - expected) / _size(lengths(expected))


def _symmetry(hessians: Hessians, dense: Array, values: Array, u: Array, v: Array) -> Array:
    hu, hv = (hessians.product(tensor(way)).numpy() for way in (u, v))
    unit = lengths(u) * lengths(hv) + lengths(v) * lengths(hu)
    return np.abs(dots(u, hv) - dots(v, hu)) / _size(unit)


def _lanczos(hessians: Hessians, dense: Array, values: Array, u: Array, v: Array) -> Array:
    ends = extremes(hessians, steps=dense.shape[1])
    apart = np.abs(ends.smallest.numpy() - values[:, 0])
    return np.maximum(apart, np.abs(ends.largest.numpy() - values[:, -1])) / _size(_norm(values))


def _power(hessians: Hessians, dense: Array, values: Array, u: Array, v: Array) -> Array:
    """Where it stopped short, only that some eigenvalue is within the residual it tells."""
    found = spectral_norm(hessians, iterations=500, tolerance=1e-9)
    apart = np.abs(found.norm.numpy() - _norm(values))
    residual = found.residual.numpy()
    nearest = np.abs(np.abs(values) - found.norm.numpy()[:, None]).min(1)
    short = residual > 1e-9 * _norm(values)
    return np.where(short, np.maximum(nearest - residual, 0.0), apart) / _size(_norm(values))


def _norm(values: Array) -> Array:
    return np.abs(values).max(1)


def _size(lengths: Array) -> Array:
    return np.where(lengths == 0, 1.0, lengths)


PROMISES = {
    "Hessian products": ("equal dense Hessians", bounds.HESSIAN_PRODUCT, _product),
    "symmetry": ("u . Hv equals v . Hu", bounds.SYMMETRY, _symmetry),
    "Lanczos": ("both ends of the spectrum equal eigh", bounds.EIGENVALUE, _lanczos),
    "power iteration": (
        "equals eigh, to its own residual where it stops",
        bounds.EIGENVALUE,
        _power,
    ),
}
