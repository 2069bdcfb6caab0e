"""Folders of pictures that cannot be trained on, through the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad.rows import Refusals
from tests.cli.support import Result
from tests.data.pictures.test_folders import BAD
from tests.drawn import folder
from tests.tasks.test_folders import few, one_picture, spoiled

ROWS: dict[str, tuple[Callable[[Path], None], str]] = {
    **{spoil.__name__: (spoil, words) for spoil, words in BAD.items()},
    "a text": (spoiled, "c2/0001.png is no intact PNG or JPEG"),
    "one picture": (one_picture, "class 'c5' of"),
    "one class": (few(1), "there are 1 classes"),
    "three classes": (few(3), "3 classes"),
    "no classes": (few(0), "no class folders"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_folder(name: str, metaccord: Callable[..., Result], place: Path) -> None:
    spoil, words = ROWS[name]
    names = "class{:02d}" if spoil in BAD else "c{}"
    folder(place / "pictures", {names.format(i): 4 + i for i in range(8)}, side=12)
    spoil(place / "pictures")
    (place / "kept").mkdir()
    refusals = Refusals(place / "kept")
    refusals.add(metaccord("train folders:pictures --out kept/run"), 3, [words])
