"""Read arrays of users: npz and npy files of any shape, never Python objects."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from metaccord.data.archives import Limits, read_members, read_whole
from metaccord.data.npz import BAD_HEADER
from metaccord.errors import DataError, nearest

Array = np.ndarray[Any, Any]
_BYTES = 4 << 30
LIMITS = Limits(_BYTES, members=256, member_bytes=_BYTES, total_bytes=_BYTES, ratio=1100)
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(
    path: Path, needed: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Array]:
    """Return named arrays of an npz file; others in it are left alone.

    Args:
        path: The file.
        needed: Names of arrays that must be there.
        optional: Names of arrays that may be there.

    Returns:
        Arrays of numbers, truth values or text, of any shape, by name.

    Raises:
        DataError: if the file is missing, damaged or too large, or an array is missing or holds
            Python objects.
    """
    content = read_whole(path, LIMITS.archive_bytes)
    if not content:
        raise DataError(f"file {path} is empty: save arrays with numpy.savez(file, X=..., y=...)")
    if not content.startswith(b"PK"):
        raise DataError(
            f"file {path} is no npz file: save one with numpy.savez(file, X=..., y=...)"
        )
    found, seen = {}, []
    for member, packed in read_members(content, path, LIMITS):
        name = member.removesuffix(".npy")
        seen.append(name)
        if name in needed or name in optional:
            found[name] = unpacked(packed, f"file {path}, array {name!r}")
    for name in needed:
        if name not in found:
            other = [one for one in seen if one.lower() == name.lower()]
            hint = nearest(name, other or seen) if seen else "it holds none"
            raise DataError(
                f"file {path} has no array {name!r} ({hint}): save it with "
                f"numpy.savez(file, {', '.join(f'{one}=...' for one in needed)})"
            )
    return found


def read_array(path: Path, name: str) -> Array:
    """Return one array: of an npz file, or all of an npy file.

    Args:
        path: The file.
        name: The array of an npz file.

    Raises:
        DataError: as :func:`read_arrays`.
    """
    if path.suffix == ".npy":
        return unpacked(read_whole(path, LIMITS.archive_bytes), f"file {path}")
    return read_arrays(path, [name])[name]


def unpacked(packed: bytes, where: str) -> Array:
    """Return the array in the bytes of an npy file.

    Args:
        packed: The bytes.
        where: What messages call it.

    Raises:
        DataError: if they are damaged, or hold something else than numbers, truth values or text.
    """
    stream = io.BytesIO(packed)
    try:
        version = npy.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"npy version {version} is unknown")
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            shape, fortran, dtype = _HEADERS[version](stream)
        if dtype.kind not in "biufU":
            what = "Python objects" if dtype.hasobject else str(dtype)
            raise ValueError(f"it holds {what}, which are never loaded; save numbers or text")
        size = int(np.prod([*shape, dtype.itemsize], dtype=object))
        if min(shape, default=0) < 0 or len(packed) - stream.tell() != size:
            raise ValueError(f"its header says {size} bytes, {len(packed) - stream.tell()} follow")
        if not size:
            return np.zeros(shape, dtype.newbyteorder("="))
        flat = np.frombuffer(packed, dtype, offset=stream.tell())
        if (
            dtype.kind == "U"
            and (flat.view(np.dtype(np.uint32).newbyteorder(dtype.byteorder)) > 0x10FFFF).any()
        ):
            raise ValueError("it is no text")
    except BAD_HEADER as error:
        raise DataError(f"{where} cannot be used ({error}): save it again") from error
    return flat.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="))
