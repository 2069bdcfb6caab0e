"""A user's own graph that does not fit is refused before a run folder exists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metaccord.tasks import neighbourhoods, nodes
from tests.bad import graphs
from tests.bad.rows import Refusals
from tests.cli.support import Result, snapshot

Run = Callable[..., Result]
COMMAND = ("train", "graph:./graph.npz", "--out", "run")
SMALL = ("steps=1", "num_tasks=2", "tasks.shots=1", "tasks.queries=4", "plan.chunk=all")


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """Graphs are remembered by their path; these files differ under one name."""
    for cached in (neighbourhoods.loaded, nodes._members):
        cached.cache_clear()


@pytest.mark.parametrize("name", graphs.ROWS)
def test_a_bad_graph(name: str, metaccord: Run, place: Path) -> None:
    change, code, words = graphs.ROWS[name]
    arrays = graphs.good()
    change(arrays)
    np.savez(place / "graph.npz", **arrays)
    refusals = Refusals(place)
    refusals.add(metaccord(*COMMAND, "--set", *SMALL), code, words)


@pytest.mark.parametrize("settings", graphs.SETTINGS)
def test_settings_that_do_not_fit_the_graph(settings: str, metaccord: Run, place: Path) -> None:
    np.savez(place / "graph.npz", **graphs.good())
    refusals = Refusals(place)
    refusals.add(
        metaccord(*COMMAND, "--set", *SMALL, *settings.split()), *graphs.SETTINGS[settings]
    )


@pytest.mark.parametrize("name", graphs.FILES)
def test_no_graph_at_all(name: str, metaccord: Run, place: Path) -> None:
    content, words = graphs.FILES[name]
    (place / "graph.npz").write_bytes(content)
    refusals = Refusals(place)
    refusals.add(metaccord(*COMMAND, "--set", *SMALL), 3, words)


def test_the_good_graph_is_trained_on(metaccord: Run, place: Path) -> None:
    np.savez(place / "graph.npz", **graphs.good())
    result = metaccord(*COMMAND, "--set", *SMALL)
    assert result.code == 0, result.err
    assert "run/run.json" in snapshot(place)


def test_a_graph_too_small_for_the_defaults(metaccord: Run, place: Path) -> None:
    """Settings come before the judgement, also when the run goes on."""
    arrays = graphs.good()
    graphs.relabelled(2, 3)(arrays)
    arrays["labels"][[2, 8, 14, 20]] = 2  # four nodes of class 2, far fewer than 3 + 10
    np.savez(place / "graph.npz", **arrays)
    small = ("tasks.shots=1", "tasks.queries=2")
    assert "lower one of them" in metaccord(*COMMAND).err
    assert metaccord(*COMMAND, "--set", *SMALL, *small).code == 0
    result = metaccord(*COMMAND, "--resume", "--steps", "2")
    assert result.code == 0, result.err
