"""Look for a published set in the data folder, the cache, or a place that is named."""

from __future__ import annotations

import os
from pathlib import Path

from metaccord.data.cache import cache_folder
from metaccord.data.published import cifar100, cub, imagenet, trees
from metaccord.data.published.facts import SETS, PictureSet
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
    named = os.environ.get("METACCORD_DATA")
    if root is not None:
        places = [Path(root).expanduser()]
    else:
        places = [*([Path(named).expanduser()] if named else []), cache_folder()]
    for place in places:
        for folder in dict.fromkeys(("", entry.name, *entry.folders)):
            where = place / folder if folder else place
            if not where.exists():
                continue
            for road in _ROADS:
                if found := road(entry, where):
                    return found
    raise DataError(missing(entry, places))


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
