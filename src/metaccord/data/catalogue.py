"""Facts about the data sets that can be fetched: names, licences, files and hashes."""

from __future__ import annotations

from typing import NamedTuple

from metaccord.errors import unknown


class RemoteFile(NamedTuple):
    """A file on a server.

    Attributes:
        name: Its name in the cache folder.
        url: Where it is; https only.
        md5: Its MD5, in hexadecimal.
        size: Its length in bytes; None if unknown.
    """

    name: str
    url: str
    md5: str
    size: int | None = None

    @property
    def seal(self) -> str:
        """What an intact copy looks like, for people."""
        length = "" if self.size is None else f"{self.size} bytes, "
        return f"{self.name} ({length}MD5 {self.md5})"


class PixelHash(NamedTuple):
    """The SHA-256 of an unpacked uint8 array in C order, ink = 1.

    Attributes:
        shape: Shape of the array.
        sha256: The hash, in hexadecimal.
    """

    shape: tuple[int, ...]
    sha256: str


class DataSet(NamedTuple):
    """A catalogue entry.

    Attributes:
        name: What ``metaccord data fetch`` takes; also the folder in the cache.
        description: One line for ``metaccord data list``.
        licence: Licence and holder.
        citation: Authors, title, venue, year.
        files: What is downloaded.
        pixels: Hash of the pictures as they are used, whatever road they came by.
        original_pixels: Hash of the pictures before resizing.
    """

    name: str
    description: str
    licence: str
    citation: str
    files: tuple[RemoteFile, ...]
    pixels: PixelHash
    original_pixels: PixelHash


_OMNIGLOT_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"

OMNIGLOT = DataSet(
    name="omniglot",
    description="1623 handwritten characters of 50 alphabets, 20 drawings each, 28x28, 1 bit",
    licence="MIT, Copyright (c) 2015 Brenden Lake",
    citation=(
        "B. M. Lake, R. Salakhutdinov and J. B. Tenenbaum, Human-level concept learning through "
        "probabilistic program induction, Science 350, 1332-1338, 2015"
    ),
    files=(
        RemoteFile(
            "images_background.zip",
            f"{_OMNIGLOT_URL}images_background.zip",
            "68d2efa1b9178cc56df9314c21c6e718",
            9464212,
        ),
        RemoteFile(
            "images_evaluation.zip",
            f"{_OMNIGLOT_URL}images_evaluation.zip",
            "6b91aef0f799c5bb55b94e3f2daec811",
            6462886,
        ),
    ),
    pixels=PixelHash(
        (1623, 20, 28, 28), "0af7d7da73fce8b77233b6df35f73ca7db62eb28e5902efd06b4c909ba95c066"
    ),
    original_pixels=PixelHash(
        (1623, 20, 105, 105), "b3a28d0e34c4daf19fe5d04f6f68f58a2de755709c5a8715faf93a512b0a81e7"
    ),
)

CATALOGUE = (OMNIGLOT,)
"""Every data set that can be fetched."""


def find_data_set(name: str) -> DataSet:
    """Return the catalogue entry called ``name``.

    Args:
        name: As listed by ``metaccord data list``.

    Raises:
        UsageError: if there is none.
    """
    entries = {entry.name: entry for entry in CATALOGUE}
    if name not in entries:
        raise unknown("data set", name, entries)
    return entries[name]
