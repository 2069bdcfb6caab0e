"""A cache of decoded pictures: one plain array, memory-mapped, checked class by class.

A folder of the cache holds ``pictures.npy`` (uint8 ``[N, channels, size, size]``, class by class),
``marks.npy`` (uint64 ``[N, 2]``: a hash of the pixels, and their difference hash) and a sealed
``manifest.json`` with the facts they were made from and SHA-256 of each class. Its name is the hash
of these facts, so other pictures or another form lie in another folder. It appears complete or not
at all; one process builds while others wait; what is damaged is found and built again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord import fs, jsontree
from metaccord.data.cache import cache_folder, locked, make_folder, unwritable
from metaccord.data.npz import ArraySpec, map_npy
from metaccord.data.pictures.decode import Form, fingerprint
from metaccord.errors import DataError, ResourceError
from metaccord.staging import staged

log = logging.getLogger("metaccord")
FORMAT = 1
_PAUSE = 5.0  # seconds between two lines of progress


class Recipe(NamedTuple):
    """How to decode a set of pictures.

    Attributes:
        what: What it is called in messages.
        source: Hash of the content of all files, in order.
        form: What pictures become.
        classes: Names, in the order of rows.
        counts: Pictures of each class.
        produce: Yields the decoded pictures in the order of rows.
    """

    what: str
    source: str
    form: Form
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    produce: Callable[[], Iterator[NDArray[np.uint8]]]

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides what the decoded pictures are."""
        return {
            "format": FORMAT,
            "source": self.source,
            "form": list(self.form),
            "classes": list(self.classes),
            "counts": list(self.counts),
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all pictures: ``(N, channels, size, size)``."""
        return (sum(self.counts), self.form.channels, self.form.size, self.form.size)


class Decoded:
    """Decoded pictures of a recipe, read where they lie.

    A class is compared with its hash when it is first drawn from; one that is damaged is decoded
    again from its source.

    Args:
        recipe: What they were made from.
        folder: Of the cache.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self._folder = recipe, folder
        self.starts = np.concatenate([[0], np.cumsum(recipe.counts)]).astype(np.int64)
        self._open()

    def _open(self) -> None:
        self._manifest = _intact(self.recipe, self._folder)
        count = len(self)
        self._pictures = map_npy(
            self._folder / "pictures.npy", ArraySpec(self.recipe.shape, "uint8")
        )
        self.marks = np.array(
            map_npy(self._folder / "marks.npy", ArraySpec((count, 2), "uint64")), copy=True
        )
        if hashlib.sha256(self.marks.data).hexdigest() != self._manifest["marks"]:
            raise DataError(f"file {self._folder / 'marks.npy'} is damaged: remove its folder")
        self._checked: set[int] = set()

    def __len__(self) -> int:
        return self.recipe.shape[0]

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return pictures by their rows: ``[..., channels, size, size]``.

        Raises:
            DataError: if the cache is damaged and the source has changed since.
        """
        touched = np.unique(np.searchsorted(self.starts, rows.ravel(), side="right") - 1)
        for number in set(touched.tolist()) - self._checked:
            self._check(number)
        return self._pictures[rows]

    def _check(self, number: int) -> None:
        """Compare one class with its hash; build the cache again if it is damaged."""
        part = slice(*self.starts[number : number + 2])
        for attempt in range(2):
            found = hashlib.sha256(self._pictures[part].data).hexdigest()
            if found == self._manifest["blocks"][number]:
                self._checked.add(number)
                return
            if attempt == 0:
                log.warning("the cache of %s is damaged: decoding again", self.recipe.what)
                with locked(_lock_of(self._folder)):
                    _build(self.recipe, self._folder)
                self._open()
        raise DataError(f"the disk changes what is written to {self._folder}: use another one")

    def statistics(self, classes: NDArray[np.int64]) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of each channel over some classes.

        The deviation is at least 1 (for ink 1/255), so that plain pictures can be divided by it.
        """
        sums = np.array([self._manifest["sums"][c] for c in classes])  # [C, 2, channels]
        size = self.recipe.form.size
        count = sum(self.recipe.counts[c] for c in classes) * size * size
        mean, square = sums.sum(0) / count
        least = 1 / 255 if self.recipe.form.mode == "ink" else 1.0
        deviation = np.sqrt(np.maximum(square - mean * mean, 0)).clip(least)
        return np.round(mean, 4).tolist(), np.round(deviation, 4).tolist()


def prepared(recipe: Recipe) -> Decoded:
    """Return the decoded pictures of a recipe, from the cache or after building it there.

    Args:
        recipe: What to decode.

    Raises:
        DataError: if a picture cannot be decoded, or files changed since they were looked at.
        ResourceError: if the cache cannot be written.
    """
    name = jsontree.digest(recipe.facts)[:32]
    folder = cache_folder() / "pictures" / name
    make_folder(folder.parent)
    try:
        with locked(_lock_of(folder)):
            try:
                return Decoded(recipe, folder)
            except DataError:
                if folder.exists():
                    log.warning("the cache of %s is damaged: decoding again", recipe.what)
                _build(recipe, folder)
            return Decoded(recipe, folder)
    except OSError as error:
        raise unwritable(folder, error) from error


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _intact(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Return the manifest.

    Raises:
        DataError: if it is missing, damaged, or of another recipe.
    """
    try:
        manifest = jsontree.unseal(fs.read(folder / "manifest.json"))
    except (OSError, ValueError, ResourceError) as error:
        raise DataError(f"folder {folder} of the cache is not complete ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("facts") != recipe.facts:
        raise DataError(f"folder {folder} of the cache holds something else")
    return manifest


def _build(recipe: Recipe, folder: Path) -> None:
    """Decode everything beside ``folder``, then move it there; the lock is held."""
    staging = folder.with_name(f".{folder.name}.part")
    if staging.exists():
        fs.remove(staging)  # of a process that was killed
    with staged(staging, folder):
        make_folder(staging)
        need = int(np.prod(recipe.shape)) + (1 << 20)
        if (room := fs.free(staging)) < need:
            raise ResourceError(
                f"the cache of {recipe.what} needs {need >> 20} MiB, {folder.parent} has "
                f"{room >> 20} MiB: make room, or set METACCORD_CACHE to another folder"
            )
        facts = _decode_all(recipe, staging)
        fs.write(staging / "manifest.json", jsontree.seal({"facts": recipe.facts, **facts}))
        if folder.exists():
            fs.remove(folder)


def _decode_all(recipe: Recipe, staging: Path) -> dict[str, Any]:
    """Write the arrays; return the hashes and sums of the classes."""
    blocks, sums = [], []
    marks = np.zeros((recipe.shape[0], 2), dtype=np.uint64)
    pictures, row, told = recipe.produce(), 0, time.monotonic()
    with (staging / "pictures.npy").open("wb") as handle:
        _header(handle, recipe.shape, np.dtype(np.uint8))
        for count in recipe.counts:
            digest, total = hashlib.sha256(), np.zeros((2, recipe.form.channels), dtype=np.int64)
            for _ in range(count):
                pixels = next(pictures)
                content = pixels.tobytes()
                handle.write(content)
                digest.update(content)
                wide = pixels.astype(np.int64)
                total += np.stack([wide.sum((1, 2)), (wide * wide).sum((1, 2))])
                short = hashlib.blake2b(content, digest_size=8).digest()
                marks[row] = int.from_bytes(short, "big"), fingerprint(pixels)
                row += 1
                if time.monotonic() - told > _PAUSE:
                    told = time.monotonic()
                    log.info("decoding %s: %d of %d pictures", recipe.what, row, recipe.shape[0])
            blocks.append(digest.hexdigest())
            sums.append(total.tolist())
        handle.flush()
        os.fsync(handle.fileno())
    with (staging / "marks.npy").open("wb") as handle:
        _header(handle, marks.shape, marks.dtype)
        handle.write(marks.tobytes())
        handle.flush()
        os.fsync(handle.fileno())
    return {"blocks": blocks, "sums": sums, "marks": hashlib.sha256(marks.data).hexdigest()}


def _header(handle: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(handle, header)
