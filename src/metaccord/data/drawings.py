"""Decode the original Omniglot drawings, 105x105 PNG files, to 28x28 bits."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metaccord.data.archives import read_whole
from metaccord.errors import DataError

CLASSES, DRAWERS, SIDE, ORIGINAL_SIDE = 1623, 20, 28, 105
_NAME = re.compile(r"(?:.*/)?character\d\d/(\d{4})_(\d\d)\.png")
_LARGEST = 1 << 16


def assemble(files: Iterable[tuple[str, bytes]], source: Path) -> NDArray[np.uint8]:
    """Decode all drawings and put each where its name says.

    ``KKKK_DD.png`` is drawing DD (from 01) of class KKKK - 1. Other files are left alone.

    Args:
        files: Name and content of each file.
        source: What messages call their origin.

    Returns:
        Bits with ink = 1, ``[1623, 20, 28, 28]``.

    Raises:
        DataError: if a drawing is missing, there twice, or damaged.
    """
    pictures = np.zeros((CLASSES, DRAWERS, SIDE, SIDE), dtype=np.uint8)
    seen = np.zeros((CLASSES, DRAWERS), dtype=bool)
    for name, content in files:
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        place = (int(match[1]) - 1, int(match[2]) - 1)
        if not (0 <= place[0] < CLASSES and 0 <= place[1] < DRAWERS) or seen[place]:
            raise DataError(
                f"{source}, file {name!r} is there twice or has a number outside 0001_01 to "
                f"{CLASSES}_{DRAWERS}: use the original Omniglot files"
            )
        pictures[place] = _decode(content, f"{source}, file {name!r}")
        seen[place] = True
    if not seen.all():
        number, drawer = np.argwhere(~seen)[0] + 1
        raise DataError(
            f"{source} lacks {int((~seen).sum())} of {seen.size} drawings, the first "
            f"{number:04d}_{drawer:02d}.png: use the original Omniglot files"
        )
    return pictures


def read_folders(folders: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each PNG file in ``folder/Alphabet/characterNN/``.

    Args:
        folders: The unpacked images_background and images_evaluation.

    Raises:
        DataError: if a file cannot be read or is too long for a drawing.
    """
    for folder in folders:
        for path in sorted(folder.glob("*/character*/*.png")):
            yield path.relative_to(folder.parent).as_posix(), read_whole(path, _LARGEST)


def _decode(content: bytes, where: str) -> NDArray[np.uint8]:
    """Return one drawing as bits, ``[28, 28]``.

    The published preparation asks Pillow for LANCZOS, which Pillow replaces by the nearest pixel
    for 1-bit pictures; asking for the nearest says what happens.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            for doubt in (UserWarning, Image.DecompressionBombWarning):
                warnings.simplefilter("error", doubt)
            with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
                if picture.mode != "1" or picture.size != (ORIGINAL_SIDE, ORIGINAL_SIDE):
                    raise ValueError(f"found mode {picture.mode}, size {picture.size}")
                small = picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)
        return 1 - np.asarray(small, dtype=np.uint8)  # the files have ink = 0
    except MemoryError:
        raise
    except Exception as error:  # a hostile file raises whatever Pillow thinks of
        raise DataError(
            f"{where} is no 1-bit PNG picture of 105x105 pixels ({error}): get a fresh copy"
        ) from error
