"""A folder of class folders: which classes and pictures are there, and all that is wrong."""

from __future__ import annotations

import logging
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from metaccord.errors import DataError

log = logging.getLogger("metaccord")
SUFFIXES = (".png", ".jpg", ".jpeg")
FOREIGN = (
    ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".svg", ".ppm",
    ".pgm", ".tga", ".ico", ".psd", ".raw", ".jfif",
)  # fmt: skip
_SPLIT_NAMES = {
    "train": "train", "training": "train", "meta-train": "train", "meta_train": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "meta-val": "validation", "meta_val": "validation",
    "test": "test", "testing": "test", "meta-test": "test", "meta_test": "test",
}  # fmt: skip


class Class(NamedTuple):
    """A class and its pictures.

    Attributes:
        name: Of its folder.
        split: ``"train"``, ``"validation"`` or ``"test"``; empty if the tree does not say.
        files: Paths under the root, sorted, with ``/``.
    """

    name: str
    split: str
    files: tuple[str, ...]


class Listing(NamedTuple):
    """What a folder of class folders holds.

    Attributes:
        root: The folder.
        classes: Sorted by split, then by name.
        problems: All that is wrong with names and kinds of files; one sentence each.
        loose: Pictures beside class folders, which belong to no class; paths under the root.
    """

    root: Path
    classes: tuple[Class, ...]
    problems: tuple[str, ...]
    loose: tuple[str, ...] = ()

    def note_loose(self) -> None:
        """Warn of pictures that belong to no class."""
        if self.loose:
            log.warning(
                "folder %s has pictures beside its class folders, which are in no class and are "
                "not used: %r (%d in all); put them into class folders or move them away",
                self.root, self.loose[0], len(self.loose),
            )  # fmt: skip

    @property
    def files(self) -> tuple[str, ...]:
        """All pictures, class by class."""
        return tuple(name for found in self.classes for name in found.files)


def listed(root: Path) -> Listing:
    """Return the classes of a folder; nothing is opened.

    Args:
        root: A folder with a folder of pictures for each class, or with such folders in
            ``train``, ``validation`` (``val``) and ``test``.

    Raises:
        DataError: for the first thing that is wrong, if anything is.
    """
    found = survey(root)
    if found.problems:
        raise DataError(first(found.problems, root))
    return found


def first(problems: tuple[str, ...] | list[str], root: Path) -> str:
    """Return the first of some problems, and how to see the others."""
    more = len(problems) - 1
    others = f" (and {more} more: see 'metaccord data check {root}')" if more else ""
    return f"{problems[0]}{others}"


def survey(root: Path) -> Listing:
    """Return the classes of a folder with everything that is wrong.

    Args:
        root: As in :func:`listed`.
    """
    problems: list[str] = []
    if not root.is_dir():
        kind = "is no folder" if root.exists() else "does not exist"
        return Listing(root, (), (f"folder {root} {kind}: give a folder of class folders",))
    folders = list(_folders(root, problems))
    splits = {name: _SPLIT_NAMES[name.lower()] for name in folders if name.lower() in _SPLIT_NAMES}
    classes: list[Class] = []
    places: list[str] = []  # under the root, that hold class folders
    if {"train", "test"} <= set(splits.values()):
        problems += [
            f"folder {root} has {name!r} beside the folders for training and test: move it away"
            for name in folders
            if name not in splits
        ]
        twice = [s for s in set(splits.values()) if list(splits.values()).count(s) > 1]
        problems += [f"folder {root} has two folders for {s}: keep one" for s in sorted(twice)]
        for folder, split in sorted(splits.items()):
            names = list(_folders(root / folder, problems))
            places.append(folder)
            classes += [class_in(root, f"{folder}/{name}", split, problems) for name in names]
            problems += _same(root / folder, names)
    else:
        classes = [class_in(root, name, "", problems) for name in folders]
        problems += _same(root, folders)
    loose = _loose(root, ["", *places])
    if not classes and not problems:
        what = "pictures but no class folders" if loose else "no class folders"
        problems.append(
            f"folder {root} has {what}: put the pictures of each class into a folder of its own"
        )
    kept = tuple(sorted((c for c in classes if c.files), key=lambda c: (c.split, c.name)))
    return Listing(root, kept, tuple(problems), loose)


def class_in(root: Path, below: str, split: str, problems: list[str]) -> Class:
    """Return the class in one folder.

    Args:
        root: The folder of all.
        below: The class folder, under it.
        split: Of the class; empty if unknown.
        problems: What is wrong with its files is added here.
    """
    folder, files = root / below, []
    for name in _names(folder, problems):
        path, suffix = folder / name, os.path.splitext(name)[1].lower()
        try:
            kind = os.stat(path).st_mode
        except OSError as error:
            problems.append(f"file {path} cannot be read ({error.strerror}): mend or remove it")
            continue
        if stat.S_ISDIR(kind):
            problems.append(
                f"class folder {folder} holds the folder {name!r}: put its pictures directly into "
                "the class folder"
            )
        elif suffix in FOREIGN:
            problems.append(f"file {path} is neither PNG nor JPEG: convert or remove it")
        elif suffix in SUFFIXES:
            if stat.S_ISREG(kind):
                files.append(f"{below}/{name}")
            else:
                problems.append(f"file {path} is no regular file: remove it")
    problems += _same(folder, [name.rsplit("/", 1)[1] for name in files])
    if not files:
        problems.append(f"class folder {folder} holds no PNG or JPEG picture: fill it or remove it")
    return Class(Path(below).name, split, tuple(files))


def _folders(folder: Path, problems: list[str]) -> Iterator[str]:
    """Yield the names of folders in a folder; a link that leads nowhere is a problem."""
    for name in _names(folder, problems):
        try:
            if stat.S_ISDIR(os.stat(folder / name).st_mode):
                yield name
        except OSError as error:
            problems.append(
                f"{folder / name} cannot be followed ({error.strerror}): mend or remove it"
            )


def _loose(root: Path, places: list[str]) -> tuple[str, ...]:
    """Return the pictures that lie directly in some folders, as paths under the root."""
    return tuple(
        f"{place}/{name}".lstrip("/")
        for place in places
        for name in _names(root / place, [])
        if name.lower().endswith(SUFFIXES + FOREIGN) and (root / place / name).is_file()
    )


def _names(folder: Path, problems: list[str]) -> list[str]:
    """Return the sorted names in a folder, without hidden ones."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith((".", "__MACOSX")))
    except OSError as error:
        problems.append(f"folder {folder} cannot be listed ({error.strerror}): mend it")
        return []


def folded(name: str) -> str:
    """Return a name as a file system without case or with another Unicode form sees it."""
    return unicodedata.normalize("NFC", name).casefold()


def _same(folder: Path, names: list[str]) -> list[str]:
    """Return a problem for each name that is another one but for case."""
    seen: dict[str, str] = {}
    problems = []
    for name in names:
        before = seen.setdefault(folded(name), name)
        if before != name:
            problems.append(
                f"folder {folder} has {before!r} and {name!r}, which are one name on some "
                "machines: rename one"
            )
    return problems
