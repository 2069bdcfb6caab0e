"""CIFAR-100 from its binary version; the Python version is refused, because it holds pickles."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metaccord.data import tars
from metaccord.data.archives import read_whole
from metaccord.data.pictures.decode import Form
from metaccord.data.published.facts import SPLITS, PictureSet, facts
from metaccord.data.published.located import Located, judge_archive, judge_counts
from metaccord.errors import DataError

_FOLDER = "cifar-100-binary"
_PARTS = ("train.bin", "test.bin")
_SIDE = 32
_RECORD = 2 + 3 * _SIDE * _SIDE  # coarse label, fine label, then red, green and blue rows
_MOST = 256 << 20
_PYTHON = ("cifar-100-python.tar.gz", "cifar-100-python")


def find(entry: PictureSet, place: Path) -> Located | None:
    """Return a set that is made of CIFAR-100's binary version in ``place``, or None.

    Raises:
        DataError: if only the Python version is there, or the files are damaged.
    """
    if entry.archive is None or not entry.splits.startswith("cifar100"):
        return None
    archive = place if place.is_file() else place / entry.archive.name
    for folder in (place / _FOLDER, place):
        if all((folder / part).is_file() for part in _PARTS):
            parts = [read_whole(folder / part, _MOST) for part in _PARTS]
            source = hashlib.sha256(b"".join(parts)).hexdigest()
            return _located(entry, "binary version in", folder, source, parts)
    if archive.is_file():
        if archive.name in _PYTHON:
            raise _pickled(archive, entry)
        judge_archive(archive, entry.archive)
        return _located(entry, "archive", archive, entry.archive.md5, None)
    for name in _PYTHON:
        if (place / name).exists():
            raise _pickled(place / name, entry)
    return None


def _pickled(path: Path, entry: PictureSet) -> DataError:
    assert entry.archive is not None
    return DataError(
        f"{path} holds pickles, which can run any program and are not read: get the binary version "
        f"{entry.archive.seal} from {entry.archive.url}"
    )


def _located(
    entry: PictureSet, road: str, place: Path, source: str, parts: list[bytes] | None
) -> Located:
    """Return the set; an archive is unpacked when its pictures are asked for."""
    classes = [row[0] for row in facts("cifar100")["classes"]]
    order = [classes.index(name) for split in SPLITS for name in entry.members()[split]]
    if parts is not None:
        records = _records(parts, place)
        judge_counts(entry, place, [(classes[k], int((records[:, 1] == k).sum())) for k in order])
    each = entry.each or 0

    def produce(form: Form) -> Iterator[NDArray[np.uint8]]:
        found = _records(_unpacked(place) if parts is None else parts, place)
        counts = [(classes[k], int((found[:, 1] == k).sum())) for k in order]
        judge_counts(entry, place, counts)
        for k in order:
            for record in found[found[:, 1] == k]:
                yield _resized(record[2:].reshape(3, _SIDE, _SIDE), form)

    return Located(entry, road, place, source, (each,) * len(order), produce)


def _unpacked(path: Path) -> list[bytes]:
    """Return ``train.bin`` and ``test.bin`` of the archive."""
    found = {}
    with tars.opened(path) as handle:
        for member in tars.walk(handle, str(path), _MOST):
            name = member.name.rsplit("/", 1)[-1]
            if name in _PARTS:
                found[name] = tars.read(handle, member, _MOST)
    if len(found) < len(_PARTS):
        raise DataError(f"archive {path} lacks {_PARTS[0]} or {_PARTS[1]}: get a fresh copy")
    return [found[name] for name in _PARTS]


def _records(parts: list[bytes], place: Path) -> NDArray[np.uint8]:
    """Return all records ``[N, 3074]``, once labels agree with the class list."""
    if any(len(part) % _RECORD for part in parts):
        raise DataError(
            f"{place} has files that are no whole number of records of {_RECORD} bytes: get a "
            "fresh copy"
        )
    records = np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(-1, _RECORD)
    rows = facts("cifar100")["classes"]
    names = sorted({row[1] for row in rows})
    coarse = np.array([names.index(row[1]) for row in rows])
    fine = records[:, 1]
    if len(records) and (fine.max() >= len(rows) or (coarse[fine] != records[:, 0]).any()):
        raise DataError(f"{place} has labels that are not those of CIFAR-100: get a fresh copy")
    return records


def _resized(pixels: NDArray[np.uint8], form: Form) -> NDArray[np.uint8]:
    if form.size == _SIDE:
        return pixels
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    resized = picture.resize((form.size, form.size), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))
