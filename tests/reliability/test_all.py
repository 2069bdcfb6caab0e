"""What reliability/all.py runs, and what it may skip."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

everything: Any = import_module("all")
COMMIT = "a" * 40


def test_scripts_are_run_and_what_they_share_is_not() -> None:
    found = {path.stem for path in everything.scripts()}
    ours = {"kills", "faults", "power_loss", "damage", "signals", "races", "every_step"}
    assert ours <= found
    assert found.isdisjoint({"all", "outcomes", "failing", "disk", "operations"})


@pytest.mark.parametrize(
    ("found", "now", "row", "skipped"),
    [
        (COMMIT, COMMIT, {"code": 0}, True),
        (f"{COMMIT}-dirty", COMMIT, {"code": 0}, True),  # by the records written meanwhile
        (COMMIT, COMMIT, {}, True),
        (COMMIT, COMMIT, {"code": 4}, False),
        (COMMIT, f"{COMMIT}-dirty", {"code": 0}, False),
        (COMMIT, "b" * 40, {"code": 0}, False),
        (COMMIT, None, {"code": 0}, False),
    ],
)
def test_only_kept_records_of_this_commit_are_skipped(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: str,
    now: str | None,
    row: dict[str, Any],
    skipped: bool,
) -> None:
    monkeypatch.setattr(everything, "RECORDS", tmp_path)
    assert not everything.is_kept(everything.earlier("races", now), row)
    record = {"commit": found, "cases": {"races": {"ok": True}}}
    (tmp_path / "races.json").write_text(json.dumps(record))
    assert everything.is_kept(everything.earlier("races", now), row) is skipped


def test_a_broken_promise_is_no_kept_record() -> None:
    assert not everything.is_kept({"cases": {"races": {"ok": False}}}, {})
    assert not everything.is_kept({"cases": {}}, {})
