"""Look for a published set in the data folder, the cache, or a place that is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from metaccord.data.cache import cache_folder
from metaccord.data.published import cifar100, cub, imagenet, trees
from metaccord.data.published.facts import SETS, PictureSet, mini_numbers
from metaccord.data.published.located import Located
from metaccord.errors import DataError, unknown

_ROADS = (cifar100.find, cub.find, trees.find, imagenet.find)


def locate(name: str, root: str | Path | None = None, splits: str | None = None) -> Located:
    """Return where a set is, once names and counts are right; nothing is decoded.

    Args:
        name: Of the set.
        root: Its file or folder, or a folder with it; None looks in ``METACCORD_DATA``, then in the
            cache.
        splits: Facts file and column of another split than the usual one.

    Raises:
        UsageError: for an unknown name.
        DataError: if it is nowhere, or not complete.
    """
    if name not in SETS:
        raise unknown("data set", name, SETS)
    entry = SETS[name]._replace(splits=splits or SETS[name].splits)
    for where in _places(entry, root):
        for road in _ROADS:
            if found := road(entry, where):
                return found
    raise DataError(missing(entry, _roots(root)))


def glimpse(name: str, root: str | Path | None = None) -> Path | None:
    """Return where something of a set lies, without looking into it.

    Args:
        name: Of the set.
        root: As for :func:`locate`.
    """
    entry = SETS[name]
    first = [names[0] for names in entry.members().values()]
    kinds = [folder for names in trees.FOLDERS.values() for folder in names]
    signs = [*first, *(f"{one}.tar" for one in first), *(f"{k}/{n}" for k in kinds for n in first)]
    if entry.archive is not None:
        signs.append(entry.archive.name)
    if entry.splits.startswith("cifar100"):
        signs += ["train.bin", "cifar-100-binary/train.bin"]
    if entry.splits.startswith("cub"):
        signs += [f"images/{first[0]}", f"CUB_200_2011/images/{first[0]}"]
    if entry.splits == "mini_imagenet":
        signs.append(f"images/{first[0]}{mini_numbers(first[0])[0]:08d}.jpg")
    found = (where / sign for where in _places(entry, root) for sign in signs)
    return next((path for path in found if path.exists()), None)


def _roots(root: str | Path | None) -> list[Path]:
    if root is not None:
        return [Path(root).expanduser()]
    named = os.environ.get("METACCORD_DATA")
    return [*([Path(named).expanduser()] if named else []), cache_folder()]


def _places(entry: PictureSet, root: str | Path | None) -> Iterator[Path]:
    """Yield the files and folders in which a set may lie."""
    for place in _roots(root):
        for folder in dict.fromkeys(("", entry.name, *entry.folders)):
            where = place / folder if folder else place
            if where.exists():
                yield where


def missing(entry: PictureSet, places: list[Path]) -> str:
    """Return what to put where."""
    searched = ", ".join(map(str, places))
    archive = ""
    if entry.archive is not None:
        archive = f" ({entry.archive.seal} from {entry.archive.url})"
    return (
        f"data set {entry.name} was not found in {searched}: put into such a folder "
        f"(METACCORD_DATA names one) {entry.put}{archive}"
    )
