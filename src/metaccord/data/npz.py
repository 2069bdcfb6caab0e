"""Read npz files that may be damaged or hostile: each header is compared before it is believed."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from metaccord.data.archives import LIMITS, Limits, read_members, read_whole
from metaccord.errors import DataError

_BAD_HEADER = (ValueError, TypeError, SyntaxError, RecursionError, EOFError, tokenize.TokenError)


class ArraySpec(NamedTuple):
    """What an array of a known file must be.

    Attributes:
        shape: Its shape.
        dtype: The name of its type, for example ``"uint8"``.
    """

    shape: tuple[int, ...]
    dtype: str


def read_npz(
    path: Path, expected: Mapping[str, ArraySpec], limits: Limits = LIMITS
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the expected arrays of an npz file; others in it are left alone.

    Args:
        path: The file.
        expected: Shape and type of each array wanted.
        limits: What is too large.

    Returns:
        The arrays, by name, in C order.

    Raises:
        DataError: if the file is damaged, an array is missing, or its header is not as expected.
    """
    content = read_whole(path, limits.archive_bytes)
    arrays = {}
    for member, packed in read_members(content, path, limits):
        name = member.removesuffix(".npy")
        if name in expected:
            try:
                arrays[name] = _array(packed, expected[name])
            except _BAD_HEADER as error:
                raise DataError(
                    f"file {path}, array {name!r} is not as expected ({error}): get a fresh copy"
                ) from error
    if missing := sorted(set(expected) - set(arrays)):
        raise DataError(f"file {path} has no array {missing[0]!r}: get a fresh copy")
    return arrays


def _array(packed: bytes, spec: ArraySpec) -> np.ndarray[Any, Any]:
    """Return the array in ``packed`` once its header says exactly what ``spec`` says."""
    stream = io.BytesIO(packed)
    version = npy.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"found npy version {version}, expected (1, 0)")
    shape, fortran, dtype = npy.read_array_header_1_0(stream)
    wanted = np.dtype(spec.dtype)
    if shape != spec.shape or dtype != wanted or fortran:
        order = " in Fortran order" if fortran else ""
        raise ValueError(f"found {dtype} {shape}{order}, expected {wanted} {spec.shape}")
    return np.frombuffer(packed[stream.tell() :], dtype=wanted).reshape(spec.shape)
