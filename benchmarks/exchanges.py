"""A model of what an exchange between processes costs, and of a meta-step that makes several.

A message between two processes takes ``latency + bytes / bandwidth``. Gloo sends messages around a
ring: a gather makes R - 1 of the rows of one process, a sum 2 (R - 1) of the R-th part of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median, quantiles
from typing import Any, NamedTuple

import numpy as np

KINDS = ("sum", "gather")


class Link(NamedTuple):
    """What one kind of exchange costs: seconds per message, seconds per byte."""

    latency: float
    per_byte: float

    def seconds(self, kind: str, world: int, size: float) -> float:
        """Return the time of one exchange.

        Args:
            kind: ``"sum"`` or ``"gather"``.
            world: Number of processes.
            size: Bytes that one process gives.
        """
        messages, each = _messages(kind, world, size)
        return messages * (self.latency + self.per_byte * each)


def _messages(kind: str, world: int, size: float) -> tuple[int, float]:
    """Return how many messages follow one another, and the bytes of each."""
    return (2 * (world - 1), size / world) if kind == "sum" else (world - 1, size)


def fitted(kind: str, points: Iterable[dict[str, Any]]) -> Link:
    """Return latency and bandwidth that fit measured exchanges best, in relative error.

    Args:
        kind: Which exchanges.
        points: Each with ``kind``, ``world``, ``bytes`` and ``seconds``.
    """
    mine = [p for p in points if p["kind"] == kind]
    rows = [_messages(kind, p["world"], p["bytes"]) for p in mine]
    seconds = np.array([p["seconds"] for p in mine])
    design = np.array([[count, count * each] for count, each in rows]) / seconds[:, None]
    scale = np.linalg.norm(design, axis=0)
    found = np.linalg.lstsq(design / scale, np.ones(len(mine)), rcond=None)[0] / scale
    return Link(*(float(max(value, 1e-12)) for value in found))


def errors(pairs: Iterable[tuple[float, float]]) -> dict[str, float]:
    """Return how far predictions are from measurements, as factors of at least 1."""
    found = sorted(math.exp(abs(math.log(said / seen))) for said, seen in pairs)
    ninth = quantiles(found, n=10, method="inclusive")[-1]
    return {
        "count": len(found),
        "median": median(found),
        "ninety_percent": ninth,
        "worst": found[-1],
    }


def line(points: dict[int, float]) -> tuple[float, float]:
    """Return constant and slope of the time of one process over its number of tasks."""
    tasks, seconds = (np.array(list(v), float) for v in (points.keys(), points.values()))
    design = np.stack([np.ones_like(tasks), tasks], 1) / seconds[:, None]
    constant, slope = np.linalg.lstsq(design, np.ones(len(tasks)), rcond=None)[0]
    return float(constant), float(slope)


def step_seconds(
    alone: tuple[float, float],
    traffic: dict[str, Any],
    links: dict[str, Link],
    *,
    size: int,
    tasks: int,
    world: int,
    cores: int,
) -> float:
    """Return the modelled time of a meta-step.

    Args:
        alone: Constant and slope of one process, from :func:`line`.
        traffic: Exchanges of a step: ``large`` of all parameters, ``small`` of a few numbers.
        links: Cost by kind of exchange.
        size: Bytes of all parameters.
        tasks: Tasks of a meta-step.
        world: Number of processes.
        cores: Cores that they share; more processes than cores take turns.
    """
    local = max(alone[0] + alone[1] * tasks / world, 1e-6) * max(1.0, world / cores)
    if world == 1:
        return local
    rows = {"sum": 1.0, "gather": tasks / world}
    return local + sum(
        traffic[which][kind] * links[kind].seconds(kind, world, rows[kind] * each)
        for which, each in (("large", size), ("small", 8))
        for kind in KINDS
    )
