"""Sign Language Digits: colour photographs of hands that show 0-9, from one npz file.

The file is made from the public repository ``ardamavi/Sign-Language-Digits-Dataset`` (commit
``4b09433ef9d5``, Apache License 2.0, Copyright 2017 Arda Mavi), ``Dataset/{0..9}/IMG_*.JPG``:
each picture is opened with Pillow, converted to RGB, resized to 32x32 with ``LANCZOS``; pictures
are sorted by digit, then by file number. Another JPEG decoder may round a few pixels otherwise;
such a file is refused here, because results would no longer compare.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.data.archives import Limits
from metaccord.data.cache import cache_folder
from metaccord.data.npz import ArraySpec, read_npz
from metaccord.errors import DataError

NAME = "sign_digits"
PROCESSED = "sign_digits32.npz"
SIDE = 32
COUNTS = (205, 206, 206, 206, 207, 207, 207, 206, 208, 204)
"""Pictures of each digit 0-9; they are stored digit by digit."""
TOTAL = sum(COUNTS)
PIXELS_SHA256 = "060f0307bd008b8af46305132c4acaf9a12c9b4411f139982842379ccc3429d9"
"""Of the array ``images`` as stored: uint8 ``[2062, 32, 32, 3]`` in C order."""
CITATION = (
    "A. Mavi, A New Dataset and Proposed Convolutional Neural Network Architecture for "
    "Classification of American Sign Language Digits, arXiv:2011.08927, 2020"
)
_ARRAYS = {
    "images": ArraySpec((TOTAL, SIDE, SIDE, 3), "uint8"),
    "labels": ArraySpec((TOTAL,), "int64"),
}
_LIMITS = Limits(8 << 20, members=16, member_bytes=8 << 20, total_bytes=16 << 20)


class SignDigitPictures(NamedTuple):
    """The whole set, sorted by digit, then by the number in the original file name.

    Attributes:
        pictures: Red, green, blue, ``[2062, 3, 32, 32]``, uint8; row 0 is the top.
        labels: The digit shown, ``[2062]``, int64.
    """

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load(place: str | Path | None = None) -> SignDigitPictures:
    """Return the pictures, checked by their pixel hash.

    Args:
        place: ``sign_digits32.npz``, or a folder with it (also in its subfolder
            ``sign_digits``). None looks in ``METACCORD_DATA``, then in the cache.

    Returns:
        Pictures ``[2062, 3, 32, 32]`` and digits ``[2062]``.

    Raises:
        DataError: if the file is not found, damaged, or another one.
    """
    path = find(place)
    arrays = read_npz(path, _ARRAYS, _LIMITS)
    images, labels = arrays["images"], arrays["labels"]
    found = hashlib.sha256(images.data).hexdigest()
    if found != PIXELS_SHA256:
        raise DataError(
            f"{path} holds other pictures than {NAME}: found pixel SHA-256 {found}, expected "
            f"{PIXELS_SHA256}; get a fresh copy"
        )
    if not np.array_equal(labels, np.repeat(np.arange(len(COUNTS)), COUNTS)):
        raise DataError(
            f"{path}, array 'labels' is not the digits 0-9 in order with {COUNTS} pictures each: "
            "get a fresh copy"
        )
    return SignDigitPictures(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels)


def find(place: str | Path | None) -> Path:
    """Return the file; nothing is read.

    Args:
        place: As in :func:`load`.

    Raises:
        DataError: if it is nowhere.
    """
    named = os.environ.get("METACCORD_DATA")
    if place is not None:
        searched = [Path(place).expanduser()]
    else:
        searched = [*([Path(named).expanduser()] if named else []), cache_folder()]
    for folder in searched:
        for path in (folder, folder / NAME / PROCESSED, folder / PROCESSED):
            if path.is_file():
                return path
    raise DataError(
        f"data set {NAME} was not found in {', '.join(map(str, searched))}: it is not fetched; "
        f"set METACCORD_DATA to a folder that holds {NAME}/{PROCESSED} (arrays images uint8 "
        f"[{TOTAL}, {SIDE}, {SIDE}, 3] and labels int64 [{TOTAL}]; made from "
        "https://github.com/ardamavi/Sign-Language-Digits-Dataset as the docstring of "
        "metaccord.data.sign_digits says)"
    )
