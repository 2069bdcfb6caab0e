"""From a listed folder to decoded pictures."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.data.archives import read_whole
from metaccord.data.pictures.decode import FILE_BYTES, Form, decode
from metaccord.data.pictures.decoded import Decoded, Recipe, prepared
from metaccord.data.pictures.folders import Listing, first
from metaccord.data.pictures.inventory import WORKERS, Entry, inventory
from metaccord.errors import DataError

_AHEAD = 4 * WORKERS


class Contents(NamedTuple):
    """A folder of class folders whose files have been looked at.

    Attributes:
        listing: Classes and names of files.
        entries: What each file holds, class by class.
        fingerprint: Hash of classes, splits, names and contents.
    """

    listing: Listing
    entries: tuple[Entry, ...]
    fingerprint: str


def contents(listing: Listing) -> Contents:
    """Return what the files of a folder hold.

    Raises:
        DataError: for the first file that is no picture, if one is not.
    """
    found = inventory(listing.root, listing.files)
    if found.problems:
        raise DataError(first(found.problems, listing.root))
    entries = tuple(entry for entry in found.entries if entry is not None)
    digest = hashlib.sha256()
    place = iter(entries)
    for one in listing.classes:
        digest.update(f"{one.split!r} {one.name!r} {len(one.files)}\n".encode())
        for name in one.files:
            digest.update(f"{name!r} {(entry := next(place)).length} {entry.sha256}\n".encode())
    return Contents(listing, entries, digest.hexdigest())


def usual_form(found: Contents) -> Form:
    """Return a size and mode that suit the pictures and the usual small networks."""
    side = statistics.median(min(e.look.width, e.look.height) for e in found.entries)
    size = 28 if side < 32 else 32 if side < 64 else 84
    return Form(size, "grey" if all(e.look.grey for e in found.entries) else "colour")


def opened(found: Contents, form: Form) -> Decoded:
    """Return the decoded pictures of a folder, from the cache or after decoding them.

    Raises:
        DataError: if a picture is broken, or changed since it was looked at.
        ResourceError: if the cache cannot be written.
    """
    listing = found.listing
    paths = [listing.root / name for name in listing.files]
    return prepared(
        Recipe(
            what=f"folder {listing.root}",
            source=found.fingerprint,
            form=form,
            classes=tuple(c.name for c in listing.classes),
            counts=tuple(len(c.files) for c in listing.classes),
            produce=lambda: decoded_files(paths, found.entries, form),
        )
    )


def decoded_files(
    paths: Sequence[Path], entries: Sequence[Entry], form: Form
) -> Iterator[NDArray[np.uint8]]:
    """Yield decoded pictures in order, several being decoded at once.

    Raises:
        DataError: for a broken one, or one that is not as its entry says.
    """

    def content(path: Path, entry: Entry) -> bytes:
        found = read_whole(path, FILE_BYTES)
        if hashlib.sha256(found).hexdigest() != entry.sha256:
            raise DataError(f"file {path} changed while it was read: wait for its writer")
        return found

    pairs = zip(paths, entries, strict=True)
    return at_once((f"file {p}", partial(content, p, e)) for p, e in pairs)(form)


def at_once(
    sources: Iterator[tuple[str, Callable[[], bytes]]],
) -> Callable[[Form], Iterator[NDArray[np.uint8]]]:
    """Return what decodes pictures in order, several at once.

    Args:
        sources: What messages call each picture, and what gives its bytes.
    """

    def decoded(form: Form) -> Iterator[NDArray[np.uint8]]:
        def one(source: tuple[str, Callable[[], bytes]]) -> NDArray[np.uint8]:
            where, content = source
            return decode(content(), form, where)

        with ThreadPoolExecutor(WORKERS) as pool:
            while batch := list(islice(sources, _AHEAD)):
                yield from pool.map(one, batch)

    return decoded
