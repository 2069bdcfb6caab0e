"""Timing side by side: one process, round robin, medians with their spread."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median, quantiles
from typing import Any, NamedTuple

import torch

TURN = 0.1  # seconds


class Spread(NamedTuple):
    """Median and quartiles, in the unit of the values."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread:
    """Return the median and the quartiles of at least two values."""
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(median(values), low, high)


def ratio(times: list[float], reference: list[float]) -> Spread:
    """Return the ratio of medians, and the quartiles of the ratios round by round."""
    rounds = spread([a / b for a, b in zip(times, reference, strict=True)])
    return Spread(median(times) / median(reference), rounds.low, rounds.high)


def seconds(fn: Callable[[], Any], device: str) -> float:
    """Return how long one call takes, work queued on the device included."""
    start = time.perf_counter()
    fn()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def race(
    contestants: Mapping[str, Callable[[], Any]], rounds: int, device: str
) -> dict[str, list[float]]:
    """Give every contestant one turn per round and return its seconds per call.

    A turn lasts at least ``TURN`` seconds: a step of a millisecond is called many times in a row,
    as a training calls it, and not only once with caches full of its neighbour. Every other
    round runs backwards, so that nobody always follows the same neighbour; the first two rounds
    warm up and are not counted.
    """
    names = list(contestants)
    times: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    for number in range(rounds + 2):
        for name in names if number % 2 else reversed(names):
            turn = [seconds(contestants[name], device)]
            while sum(turn) < TURN:
                turn.append(seconds(contestants[name], device))
            if number >= 2:
                times[name].append(sum(turn) / len(turn))
    return times
