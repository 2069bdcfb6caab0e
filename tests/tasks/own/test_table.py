"""Tasks over a table, one for each group; from the file to the adapted model and back."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.defaults import default
from metaccord.errors import CheckpointError, DataError, UsageError
from metaccord.tasks.source import SPLITS
from tests.cli.support import MOST_SECONDS, call, scores_of, snapshot
from tests.tasks.own.made import HEADER, sensor_rows, sensors

COLUMNS = ("--set", "tasks.target=reading", "tasks.group=sensor")
QUICK = ("num_tasks=4", "model.hidden=[16]", "plan.chunk=all")


def source(path: Path, **options) -> mc.tasks.Table:
    return mc.tasks.from_table(
        path, **{"target": "reading", "group": "sensor", "shots": 5, **options}
    )


def test_each_group_is_a_task_of_one_split(tmp_path: Path) -> None:
    path = sensors(tmp_path / "s.csv")
    tasks = source(path, queries=99)
    members = [set(tasks.members(split)) for split in SPLITS]
    assert sorted(name for some in members for name in some) == sorted(tasks.names("train"))
    assert not members[0] & members[2]
    lines = [line.split(",") for line in path.read_text().splitlines()[1:]]
    for split in SPLITS:
        found = tasks.episodes(split, 0, range(6))
        for task, group in enumerate(found.extra["group"].tolist()):
            name = tasks.names(split)[group]
            assert name in tasks.members(split)
            size = int(torch.as_tensor(found.query.sizes)[task])
            own = sorted(float(line[-1]) for line in lines if line[0] == name)
            both = torch.cat([found.support.targets[task], found.query.targets[task, :size]])
            drawn = tasks.coding.values(both.double()).flatten().sort().values
            assert np.allclose(drawn, own, atol=1e-4)


def test_what_is_done_with_each_column_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "metaccord"):
        tasks = source(sensors(tmp_path / "s.csv"))
    said = tasks.coding.describe()
    for text in (
        "target 'reading': a number", "group 'sensor'", "'site': category, one place each for",
        "'temperature': number, minus", "'humidity': number", "a mark where it is missing",
        "'when': left out, a date", "'id': left out", "an id",
    ):  # fmt: skip
        assert text in said
    assert [record.message for record in caplog.records] == said.splitlines()
    assert str(tasks.coding) == said


def test_statistics_and_categories_come_from_training_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = sensors(tmp_path / "s.csv")
    tasks = source(path)
    held, coding = set(tasks.members("test")), tasks.coding
    lines = [line.split(",") for line in path.read_text().splitlines()]
    for line in lines[1:]:
        if line[0] in held:
            line[1], line[2] = "attic", str(float(line[2]) + 1000)
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")
    message = r"line \d+, column 'site' is 'attic', which training has not seen"
    with pytest.raises(DataError, match=message):
        source(path)
    found = source(path, unseen="other").coding
    assert replace(found, unseen="refuse") == coding
    assert re.search(message, caplog.text)


def test_settings_choose_columns(tmp_path: Path) -> None:
    path = sensors(tmp_path / "s.csv")
    names = [c.name for c in source(path, features=["humidity", "id"]).coding.columns]
    assert names == ["humidity", "id"]
    coding = source(path, leave_out=["site"]).coding
    assert ("site", "as asked for (tasks.leave_out)") in coding.left_out
    assert source(path, target="site").coding.classes == ("cellar", "roof", "yard")
    data = {"who": np.repeat(["a", "b", "c", "d"], 9), "x": np.arange(36) % 5 + 0.5}
    data["name"] = np.char.upper(data["who"])
    data["code"], data["y"] = np.arange(36) % 3, np.arange(36.0) ** 2
    found = mc.tasks.from_table(data, target="y", group="who", categories=["code"], shots=3).coding
    assert [c.kind for c in found.columns] == ["number", "category"]
    assert ("name", "another name of 'who': new groups have none") in found.left_out


def test_whole_numbers_are_classes_where_few(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = {"who": np.arange(120) % 8, "x": rng.normal(size=120), "sick": rng.integers(0, 2, 120)}
    assert mc.tasks.from_table(data, target="sick", group="who").coding.classes == ("0", "1")
    numbers = mc.tasks.from_table(data, target="sick", group="who", aim="numbers")
    assert not numbers.classifies
    assert default(numbers).objective().criterion is mc.losses.mse


def test_a_table_is_learnt_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train, evaluate, predict, without the table in the end; adapted is better than before."""
    monkeypatch.chdir(tmp_path)
    sensors(tmp_path / "s.csv", sensors=16)
    done = call(capsys, "train", "table:s.csv", "--steps", "60", *COLUMNS, "tasks.shots=8", *QUICK)
    assert done.code == 0, done.err
    assert "note: column 'site': category" in done.err
    run = tmp_path / "runs" / "table-s-maml-0"
    found = scores_of(call(capsys, "evaluate", run, "--tasks", "40", "--json").out)
    assert found["losses"][-1] < 0.5 * found["losses"][0]
    more = ("train", "table:s.csv", "--out", run, "--resume", "--steps")
    assert call(capsys, *more, "62").code == 0
    (tmp_path / "s.csv").rename(tmp_path / "t.csv")
    learner = mc.load(run)
    experiment, _, _ = mc.stored.load_state(run)
    new = sensor_rows(sensors=1, rows=30, seed=9)
    (tmp_path / "new.csv").write_text("\n".join([HEADER, *new[:8]]) + "\n")
    support = experiment.tasks.coding.support(tmp_path / "new.csv")
    (tmp_path / "rest.csv").write_text("\n".join([HEADER, *new[8:]]) + "\n")
    rest = experiment.tasks.coding.support(tmp_path / "rest.csv").batch
    outputs = learner.predict(support.batch, rest.inputs)
    assert (outputs - rest.targets).pow(2).mean() < rest.targets.pow(2).mean()
    before = snapshot(run)
    missing = call(capsys, "evaluate", run)
    assert (missing.code, len(missing.errors)) == (3, 1)
    assert "s.csv cannot be read from" in missing.err
    sensors(tmp_path / "s.csv", sensors=16, seed=1)
    for words in (("evaluate", run), (*more, "70")):
        changed = call(capsys, *words)
        assert (changed.code, len(changed.errors)) == (3, 1)
        assert "has changed: its fingerprint is" in changed.err
    assert snapshot(run) == before


