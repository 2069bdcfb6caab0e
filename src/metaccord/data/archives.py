"""Read zip archives that may be hostile: members come out in memory, nothing is written.

Every member is judged before the first one is unpacked, so a bad archive yields nothing at all.
"""

from __future__ import annotations

import io
import os
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from metaccord.errors import DataError

_CENTRAL_ENTRY = b"PK\x01\x02"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class Limits(NamedTuple):
    """What an archive may at most be.

    Attributes:
        archive_bytes: Length of the archive itself.
        members: Number of members, folders included.
        member_bytes: Unpacked length of one member.
        total_bytes: Unpacked length of all members.
        ratio: Unpacked over packed length of a member longer than 64 KiB.
    """

    archive_bytes: int = 64 << 20
    members: int = 50_000
    member_bytes: int = 64 << 20
    total_bytes: int = 256 << 20
    ratio: int = 200


LIMITS = Limits()
"""Enough for every archive of the catalogue."""


def read_members(
    content: bytes, source: Path | str, limits: Limits = LIMITS
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file in a zip archive.

    Args:
        content: The archive.
        source: What messages call it.
        limits: What is too large.

    Returns:
        Pairs in the order of the archive; folders are left out.

    Raises:
        DataError: before the first pair, if a member is outside the folder, no regular file,
            a duplicate, encrypted or too large; at its place, if a member is damaged.
    """
    try:
        archive = _open(content, limits)
        infos = archive.infolist()
        _judge(infos, limits)
    except DataError as error:
        raise DataError(f"archive {source} is refused: {error}; get a fresh copy") from error
    except _BROKEN as error:
        raise DataError(f"archive {source} is damaged ({error}): get a fresh copy") from error
    for info in infos:
        if info.is_dir():
            continue
        try:
            with archive.open(info) as member:
                unpacked = member.read(info.file_size + 1)  # bounded, whatever the header claims
            if len(unpacked) != info.file_size:
                raise EOFError(f"{len(unpacked)} bytes, expected {info.file_size}")
        except _BROKEN as error:
            raise DataError(
                f"archive {source}, member {info.filename!r} is damaged ({error}): get a fresh copy"
            ) from error
        yield info.filename, unpacked


def read_whole(path: Path, largest: int) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: The file.
        largest: The most bytes it may have.

    Raises:
        DataError: if it is missing, unreadable, no regular file or longer.
    """
    try:
        if not path.is_file():
            raise DataError(f"file {path} is missing or no regular file: check the path")
        with path.open("rb") as handle:
            length = os.fstat(handle.fileno()).st_size
            if length <= largest:
                return handle.read(length)
    except OSError as error:
        raise DataError(f"file {path} cannot be read ({error.strerror}): check it") from error
    raise DataError(
        f"file {path} has {length} bytes, at most {largest} are read: it is not the file expected"
    )


def _open(content: bytes, limits: Limits) -> zipfile.ZipFile:
    """Open the archive; the caps come first because opening it reads the whole member list."""
    if len(content) > limits.archive_bytes:
        raise DataError(f"it has {len(content)} bytes, at most {limits.archive_bytes} are read")
    if (count := content.count(_CENTRAL_ENTRY)) > limits.members:
        raise DataError(f"it has {count} members, at most {limits.members} are read")
    return zipfile.ZipFile(io.BytesIO(content))


def _judge(infos: list[zipfile.ZipInfo], limits: Limits) -> None:
    """Refuse the archive for any of its members, without unpacking one."""
    files: set[str] = set()
    folders: set[str] = set()
    total = 0
    for info in infos:
        problem = _name_problem(info) or _kind_problem(info) or _size_problem(info, limits)
        if problem:
            raise DataError(f"member {info.orig_filename!r} {problem}")
        total += info.file_size
        if total > limits.total_bytes:
            raise DataError(f"it unpacks to more than {limits.total_bytes} bytes")
        parts = _folded(info.filename).split("/")
        name = "/".join(parts)
        if name in files or (info.is_dir() and name in folders):
            raise DataError(f"member {info.orig_filename!r} is there twice, perhaps in other case")
        (folders if info.is_dir() else files).add(name)
        folders.update("/".join(parts[:end]) for end in range(1, len(parts)))
    if both := files & folders:
        raise DataError(f"{min(both)!r} is a file and a folder")


def _folded(name: str) -> str:
    """Return the name as a file system without case or with another Unicode form sees it."""
    return unicodedata.normalize("NFC", name.rstrip("/")).casefold()


def _name_problem(info: zipfile.ZipInfo) -> str | None:
    """Say why the name could lead outside or mislead, or None."""
    name = info.orig_filename
    if any(ord(letter) < 32 or letter in "\\:\x7f" for letter in name):
        return "has a control character, backslash or colon in its name"
    if name.startswith("/"):
        return "has an absolute path"
    parts = name.removesuffix("/").split("/")
    if ".." in parts:
        return "leads outside ('..')"
    if any(part in {"", "."} or part != part.rstrip(" .") for part in parts):
        return "has an empty part, '.', or a trailing dot or space in its path"
    if len(name) > 1000 or any(len(part.encode("utf-8", "replace")) > 255 for part in parts):
        return "has too long a name"
    return None


def _kind_problem(info: zipfile.ZipInfo) -> str | None:
    """Say why it is not a plain file or folder, or None."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    allowed = (0, stat.S_IFDIR) if info.is_dir() else (0, stat.S_IFREG)
    if kind not in allowed:
        return "is a link, a device or of another special kind"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in _METHODS:
        return "is packed by a method other than stored or deflate"
    return None


def _size_problem(info: zipfile.ZipInfo, limits: Limits) -> str | None:
    """Say why it is too large, or None."""
    if info.is_dir() and info.file_size:
        return "is a folder with content"
    if info.file_size > limits.member_bytes:
        return f"unpacks to {info.file_size} bytes, at most {limits.member_bytes} are read"
    if info.file_size > max(1 << 16, limits.ratio * info.compress_size):
        return f"grows more than {limits.ratio} times when unpacked"
    return None
