"""Folders of pictures and tables: adapted to, asked, refused when they do not fit the run."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import metaccord as mc
from tests.bad.rows import Refusals
from tests.cli.support import Result, call

Run = Callable[..., Result]


def pictures(folder: Path, classes: tuple[str, ...], count: int) -> None:
    """Write grey pictures whose brightness tells the class."""
    draw = np.random.default_rng(len(classes))
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            shade = 20 + 200 * number // len(classes)
            noise = draw.integers(0, 30, (12, 9), dtype=np.uint8)
            Image.fromarray(noise + np.uint8(shade)).save(folder / name / f"{i}.png")


def table(path: Path, groups: int, rows: int, *, columns: str = "sensor,kind,x,y") -> None:
    """Write a table of groups with their own slope."""
    draw = np.random.default_rng(groups)
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, columns.split(","), extrasaction="ignore")
        out.writeheader()
        for group in range(groups):
            slope = draw.normal()
            for x in draw.normal(size=rows):
                kind = "wet" if x > 0 else "dry"
                out.writerow({"sensor": f"s{group}", "kind": kind, "x": x, "y": 50 + 9 * slope * x})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run and a model of pictures, and a run and a model of tables."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("METACCORD_CACHE", str(place / "cache"))
        pictures(place / "all", tuple(f"c{i:02d}" for i in range(18)), 4)
        pictures(place / "task", ("cat", "dog", "owl"), 2)
        table(place / "all.csv", 12, 12)
        table(place / "task.csv", 1, 5)
        yield place


@pytest.fixture(scope="module")
def trained(made: Path) -> Path:
    """Train both, with two meta-steps."""
    from metaccord.defaults import default

    few = ["steps=2", "num_tasks=1", "plan.chunk=1", "tasks.shots=2", "tasks.queries=2"]
    small = [*few, "tasks.ways=3", "model.ways=3", "model.hidden=4", "tasks.size=12"]
    for name, words, settings in (
        ("pictures", "folders:all", [*small, "model.size=12"]),
        ("tables", "table:all.csv", [*few, "tasks.target=y", "tasks.group=sensor"]),
    ):
        experiment = default(words, "maml", [], settings).changed(settings)
        list(mc.run(experiment, made / name))
    shutil.rmtree(made / "all")  # runs are enough
    shutil.rmtree(made / "cache")
    (made / "all.csv").unlink()
    return made


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that may be changed."""
    work = tmp_path / "copy"
    shutil.copytree(trained, work)
    monkeypatch.chdir(work)
    return work


def test_pictures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, "adapt pictures task --out model")
    assert result.code == 0, result
    assert "classes: cat, dog, owl" in result.out
    assert call(capsys, "predict model task/dog --out dogs.csv").code == 0
    result = call(capsys, "predict model task/dog --picture dogs.png")
    assert result.code == 0, result
    assert [line.split(":")[0] for line in result.out.splitlines()] == ["0.png", "1.png"]
    rows = list(csv.DictReader(Path("dogs.csv").read_text().splitlines()))
    assert list(rows[0]) == ["name", "class", "probability", "p(cat)", "p(dog)", "p(owl)"]
    total = sum(float(rows[0][f"p({name})"]) for name in ("cat", "dog", "owl"))
    assert total == pytest.approx(1.0, abs=1e-6)
    single = call(capsys, "predict model task/dog/1.png")
    assert single.out.splitlines()[0] == result.out.splitlines()[1]


def test_tables(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "adapt tables task.csv --out model").code == 0
    table(place / "new.csv", 1, 4, columns="sensor,kind,x")
    result = call(capsys, "predict model new.csv --picture v.svg --support task.csv")
    assert result.code == 0, result
    assert len(result.out.splitlines()) == 4
    values = [float(line.split(": ")[1]) for line in result.out.splitlines()]
    assert all(20 < value < 80 for value in values), "in the units of the table"


def _one_class(p: Path) -> None:
    shutil.rmtree(p / "task/dog")
    shutil.rmtree(p / "task/owl")


def _text(name: str, text: str) -> Callable[[Path], object]:
    return lambda p: (p / name).write_text(text)


def _more(p: Path) -> None:
    shutil.copytree(p / "task/cat", p / "task/fox")


HEAD = "sensor,kind,x,y\n"
BAD: dict[str, tuple[Callable[[Path], object], str, int, list[str]]] = {
    "one class": (_one_class, "adapt pictures task --out m", 3, ["one class", "at least 2"]),
    "more classes than trained": (_more, "adapt pictures task --out m", 3, ["4 classes", "3"]),
    "an empty folder": (
        lambda p: (p / "none").mkdir(), "adapt pictures none --out m", 3, ["none"]),
    "an unreadable picture": (
        _text("task/cat/0.png", "hello"), "adapt pictures task --out m", 3, ["0.png"]),
    "a table for pictures": (lambda p: None, "adapt pictures task.csv --out m", 3, ["task.csv"]),
    "pictures for a table": (lambda p: None, "adapt tables task --out m", 3, ["task"]),
    "no target": (_text("s.csv", "sensor,kind,x\na,wet,1\n"),
                  "adapt tables s.csv --out m", 3, ["'y'"]),
    "no such column": (_text("s.csv", "sensor,kind,z,y\na,wet,1,2\n"),
                       "adapt tables s.csv --out m", 3, ["'x'"]),
    "text for a number": (_text("s.csv", HEAD + "a,wet,one,2\na,wet,2,3\n"),
                          "adapt tables s.csv --out m", 3, ["'x'"]),
    "a new category": (_text("s.csv", HEAD + "a,wet,1,2\na,icy,2,3\n"),
                       "adapt tables s.csv --out m", 3, ["line 3, column 'kind' is 'icy'"]),
    "two groups": (_text("s.csv", HEAD + "a,wet,1,2\nb,wet,2,3\n"),
                   "adapt tables s.csv --out m", 3, ["sensor"]),
    "no rows": (_text("s.csv", HEAD), "adapt tables s.csv --out m", 3, ["s.csv"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harm, words, code, expected = BAD[name]
    harm(place)
    Refusals(place).add(call(capsys, words), code, expected)
