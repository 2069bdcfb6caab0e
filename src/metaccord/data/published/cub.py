"""CUB-200-2011 from its archive; its unpacked folder is a tree of class folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaccord.data import tars
from metaccord.data.pictures.decode import FILE_BYTES, Form, decode
from metaccord.data.pictures.inventory import noted
from metaccord.data.published import trees
from metaccord.data.published.facts import SPLITS, PictureSet
from metaccord.data.published.located import Located, judge_archive, judge_counts
from metaccord.errors import DataError

_TOP = "CUB_200_2011"
_LISTS = ("classes.txt", "images.txt")
_MOST = 4 << 30


def find(entry: PictureSet, place: Path) -> Located | None:
    """Return CUB from ``CUB_200_2011.tgz`` or its unpacked folder in ``place``, or None.

    Raises:
        DataError: if it is there, but damaged or not complete.
    """
    if entry.archive is None or not entry.splits.startswith("cub"):
        return None
    for folder in (place / "images", place / _TOP / "images"):
        if found := trees.find(entry, folder) if folder.is_dir() else None:
            return found
    archive = place if place.is_file() else place / entry.archive.name
    return _archived(entry, archive) if archive.is_file() else None


def _archived(entry: PictureSet, path: Path) -> Located:
    assert entry.archive is not None
    judge_archive(path, entry.archive)
    files = noted(path, "pictures", lambda: _index(path))
    place: dict[str, list[str]] = {n: [] for split in SPLITS for n in entry.members()[split]}
    for name in files:
        kind = name.split("/")[-2]
        if kind not in place:
            raise DataError(f"archive {path} has pictures of {kind!r}, which is no class of CUB")
        place[kind].append(name)
    judge_counts(entry, path, [(kind, len(names)) for kind, names in place.items()])
    order = {n: row for row, n in enumerate(n for names in place.values() for n in sorted(names))}
    counts = tuple(map(len, place.values()))

    def produce(form: Form) -> Iterator[NDArray[np.uint8]]:
        waiting: dict[int, NDArray[np.uint8]] = {}
        row = 0
        with tars.opened(path) as handle:
            for member in tars.walk(handle, str(path), _MOST):
                if member.name in order:
                    content = tars.read(handle, member, FILE_BYTES)
                    where = f"{path}, member {member.name!r},"
                    waiting[order[member.name]] = decode(content, form, where)
                while row in waiting:
                    yield waiting.pop(row)
                    row += 1

    return Located(entry, "archive", path, entry.archive.md5 + entry.splits, counts, produce)


def _index(path: Path) -> Any:
    """Return the names of all pictures, once they are those of ``images.txt``."""
    files, lists = [], {}
    with tars.opened(path) as handle:
        for member in tars.walk(handle, str(path), _MOST):
            top, _, rest = member.name.partition("/")
            if top == _TOP and rest.startswith("images/"):
                files.append(member.name)
            elif top == _TOP and rest in _LISTS:
                text = tars.read(handle, member, 1 << 22).decode("utf-8", "replace")
                lists[rest] = [line.split()[-1] for line in text.splitlines() if line.strip()]
    expected = {f"{_TOP}/images/{name}" for name in lists.get("images.txt", [])}
    kinds = set(lists.get("classes.txt", []))
    if set(files) != expected or {name.split("/")[-2] for name in files} != kinds:
        raise DataError(
            f"archive {path} has {len(files)} pictures, its images.txt names {len(expected)} and "
            f"its classes.txt {len(kinds)} classes: get a fresh copy"
        )
    return files
