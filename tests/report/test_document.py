"""The file itself: well-formed, self-contained, the same bytes from the same records."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from pathlib import Path

import pytest

from metaccord.cli.main import main
from tests.cli.support import snapshot

MOST_BYTES = 3_000_000


@pytest.fixture(params=["waves", "nodes"])
def run(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def test_elements_nest_and_references_resolve(run, parsed) -> None:
    page = parsed((run / "report.html").read_text())
    assert page.problems == []
    assert len(set(page.ids)) == len(page.ids)
    assert set(page.references) <= set(page.ids)
    assert page.tags["h1"] == page.tags["main"] == 1


def test_nothing_comes_from_elsewhere(run, parsed) -> None:
    content = (run / "report.html").read_text()
    page = parsed(content)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert page.handlers == []
    assert page.styled == 0
    assert page.policy.startswith("default-src 'none'")
    assert "unsafe" not in page.policy
    for kind in ("style", "script"):
        (inner,) = re.findall(rf"<{kind}>(.*?)</{kind}>", content, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in page.policy
    assert len(content.encode()) < MOST_BYTES


def test_same_records_give_the_same_bytes_anywhere(run, tmp_path) -> None:
    """Also made anew in another folder, whose parts were computed again."""
    first = (run / "report.html").read_bytes()
    again = tmp_path / "again.html"
    tasks = ["--tasks", "12" if run.name == "waves" else "8"]
    assert main(["report", str(run), "--out", str(again), *tasks]) == 0
    assert again.read_bytes() == first
    copy = tmp_path / "other place" / run.name
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "report")
    assert main(["report", str(copy), *tasks]) == 0
    made, before = snapshot(copy / "report"), snapshot(run / "report")
    assert made.keys() == before.keys()
    assert made == before
    assert (copy / "report.html").read_bytes() == first


def test_a_second_report_computes_nothing(waves, tmp_path, monkeypatch, capsys) -> None:
    from metaccord.report import measuring

    def fails(*args: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(measuring, "scene", fails)
    out = tmp_path / "report.html"
    assert main(["report", str(waves), "--out", str(out), "--tasks", "12"]) == 0
    assert capsys.readouterr().err == ""
    assert out.read_bytes() == (waves / "report.html").read_bytes()


def test_another_protocol_is_another_question(waves, tmp_path) -> None:
    copy = Path(shutil.copytree(waves, tmp_path / "waves"))
    assert main(["report", str(copy), "--tasks", "5", "--quick"]) == 0
    text = (copy / "report.html").read_text()
    assert "what was not computed before is left out" in text
    assert "12 unseen tasks" not in text


def test_hostile_names_stay_text(nodes, parsed) -> None:
    content = (nodes / "report.html").read_text()
    page = parsed(content)
    assert "<script>alert(1)</script>" in page.text
    assert "<script>alert" not in content.lower()
    scripts = re.findall(r"<script[^>]*>", content)
    assert set(scripts) - {"<script>"} == {
        tag for tag in scripts if tag.startswith('<script type="application/json"')
    }
    assert scripts.count("<script>") == 1
    assert page.tags["script"] == len(scripts)
    assert page.handlers == []
