"""Cuts of reliability/signals.py and rank_signals.py, and handlers that they must catch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rank_signals import rank_signals
from signals import signals

import metaccord.cli.train as verb
from metaccord.cli.interrupt import Interrupt

pytestmark = pytest.mark.usefixtures("nothing_stays")


def test_signals(tmp_path: Path) -> None:
    found = signals(tmp_path, 12)
    print(found.detail)
    assert found.ok, found


@pytest.mark.parametrize("kind", ["leaves without saving", "goes on to the end"])
def test_broken_handlers_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "goes on to the end":
        train = verb.run
        deaf = lambda *given, stop, **named: train(*given, **named)  # noqa: E731
        monkeypatch.setattr(verb, "run", deaf)
    else:
        monkeypatch.setattr(Interrupt, "_set", lambda *given: os._exit(143))
    assert not signals(tmp_path, 4).ok


def test_signals_to_ranks(tmp_path: Path) -> None:
    found = rank_signals(tmp_path, 4)
    print(found.detail)
    assert found.ok, found


@pytest.mark.long
def test_a_rank_that_decides_alone_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "largest", lambda word, ranks: word)
    assert not rank_signals(tmp_path, 1).ok
