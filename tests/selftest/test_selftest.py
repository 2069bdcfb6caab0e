"""The table, its verdicts and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from metaccord.cli import selftest as verb
from metaccord.selftest.checks import CHECKS, Check, merged
from metaccord.selftest.outcome import Outcome

KEPT = Outcome("adding", "1 + 1 is 2", 10, 10, 1e-16, 1e-12, 0.1)
WRONG = replace(KEPT, worst=1e-3, detail="look at 1 + 1")
LOST = replace(KEPT, name="files", of_store=True, worst=1, bound=0)


@pytest.mark.parametrize(
    "change",
    [
        {"worst": 1e-11},
        {"worst": float("nan")},
        {"worst": float("inf")},
        {"fired": 9},
        {"count": 0, "fired": 0},
    ],
)
def test_a_promise_is_kept_only_if_all_fired_and_the_figure_is_inside(change: dict) -> None:
    assert KEPT.ok and KEPT.exit_code == 0
    broken = replace(KEPT, **change)
    assert not broken.ok
    assert broken.exit_code == 5 and replace(broken, of_store=True).exit_code == 4


def with_checks(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome) -> None:
    def run(count: int, seed: int) -> Iterator[Outcome]:
        assert (count, seed) == (1, 3)
        return iter(outcomes)

    monkeypatch.setattr(verb, "CHECKS", (Check("some", 1, 2, run), Check("none", 0, 2, run)))


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [((KEPT,), 0), ((KEPT, WRONG), 5), ((KEPT, LOST), 4), ((LOST, WRONG), 5)],
)
def test_exit_codes(
    outcomes: tuple[Outcome, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_checks(monkeypatch, *outcomes)
    monkeypatch.setenv("COLUMNS", "200")
    assert verb.selftest(seed=3) == code
    shown = capsys.readouterr().out
    assert ("BROKEN" in shown) == (code != 0)
    assert ("look at 1 + 1" in shown) == (WRONG in outcomes)


def test_json_holds_every_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_checks(monkeypatch, KEPT, WRONG)
    assert verb.selftest(seed=3, json=True) == 5
    found = json.loads(capsys.readouterr().out)
    assert [check["ok"] for check in found["checks"]] == [True, False]
    assert found["checks"][1]["worst"] == 1e-3 and found["seed"] == 3


def test_merging_keeps_the_worst_and_a_failure() -> None:
    few = replace(KEPT, fired=9, worst=0.0, name="few")
    whole = merged("sums", [KEPT, few, replace(KEPT, promise="another", worst=1e-13)])
    assert [outcome.promise for outcome in whole] == ["1 + 1 is 2", "another"]
    assert not whole[0].ok and (whole[0].count, whole[0].fired) == (20, 19)
    assert merged("sums", [KEPT, WRONG])[0].worst == 1e-3


def test_full_sizes_are_those_of_the_promises() -> None:
    sizes = {check.name: check.full for check in CHECKS}
    assert sizes["closed forms"] == 10_000 and sizes["by hand"] == 50
    assert sizes["resume after kill -9"] == 1000 and sizes["damaged files"] == 10_000
    assert sizes["curvature"] == 200 and all(check.full >= check.cut for check in CHECKS)
