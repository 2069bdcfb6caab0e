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
    for again in (
        ("adapt", "run", "new.csv", "--out", "taken", "--unseen", "other"),
        ("predict", "model", "new.csv", "--unseen", "other"),
        ("predict", "taken", "new.csv"),
    ):
        found = call(capsys, *again)
        assert (found.code, found.err.count("it becomes 'other'")) == (0, 1), found
    assert call(capsys, "predict", "taken", "new.csv", "--unseen", "refuse").code == 3
    with pytest.raises(UsageError, match="unknown unseen 'others'"):
        learner.accepting("others")
    words = ("train", "table:bad.csv", "--steps", "1", *settings, "tasks.unseen=other")
    accepted = call(capsys, *words, "--out", "other")
    assert accepted.code == 0, accepted.err
    assert "'attic', which training has not seen" in accepted.err
    used = call(capsys, "adapt", "other", "new.csv", "--out", "knowingly")
    assert used.code == 0, used.err
    assert "it becomes 'other', and has no place: none was rare" in used.err


def phased(path: Path, word: str = "{}", more: str = "") -> Path:
    """Write sensors with a column ``phase``: s0 to s7 train, s8 and s9 Val, the rest test."""
    header, *lines = sensors(path).read_text().splitlines()
    phases = {f"s{i}": "train" if i < 8 else "Val" if i < 10 else "test" for i in range(12)}
    rows = [f"{line},{phases[line.split(',')[0]]}" for line in lines]
    rows[-1] = f"{lines[-1]},{word.format('test')}"
    path.write_text("\n".join([f"{header},phase", *rows]) + "\n" + more)
    return path


def test_a_column_names_the_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Python, from the command line, again at a resumption; it is no input."""
    monkeypatch.chdir(tmp_path)
    tasks = source(phased(tmp_path / "s.csv"), split="phase")
    assert [len(tasks.members(split)) for split in ("train", "validation", "test")] == [8, 2, 2]
    assert set(tasks.members("test")) == {"s10", "s11"}
    assert "column 'phase': left out, it names the split of each group" in str(tasks.coding)
    train = ("train", "table:s.csv", "--out", "run", "--steps")
    settings = (*COLUMNS, "tasks.split=phase", "tasks.shots=5", "num_tasks=2", "plan.chunk=all")
    done = call(capsys, *train, "1", *settings)
    assert done.code == 0, done.err
    assert call(capsys, *train, "2", "--resume").code == 0
    assert call(capsys, "evaluate", "run", "--tasks", "3").code == 0
    phased(tmp_path / "s.csv", more="s12,roof,1,2,2026-01-01,9999,3,test\n")
    assert call(capsys, "evaluate", "run", "--tasks", "3").code == 3


@pytest.mark.parametrize(
    ("word", "settings", "code", "message"),
    [
        (
            "train",
            {},
            3,
            r"group 's11' is in two splits by the column 'phase', test \(line \d+\) and",
        ),
        ("tset", {}, 3, r"line \d+, the column 'phase' is 'tset': did you mean 'test'"),
        ("", {}, 3, r"line \d+, the column 'phase' is missing"),
        ("{}", {"split": "fase"}, 3, r"no column 'fase': did you mean 'phase'"),
        ("{}", {"split": "[2,3]"}, 2, r"tasks\.split is '\[2,3\]': use three fractions"),
        ("{}", {"split": "reading"}, 2, r"tasks\.split is 'reading', which is tasks\.target"),
        ("{}", {"test": ("s1",)}, 2, r"tasks\.test name groups: give one of the two"),
        ("{}", {"leave_out": (), "features": ("phase",)}, 2, r"or in tasks\.features, too"),
        ("{}", {"split": "site"}, 3, r"column 'site' is '\w+': choose from test, train, valid"),
    ],
)
def test_what_names_no_splits_is_refused(
    word: str, settings: dict[str, object], code: int, message: str, tmp_path: Path
) -> None:
    path = phased(tmp_path / "s.csv", word)
    with pytest.raises((DataError, UsageError), match=message) as caught:
        source(path, **{"split": "phase", **settings})
    assert caught.value.exit_code == code


def test_some_groups_are_for_training(tmp_path: Path) -> None:
    path = phased(tmp_path / "s.csv")
    path.write_text(path.read_text().replace(",train\n", ",test\n"))
    with pytest.raises(DataError, match="has no group for training"):
        source(path, split="phase")
