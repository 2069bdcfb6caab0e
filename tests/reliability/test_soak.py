"""A cut of reliability/soak.py, and leaks that it must catch."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from soak import COUNTED, SLOPE, Sample, judged, slope, soak

from metaccord.book import Book

train = sys.modules["metaccord.train"]  # the function of that name hides it
pytestmark = pytest.mark.usefixtures("nothing_stays")


def test_soak(tmp_path: Path) -> None:
    found = soak(tmp_path, 160, 20, samples=20)
    outcomes = {outcome.name: outcome for outcome in judged(found, 160)}
    assert set(outcomes) == {"memory", *COUNTED, "checkpoints"}
    assert found[-1].saves >= 20
    memory = outcomes.pop("memory")
    assert memory.fired == 160
    assert memory.worst <= 8 * SLOPE, memory  # so few steps also judge the allocator
    for outcome in outcomes.values():
        assert outcome.ok, outcome


def _graph(held: list[Any]) -> Callable[..., Any]:
    kept = train.collect

    def collect(found: Any, *rest: Any) -> Any:
        held.append((found.grads, torch.empty(1 << 18).fill_(0)))
        return kept(found, *rest)

    return collect


@pytest.mark.long
@pytest.mark.parametrize("kind", ["tensors", "handles", "threads"])
def test_leaks_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    held: list[Any] = []
    done = threading.Event()
    noted = Book.note

    def note(book: Book, record: Any) -> None:
        if kind == "handles":
            held.append(os.open(os.devnull, os.O_RDONLY))
        else:
            held.append(threading.Thread(target=done.wait))
            held[-1].start()
        noted(book, record)

    if kind == "tensors":
        monkeypatch.setattr(train, "collect", _graph(held))
    else:
        monkeypatch.setattr(Book, "note", note)
    try:
        found = soak(tmp_path, 12, 2, samples=6)
    finally:
        done.set()
        for thing in held:
            if kind == "handles":
                os.close(thing)
            elif kind == "threads":
                thing.join()
    assert len(held) == 12
    broken = {outcome.name for outcome in judged(found, 12) if not outcome.ok}
    assert kind in broken
    assert broken <= {kind, "memory"}


def test_the_slope_is_that_of_a_line() -> None:
    """2 MB per 1,000 steps, with noise that is orthogonal to the line."""
    noise = (1, -1, -1, 1)
    found = [
        Sample(step, 10**8 + 2_000 * step + 10**5 * noise[k % 4], 3, 1, 0, 50, 2, 9)
        for k, step in enumerate(range(0, 4_000, 100))
    ]
    assert slope(found) == pytest.approx(2, abs=0.02)
    first, *rest = judged(found, 3_900)
    assert not first.ok
    assert all(outcome.ok for outcome in rest)


def test_a_soak_that_ends_early_is_none() -> None:
    found = [Sample(step, 10**8, 3, 1, 0, 50, 2, 9) for step in range(8)]
    assert all(outcome.ok for outcome in judged(found, 7))
    assert {outcome.name for outcome in judged(found, 8) if outcome.ok} == {"checkpoints"}
    kept = [sample._replace(checkpoints=4) for sample in found]
    assert {outcome.name for outcome in judged(kept, 7) if not outcome.ok} == {"checkpoints"}
