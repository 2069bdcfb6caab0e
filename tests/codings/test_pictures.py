"""Pictures of one task, from a folder or one by one, as the model was trained to see them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metaccord.codings import PictureCoding
from metaccord.data.pictures.decode import decode
from metaccord.errors import DataError, UsageError
from metaccord.serial import from_tree, to_tree
from metaccord.tasks import Omniglot, SignDigits, from_folders
from tests.drawn import folder
from tests.folder import FOLDER

CODING = PictureCoding(16, "colour", "stretch", (10.0, 20.0, 30.0), (2.0, 4.0, 8.0))


def test_a_support_set_is_class_by_class(tmp_path: Path) -> None:
    folder(tmp_path, {"cat": 3, "ant": 2})
    found = CODING.support(tmp_path)
    assert found.classes == ("ant", "cat")
    assert found.names == ("ant/0000.png", "ant/0001.png", *(f"cat/000{i}.png" for i in range(3)))
    assert found.batch.targets.tolist() == [0, 0, 1, 1, 1]
    pixels = decode((tmp_path / "cat" / "0001.png").read_bytes(), CODING.form, "x")
    expected = (pixels.astype(np.float32) - [[[10]], [[20]], [[30]]]) / [[[2]], [[4]], [[8]]]
    assert torch.allclose(found.batch.inputs[3], torch.from_numpy(expected).float())


def test_inputs_are_a_picture_or_a_folder(tmp_path: Path) -> None:
    root = folder(tmp_path, {"cat": 3}) / "cat"
    (root / "notes.txt").write_text("")
    found = CODING.inputs(root)
    assert found.names == ("0000.png", "0001.png", "0002.png")
    one = CODING.inputs(root / "0001.png")
    assert one.names == ("0001.png",)
    assert torch.equal(one.inputs[0], found.inputs[1])


def test_it_is_stored_and_codes_what_tasks_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METACCORD_CACHE", str(tmp_path / "cache"))
    tasks = from_folders(folder(tmp_path / "pictures", 6, 3), size=16)
    coding = from_tree(to_tree(tasks.coding))
    assert coding == tasks.coding
    support = coding.support(tmp_path / "pictures").batch.inputs
    rows = tasks.held().pictures.rows(np.arange(18))
    assert torch.equal(support, coding.scaled(torch.from_numpy(rows)))


@pytest.mark.skipif(FOLDER is None, reason="needs METACCORD_DATA: a folder with omniglot")
def test_original_omniglot_files_become_the_pictures_of_the_set(tmp_path: Path) -> None:
    tasks = Omniglot(root=str(FOLDER))
    with np.load(FOLDER / "omniglot" / "omniglot105.npz", allow_pickle=False) as arrays:
        bits = arrays["bits"][[7, 900], :2]
    for number, drawings in enumerate(bits):
        place = tmp_path / f"character{number}"
        place.mkdir()
        for drawer, packed in enumerate(drawings):
            pixels = np.unpackbits(packed, count=105 * 105).reshape(105, 105)
            paper = Image.frombytes("1", (105, 105), np.packbits(1 - pixels, axis=1).tobytes())
            paper.save(place / f"{drawer}.png")
    found = tasks.coding.support(tmp_path).batch.inputs
    from metaccord.data import omniglot

    pictures = omniglot.load(FOLDER).pictures[[7, 900], :2].reshape(4, 1, 28, 28)
    assert torch.equal(found, torch.from_numpy(pictures).float())
    assert SignDigits().coding.mean == (172.1, 164.7, 157.2)


def splits(root: Path) -> None:
    for name in ("train", "test"):
        folder(root / name, {name: 1})


def spoilt(root: Path) -> None:
    folder(root, {"a": 1, "b": 1})
    (root / "b" / "0000.png").write_bytes(b"x")


SUPPORT: list[tuple[Callable[[Path], Any], str]] = [
    (lambda root: None, "does not exist"),
    (lambda root: root.mkdir(), "no class folders"),
    (lambda root: folder(root, {"a": 2}), "one class, 'a': a task needs at least 2"),
    (lambda root: folder(root, {"a": 2, "b": 0}), "b holds no PNG or JPEG"),
    (splits, "training and test folders, not one task"),
    (spoilt, r"b/0000.png is no intact"),
]


@pytest.mark.parametrize(("make", "words"), SUPPORT)
def test_bad_support_sets(make: Callable[[Path], Any], words: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(DataError, match=words):
        CODING.support(tmp_path / "x")


INPUTS: list[tuple[Callable[[Path], Any], str]] = [
    (lambda path: None, "missing or no regular file"),
    (lambda path: path.mkdir(), "holds no PNG or JPEG picture"),
    (lambda path: path.write_bytes(b""), "no intact PNG or JPEG"),
    (lambda path: Image.new("L", (1, 1)).save(path, "PNG"), "at least 4"),
]


@pytest.mark.parametrize(("make", "words"), INPUTS)
def test_bad_inputs(make: Callable[[Path], Any], words: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(DataError, match=words):
        CODING.inputs(tmp_path / "x")


def test_bad_settings() -> None:
    for settings, words in (
        ({"size": 0}, "tasks.size is 0"),
        ({"mode": "grey"}, "1 channels"),
        ({"fit": "x"}, "unknown tasks.fit"),
        ({"deviation": (1.0, -1.0, 1.0)}, "above 0"),
    ):
        with pytest.raises(UsageError, match=words):
            PictureCoding(**settings)


def test_another_decoder_of_the_same_file(tmp_path: Path) -> None:
    """What is written by hand with Pillow alone, for a photograph."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (50, 40, 3), dtype=np.uint8))
    picture.save(tmp_path / "x.jpg", quality=90)
    with Image.open(io.BytesIO((tmp_path / "x.jpg").read_bytes())) as again:
        small = np.asarray(again.resize((16, 16), Image.Resampling.LANCZOS), np.float32)
    expected = (small - [10, 20, 30]) / [2, 4, 8]
    found = CODING.inputs(tmp_path / "x.jpg").inputs[0]
    assert torch.allclose(found, torch.from_numpy(expected.transpose(2, 0, 1)).float())


def test_no_picture_of_a_folder_is_passed_over(tmp_path: Path) -> None:
    """One of another format is refused, as in a support set; other files are left alone."""
    for name in ("a.png", "b.GIF"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    with pytest.raises(DataError, match=r"b\.GIF is neither PNG nor JPEG: convert or remove it"):
        CODING.inputs(tmp_path)
    (tmp_path / "b.GIF").rename(tmp_path / ".b.GIF")
    (tmp_path / "notes.txt").write_text("x")
    assert CODING.inputs(tmp_path).names == ("a.png",)
    with pytest.raises(UsageError, match="only tables have categories"):
        CODING.accepting("other")
