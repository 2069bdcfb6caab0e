"""A cut of ``python reliability/fuzz.py``: 20,000 changed inputs, other ones for each commit."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from random import Random
from typing import Any

import fuzz
import pytest
from fuzz_target import Target
from machine import commit

from metaccord.errors import DataError

INPUTS, CORE_SECONDS = 20_000, 60.0  # measured: 20 s, on a quiet machine


def test_parsers_refuse_or_read_properly() -> None:
    seed = zlib.crc32((commit() or "").encode())
    print(f"again: python reliability/fuzz.py --seed {seed} --count {INPUTS}")
    found = fuzz.block(range(INPUTS), seed)
    assert found["failures"] == []
    assert sum(found["counts"].values()) == INPUTS
    for name in fuzz.NAMES:
        for outcome in ("accepted", "refused"):
            assert found["counts"].get(f"{name} {outcome}"), f"{name}: nothing is {outcome}"
    assert found["seconds"] < CORE_SECONDS


def _names_a_folder(made: Any, place: Path) -> None:
    raise DataError("one line") from None


def _raises(made: Any, place: Path) -> None:
    raise KeyError("foreign")


def _hangs(made: Any, place: Path) -> None:
    while True:
        pass


def _grows(made: Any, place: Path) -> None:
    bytes(2 << 30)


def _accepts_nonsense(made: Any, place: Path) -> None:
    assert made == "sound"


@pytest.mark.parametrize(
    ("parse", "outcome"),
    [
        (_names_a_folder, None),
        (_raises, "KeyError"),
        (_hangs, "hangs"),
        (_grows, "MemoryError"),
        (_accepts_nonsense, "AssertionError"),
    ],
)
def test_a_planted_defect_is_found(
    parse: Any, outcome: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "STUCK", 0.2)
    monkeypatch.setattr(fuzz, "NAMES", ("planted",))
    planted = Target((DataError,), lambda draw: draw.random(), parse)
    monkeypatch.setattr(fuzz, "TARGETS", {"planted": planted})
    found = fuzz.block(range(2), 0)
    assert [failure["outcome"].split(":")[0].split()[0] for failure in found["failures"]] == (
        [] if outcome is None else [outcome] * 2
    )


def test_inputs_depend_on_seed_and_number_alone() -> None:
    for number, name in enumerate(fuzz.NAMES):
        first, again, other = (
            repr(fuzz.TARGETS[name].make(Random(f"{seed}/{number}"))) for seed in (0, 0, 1)
        )
        assert first == again
        assert first != other


def test_a_record_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "BLOCK", 40)
    file = tmp_path / "fuzz.json"
    for count in (100, 160):
        monkeypatch.setattr("sys.argv", ["fuzz.py", "--count", str(count), "--json", str(file)])
        with pytest.raises(SystemExit) as end:
            fuzz.main()
        assert end.value.code == 0
    cases = json.loads(file.read_text())["cases"]
    assert cases["blocks"] == [0, 40, 80, 120]
    assert cases["inputs"] == 4 * 40, "whole blocks, none twice"
