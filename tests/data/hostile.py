"""Archives that want to do harm, each by one trick."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable, Iterable

GOOD = "images_background/Latin/character01/0001_01.png"
Member = tuple[str, bytes]


def pack(
    members: Iterable[Member], change: Callable[[zipfile.ZipInfo], None] = lambda _: None
) -> bytes:
    """A zip archive of a good member and ``members``, whose headers ``change`` may forge."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(GOOD, b"good")
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.compress_type = zipfile.ZIP_DEFLATED
            change(info)
            archive.writestr(info, content)
    return stream.getvalue()


def named(*names: str) -> bytes:
    """Members with bad names."""
    return pack((name, b"" if name.endswith("/") else b"evil") for name in names)


def special(kind: int, target: bytes = b"") -> bytes:
    """A member of another kind than a file."""

    def change(info: zipfile.ZipInfo) -> None:
        info.create_system = 3
        info.external_attr = (kind | 0o777) << 16

    return pack([("special", target)], change)


def packed_by(method: int) -> bytes:
    """A member packed by an unusual method."""

    def change(info: zipfile.ZipInfo) -> None:
        info.compress_type = method

    return pack([("odd", b"x" * 1000)], change)


def forged(content: bytes, offset: int, value: bytes) -> bytes:
    """``content`` with a field of the last central entry and of its local header overwritten."""
    data = bytearray(content)
    central = data.rindex(b"PK\x01\x02") + offset
    local = data.rindex(b"PK\x03\x04") + offset - 2
    for place in (central, local):
        data[place : place + len(value)] = value
    return bytes(data)


def liar(unpacked: int, claimed: int) -> bytes:
    """A member that unpacks to far more than its header claims."""
    return forged(pack([("liar", bytes(unpacked))]), 24, claimed.to_bytes(4, "little"))


REFUSED: dict[str, bytes] = {
    "parent": named("../evil"),
    "parent below": named("a/../../evil"),
    "parent at the end": named("a/.."),
    "absolute": named("/tmp/evil"),
    "absolute folder": named("/evil/"),
    "drive": named("C:/evil"),
    "drive relative": named("c:evil"),
    "backslash parent": named("..\\evil"),
    "network share": named("\\\\host\\share\\evil"),
    "two slashes": named("//host/evil"),
    "NUL": named("good.png\0../evil"),
    "newline": named("a\nb"),
    "empty part": named("a//b"),
    "dot": named("./a"),
    "dot folder": named("a/./b"),
    "trailing dot": named("a."),
    "trailing space": named("a /b"),
    "long name": named("a" * 300),
    "long path": named("a/" * 600 + "b"),
    "stream of a file": named("a.png:evil"),
    "link outside": special(stat.S_IFLNK, b"/etc/passwd"),
    "link inside": special(stat.S_IFLNK, b"0001_01.png"),
    "character device": special(stat.S_IFCHR),
    "block device": special(stat.S_IFBLK),
    "FIFO": special(stat.S_IFIFO),
    "socket": special(stat.S_IFSOCK),
    "folder called file": special(stat.S_IFDIR),
    "other case": named("A/b", "a/B"),
    "other Unicode form": named("\u00e9", "e\u0301"),
    "file and folder": named("a", "a/b"),
    "folder and file": named("a/b", "A"),
    "folder with content": pack([("a/", b"evil")]),
    "many members": named(*(f"{i}" for i in range(100))),
    "large member": pack([("a", bytes(range(256)) * 2000)]),
    "large together": pack((f"{i}", bytes(range(256)) * 800) for i in range(6)),
    "bomb": pack([("a", bytes(200_000))]),
    "long archive": pack([("a", b"")]) + bytes(1 << 20),
    "encrypted": forged(named("a"), 8, b"\x01\x00"),
    "bzip2": packed_by(zipfile.ZIP_BZIP2),
    "lzma": packed_by(zipfile.ZIP_LZMA),
    "unknown method": forged(named("a"), 10, b"\x63\x00"),
    "cut": named("a")[:-30],
    "no archive": b"<html>not a zip</html>",
    "empty file": b"",
}
"""Refused before the first member is given out."""

DAMAGED: dict[str, bytes] = {
    "wrong sum": forged(named("a"), 16, b"\0\0\0\0"),
    "liar": liar(50_000_000, 100),
    "liar at the ratio": liar(50_000_000, 60_000),
    "cut at the start": named("a")[60:],
    "short": forged(named("a"), 24, (5000).to_bytes(4, "little")),
}
"""Refused at the damaged member."""
