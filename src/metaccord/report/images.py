"""Small pictures as text: PNG files inside the page.

Legend: H rows, W columns.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from torch import Tensor

SIDE = 64  # pixels of a picture at most


def png(pixels: np.ndarray) -> str:
    """Return a data address of a PNG file.

    Args:
        pixels: uint8, grey ``[H, W]``, colours ``[H, W, 3]`` or with opacity ``[H, W, 4]``.
    """
    height, width = pixels.shape[:2]
    kind = {2: 0, 3: 2, 4: 6}[pixels.ndim if pixels.ndim == 2 else pixels.shape[2]]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], 1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    packed = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    content = b"\x89PNG\r\n\x1a\n" + packed
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def picture(values: Tensor, low: float, high: float) -> str:
    """Return one example as a small picture; one channel is ink, so ``high`` is dark.

    Args:
        values: ``[channels, H, W]`` with 1 or 3 channels.
        low, high: Values of the two ends of the scale.
    """
    found = values.detach().double().cpu().numpy()
    step = -(-max(found.shape[1:]) // SIDE)
    if step > 1:  # means of blocks
        height, width = (n // step * step for n in found.shape[1:])
        blocks = found[:, :height, :width].reshape(
            found.shape[0], height // step, step, width // step, step
        )
        found = blocks.mean((2, 4))
    scaled = np.nan_to_num((found - low) / (high - low if high > low else 1.0)).clip(0, 1)
    if scaled.shape[0] == 1:
        return png((255 * (1 - scaled[0])).round().astype(np.uint8))
    return png((255 * scaled.transpose(1, 2, 0)).round().astype(np.uint8))


def signed_map(values: np.ndarray) -> str:
    """Return a picture of numbers in [-1, 1]: blue above 0, orange below, clear at 0 and NaN.

    It looks right on a light and on a dark page, because it is nothing but ink.

    Args:
        values: ``[H, W]``.
    """
    blue, orange = (0x1F, 0x77, 0xC4), (0xDD, 0x6B, 0x0F)
    known = np.nan_to_num(values)
    ink = (255 * np.abs(known).clip(0, 1) ** 0.85).round().astype(np.uint8)
    colour = np.where((known >= 0)[..., None], np.array(blue), np.array(orange))
    return png(np.concatenate([colour, ink[..., None]], 2).astype(np.uint8))


def height_map(values: np.ndarray, levels: np.ndarray, *, scale: int = 14) -> str:
    """Return bands of a surface: much ink where it is low, clear where it is high or NaN.

    Args:
        values: Heights at the points of a grid, first row at the bottom, ``[H, W]``.
        levels: Ascending borders of the bands.
        scale: Pixels between two points of the grid.
    """
    fine = _finer(values[::-1], scale)
    band = np.searchsorted(levels, np.nan_to_num(fine, nan=np.inf))  # 0 is lowest
    ink = (230 * (1 - band / len(levels))).round().astype(np.uint8)
    colour = np.broadcast_to(np.array((0x1F, 0x77, 0xC4), np.uint8), (*fine.shape, 3))
    return png(np.concatenate([colour, ink[..., None]], 2).astype(np.uint8))


def _finer(values: np.ndarray, scale: int) -> np.ndarray:
    """Interpolate linearly between the points of a grid."""
    for _ in range(2):
        old = np.arange(len(values))
        new = np.linspace(0, len(values) - 1, (len(values) - 1) * scale + 1)
        left = np.minimum(new.astype(int), len(old) - 2) if len(old) > 1 else new.astype(int)
        share = (new - left)[:, None]
        right = np.minimum(left + 1, len(old) - 1)
        values = ((1 - share) * values[left] + share * values[right]).T
    return values
