"""Pictures of every mode become the same pixels; hostile ones are refused in one sentence."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from metaccord.data.pictures.decode import MOST_PIXELS, Form, decode, look
from metaccord.errors import DataError
from tests.drawn import drawing, encoded

COLOUR, GREY, INK = Form(16, "colour"), Form(16, "grey"), Form(16, "ink")


@pytest.fixture
def picture() -> Image.Image:
    return drawing(1, np.random.default_rng(0), 48)


def grey_of(picture: Image.Image) -> np.ndarray:
    small = picture.convert("L").resize((16, 16), Image.Resampling.LANCZOS)
    return np.asarray(small)[None]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_is_read(mode: str, picture: Image.Image) -> None:
    stored = picture.convert(mode)
    content = encoded(stored)
    found = decode(content, COLOUR, "x")
    assert found.shape == (3, 16, 16)
    assert found.dtype == np.uint8
    expected = stored.convert("RGB").resize((16, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(found, np.asarray(expected).transpose(2, 0, 1))
    assert look(content, "x") == (48, 48, mode in ("1", "L", "LA"))


def test_sixteen_bits_keep_their_brightness() -> None:
    """Pillow's own conversion to 8 bits would cut at 255, so all but the darkest would be white."""
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    content = encoded(Image.fromarray(ramp))
    assert Image.open(io.BytesIO(content)).mode == "I;16"
    assert np.array_equal(decode(content, GREY, "x")[0], np.rint(ramp / 257.0).astype(np.uint8))


def test_cmyk_and_jpeg(picture: Image.Image) -> None:
    content = encoded(picture.convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(content)).mode == "CMYK"
    found = decode(content, COLOUR, "x").astype(int)
    expected = np.asarray(picture.resize((16, 16), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    assert np.abs(found - expected).mean() < 12


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert decode(encoded(clear), COLOUR, "x").min() == 255
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([0, 0, 0] * 256)
    assert decode(encoded(palette, transparency=0), GREY, "x").min() == 255


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_orientation_of_the_camera_is_applied(kind: str) -> None:
    half = Image.new("L", (32, 32), 255)
    half.paste(0, (0, 0, 16, 32))  # dark on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise: dark on top
    found = decode(encoded(half, kind, exif=exif), GREY, "x")[0]
    assert found[:6].max() < 40
    assert found[10:].min() > 215


def test_fit() -> None:
    wide = Image.new("L", (64, 32), 255)
    wide.paste(0, (0, 0, 16, 32))
    stretched = decode(encoded(wide), GREY, "x")[0]
    assert stretched[:, 0].max() < 30
    cropped = decode(encoded(wide), GREY._replace(fit="crop"), "x")[0]
    assert cropped.min() > 200


def test_ink_of_one_bit_takes_the_nearest_pixel() -> None:
    paper = Image.new("1", (32, 32), 1)
    paper.paste(0, (8, 8, 24, 24))
    found = decode(encoded(paper), INK, "x")
    assert set(np.unique(found)) == {0, 1}
    assert found[0, 4:12, 4:12].all()
    assert found.sum() == 64
    photograph = decode(encoded(paper.convert("RGB"), "JPEG"), INK, "x")
    assert np.array_equal(photograph, found)


def test_large_jpeg_is_decoded_at_a_fraction(picture: Image.Image) -> None:
    large = picture.resize((3000, 3000))
    found = decode(encoded(large, "JPEG"), COLOUR, "x").astype(int)
    assert np.abs(found - decode(encoded(picture), COLOUR, "x")).mean() < 6


def test_a_telephone_s_second_view_is_left_alone(picture: Image.Image) -> None:
    stream = io.BytesIO()
    picture.save(stream, "MPO", save_all=True, append_images=[picture.rotate(90)])
    assert Image.open(io.BytesIO(stream.getvalue())).format == "MPO"
    found = decode(stream.getvalue(), COLOUR, "x").astype(int)
    assert np.abs(found - decode(encoded(picture), COLOUR, "x")).mean() < 6


def claimed(width: int, height: int) -> bytes:
    """A PNG whose header claims a size; its data are nothing but zeros."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        code = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", code)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1 << 20), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def animated() -> bytes:
    frames = [Image.new("L", (16, 16), level) for level in (0, 128, 255)]
    return encoded(frames[0], save_all=True, append_images=frames[1:])


BAD = {
    "empty": (b"", "no intact"),
    "text": (b"hello" * 100, "not recognised"),
    "gif": (encoded(Image.new("L", (16, 16)), "GIF"), "not recognised"),
    "webp": (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "no intact"),
    "one pixel": (encoded(Image.new("L", (1, 1))), "at least 4"),
    "a line": (encoded(Image.new("L", (1000, 2))), "at least 4"),
    "bomb": (claimed(30_000, 30_000), "at most 64 million"),
    "above the cap": (claimed(9000, 9000), "has 9000x9000 pixels: at most 64 million"),
    "claims more than it has": (claimed(4000, 4000), "no intact"),
    "animated": (animated(), "animated"),
    "cut": (encoded(drawing(0, np.random.default_rng(0)))[:-200], "no intact"),
    "cut jpeg": (encoded(drawing(0, np.random.default_rng(0)), "JPEG")[:-300], "no intact"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_refused(name: str) -> None:
    content, words = BAD[name]
    with pytest.raises(DataError, match=words) as caught:
        decode(content, GREY, "file x.png")
    assert str(caught.value).startswith("file x.png")
    assert " at 0x" not in str(caught.value)


def test_a_bomb_takes_no_memory() -> None:
    content = claimed(30_000, 30_000)
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            decode(content, GREY, "x")
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert MOST_PIXELS < 89_478_485  # from where Pillow warns


def test_no_mutation_escapes() -> None:
    """Random damage: DataError or a picture, nothing else."""
    rng = np.random.default_rng(3)
    originals = [
        encoded(drawing(2, rng), "PNG"),
        encoded(drawing(2, rng), "JPEG"),
        encoded(drawing(2, rng).convert("P"), "PNG"),
    ]
    refused = 0
    for _ in range(300):
        content = bytearray(originals[rng.integers(3)])
        for _ in range(rng.integers(1, 4)):
            content[rng.integers(len(content))] = rng.integers(256)
        try:
            assert decode(bytes(content), COLOUR, "x").shape == (3, 16, 16)
        except DataError:
            refused += 1
    assert 100 < refused < 300
