"""What a folder of class folders holds, and all that may be wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from metaccord.data.pictures.folders import listed, survey
from metaccord.errors import DataError
from tests.drawn import folder


def test_classes_and_files_are_sorted(tmp_path: Path) -> None:
    folder(tmp_path, {"b": 2, "a": 3})
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").write_text("kept out")
    (tmp_path / "a" / ".DS_Store").write_text("")
    (tmp_path / "a" / "labels.csv").write_text("")
    found = listed(tmp_path)
    assert [(c.name, len(c.files), c.split) for c in found.classes] == [("a", 3, ""), ("b", 2, "")]
    assert found.files == (
        "a/0000.png", "a/0001.png", "a/0002.png", "b/0000.png", "b/0001.png",
    )  # fmt: skip


def test_folders_for_splits(tmp_path: Path) -> None:
    for name, classes in (("train", "abc"), ("val", "de"), ("test", "fg")):
        folder(tmp_path / name, dict.fromkeys(classes, 1))
    found = {(c.name, c.split) for c in listed(tmp_path).classes}
    splits = ["train"] * 3 + ["validation"] * 2 + ["test"] * 2
    assert found == set(zip("abcdefg", splits, strict=True))


def test_pictures_beside_class_folders_are_named(tmp_path: Path) -> None:
    for name, classes in (("train", "abc"), ("test", "fg")):
        folder(tmp_path / name, dict.fromkeys(classes, 1))
    (tmp_path / "x.gif").write_bytes(b"x")
    (tmp_path / "test" / "y.JPG").write_bytes(b"y")
    (tmp_path / "train" / "a.png").mkdir()
    folder(tmp_path / "train" / "a.png", {".": 1})
    assert listed(tmp_path).loose == ("x.gif", "test/y.JPG")


def test_a_link_to_a_picture_or_class_is_followed(tmp_path: Path) -> None:
    folder(tmp_path / "there", {"a": 2, "b": 2})
    (tmp_path / "here" / "b").mkdir(parents=True)
    (tmp_path / "here" / "a").symlink_to(tmp_path / "there" / "a")
    (tmp_path / "here" / "b" / "x.png").symlink_to(tmp_path / "there" / "b" / "0000.png")
    assert [len(c.files) for c in listed(tmp_path / "here").classes] == [2, 1]


def loop(root: Path) -> None:
    (root / "class00" / "0001.png").unlink()
    (root / "class00" / "0001.png").symlink_to("0001.png")


def class_loop(root: Path) -> None:
    (root / "again").symlink_to("again")


def upward(root: Path) -> None:
    (root / "again").symlink_to(root)


def case(root: Path) -> None:
    folder(root, {"CLASS00": 2})


def file_case(root: Path) -> None:
    (root / "class00" / "a.png").write_bytes((root / "class00" / "0000.png").read_bytes())
    (root / "class00" / "A.png").write_bytes((root / "class00" / "0000.png").read_bytes())


def nested(root: Path) -> None:
    folder(root / "class00", {"images": 1})


def foreign(root: Path) -> None:
    (root / "class01" / "x.webp").write_bytes(b"")


def hollow(root: Path) -> None:
    (root / "nothing").mkdir()


def pipe(root: Path) -> None:
    os.mkfifo(root / "class00" / "x.png")


def two_for_one_split(root: Path) -> None:
    for name in list(root.iterdir()):
        name.rename(root.parent / name.name)
    for name in ("train", "val", "validation", "test"):
        folder(root / name, {name: 1})


BAD: dict[Callable[[Path], None], str] = {
    loop: "0001.png cannot be read",
    class_loop: "again cannot be followed",
    upward: "holds the folder",
    case: "'CLASS00' and 'class00', which are one name on some",
    file_case: "'A.png' and 'a.png'",
    nested: "holds the folder 'images'",
    foreign: "x.webp is neither PNG nor JPEG",
    hollow: "nothing holds no PNG or JPEG picture",
    pipe: "x.png is no regular file",
    two_for_one_split: "two folders for validation",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda f: f.__name__)
def test_what_is_wrong_is_named(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    root = folder(tmp_path / "pictures", 3, 2)
    spoil(root)
    with pytest.raises(DataError, match=BAD[spoil]):
        listed(root)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.write_text(""), "is no folder"),
        (lambda root: root.mkdir(), "no class folders"),
        (lambda root: folder(root.parent, {root.name: 2}), "pictures but no class folders"),
    ],
)
def test_no_classes(make: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(DataError, match=words):
        listed(tmp_path / "x")


def test_all_problems_are_listed_and_the_first_says_how_many(tmp_path: Path) -> None:
    root = folder(tmp_path / "pictures", 3, 2)
    for spoil in (loop, class_loop, case, nested, foreign, hollow):
        spoil(root)
    assert len(survey(root).problems) == 6
    with pytest.raises(DataError, match=r"\(and 5 more: see 'metaccord data check "):
        listed(root)
