"""Small drawn pictures in folders, for tests that need files of pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

COLOURS = ("red", "green", "blue", "orange", "purple", "teal", "brown", "black")


def drawing(number: int, rng: np.random.Generator, side: int = 32) -> Image.Image:
    """Class ``number``: a disc, box or cross of one colour anywhere on a light ground."""
    light = tuple(int(x) for x in rng.integers(210, 255, 3))
    picture = Image.new("RGB", (side, side), light)
    pen = ImageDraw.Draw(picture)
    x, y = (int(v) for v in rng.integers(1, side // 2, 2))
    width = side // 2 - 2
    box, colour = (x, y, x + width, y + width), COLOURS[number % len(COLOURS)]
    if (kind := number % 3) == 0:
        pen.ellipse(box, fill=colour)
    elif kind == 1:
        pen.rectangle(box, fill=colour)
    else:
        pen.line(box, fill=colour, width=4)
        pen.line((x, y + width, x + width, y), fill=colour, width=4)
    return picture


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def folder(
    root: Path, counts: dict[str, int] | int = 8, each: int = 6, *, side: int = 32, seed: int = 0
) -> Path:
    """Fill ``root`` with class folders: so many classes, or so many pictures by name."""
    rng = np.random.default_rng(seed)
    wanted = counts if isinstance(counts, dict) else {f"class{i:02d}": each for i in range(counts)}
    for number, (name, count) in enumerate(wanted.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            drawing(number, rng, side).save(root / name / f"{i:04d}.png")
    return root
