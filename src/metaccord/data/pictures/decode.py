"""One picture: from the bytes of a PNG or JPEG file, perhaps hostile, to a small array."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["grey", "colour", "ink"]
Fit = Literal["stretch", "crop"]
MODES = ("grey", "colour", "ink")
FITS = ("stretch", "crop")
FILE_BYTES = 128 << 20
MOST_PIXELS = 64_000_000
"""Larger pictures are refused before a pixel is decoded."""
_AT_MOST = f"at most {MOST_PIXELS // 10**6} million are read, make it smaller"
_SHORTEST = 4
_FORMATS = ("PNG", "JPEG")
_JPEG = ("JPEG", "MPO")  # MPO: a JPEG with further views, as telephones make them
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")


class Form(NamedTuple):
    """What pictures become.

    Attributes:
        size: Height and width, in pixels.
        mode: ``"grey"``, ``"colour"``, or ``"ink"``: dark on light paper becomes 1 on 0.
        fit: ``"stretch"`` the whole picture to a square, or ``"crop"`` its middle.
    """

    size: int
    mode: Mode
    fit: Fit = "stretch"

    @property
    def channels(self) -> int:
        """Three for colour, else one."""
        return 3 if self.mode == "colour" else 1


class Look(NamedTuple):
    """What the header of a picture says.

    Attributes:
        width, height: In pixels, as stored.
        grey: Whether it has no colours.
    """

    width: int
    height: int
    grey: bool


def look(content: bytes, where: str) -> Look:
    """Return size and kind of a picture from its header.

    Args:
        content: A PNG or JPEG file.
        where: What messages call it.

    Raises:
        DataError: if it is no such file, animated, or too small or large.
    """
    with _opened(content, where) as picture:
        return Look(*picture.size, picture.mode in _GREY)


def decode(content: bytes, form: Form, where: str) -> NDArray[np.uint8]:
    """Return a picture in the form asked for.

    The EXIF orientation is applied; what is transparent lies on white; 16 bits become 8; CMYK
    becomes RGB. It is resized by Lanczos' filter; 1-bit pictures in the mode ``"ink"`` by the
    nearest pixel, as in the published preparation of Omniglot.

    Args:
        content: A PNG or JPEG file.
        form: Size, mode and fit.
        where: What messages call it.

    Returns:
        ``[channels, size, size]``; 0 to 255, in the mode ``"ink"`` 0 or 1.

    Raises:
        DataError: if it is no such file, broken, animated, or too small or large.
    """
    with _opened(content, where) as picture:
        return _formed(picture, form)


def plain(picture: Image) -> Image:
    """Return an open picture as 8-bit grey, if it has no colours, or RGB.

    As for :func:`decode`: upright, what is transparent on white, 16 bits become 8.
    """
    from PIL import ImageOps

    upright: Image = _plain(ImageOps.exif_transpose(picture), colour=picture.mode not in _GREY)
    return upright


def fingerprint(pixels: NDArray[np.uint8]) -> int:
    """Return the difference hash of a decoded picture, 64 bits.

    Each bit says whether brightness rises between neighbours of 9x8 means; pictures that differ
    by compression or a little brightness share nearly all bits.
    """
    from PIL import Image

    grey = pixels[0] if len(pixels) == 1 else np.asarray(pixels, np.float32).mean(0)
    if len(pixels) == 1 and pixels.max() <= 1:
        grey = pixels[0] * np.uint8(255)
    small = Image.fromarray(np.asarray(grey, np.float32)).resize((9, 8), Image.Resampling.BOX)
    values = np.asarray(small)
    bits = values[:, 1:] > values[:, :-1] + 1  # one level of slack, for plain areas
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


@contextmanager
def _opened(content: bytes, where: str) -> Iterator[Image]:
    """Open a picture whose header is acceptable; whatever goes wrong inside becomes DataError."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # judged below
            warnings.filterwarnings("ignore", message=".*Transparency expressed in bytes.*")
            with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
                _judge(picture)
                yield picture
    except _Refused as error:
        raise DataError(f"{where} {error}") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{where} has too many pixels: {_AT_MOST}") from error
    except MemoryError:
        raise
    except Exception as error:  # a hostile file raises whatever Pillow thinks of
        raise DataError(
            f"{where} is no intact PNG or JPEG picture ({_brief(error)}): mend or remove it"
        ) from error


class _Refused(Exception):
    """A picture that can be read but is not wanted; the message says why and what to do."""


def _judge(picture: Image) -> None:
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise _Refused(f"has {width}x{height} pixels: {_AT_MOST}")
    if min(width, height) < _SHORTEST:
        raise _Refused(
            f"has {width}x{height} pixels, at least {_SHORTEST} on each side are needed: remove it"
        )
    if picture.format == "PNG" and getattr(picture, "is_animated", False):
        raise _Refused("is animated: save one frame of it as a PNG picture")


def _brief(error: Exception) -> str:
    """Return what Pillow says, without the address of its buffer."""
    text = str(error) or type(error).__name__
    return "not recognised" if text.startswith("cannot identify image file") else text[:100]


def _formed(picture: Any, form: Form) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    if picture.format in _JPEG and picture.width * picture.height > 1 << 22:
        picture.draft(picture.mode, (4 * form.size, 4 * form.size))  # large: decode at a fraction
    picture = ImageOps.exif_transpose(picture)
    nearest = form.mode == "ink" and picture.mode == "1"
    plain = picture if nearest else _plain(picture, colour=form.mode == "colour")
    box = None
    if form.fit == "crop":
        side = min(plain.size)
        left, top = ((length - side) / 2 for length in plain.size)
        box = (left, top, left + side, top + side)
    filters = Image.Resampling
    small = plain.resize(
        (form.size, form.size), filters.NEAREST if nearest else filters.LANCZOS, box=box
    )
    pixels = np.asarray(small, dtype=np.uint8)
    if form.mode == "ink":
        return np.asarray(pixels < (1 if nearest else 128), dtype=np.uint8)[None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if pixels.ndim == 3 else pixels[None]


def _plain(picture: Any, *, colour: bool) -> Any:
    """Return a picture as 8-bit grey or RGB, without transparency."""
    from PIL import Image

    if picture.mode.startswith("I"):
        wide = np.asarray(picture, dtype=np.float64)
        picture = Image.fromarray(np.clip(np.rint(wide / 257), 0, 255).astype(np.uint8))
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        picture = Image.new("RGBA", clear.size, (255, 255, 255, 255))
        picture.alpha_composite(clear)
        picture = picture.convert("RGB")
    return picture.convert("RGB" if colour else "L")
