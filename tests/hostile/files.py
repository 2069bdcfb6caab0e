"""Hostile files by the reader that meets them; each is laid into an empty folder."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.hostile import DAMAGED, REFUSED
from tests.data.test_npz import BAD as ARRAYS
from tests.data.test_npz import Canary, header, npy, write

Lay = Callable[[Path], object]
PICKLE = pickle.dumps(Canary())


def content(data: bytes) -> Lay:
    """A file with some content."""
    return lambda path: path.write_bytes(data)


def link(target: str) -> Lay:
    """A symbolic link in place of the file."""
    return lambda path: path.symlink_to(target)


def sparse(size: int) -> Lay:
    """A file that claims to be long and takes no room."""

    def lay(path: Path) -> None:
        with path.open("wb") as handle:
            handle.truncate(size)

    return lay


ODD: dict[str, Lay] = {
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "endless": link("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to nothing": link("nowhere"),
    "sparse": sparse(1 << 36),
    "pickle": content(PICKLE),
    "zip with a pickle": content(REFUSED["parent"] + PICKLE),
}
"""In place of any file."""


def _headers() -> dict[str, bytes]:
    def shaped(shape: str, kind: str = "|u1") -> bytes:
        return header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}\n") + b"x"

    return {
        "overflowing shape": shaped("(4611686018427387904, 4611686018427387904)"),
        "negative shape": shaped("(-1, -12)"),
        "shape of truth values": shaped("(True, True)"),
        "shape of floats": shaped("(3.0, 4.0)"),
        "empty with a huge axis": shaped("(0, 9223372036854775807)"),
        "huge text": shaped("(1,)", "<U536870912"),
        "object": shaped("(3, 4)", "|O"),
        "void": shaped("(3, 4)", "|V1"),
        "record": header("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (3, 4)}\n"),
        "long header": header("{" + " " * 60000 + "}\n"),
        "deep header": header("(" * 900 + ")" * 900 + "\n"),
    }


NPZ: dict[str, Lay] = {
    name: (lambda path, data=data: write(path, bits=data))
    for name, data in {**ARRAYS, **_headers()}.items()
}
GRAPHS: dict[str, Lay] = {
    f"objects as {name}": lambda path, name=name: write(
        path, **{name: npy(np.array([Canary()], dtype=object))}
    )
    for name in ("adj_indptr", "adj_indices", "feat_data", "feat_dim", "labels", "class_names")
}


def png(*chunks: tuple[bytes, bytes], side: int = 105, depth: int = 1) -> bytes:
    """A PNG file of some chunks after its header."""
    head = struct.pack(">IIBBBBB", side, side, depth, 0, 0, 0, 0)
    found = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", head), *chunks, (b"IEND", b"")):
        found += struct.pack(">I", len(data)) + kind + data
        found += struct.pack(">I", zlib.crc32(kind + data))
    return found


ROWS = (b"IDAT", zlib.compress(bytes(15 * 105)))
BOMB = zlib.compress(bytes(1 << 28), 9)
PICTURES: dict[str, Lay] = {
    name: content(data)
    for name, data in {
        "huge picture": png(ROWS, side=30_000),
        "huge picture of few bytes": png(ROWS, side=0x7FFFFFFF),
        "no side": png(ROWS, side=0),
        "other depth": png(ROWS, depth=16),
        "bomb as rows": png((b"IDAT", BOMB[:60_000])),
        "bomb as text": png((b"zTXt", b"a\0\0" + BOMB[:60_000]), ROWS),
        "bomb as international text": png((b"iTXt", b"a\0\1\0\0\0" + BOMB[:60_000]), ROWS),
        "bomb as profile": png((b"iCCP", b"a\0\0" + BOMB[:60_000]), ROWS),
        "animation": png((b"acTL", struct.pack(">II", 0xFFFFFFFF, 0)), ROWS),
        "no rows": png(),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 105 105\n(evil) run\n",
        "TIFF": b"II*\0" + bytes(200),
        "script": b"#!/bin/sh\ntouch evil\n",
    }.items()
}


def tensors(head: Any, data: bytes = bytes(24), length: int | None = None) -> bytes:
    """A safetensors file with a forged header."""
    import json

    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    size = len(text) if length is None else length
    return size.to_bytes(8, "little") + text + data


def _tensor(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24], **changes}}


TENSORS: dict[str, bytes] = {
    "pickle": PICKLE,
    "torch archive": REFUSED["parent"],
    "empty": b"",
    "huge header length": tensors(_tensor(), length=2**63 - 1),
    "header longer than the file": tensors(_tensor(), length=10_000),
    "largest header": tensors(_tensor(), length=100_000_000),
    "huge shape": tensors(_tensor(shape=[2**62])),
    "overflowing shape": tensors(_tensor(shape=[2**32, 2**32, 2**32])),
    "negative shape": tensors(_tensor(shape=[-6])),
    "huge empty shape": tensors(_tensor(shape=[0, 2**62], data_offsets=[0, 0]), b""),
    "offsets behind the end": tensors(_tensor(data_offsets=[0, 2**60])),
    "offsets turned round": tensors(_tensor(data_offsets=[24, 0])),
    "negative offsets": tensors(_tensor(data_offsets=[-24, 0])),
    "overlap": tensors({**_tensor(), "b": _tensor()["a"]}),
    "hole": tensors(_tensor(), bytes(48)),
    "object type": tensors(_tensor(dtype="O")),
    "class as type": tensors(_tensor(dtype="__main__.Canary")),
    "deep header": tensors(b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "not text": tensors(b"\xff\xfe" * 30),
    "code as metadata": tensors({"__metadata__": {"x": "__import__('os')"}, **_tensor(shape=[7])}),
}
TREES: dict[str, Any] = {
    "module as class": {"class": "os.system"},
    "builtin as class": {"class": "eval", "source": "1"},
    "target": {"_target_": "os.system", "_args_": ["touch evil"]},
    "reduce": {"__reduce__": ["os.system", ["touch evil"]], "class": "Method"},
    "python tag": "!!python/object/apply:os.system ['touch evil']",
    "dunder field": {"class": "Method", "__class__": {"class": "SGD"}},
    "huge list": [0] * 100_000,
    "path": "../../../../etc/passwd",
}
"""In place of a part of a run's configuration."""
JSON: dict[str, bytes] = {
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep dict": b'{"a":' * 100_000,
    "huge number": b"1" * 1_000_000,
    "many keys": b"{" + b",".join(b'"%d":1' % i for i in range(100_000)) + b"}",
    "lone surrogates": b'{"content": "\\ud800", "sha256": "\\udfff"}',
    "UTF-16": '{"content": {}, "sha256": "0"}'.encode("utf-16"),
    "not a number": b'{"content": NaN, "sha256": Infinity}',
}
"""In place of a JSON file."""
ARCHIVES = {**REFUSED, **DAMAGED}
