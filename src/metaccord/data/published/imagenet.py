"""ImageNet's training archive: a tar of one tar for each class, or these tars in a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from metaccord.data import tars
from metaccord.data.pictures.decode import FILE_BYTES
from metaccord.data.pictures.folders import SUFFIXES, first
from metaccord.data.pictures.reading import at_once
from metaccord.data.published.facts import SPLITS, PictureSet
from metaccord.data.published.located import Located, judge_counts
from metaccord.data.published.trees import chosen
from metaccord.data.tars import Member
from metaccord.errors import DataError

_MOST = 1 << 40


class _Part(NamedTuple):
    """A class in an archive: where, and its pictures by name."""

    path: Path
    members: dict[str, Member]


def find(entry: PictureSet, place: Path) -> Located | None:
    """Return a set that lies in ImageNet's archives, or None.

    The large archive is known by its length; its MD5 would take minutes and is not compared. Each
    picture is decoded, so damage to one that is used is found.

    Raises:
        DataError: if classes or pictures are missing.
    """
    if entry.archive is None or not entry.splits.endswith("imagenet"):
        return None
    names = [name for split in SPLITS for name in entry.members()[split]]
    large = place if place.is_file() else place / entry.archive.name
    if large.is_file() and large.suffix == ".tar":
        found = _in_large(entry, large, names)
        road, place = "archive", large
    elif any((place / f"{name}.tar").is_file() for name in names[:3]):
        found = {name: _part(place / f"{name}.tar") for name in names}
        road = "archives in"
    else:
        return None
    problems: list[str] = []
    pictures, counts, digest = [], [], hashlib.sha256()
    for name in names:
        part = found[name]
        files = chosen(entry, name, tuple(sorted(part.members)), problems)
        counts.append((name, len(files)))
        for file in files:
            member = part.members[file]
            digest.update(f"{name} {file!r} {member.length}\n".encode())
            pictures.append((part.path, member))
    if problems:
        raise DataError(f"data set {entry.name}: {first(problems, place)}")
    judge_counts(entry, place, counts)
    numbers = tuple(count for _, count in counts)
    return Located(
        entry,
        road,
        place,
        digest.hexdigest(),
        numbers,
        lambda form: at_once(_blobs(pictures))(form),
    )


def _in_large(entry: PictureSet, path: Path, names: list[str]) -> dict[str, _Part]:
    """Return the classes in the archive of archives."""
    length = path.stat().st_size
    if entry.archive is not None and length != entry.archive.size:
        raise DataError(
            f"archive {path} has {length} bytes, expected {entry.archive.size}: get it again from "
            f"{entry.archive.url}"
        )
    wanted, found = set(names), {}
    with tars.opened(path) as handle:
        outer = [m for m in tars.walk(handle, str(path), _MOST) if Path(m.name).stem in wanted]
        for member in outer:
            handle.seek(member.start)
            where = f"{path}, member {member.name!r},"
            end = member.start + member.length
            inner = tars.walk(handle, where, member.length, end)
            found[Path(member.name).stem] = _Part(
                path, {m.name: m for m in inner if _is_picture(m)}
            )
    if missing := sorted(wanted - found.keys()):
        raise DataError(
            f"archive {path} lacks {missing[0]}.tar ({len(missing)} in all): get a complete copy"
        )
    return found


def _part(path: Path) -> _Part:
    with tars.opened(path) as handle:
        inner = tars.walk(handle, str(path), _MOST)
        return _Part(path, {m.name: m for m in inner if _is_picture(m)})


def _is_picture(member: Member) -> bool:
    return os.path.splitext(member.name)[1].lower() in SUFFIXES


def _blobs(pictures: list[tuple[Path, Member]]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the bytes of pictures in order; each archive is opened once."""
    last, stack = None, None
    try:
        for path, member in pictures:
            if path != last:
                if stack is not None:
                    stack.__exit__(None, None, None)
                stack = tars.opened(path)
                handle, last = stack.__enter__(), path
            content = tars.read(handle, member, FILE_BYTES)
            yield f"{path}, member {member.name!r},", partial(bytes, content)
    finally:
        if stack is not None:
            stack.__exit__(None, None, None)
