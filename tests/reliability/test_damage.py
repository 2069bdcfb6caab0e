"""A cut of reliability/damage.py, and readers that it must catch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from damage import adapted, graph

from metaccord import saved, sealed, stored
from metaccord.data import graphs
from metaccord.selftest.damage import Damages, damage, strike, victims

pytestmark = pytest.mark.usefixtures("nothing_stays")


def test_store(tmp_path: Path) -> None:
    found = damage(tmp_path, Damages(flips=800, truncations=80, swaps=60))
    print(found.detail)
    assert found.ok, found


def test_data(tmp_path: Path) -> None:
    with graph(tmp_path) as victim:
        found = strike([victim], Damages(flips=200, truncations=20, swaps=10))
    print(found.detail)
    assert found.ok, found


def test_adapted_models(tmp_path: Path) -> None:
    found = strike([adapted(tmp_path)], Damages(flips=100, truncations=10, swaps=8))
    print(found.detail)
    assert found.ok, found


class Anything(str):
    """A text that equals every other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


def careless(content: Any) -> Any:
    """A hash that finds everything right."""
    return SimpleNamespace(hexdigest=lambda: Anything("0" * 64))


def test_a_reader_without_hashes_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, model = victims(tmp_path), adapted(tmp_path)
    monkeypatch.setattr(sealed, "hashlib", SimpleNamespace(sha256=careless))
    assert strike(found, Damages(60, 0, 0)).worst > 0
    assert strike([model], Damages(20, 0, 0)).worst > 0


def test_a_reader_of_other_runs_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (stored, saved):
        monkeypatch.setattr(module, "refuse_other", lambda *given: None)
    assert damage(tmp_path, Damages(0, 0, 60)).worst > 0


def test_an_unpinned_graph_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with graph(tmp_path) as victim:
        monkeypatch.setattr(graphs, "hashlib", SimpleNamespace(sha256=careless))
        assert strike([victim], Damages(0, 0, 10)).worst > 0
