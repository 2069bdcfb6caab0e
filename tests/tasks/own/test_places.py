"""Where the files of a run are looked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.support import call
from tests.tasks.own.made import blobs, sensors
from tests.tasks.own.test_table import COLUMNS


@pytest.mark.parametrize("family", ["table", "arrays"])
def test_a_run_finds_its_file_from_another_folder_and_when_moved(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    X, y = blobs()
    np.savez("d.npz", X=X, y=y)
    sensors(Path("d.csv"))
    file, more = ("d.csv", COLUMNS) if family == "table" else ("d.npz", ())
    words = ("train", f"{family}:{file}", "--out", "../run", "--steps")
    quick = more or ("--set",)
    done = call(capsys, *words, "1", *quick, "tasks.shots=5", "num_tasks=2", "plan.chunk=all")
    assert done.code == 0, done.err
    monkeypatch.chdir(tmp_path / "b")
    for place in (f"{family}:../a/{file}", f"{family}:{file}"):
        again = call(capsys, "train", place, "--out", "../run", "--resume", "--steps", "2")
        assert again.code == 0, again.err
    assert call(capsys, "evaluate", "../run", "--tasks", "3").code == 0
    (tmp_path / "a" / file).rename(file)
    assert call(capsys, "evaluate", "../run", "--tasks", "4").code == 0
    assert call(capsys, *words, "3", "--resume").code == 0
    monkeypatch.chdir(tmp_path)
    found = call(capsys, "evaluate", "run", "--tasks", "5")
    assert found.code == 3
    assert f"{tmp_path / 'a' / file} cannot be read" in found.err
