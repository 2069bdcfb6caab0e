"""The same picture in two splits: found when identical, found when nearly so, not imagined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaccord.data import omniglot
from metaccord.data.pictures import reading
from metaccord.data.pictures.decode import Form
from metaccord.data.pictures.decoded import Decoded, Recipe, prepared
from metaccord.data.pictures.duplicates import leaks, repeated
from metaccord.data.pictures.folders import listed
from tests.drawn import folder
from tests.folder import FOLDER


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


def test_hashes_that_differ_in_a_few_bits_are_near(root: Path) -> None:
    """Each picture of a class once more, darker to the right: some hashes change a bit or two."""
    ramp = np.linspace(0, 9, 64)[None, :, None]
    for source in sorted((root / "class01").glob("t*.png")):
        with Image.open(source) as picture:
            pixels = np.asarray(picture, np.float64) - ramp
        changed = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        changed.save(root / "class03" / f"copy-{source.name}")
    pictures, files = load(root)
    place = {name: row for row, name in enumerate(files)}
    marks = pictures.marks[:, 1]
    pairs = [(f"class01/t{i}.png", f"class03/copy-t{i}.png") for i in range(8)]
    apart = [int(marks[place[a]] ^ marks[place[b]]).bit_count() for a, b in pairs]
    assert any(0 < bits <= 3 for bits in apart)
    expected = [pair for pair, bits in zip(pairs, apart, strict=True) if bits <= 3]
    assert found(root) == ([], expected)


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


@pytest.mark.skipif(FOLDER is None, reason="needs METACCORD_DATA: a folder with omniglot")
def test_omniglot_s_own_copies_are_the_six_known_pairs() -> None:
    """All within one class, so no split of characters separates them: nothing to refuse."""
    known = [191, 305, 803, 940, 984]
    classes = [*known, *range(0, 1600, 40)]
    drawings = omniglot.load(FOLDER).pictures[classes].reshape(-1, 1, 28, 28)
    names, counts = tuple(map(str, classes)), (20,) * len(classes)
    form = Form(28, "ink")
    pictures = prepared(Recipe("omniglot", "x", form, names, counts, lambda: iter(drawings)))
    pairs = repeated(pictures)
    assert sorted(classes[row // 20] for row in pairs[:, 0]) == [191, 191, 305, 803, 940, 984]
    assert (pairs[:, 0] // 20 == pairs[:, 1] // 20).all()
    splits = np.repeat(np.arange(len(classes)) % 3, 20)
    assert len(leaks(pictures, splits).identical) == 0
