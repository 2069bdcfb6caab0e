"""A cut of reliability/nonfinite.py, and guards that it must catch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metaccord import records, replay
from metaccord.axis import TaskAxis
from metaccord.book import Book
from metaccord.selftest.nonfinite import injections
from metaccord.types import Adaptation

pytestmark = pytest.mark.usefixtures("nothing_stays")


def test_injections(tmp_path: Path) -> None:
    found = injections(tmp_path, 40, seed=4)
    print(found.detail)
    assert found.ok, found


everyone, looked = records._everyone, replay._looked


def alone(run: Adaptation, health: Tensor, axis: TaskAxis) -> tuple[Adaptation, Tensor]:
    """Exchange losses only: what a rank holds is known to that rank alone."""
    found, others = everyone(run, torch.zeros_like(health), axis)
    return found, others + health


def blind(*given: Any) -> replay.Replay:
    """See no fault in what was repeated."""
    found = looked(*given)
    calm = {"losses": found.losses.nan_to_num(0, 0, 0), "lengths": torch.zeros(len(found.lengths))}
    return replace(found, broken=(), **calm)


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (records, "_finite", lambda value: True),
        (records, "_health", lambda tensors: torch.zeros(())),
        (records, "_everyone", alone),
        (Book, "_fail", lambda book, error: None),
        (replay, "_looked", blind),
    ],
    ids=["no guard", "memory is not looked at", "each rank alone", "nothing kept", "blind replay"],
)
def test_broken_guards_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, broken: Any
) -> None:
    monkeypatch.setattr("metaccord.selftest.nonfinite.GRACE", 0.5)
    monkeypatch.setattr(owner, name, broken)
    found = injections(tmp_path, 30 if broken is alone else 12, seed=5, real=0)  # it shows rarely
    print(found.detail)
    assert found.worst > 0, found
