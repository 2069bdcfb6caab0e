"""What tasks over a folder of pictures say when they are made."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from metaccord.tasks import from_folders
from tests.drawn import folder


def test_what_is_taken_from_the_data_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and with the pictures that are in no class."""
    monkeypatch.setenv("METACCORD_CACHE", str(tmp_path / "cache"))
    root = folder(tmp_path / "pictures", {f"c{i}": 4 + i for i in range(10)}, side=20)
    shutil.copy(root / "c1" / "0000.png", root / "cover.png")
    (root / "readme.txt").write_text("nothing")
    with caplog.at_level(logging.INFO, "metaccord"):
        tasks = from_folders(root)
        replace(tasks, seed=1).episodes("train", 0, range(1))
    warning, *notes = [record.message for record in caplog.records]
    assert "pictures beside its class folders" in warning
    assert "'cover.png' (1 in all)" in warning
    assert notes == [
        "pictures: 28 by 28 pixels, colour, stretch",
        "tasks: 2 classes, 1 pictures of each to learn from and 3 to be judged by (tasks.ways, "
        "tasks.shots, tasks.queries)",
        "classes: 6 for training, 2 for validation, 2 for test",
    ]
