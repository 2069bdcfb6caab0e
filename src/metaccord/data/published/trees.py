"""Class folders: prepared trees with a folder for each split, and ImageNet as it comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from metaccord.data.pictures.folders import Class, class_in
from metaccord.data.published.facts import SPLITS, PictureSet, mini_numbers
from metaccord.data.published.located import Located, from_classes

FOLDERS = {
    "train": ("train", "meta-train", "meta_train", "base"),
    "validation": ("val", "validation", "meta-val", "meta_val", "valid"),
    "test": ("test", "meta-test", "meta_test", "novel"),
}
_NUMBER = re.compile(r"(\d+)\.[a-z]+$", re.IGNORECASE)


def find(entry: PictureSet, place: Path) -> Located | None:
    """Return a set that lies in ``place`` as files, or None.

    Raises:
        DataError: if it is there, but not complete.
    """
    members = entry.members()
    names = {split: _below(place, split, members[split]) for split in SPLITS}
    problems: list[str] = []
    if names["train"] and names["test"]:
        classes = list(_split_tree(entry, place, names, problems))
        return from_classes(entry, "class folders in", place, classes, problems)
    every = [(split, name) for split in SPLITS for name in members[split]]
    if any((place / name).is_dir() for _, name in every[:3]):
        classes = []
        for split, name in every:
            if (place / name).is_dir():
                found = class_in(place, name, split, problems)
                classes.append(found._replace(files=chosen(entry, name, found.files, problems)))
            else:
                problems.append(f"folder {place} lacks the class folder {name!r}")
        return from_classes(entry, "class folders in", place, classes, problems)
    if entry.splits == "mini_imagenet" and (place / "images").is_dir():
        return _one_folder(entry, place, problems)
    return None


def _below(place: Path, split: str, names: tuple[str, ...]) -> str:
    """Return the folder of a split that holds one of its classes, or nothing."""
    for folder in FOLDERS[split]:
        if any((place / folder / name).is_dir() for name in names[:3]):
            return folder
    return ""


def _split_tree(
    entry: PictureSet, place: Path, folders: dict[str, str], problems: list[str]
) -> Iterator[Class]:
    """Yield the classes of a tree with a folder for each split."""
    for split in SPLITS:
        expected = entry.members()[split]
        folder = folders[split] or FOLDERS[split][0]
        there = {path.name for path in (place / folder).glob("[!.]*") if path.is_dir()}
        foreign = sorted(there - set(expected))
        problems += [
            f"class {n!r} in {place / folder} is not of the {split} split" for n in foreign
        ]
        for name in expected:
            if name in there:
                yield class_in(place, f"{folder}/{name}", split, problems)
            else:
                problems.append(f"folder {place / folder} lacks the class folder {name!r}")


def chosen(
    entry: PictureSet, name: str, files: tuple[str, ...], problems: list[str]
) -> tuple[str, ...]:
    """Return the pictures of a class that belong to the set, those of ImageNet by file number.

    miniImageNet counts the pictures of a class of ImageNet in the order of the numbers in their
    names; a prepared folder with as many pictures as it takes is taken as it is.
    """
    if entry.splits != "mini_imagenet" or len(files) == entry.each:
        return files
    matches = [_NUMBER.search(file) for file in files]
    if not all(matches):
        problems.append(f"class {name!r} has files without a number: use ImageNet's own names")
        return files
    order = sorted((int(m[1]), file) for m, file in zip(matches, files, strict=True) if m)
    wanted = mini_numbers(name)
    if wanted[-1] > len(order):
        problems.append(
            f"class {name!r} has {len(order)} pictures, miniImageNet asks for number {wanted[-1]}"
        )
        return files
    return tuple(order[n - 1][1] for n in wanted)


def _one_folder(entry: PictureSet, place: Path, problems: list[str]) -> Located:
    """Return miniImageNet from the 60,000 files of one folder, named as in its published lists."""
    there = {path.name for path in (place / "images").iterdir()}
    classes = []
    for split in SPLITS:
        for wnid in entry.members()[split]:
            names = [f"{wnid}{number:08d}.jpg" for number in mini_numbers(wnid)]
            if missing := [name for name in names if name not in there]:
                problems.append(
                    f"folder {place / 'images'} lacks {len(missing)} pictures of class {wnid!r}, "
                    f"the first {missing[0]!r}"
                )
            classes.append(Class(wnid, split, tuple(f"images/{name}" for name in names)))
    return from_classes(entry, "pictures in", place, classes, problems)
