"""Read tar archives that may be hostile or huge: members come out one by one, nothing is written.

Python's own reader takes headers of any length into memory; this one knows plain files, folders and
long names, refuses the rest, and reads no more than it is allowed to.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from metaccord.errors import DataError

_BLOCK = 512
_LONGEST = 1 << 16  # bytes of a long name with its frame
_BROKEN = (EOFError, zlib.error, OSError, ValueError)


class Member(NamedTuple):
    """A plain file in an archive.

    Attributes:
        name: Its path there.
        start: Where its content begins, bytes.
        length: Of its content, bytes.
    """

    name: str
    start: int
    length: int


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open an archive, unpacking gzip on the way; what breaks while it is read is a DataError.

    Args:
        path: ``*.tar``, ``*.tar.gz`` or ``*.tgz``.

    Raises:
        DataError: if it is missing, no regular file, damaged, or cannot be read.
    """
    if not path.is_file():  # opening a pipe would wait for ever
        raise DataError(f"archive {path} is missing or no regular file: check the path")
    packed = path.suffix in (".gz", ".tgz")
    try:
        with gzip.open(path, "rb") if packed else path.open("rb") as handle:
            yield cast(BinaryIO, handle)
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(f"archive {path} is damaged ({error}): get a fresh copy") from error


def walk(handle: BinaryIO, where: str, most: int, end: int | None = None) -> Iterator[Member]:
    """Yield the plain files of an archive; the handle then stands at the content of each.

    Args:
        handle: Stands at the first header; it may move while a member is looked at, and gzip should
            not move back.
        where: What messages call the archive.
        most: Unpacked bytes that it may have.
        end: Where it ends, if it is a member of another archive.

    Raises:
        DataError: for links and devices, names that lead outside, damage, or more than ``most``.
    """
    begin = place = handle.tell()
    long_name: str | None = None
    while end is None or place < end:
        handle.seek(place)
        header = handle.read(_BLOCK)
        if not header.strip(b"\0") and place > begin:
            return
        name, length, kind = _parsed(header, where)
        start = place + _BLOCK
        place = start + -(-length // _BLOCK) * _BLOCK
        if place - begin > most or (end is not None and place > end):
            raise DataError(f"archive {where} claims more than {most} bytes: get a fresh copy")
        if kind in (b"L", b"x", b"g"):
            if length > _LONGEST:
                raise DataError(f"archive {where} has a name of {length} bytes: get a fresh copy")
            content = handle.read(length)
            long_name = _long_name(content, kind) or long_name
            continue
        name, long_name = long_name or name, None
        if kind in (b"0", b"\0", b"7"):
            parts = name.removeprefix("./").split("/")
            if name.startswith("/") or ".." in parts or "\\" in name:
                raise DataError(f"archive {where}, member {name!r} leads outside: it is refused")
            yield Member("/".join(parts), start, length)
        elif kind != b"5":
            raise DataError(f"archive {where}, member {name!r} is a link or device: it is refused")


def read(handle: BinaryIO, member: Member, most: int) -> bytes:
    """Return the content of a member.

    Raises:
        DataError: if it is longer than ``most`` or the archive ends inside it.
    """
    if member.length > most:
        raise DataError(
            f"member {member.name!r} has {member.length} bytes, at most {most} are read"
        )
    handle.seek(member.start)
    content = handle.read(member.length)
    if len(content) != member.length:
        raise DataError(f"the archive ends inside its member {member.name!r}: get a fresh copy")
    return content


def _parsed(header: bytes, where: str) -> tuple[str, int, bytes]:
    """Return name, length and kind."""
    if len(header) != _BLOCK:
        raise DataError(f"archive {where} ends too early: get a fresh copy")
    blank = header[:148] + b" " * 8 + header[156:]
    try:
        length = _number(header[124:136])
        right = sum(blank) == _number(header[148:156])
    except ValueError:
        right, length = False, 0
    if not right:
        raise DataError(f"archive {where} is damaged or no tar archive: get a fresh copy")
    name = header[:100].split(b"\0", 1)[0]
    if header[257:262] == b"ustar" and header[262:263] == b"\0":
        name = b"/".join(filter(None, (header[345:500].split(b"\0", 1)[0], name)))
    return name.decode("utf-8", "surrogateescape"), length, header[156:157]


def _number(field: bytes) -> int:
    """Return a number, octal or, if long, binary."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
    return int(field.strip(b"\0 ") or b"0", 8)


def _long_name(content: bytes, kind: bytes) -> str | None:
    """Return the name that a GNU or pax entry gives to the next member."""
    if kind == b"L":
        return content.rstrip(b"\0").decode("utf-8", "surrogateescape")
    for line in content.split(b"\n"):
        _, _, pair = line.partition(b" ")
        if kind == b"x" and pair.startswith(b"path="):
            return pair[5:].decode("utf-8", "surrogateescape")
    return None
