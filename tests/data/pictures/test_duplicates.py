"""The same picture in two splits: found when identical, found when nearly so, not imagined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaccord.data.pictures import reading
from metaccord.data.pictures.decode import Form
from metaccord.data.pictures.decoded import Decoded
from metaccord.data.pictures.duplicates import leaks, repeated
from metaccord.data.pictures.folders import listed
from tests.drawn import folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Textured pictures, as photographs are, beside drawn ones."""
    root = folder(tmp_path / "pictures", 4, 8)
    rng = np.random.default_rng(1)
    for name in ("class00", "class01", "class02", "class03"):
        for i in range(8):
            wide = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
            wide.resize((64, 64), Image.Resampling.BICUBIC).save(root / name / f"t{i}.png")
    return root


def load(root: Path, mode: str = "colour") -> tuple[Decoded, tuple[str, ...]]:
    listing = listed(root)
    return reading.opened(reading.contents(listing), Form(32, mode)), listing.files


def found(root: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    pictures, files = load(root)
    splits = np.repeat([0, 0, 1, 2], pictures.recipe.counts)
    result = leaks(pictures, splits)
    return tuple([(files[a], files[b]) for a, b in pairs] for pairs in result)


def test_different_pictures_are_not_alike(root: Path) -> None:
    assert found(root) == ([], [])


def test_identical_pictures_of_other_bytes_are_found(root: Path) -> None:
    """Saved again without loss: other bytes, the same pixels."""
    with Image.open(root / "class00" / "t3.png") as picture:
        picture.save(root / "class03" / "copy.png", compress_level=1)
    assert found(root) == ([("class00/t3.png", "class03/copy.png")], [])


def test_identical_pictures_within_a_split_are_no_leak(root: Path) -> None:
    content = (root / "class00" / "t3.png").read_bytes()
    (root / "class01" / "copy.png").write_bytes(content)
    assert found(root) == ([], [])
    pictures, files = load(root)
    assert [(files[a], files[b]) for a, b in repeated(pictures)] == [
        ("class00/t3.png", "class01/copy.png")
    ]


@pytest.mark.parametrize("change", ["jpeg", "brighter", "smaller"])
def test_near_duplicates_are_found(change: str, root: Path) -> None:
    with Image.open(root / "class01" / "t5.png") as picture:
        if change == "jpeg":
            picture.save(root / "class02" / "copy.jpg", quality=85)
        elif change == "brighter":
            picture.point(lambda v: min(255, v + 4)).save(root / "class02" / "copy.png")
        else:
            picture.resize((57, 57), Image.Resampling.LANCZOS).save(root / "class02" / "copy.png")
    exact, near = found(root)
    assert exact == []
    assert [one for one, _ in near] == ["class01/t5.png"]
    assert near[0][1].startswith("class02/copy")


def test_pairs_equal_a_slow_search(root: Path) -> None:
    for target in ("class02", "class03"):
        for source in ("class00/t1.png", "class01/t2.png", "class02/t4.png"):
            name = source.replace("/", "-")
            (root / target / f"{name}.png").write_bytes((root / source).read_bytes())
    pictures, _ = load(root)
    splits = np.repeat([0, 0, 1, 2], pictures.recipe.counts)
    every = pictures.rows(np.arange(len(pictures)))
    slow = {
        j
        for i in range(len(every))
        for j in range(len(every))
        if splits[i] < splits[j] and np.array_equal(every[i], every[j])
    }
    assert {int(b) for _, b in leaks(pictures, splits).identical} == slow
