"""Categories that training has not seen, and splits that a column names."""

from __future__ import annotations

from pathlib import Path

import pytest

import metaccord as mc
from metaccord.errors import DataError, UsageError
from tests.cli.support import call, snapshot
from tests.tasks.own.made import sensors
from tests.tasks.own.test_table import COLUMNS, source


def test_rare_categories_are_seen_as_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A new category shares the place of those of a single training group, and is said."""
    path = sensors(tmp_path / "s.csv")
    first, second = source(path).members("train")[0], source(path).members("test")[0]
    lines = [line.split(",") for line in path.read_text().splitlines()]
    for name, site in ((first, "shed"), (second, "attic")):
        next(line for line in lines if line[0] == name)[1] = site
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")
    tasks = source(path, unseen="other")
    assert tasks.coding.columns[0].categories == ("cellar", "roof", "yard")
    assert tasks.coding.columns[0].rare == ("shed",)
    assert "'attic', which training has not seen" in caplog.text
    with pytest.raises(DataError, match="'attic', which training has not seen"):
        source(path)
    caplog.clear()
    assert source(path, leave_out=["site"]).members("test")
    assert "attic" not in caplog.text
    with pytest.raises(UsageError, match=r"unknown tasks\.unseen 'others'"):
        source(path, unseen="others")


def test_groups_that_are_left_out_are_not_asked(tmp_path: Path) -> None:
    path = sensors(tmp_path / "s.csv")
    path.write_text(path.read_text() + "s99,attic,1,2,2026-01-01,9999,3\n")
    assert "s99" not in source(path).names("train")


def test_training_and_use_refuse_a_new_category(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each verb on one line, exit code 3, nothing written; accepted knowingly it is a note."""
    monkeypatch.chdir(tmp_path)
    sensors(tmp_path / "s.csv")
    good = (tmp_path / "s.csv").read_text()
    name = source(tmp_path / "s.csv").members("test")[0]
    lines = good.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith(f"{name},"))
    parts = lines[place].split(",")
    bad = [*lines[:place], ",".join([parts[0], "attic", *parts[2:]]), *lines[place + 1 :]]
    (tmp_path / "bad.csv").write_text("\n".join(bad) + "\n")
    own = [line for line in bad[1:] if line.startswith(f"{name},")]
    (tmp_path / "new.csv").write_text("\n".join([lines[0], *own]) + "\n")
    (tmp_path / "ok.csv").write_text("\n".join([lines[0], *own[1:]]) + "\n")
    settings = (*COLUMNS, "tasks.shots=5", "num_tasks=2", "plan.chunk=all", "model.hidden=[8]")
    words = ("train", "table:s.csv", "--steps", "1", *settings)
    assert call(capsys, *words, "--out", "run").code == 0
    assert call(capsys, "adapt", "run", "ok.csv", "--out", "model").code == 0
    before = snapshot(tmp_path)
    for again in (
        ("train", "table:bad.csv", "--steps", "1", *settings, "--out", "new"),
        ("adapt", "run", "new.csv", "--out", "new"),
        ("predict", "model", "new.csv", "--out", "new-answers.csv"),
    ):
        found = call(capsys, *again)
        assert (found.code, len(found.errors), found.out) == (3, 1, ""), found
        assert "column 'site' is 'attic', which training has not seen (1 in all)" in found.err
        assert "'cellar', 'roof', 'yard'" in found.err
        assert "tasks.unseen=other" in found.err
        assert snapshot(tmp_path) == before
    learner = mc.load(tmp_path / "run")
    with pytest.raises(DataError, match="'attic', which training has not seen"):
        learner.predictor("new.csv")
    with pytest.raises(DataError, match="'attic', which training has not seen"):
        mc.deploy.load("model").predict("new.csv")
    words = ("train", "table:bad.csv", "--steps", "1", *settings, "tasks.unseen=other")
    accepted = call(capsys, *words, "--out", "other")
    assert accepted.code == 0, accepted.err
    assert "'attic', which training has not seen" in accepted.err
    used = call(capsys, "adapt", "other", "new.csv", "--out", "knowingly")
    assert used.code == 0, used.err
    assert "it becomes 'other', and has no place: none was rare" in used.err
