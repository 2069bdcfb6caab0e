"""A run folder of another version, another model, or with files that are not its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad import runs
from tests.bad.rows import Refusals
from tests.cli.support import Result, copied, snapshot

Run = Callable[..., Result]
RESUME = "train sinusoid --resume --out run --steps 6"
CASES = [
    (f"{kind} {name}: {words}", harm, words, expected)
    for kind, table, readers in (
        ("configuration", runs.CONFIG, (*runs.READERS, RESUME, "plot run", "cite run")),
        ("state", runs.STATE, ("evaluate run",)),
        ("records", runs.LOGS, (RESUME, "plot run")),
    )
    for name, (harm, expected) in table.items()
    for words in readers
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_a_run_that_is_not_ours(case: tuple, metaccord: Run, finished: Path, place: Path) -> None:
    _, harm, words, expected = case
    run = copied(finished, place / "run")
    (run / "plots").mkdir()
    harm(run)
    kept = {name for name in snapshot(run) if "checkpoints" not in name}
    refusals = Refusals(place / "none")
    refusals.add(metaccord(words), 4, expected)
    assert {name for name in snapshot(run) if "checkpoints" not in name} == kept
