"""Damaged and hostile npz files: one kind of error, the file named, nothing trusted."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from metaccord.data import ArraySpec, read_npz
from metaccord.errors import DataError

EXPECTED = {"bits": ArraySpec((3, 4), "uint8")}
GOOD = np.arange(12, dtype=np.uint8).reshape(3, 4)


class Canary:
    """Whoever unpickles this has failed."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("the pickle was run",)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def write(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    line = text.encode()
    return b"\x93NUMPY" + version + len(line).to_bytes(2, "little") + line


HUGE = "{'descr': '|u1', 'fortran_order': False, 'shape': (34359738368,)}\n"
BAD: dict[str, bytes] = {
    "shape": npy(GOOD.reshape(4, 3)),
    "axes": npy(GOOD.ravel()),
    "type": npy(GOOD.astype(np.int8)),
    "big endian": npy(GOOD.astype(">u2")),
    "Fortran": npy(np.asfortranarray(GOOD)),
    "objects": npy(np.array([[Canary()] * 4] * 3, dtype=object)),
    "pickle": pickle.dumps(Canary()),
    "huge header": header(HUGE) + bytes(12),
    "code": header("__import__('os').system('true')\n"),
    "open bracket": header("{'descr': (((((((\n"),
    "other version": header(HUGE, b"\x03\x00"),
    "no header": b"",
    "magic only": b"\x93NUMPY\x01\x00",
    "cut data": npy(GOOD)[:-1],
    "more data": npy(GOOD) + b"x",
}


def test_the_expected_arrays_come_back(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", bits=npy(GOOD), other=BAD["objects"])
    arrays = read_npz(path, EXPECTED)
    assert list(arrays) == ["bits"]
    assert np.array_equal(arrays["bits"], GOOD)


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_array_is_named(tmp_path: Path, fault: str) -> None:
    path = write(tmp_path / "a.npz", bits=BAD[fault])
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"a\.npz, array 'bits' is not as expected.*fresh copy"):
            read_npz(path, EXPECTED)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_missing_array_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no array 'bits'"):
        read_npz(write(tmp_path / "a.npz", other=npy(GOOD)), EXPECTED)
    for path in (tmp_path / "missing.npz", tmp_path):
        with pytest.raises(DataError, match=r"is missing or no regular file"):
            read_npz(path, EXPECTED)
