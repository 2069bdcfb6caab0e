"""Where a published set was found, and how to decode it from there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.data.catalogue import RemoteFile
from metaccord.data.pictures.decode import Form
from metaccord.data.pictures.decoded import Decoded, Recipe, prepared
from metaccord.data.pictures.folders import Class, Listing, first
from metaccord.data.pictures.inventory import noted
from metaccord.data.pictures.reading import contents, decoded_files
from metaccord.data.published.facts import SPLITS, PictureSet
from metaccord.errors import DataError

Produce = Callable[[Form], Iterator[NDArray[np.uint8]]]


class Located(NamedTuple):
    """A set that was found.

    Attributes:
        entry: Its facts.
        road: What was found, for people.
        place: Where.
        source: Hash of its content.
        counts: Pictures of each class, those of training first.
        produce: Yields its decoded pictures class by class.
    """

    entry: PictureSet
    road: str
    place: Path
    source: str
    counts: tuple[int, ...]
    produce: Produce

    def opened(self, form: Form) -> Decoded:
        """Return the pictures, from the cache or after decoding them."""
        classes = tuple(name for split in SPLITS for name in self.entry.members()[split])
        what = f"data set {self.entry.name} ({self.road} {self.place})"
        make = partial(self.produce, form)
        return prepared(Recipe(what, self.source, form, classes, self.counts, make))


def from_classes(
    entry: PictureSet, road: str, place: Path, classes: list[Class], problems: list[str]
) -> Located:
    """Return a set that lies in files, once names and counts are right.

    Raises:
        DataError: for the first problem.
    """
    if problems:
        raise DataError(f"data set {entry.name}: {first(problems, place)}")
    judge_counts(entry, place, [(c.name, len(c.files)) for c in classes])
    found = contents(Listing(place, tuple(classes), ()))
    paths = [place / name for name in found.listing.files]

    def produce(form: Form) -> Iterator[NDArray[np.uint8]]:
        return decoded_files(paths, found.entries, form)

    counts = tuple(len(c.files) for c in classes)
    return Located(entry, road, place, found.fingerprint, counts, produce)


def judge_counts(entry: PictureSet, place: Path, counts: list[tuple[str, int]]) -> None:
    """Raise DataError unless there are as many pictures as published."""
    for name, count in counts:
        if entry.each is not None and count != entry.each:
            raise DataError(
                f"{place}: class {name!r} of {entry.name} has {count} pictures, expected "
                f"{entry.each}: get a complete copy"
            )
    total = sum(count for _, count in counts)
    if entry.total is not None and total != entry.total:
        raise DataError(
            f"{place} has {total} pictures of {entry.name}, expected {entry.total}: get a complete "
            "copy"
        )


def judge_archive(path: Path, file: RemoteFile) -> None:
    """Raise DataError unless an archive has the published length and MD5."""

    def md5() -> str:
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False))
        return digest.hexdigest()

    length = path.stat().st_size
    found = "another MD5" if length == file.size else f"{length} bytes"
    if length != file.size or (found := noted(path, "md5", md5)) != file.md5:
        raise DataError(
            f"archive {path} is damaged or another file: found {found}, expected {file.seal}; get "
            f"it again from {file.url}"
        )
