"""The plug-in that shuffles tests, and flakes that reliability/repeats.py must catch."""

from __future__ import annotations

from pathlib import Path

import pytest
from repeats import CORE, outcome, repeat, slow

pytestmark = pytest.mark.usefixtures("nothing_stays")
FLAKY = """
seen = []

def test_first():
    seen.append(1)

def test_second():
    assert seen, "only after the first"

def test_third():
    pass
"""


@pytest.mark.long
def test_an_order_that_matters_is_caught(tmp_path: Path) -> None:
    """In half of the orders the second test comes too early; the same seed is the same order."""
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "-q"\n')
    (tmp_path / "test_flaky.py").write_text(FLAKY)
    rows = [repeat(seed, ("test_flaky.py",), tmp_path) for seed in range(5)]
    assert {row["passed"] for row in rows} == {2, 3}
    wrong = next(row for row in rows if row["passed"] == 2)
    assert wrong["failed"] == ["test_flaky.py::test_second"]
    again = repeat(wrong["seed"], ("test_flaky.py",), tmp_path)
    assert {**again, "seconds": 0} == {**wrong, "seconds": 0}
    found = outcome(rows, 5)
    assert not found.ok
    assert found.worst == sum(row["code"] != 0 for row in rows)
    assert "test_second" in found.detail


@pytest.mark.long
def test_slow_tests_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "-q"\n')
    (tmp_path / "test_some.py").write_text(
        "import time, pytest\n\n"
        "@pytest.mark.parametrize('pause', [0, 0.1], ids=['no pause', 'a pause'])\n"
        "def test_sleeps(pause):\n"
        "    time.sleep(pause)\n"
    )
    found = slow(0.05, ("test_some.py",), tmp_path)
    assert found == ["test_some.py::test_sleeps[a pause]"]
    assert repeat(0, ("test_some.py",), tmp_path, found)["passed"] == 1


def test_repeats_that_lack_tests_or_number_are_no_pass() -> None:
    good = {"seed": 0, "code": 0, "passed": 7, "failed": [], "seconds": 1}
    assert outcome([good, good], 2).ok
    assert not outcome([good, good], 3).ok
    assert not outcome([good, {**good, "passed": 6}], 2).ok
    assert not outcome([{**good, "passed": 0}] * 2, 2).ok
    assert not outcome([], 2).ok


def test_there_are_tests_of_the_core() -> None:
    root = Path(__file__).parents[2]
    assert len(CORE) > 20
    assert all((root / test).is_file() for test in CORE)
