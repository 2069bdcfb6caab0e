"""Read npz files that may be damaged or hostile: each header is compared before it is believed."""

from __future__ import annotations

import io
import math
import os
import tokenize
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from metaccord.data.archives import LIMITS, Limits, read_members, read_whole
from metaccord.errors import DataError

BAD_HEADER = (
    ValueError,
    TypeError,
    SyntaxError,
    RecursionError,
    EOFError,
    UserWarning,
    tokenize.TokenError,
)
"""What reading the header of a damaged array may raise."""


class ArraySpec(NamedTuple):
    """What an array of a known file must be.

    Attributes:
        shape: Its shape; None stands for any length.
        dtype: The name of its type, for example ``"uint8"``; ``"int32|int64"``: either of them;
            ``"str"``: text of up to 256 characters.
    """

    shape: tuple[int | None, ...]
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
    return unpack_npz(read_whole(path, limits.archive_bytes), path, expected, limits)


def unpack_npz(
    content: bytes,
    path: Path,
    expected: Mapping[str, ArraySpec],
    limits: Limits = LIMITS,
    *,
    optional: Mapping[str, ArraySpec] | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the expected arrays of an npz file that has been read.

    Args:
        content: The file's bytes.
        path: What messages call it.
        expected: Shape and type of each array wanted.
        limits: What is too large.
        optional: The same for arrays that may be missing.

    Returns:
        The arrays, by name, in C order.

    Raises:
        DataError: if the file is damaged, an array is missing, or its header is not as expected.
    """
    arrays = {}
    wanted = {**expected, **(optional or {})}
    for member, packed in read_members(content, path, limits):
        name = member.removesuffix(".npy")
        if name in wanted:
            try:
                arrays[name] = _array(packed, wanted[name])
            except BAD_HEADER as error:
                raise DataError(
                    f"file {path}, array {name!r} is not as expected ({error}): get a fresh copy"
                ) from error
    if missing := sorted(set(expected) - set(arrays)):
        raise DataError(f"file {path} has no array {missing[0]!r}: get a fresh copy")
    return arrays


def map_npy(path: Path, spec: ArraySpec) -> np.ndarray[Any, Any]:
    """Return the array of an npy file, memory-mapped and read-only.

    Args:
        path: The file.
        spec: Shape and type it must have.

    Raises:
        DataError: if it is missing, cut, or its header is not as expected.
    """
    try:
        with path.open("rb") as handle:
            shape, dtype = _header(handle, spec)
            start, length = handle.tell(), os.fstat(handle.fileno()).st_size
            expected = start + math.prod(shape) * dtype.itemsize
            if length != expected:
                raise ValueError(f"found {length} bytes, expected {expected}")
        return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)
    except (OSError, *BAD_HEADER) as error:
        raise DataError(f"file {path} is not as expected ({error}): remove it") from error


def _array(packed: bytes, spec: ArraySpec) -> np.ndarray[Any, Any]:
    """Return the array in ``packed`` once its header says exactly what ``spec`` says."""
    stream = io.BytesIO(packed)
    shape, dtype = _header(stream, spec)
    return np.frombuffer(packed[stream.tell() :], dtype=dtype).reshape(shape)


def _header(stream: BinaryIO, spec: ArraySpec) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type once the header says exactly what ``spec`` says."""
    version = npy.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"found npy version {version}, expected (1, 0)")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a header that needs mending is not ours
        shape, fortran, dtype = npy.read_array_header_1_0(stream)
    fits = len(shape) == len(spec.shape) and all(
        found >= 0 and wanted in (found, None)
        for found, wanted in zip(shape, spec.shape, strict=True)
    )
    if not fits or not _is_kind(dtype, spec.dtype) or fortran:
        order = " in Fortran order" if fortran else ""
        lengths = tuple("any" if length is None else length for length in spec.shape)
        raise ValueError(f"found {dtype} {shape}{order}, expected {spec.dtype} {lengths}")
    return shape, dtype


def _is_kind(dtype: np.dtype[Any], names: str) -> bool:
    """Say whether a type is what a specification asks for."""
    if names == "str":
        return dtype.kind == "U" and dtype.isnative and 0 < dtype.itemsize <= 4 * 256
    return any(dtype == np.dtype(name) for name in names.split("|"))
