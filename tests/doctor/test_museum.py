"""Every exhibit is named by its own code; healthy set-ups are silent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metaccord.doctor import KINDS, check
from tests.doctor.museum import EXHIBITS, Exhibit
from tests.doctor.museum.healthy import HEALTHY, Healthy

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda e: f"{e.code}: {e.name}")
def test_each_fault_is_named(exhibit: Exhibit) -> None:
    parts = exhibit.build()
    report = check(parts.model, parts.criterion, parts.method, parts.tasks)
    assert exhibit.code in report.codes, f"{exhibit.thread}: found only\n{report}"
    level = KINDS[exhibit.code].level
    assert report.healthy == (level == "notice"), str(report)
    assert (report.exit_code == 0) == (level != "fault"), str(report)


@pytest.mark.parametrize("healthy", HEALTHY, ids=lambda h: h.name)
def test_healthy_setups_are_silent(healthy: Healthy) -> None:
    parts = healthy.build()
    report = check(parts.model, parts.criterion, parts.method, parts.tasks)
    assert report.codes <= healthy.notices, str(report)
    assert report.healthy
    assert report.exit_code == 0
    assert report.certificate is not None
    assert report.certificate.passed
    compared = report.certificate.loop, report.certificate.differences
    assert ("uncertified" in healthy.notices) == (compared == (None, None))


def test_the_museum_is_large_and_cites_threads() -> None:
    assert len(EXHIBITS) >= 20
    assert len(HEALTHY) >= 10
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", e.thread) for e in EXHIBITS)
    assert {e.code for e in EXHIBITS} >= set(KINDS) - {"grid_overlap", "uncertified"}


def test_the_page_lists_every_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    for code, kind in KINDS.items():
        assert f"| `{code}` | {kind.level} | {kind.remedy} |" in page, code