def test_a_python_run_is_refused_other_data(tmp_path: Path) -> None:
    def experiment(*settings: str) -> mc.Experiment:
        tasks = mc.tasks.Table(
            path=str(tmp_path / "s.csv"), target="reading", group="sensor", shots=5
        )
        return default(tasks).changed([*QUICK, *settings])

    sensors(tmp_path / "s.csv")
    list(mc.run(experiment("steps=1"), tmp_path / "run"))
    sensors(tmp_path / "s.csv", seed=3)
    with pytest.raises(CheckpointError, match=r"was made with other data"):
        list(mc.run(experiment("steps=2"), tmp_path / "run", resume=True))


def rows(*changes: tuple[int, str], header: str = HEADER) -> str:
    lines = sensor_rows()
    for number, line in changes:
        lines[number] = line
    return "\n".join([header, *lines]) + "\n"


FIRST = sensor_rows()[0]
LAST = sensor_rows()[-1].replace("s11,", "s0,")
BAD = {
    "no target": ("", ["tasks.group=sensor"], 2, r"needs tasks.target, the column to predict"),
    "no group": ("", ["tasks.target=reading"], 2, r"its columns are sensor, site, temperature"),
    "unknown target": ("", ["tasks.target=reeding", "tasks.group=sensor"], 3, r"mean 'reading'"),
    "unknown group": ("", ["tasks.target=reading", "tasks.group=sensr"], 3, r"mean 'sensor'"),
    "the same": ("", ["tasks.target=site", "tasks.group=site"], 2, r"are both 'site'"),
    "its own feature": ("", [*COLUMNS[1:], "tasks.features=[\"reading\"]"], 2, r"names the target"),
    "unknown feature": ("", [*COLUMNS[1:], "tasks.leave_out=[\"sight\"]"], 3, r"mean 'site'"),
    "id as group": ("", ["tasks.target=reading", "tasks.group=id"], 3, r"groups in \d+ rows"),
    "one group": ("one", [*COLUMNS[1:]], 3, r"has 1 groups"),
    "no feature": ("", [*COLUMNS[1:], "tasks.features=[\"when\"]"], 3, r"no column to predict"),
    "bad setting": ("", [*COLUMNS[1:], "tasks.shotss=3"], 2, r"mean 'shots'"),
    "bad split": ("", [*COLUMNS[1:], "tasks.split=[2,3]"], 2, r"tasks.split is"),
    "unknown member": ("", [*COLUMNS[1:], "tasks.test=[\"s99\"]"], 3, r"names the group 's99'"),
    "in two splits": (
        "", [*COLUMNS[1:], 'tasks.test=["s1"]', 'tasks.train=["s1"]'], 3, r"'s1' is in tasks.train",
    ),
    "large shots": ("", [*COLUMNS[1:], "tasks.shots=999"], 3, r"at least 1000 rows"),
    "wrong separator": ("", [*COLUMNS[1:], "tasks.separator=;"], 3, r"but 7 with ','"),
    "missing target": (rows((3, FIRST.rsplit(",", 1)[0] + ",")), [*COLUMNS[1:]], 3,
                       r"line 5: the target 'reading' is missing"),
    "missing group": (rows((0, FIRST.replace("s0", ""))), [*COLUMNS[1:]], 3,
                      r"line 2: the group 'sensor' is missing"),
    "ragged": (rows((4, FIRST + ",1")), [*COLUMNS[1:]], 3, r"line 6 has 8 values"),
    "duplicate column": (rows(header=HEADER.replace("site", "id")), [*COLUMNS[1:]], 3,
                         r"column 'id' twice"),
    "constant target": (
        HEADER + "".join(f"\n{line.rsplit(',', 1)[0]},7.5" for line in sensor_rows()),
        [*COLUMNS[1:]], 3, r"'reading' is 7.5 in all training rows",
    ),
    "empty": ("empty", [*COLUMNS[1:]], 3, r"is empty"),
    "header only": (HEADER + "\n", [*COLUMNS[1:]], 3, r"has a header but no row"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_one_clear_line_and_nothing_written(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content, settings, code, message = BAD[fault]
    monkeypatch.chdir(tmp_path)
    if content in ("", "one"):
        sensors(tmp_path / "s.csv", sensors=1 if content else 12)
    else:
        (tmp_path / "s.csv").write_text("" if content == "empty" else content)
    found = call(capsys, "train", "table:s.csv", "--steps", "1", "--set", *settings)
    assert (found.code, len(found.errors)) == (code, 1), found.err
    assert found.seconds < MOST_SECONDS
    assert re.search(message, found.errors[0]), found.errors
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]


def test_identical_rows_across_groups_are_refused_or_accepted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = sensor_rows()
    copies = [line.replace("s0,", "s99,", 1) for line in lines if line.startswith("s0,")]
    path = tmp_path / "s.csv"
    path.write_text("\n".join([HEADER, *lines, *copies]) + "\n")
    options = {"train": ("s0",), "test": ("s99",)}
    with pytest.raises(DataError, match=r"identical rows .*line \d+ \(train\) and line \d+ \(test"):
        source(path, **options)
    assert source(path, **options, accept_leaks=True).members("test") == ("s99",)
    assert "may be too good" in caplog.text
    with pytest.raises(UsageError, match=r"tasks\.minimum is 0"):
        source(path, minimum=0)


def test_names_that_differ_in_spaces_are_named(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    who = np.array(["Ann", "ann ", "Bob", "Cyd"])[np.arange(80) % 4]
    data = {"who": who, "x": rng.normal(size=80), "y": rng.normal(size=80)}
    mc.tasks.from_table(data, target="y", group="who", shots=3)
    assert "'Ann' and 'ann' differ in spaces or capitals alone" in caplog.text


def test_a_group_that_is_left_out_is_not_misspelt(tmp_path: Path) -> None:
    path = sensors(tmp_path / "s.csv")
    path.write_text(path.read_text() + "s99,roof,1,2,2026-01-01,9999,3\n")
    with pytest.raises(
        DataError, match=r"'s99', which is left out: it has 1 rows, and a task need"
    ):
        source(path, test=("s99",))
