"""A cut of reliability/every_step.py, and resumes that it must catch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from every_step import every_step, experiments

from metaccord import runs
from metaccord.rundir import RunDirectory
from metaccord.types import MetaState

pytestmark = pytest.mark.usefixtures("nothing_stays")


def test_every_method(tmp_path: Path) -> None:
    found = every_step(tmp_path, experiments(12), 3)
    print(found.detail)
    assert found.ok, found


@pytest.mark.parametrize("kind", ["forgets the optimiser", "forgets the step", "keeps records"])
def test_broken_resumes_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    unpacked = runs.unpacked

    def forgetful(*given: Any) -> Any:
        state, slots = unpacked(*given)
        if kind == "forgets the optimiser":
            return state, {}
        return MetaState(state.params, state.running, max(0, state.step - 1)), slots

    if kind == "keeps records":
        monkeypatch.setattr(RunDirectory, "cut", lambda folder, step: None)
    else:
        monkeypatch.setattr(runs, "unpacked", forgetful)
    assert every_step(tmp_path, {"maml": experiments(4)["maml"]}).worst > 0
