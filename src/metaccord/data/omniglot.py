"""Omniglot: from an npz file, the official archives or their folders, always the same bits."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.data.archives import LIMITS, Limits, read_members, read_whole
from metaccord.data.cache import cache_folder, locked, make_folder, publish, unwritable
from metaccord.data.catalogue import OMNIGLOT, DataSet
from metaccord.data.download import DIRECT, Connection, fetch_file
from metaccord.data.drawings import CLASSES, DRAWERS, SIDE, assemble, read_folders
from metaccord.data.npz import ArraySpec, read_npz
from metaccord.data.omniglot_facts import Integers, class_table
from metaccord.errors import DataError, ResourceError

PROCESSED = "omniglot28.npz"
_FOLDERS = ("images_background", "images_evaluation")
_BITS = {"bits": ArraySpec((CLASSES, DRAWERS, SIDE * SIDE // 8), "uint8")}
_NPZ_LIMITS = Limits(8 << 20, members=64, member_bytes=8 << 20, total_bytes=32 << 20)


class OmniglotPictures(NamedTuple):
    """The whole set; class k is the character of the original files ``{k+1:04d}_*.png``.

    Attributes:
        pictures: Ink = 1, ``[1623, 20, 28, 28]``, uint8; the second axis is the drawer.
        alphabet: Row of ``alphabet_names``, ``[1623]``.
        character: Number of the character in its alphabet, from 1, ``[1623]``.
        partition: 0 background set, 1 evaluation set, ``[1623]``.
        vinyals: 0 train, 1 validation, 2 test in the split of Vinyals et al., ``[1623]``.
        alphabet_names: Folder names of the original data, 50.
    """

    pictures: NDArray[np.uint8]
    alphabet: Integers
    character: Integers
    partition: Integers
    vinyals: Integers
    alphabet_names: tuple[str, ...]


class Source(NamedTuple):
    """Where pictures come from.

    Attributes:
        road: The processed file, the two zip archives, or the two unpacked folders.
        place: The file, or the folder that holds both.
    """

    road: Literal["npz", "archives", "folders"]
    place: Path


def load(path: str | Path | None = None, *, entry: DataSet = OMNIGLOT) -> OmniglotPictures:
    """Return Omniglot, checked by its pixel hash.

    Args:
        path: ``omniglot28.npz``, or a folder with it, with the two zip archives or with the two
            unpacked folders (in all cases also in its subfolder ``omniglot``). None looks in
            ``METACCORD_DATA``, then in the cache.
        entry: The catalogue's facts.

    Returns:
        Pictures ``[1623, 20, 28, 28]`` and what is known about the classes ``[1623]``.

    Raises:
        DataError: if it is not found, damaged, or not Omniglot.
    """
    source = find(path, entry=entry)
    pictures = _read(source, entry)
    cached = cache_folder() / entry.name
    if source == Source("archives", cached):
        with contextlib.suppress(ResourceError):  # a cache that cannot be written costs only time
            _store(pictures, cached)
    return OmniglotPictures(pictures, *class_table())


def find(path: str | Path | None = None, *, entry: DataSet = OMNIGLOT) -> Source:
    """Return where ``load`` would take Omniglot from; nothing is read.

    Args:
        path: As in ``load``.
        entry: The catalogue's facts.

    Raises:
        DataError: if it is nowhere; the message tells the ways to get it.
    """
    named = os.environ.get("METACCORD_DATA")
    cached = cache_folder() / entry.name
    if path is not None:
        searched = [Path(path).expanduser()]
    else:
        searched = [*([Path(named).expanduser()] if named else []), cached]
    for place in searched:
        if source := _look(place, entry):
            return source
    files = " and ".join(f"{file.seal} from {file.url}" for file in entry.files)
    raise DataError(
        f"data set {entry.name} was not found in {', '.join(map(str, searched))}: run "
        f"'metaccord data fetch {entry.name}', or set METACCORD_DATA to a folder that holds "
        f"{PROCESSED}, or without a network put {files} into {cached}"
    )


def fetch(
    folder: Path | None = None,
    *,
    entry: DataSet = OMNIGLOT,
    connection: Connection = DIRECT,
) -> Path:
    """Download and decode Omniglot unless an intact copy is there.

    Args:
        folder: Where it is kept; None takes the cache.
        entry: The catalogue's facts.
        connection: How to reach the server.

    Returns:
        The processed file, which ``load`` reads.

    Raises:
        DataError: if no intact copy could be had.
        ResourceError: if it cannot be written.
    """
    folder = cache_folder() / entry.name if folder is None else folder
    processed = folder / PROCESSED
    with contextlib.suppress(DataError):
        _read(Source("npz", processed), entry)
        return processed
    for file in entry.files:
        fetch_file(file, folder, connection)
    return _store(_read(Source("archives", folder), entry), folder)


def verify(path: str | Path | None = None, *, entry: DataSet = OMNIGLOT) -> Source:
    """Read Omniglot through, compare its hashes, and return where it is.

    Args:
        path: As in ``load``.
        entry: The catalogue's facts.

    Raises:
        DataError: if it is not found, damaged, or not Omniglot.
    """
    source = find(path, entry=entry)
    _read(source, entry)
    return source


def _look(place: Path, entry: DataSet) -> Source | None:
    """Return what ``place`` holds, the quickest road first."""
    if place.is_file() and place.suffix == ".npz":
        return Source("npz", place)
    folders = (place / entry.name, place)
    for folder in folders:
        if (folder / PROCESSED).is_file():
            return Source("npz", folder / PROCESSED)
    for folder in folders:
        if all((folder / file.name).is_file() for file in entry.files):
            return Source("archives", folder)
        if all((folder / name).is_dir() for name in _FOLDERS):
            return Source("folders", folder)
    return None


def _read(source: Source, entry: DataSet) -> NDArray[np.uint8]:
    """Return the pictures ``[1623, 20, 28, 28]`` once their hash is right."""
    if source.road == "npz":
        bits = read_npz(source.place, _BITS, _NPZ_LIMITS)["bits"]
        pictures = np.unpackbits(bits, axis=-1).reshape(entry.pixels.shape)
    elif source.road == "archives":
        pictures = assemble(_archived(source.place, entry), source.place)
    else:
        pictures = assemble(read_folders(source.place / name for name in _FOLDERS), source.place)
    found = hashlib.sha256(pictures.data).hexdigest()
    if found != entry.pixels.sha256:
        raise DataError(
            f"{source.place} holds other pictures than {entry.name}: found pixel SHA-256 {found}, "
            f"expected {entry.pixels.sha256}; move it away and run "
            f"'metaccord data fetch {entry.name}'"
        )
    return pictures


def _archived(folder: Path, entry: DataSet) -> Iterator[tuple[str, bytes]]:
    """Yield the members of the archives, each archive only when its MD5 is right."""
    for file in entry.files:
        path = folder / file.name
        content = read_whole(path, LIMITS.archive_bytes)
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != file.md5 or (file.size is not None and len(content) != file.size):
            raise DataError(
                f"archive {path} is damaged or another file: found {len(content)} bytes with MD5 "
                f"{found}, expected {file.seal}; get it again from {file.url}"
            )
        yield from read_members(content, path)


def _store(pictures: NDArray[np.uint8], folder: Path) -> Path:
    """Write the processed file; a reader sees a whole one or none."""
    make_folder(folder)
    final, staged = folder / PROCESSED, folder / f".{PROCESSED}.part"
    bits = np.packbits(pictures.reshape(CLASSES, DRAWERS, -1), axis=-1)  # [1623, 20, 98]
    try:
        with locked(folder / f".{PROCESSED}.lock"):
            with staged.open("wb") as handle:
                np.savez_compressed(handle, bits=bits)
            publish(staged, final)
    except OSError as error:
        raise unwritable(final, error) from error
    return final
