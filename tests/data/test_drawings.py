"""The original drawings: the published way of resizing, and files that are not what they say."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaccord.data.drawings import assemble
from metaccord.errors import DataError
from tests.data.conftest import png


def test_lanczos_and_nearest_agree_on_one_bit(originals: np.ndarray) -> None:
    for row in originals[::200, 0]:
        with Image.open(io.BytesIO(png(row))) as picture:
            small = [picture.resize((28, 28), Image.Resampling(way)) for way in (0, 1)]
        assert small[0].tobytes() == small[1].tobytes()


def drawing(mode: str, size: tuple[int, int], kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        drawing("1", (105, 104)),
        drawing("1", (28, 28)),
        drawing("L", (105, 105)),
        drawing("RGB", (105, 105)),
        drawing("1", (105, 105), "GIF"),
        drawing("1", (105, 105))[:45],
        drawing("1", (20_000, 20_000)),
    ],
)
def test_a_bad_picture_is_named(content: bytes) -> None:
    name = "images_background/Latin/character01/0001_01.png"
    with pytest.raises(DataError, match=r"place, file '.*0001_01\.png' is no 1-bit PNG picture"):
        assemble([(name, content)], Path("place"))


@pytest.mark.parametrize("number", ["0000_01", "1624_01", "0001_00", "0001_21"])
def test_a_number_outside_is_named(number: str) -> None:
    with pytest.raises(DataError, match=rf"{number}\.png' is there twice or has a number outside"):
        assemble([(f"character01/{number}.png", b"")], Path("place"))


def test_a_drawing_twice_is_named() -> None:
    content = drawing("1", (105, 105))
    files = [(f"{top}/character01/0001_01.png", content) for top in "ab"]
    with pytest.raises(DataError, match=r"'b/character01/0001_01\.png' is there twice"):
        assemble(files, Path("place"))
