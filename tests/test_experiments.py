"""The experiments run, resume, and their arithmetic is right; a tiny cut of each."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

import metaccord as mc
from metaccord.statistics import over_seeds
from tests.folder import FOLDER as DATA

FOLDER = Path(__file__).parents[1] / "experiments"
TINY = ("steps=2", "validate_every=1", "validation_tasks=2", "num_tasks=2", "checkpoint_every=1")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))

    def found(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield found
    for name in [
        n for n, m in sys.modules.items() if str(FOLDER) in str(getattr(m, "__file__", ""))
    ]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("module", "what", "methods"),
    [
        ("sharing", "sine", {"maml", "maml+sharing"}),
        ("cooperative", "sine", {"maml", "maml+cooperative"}),
    ],
)
def test_sine_cells_train_resume_and_are_recorded(
    module: str, what: str, methods: set[str], load, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment, cells = load(module), load("cells")
    planned = experiment.plan(what, False, 1)
    assert len({cell.key for cell in planned}) == len(planned)
    one = {cell.method: cell for cell in planned}
    assert set(one) == methods
    for cell in one.values():
        tiny = cell._replace(settings=(*cell.settings, *TINY))
        line = cells.train(tiny, tmp_path / "runs", 3)
        again = cells.train(tiny, tmp_path / "runs", 3)
        assert json.dumps(line) == json.dumps(again)
        assert [step for step, _, _ in line["curve"]] == [1, 2]
        assert math.isfinite(line["scores"]["loss"]["mean"])
    assert line["method"] in methods


@pytest.mark.skipif(DATA is None, reason="needs METACCORD_DATA")
@pytest.mark.parametrize(
    ("module", "what"),
    [
        ("sharing", "omniglot5"),
        ("sharing", "omniglot20"),
        ("cooperative", "omniglot5"),
        ("cooperative", "signs"),
        ("cooperative", "nodes"),
        ("coherence", "omniglot20"),
        ("trajectories", "omniglot"),
    ],
)
def test_cells_with_data_can_be_built_in_both_sizes(
    module: str, what: str, load, monkeypatch
) -> None:
    monkeypatch.setenv("METACCORD_DATA", str(DATA))
    experiment = load(module)
    for full in (False, True):
        planned = experiment.plan(what, full, 0)
        assert len({cell.key for cell in planned}) == len(planned)
        for cell in planned[:12]:
            assert cell.experiment().method.label == cell.method


def test_a_sweep_runs_what_is_missing_and_nothing_else(load, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells, experiment = load("cells"), load("sharing")
    planned = [
        cell._replace(settings=(*cell.settings, *TINY))
        for cell in experiment.plan("sine", False, 1)[:2]
    ]
    out = tmp_path / "results" / "sine.jsonl"
    first = cells.run(planned[:1], out, workers=1, tasks=2)
    both = cells.run(planned, out, workers=1, tasks=2)
    assert [line["key"] for line in both] == [cell.key for cell in planned]
    assert both[:1] == first


def test_acceleration_by_hand(load) -> None:
    race = load("acceleration")
    base = [[(10, 1.0, 0.0), (20, 2.0, 1.0), (30, 3.0, 2.0), (40, 4.0, 3.0)]]
    fast = [[(10, 2.0, 2.0), (20, 4.0, 4.0), (30, 6.0, 4.0), (40, 8.0, 4.0)]]
    slow = [[(10, 1.0, 0.0), (20, 2.0, 0.0), (30, 3.0, 0.0), (40, 4.0, 0.0)]]
    assert race.smoothed(base[0])[-1] == (40, 4.0, 2.0)
    (one,) = race.races(base, fast, more=True)
    assert one == (40, 10, True)
    (one,) = race.races(base, slow, more=True)
    assert one == (40, 40, False)
    worse = [[(s, t, -v) for s, t, v in curve] for curve in (base[0], fast[0])]
    assert race.races(worse[:1], worse[1:], more=False) == [(40, 10, True)]
    found = [race.Race(40, 10, True), race.Race(20, 10, True), race.Race(30, 30, True)]
    middle, low, high = race.acceleration(found)
    logs = over_seeds([math.log(4), math.log(2), 0.0])
    assert middle == pytest.approx(1.0)  # the geometric mean of 4, 2 and 1 is 2
    assert (low, high) == pytest.approx((math.expm1(logs.low), math.expm1(logs.high)))


def test_the_same_models_measured_in_other_ways(load, tmp_path: Path, monkeypatch) -> None:
    """A tiny cut: nothing is trained or measured twice, and a page comes out."""
    monkeypatch.setenv("METACCORD_DATA", str(DATA))
    module = load("reproduce")
    monkeypatch.setattr(module, "SEEDS", range(2))
    some = [line for i, line in enumerate(module.changes(mc.Protocol(tasks=2))) if i in (0, 1, 6)]
    monkeypatch.setattr(module, "changes", lambda protocol: iter(some))
    settings = (*module.SETTINGS, "steps=1", "model.hidden=4", "num_tasks=2", "tasks.queries=2")
    for seed in range(2):
        assert len(module.one_seed(seed, tmp_path, settings, 2)) == 3
    assert module.one_seed(0, tmp_path, settings, 2) == {}
    found = module.lines(tmp_path, 2)
    assert [line["comparison"]["paired"] for line in found] == [True, True, True]
    assert found[0]["by_seed"]["mean"] == 0
    versions = {"torch": "t", "metaccord": "m"}
    record = {"lines": found, "training": "t", "tasks": 2, "half_over_tasks": 0.01}
    record |= {"command": "c", "hardware": "h", "date": "d", "versions": versions}
    assert module.page(record).count("| the same |") == 2
