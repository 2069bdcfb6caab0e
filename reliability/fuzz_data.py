"""Readers of data files, with makers of damaged and hostile files, and oracles."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzz_mutations import changed_bytes
from fuzz_target import Target
from PIL import Image

from metaccord.data import ArraySpec, Limits, drawings, graphs, read_members
from metaccord.data.npz import unpack_npz
from metaccord.errors import DataError

LIMITS = Limits(1 << 20, members=50, member_bytes=1 << 18, total_bytes=1 << 20)
SPEC = {"bits": ArraySpec((3, 4), "uint8"), "free": ArraySpec((None,), "int32|int64")}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


def npy(array: Any) -> bytes:
    """Return an array as the bytes of an npy file."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
    return stream.getvalue()


ZIPS = [zipped({"a/b.png": b"good" * 20, "a/c": bytes(300), "d": b""}, m) for m in (0, 8)]
ARRAYS = {"bits": np.arange(12, dtype=np.uint8).reshape(3, 4), "free": np.arange(5)}
GRAPH = {
    "adj_indptr": np.array([0, 2, 3, 4, 4]), "adj_indices": np.array([1, 2, 0, 3]),
    "feat_indptr": np.array([0, 1, 2, 3, 4]), "feat_indices": np.array([0, 1, 0, 1]),
    "feat_data": np.ones(4), "feat_dim": np.array(2), "labels": np.array([0, 1, -1, 1]),
    "class_names": np.array(["cat", "dog"]),
}  # fmt: skip


def _picture() -> bytes:
    stream = io.BytesIO()
    bits = (np.indices((105, 105)).sum(0) % 7 == 0) * np.uint8(255)
    Image.fromarray(bits).convert("1").save(stream, "PNG")
    return stream.getvalue()


PICTURE = _picture()


def _archive(content: bytes, place: Path) -> None:
    found = list(read_members(content, "x.zip", LIMITS))
    assert sum(len(data) for _, data in found) <= LIMITS.total_bytes
    for name, data in found:
        assert not name.startswith("/")
        assert not set(name.split("/")) & {"", ".", ".."}
        assert len(data) <= LIMITS.member_bytes
    assert len({name.casefold() for name, _ in found}) == len(found)


def _make_npz(draw: Random) -> bytes:
    if draw.random() < 0.3:
        return changed_bytes(draw, zipped({f"{k}.npy": npy(v) for k, v in ARRAYS.items()}))
    packed = {f"{k}.npy": npy(v) for k, v in ARRAYS.items()}
    name = draw.choice(list(packed))
    head, data = packed[name][:128], packed[name][128:]
    if draw.random() < 0.3:
        packed[name] = head + draw.randbytes(len(data))
    else:
        packed[name] = changed_bytes(draw, head) + data
    return zipped(packed, 0)


def _npz(content: bytes, place: Path) -> None:
    found = unpack_npz(content, place / "x.npz", SPEC, LIMITS)
    assert found["bits"].shape == (3, 4)
    assert found["bits"].dtype == np.uint8
    assert found["free"].ndim == 1
    assert found["free"].dtype in (np.int32, np.int64)


def _make_graph(draw: Random) -> bytes:
    arrays = {k: v.copy() for k, v in GRAPH.items()}
    for _ in range(draw.choice((1, 1, 2))):
        name = draw.choice(list(arrays))
        array, kind = arrays[name], draw.randrange(7)
        if kind == 0:
            del arrays[name]
            break
        if kind == 1:
            kinds = ("U1", "U5") if array.dtype.kind == "U" else ("i2", "f4", "u1", "U3", ">i8")
            with np.errstate(invalid="ignore", over="ignore"):
                arrays[name] = array.astype(draw.choice(kinds))
        elif kind == 2:
            arrays[name] = array.ravel()[: draw.randrange(5)]
        elif kind == 3:
            arrays[name] = np.stack([array, array], draw.randrange(array.ndim + 1))
        elif array.dtype.kind == "f" and array.size:
            with np.errstate(over="ignore"):
                values = (np.nan, np.inf, 1e300, -1, 1e38, 0)
                array.ravel()[draw.randrange(array.size)] = draw.choice(values)
        elif array.dtype.kind == "i" and array.size:
            values = (-1, 0, 1, 2, 3, 4, 5, 2**15, 2**31, 2**40, 2**63 - 1, -(2**63))
            limits = np.iinfo(array.dtype)
            fitting = [value for value in values if limits.min <= value <= limits.max]
            array.ravel()[draw.randrange(array.size)] = draw.choice(fitting)
        elif array.dtype.kind == "U" and array.size == 2:
            letters = np.ascontiguousarray(array).view(np.uint32).ravel()
            letters[draw.randrange(letters.size)] = draw.choice(
                (0, 10, 0x110000, 2**32 - 1, 0xD800)
            )
            arrays[name] = letters.view(array.dtype)
    packed = {f"{k}.npy": npy(v) for k, v in arrays.items()}
    return zipped(packed, 0)


def _graph(content: bytes, place: Path) -> None:
    (place / "g.npz").write_bytes(content)
    found = graphs.load(str(place / "g.npz"))
    nodes = len(found.labels)
    assert len(found.indptr) == nodes + 1
    assert ((found.indices >= 0) & (found.indices < nodes)).all()
    assert ((found.labels >= -1) & (found.labels < len(found.class_names))).all()
    assert np.isfinite(found.features.values).all()
    assert (found.features.indices < found.feature_count).all()


def _make_picture(draw: Random) -> bytes:
    """Change a chunk and mend its checksum, or change the file as it is."""
    if draw.random() < 0.3:
        return changed_bytes(draw, PICTURE)
    chunks, at = [], 8
    while at < len(PICTURE):
        (size,) = struct.unpack_from(">I", PICTURE, at)
        chunks.append((PICTURE[at + 4 : at + 8], PICTURE[at + 8 : at + 8 + size]))
        at += 12 + size
    which = draw.randrange(len(chunks))
    kind, data = chunks[which]
    if kind == b"IDAT" and draw.random() < 0.5:
        data = zlib.compress(changed_bytes(draw, zlib.decompress(data)))
    else:
        data = changed_bytes(draw, data)
    chunks[which] = (draw.choice((kind, kind, b"PLTE", b"tRNS", b"zTXt", b"iCCP", b"acTL")), data)
    if draw.random() < 0.2:
        draw.shuffle(chunks)
    out = [PICTURE[:8]]
    for kind, data in chunks:
        out += [struct.pack(">I", len(data)), kind, data]
        out.append(struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(out)


def _drawing(content: bytes, place: Path) -> None:
    bits = drawings._decode(content, "x.png")
    assert bits.shape == (28, 28)
    assert set(np.unique(bits)) <= {0, 1}


TARGETS: dict[str, Target] = {
    "archive": Target((DataError,), lambda d: changed_bytes(d, d.choice(ZIPS)), _archive),
    "npz": Target((DataError,), _make_npz, _npz),
    "graph": Target((DataError,), _make_graph, _graph),
    "drawing": Target((DataError,), _make_picture, _drawing),
}
