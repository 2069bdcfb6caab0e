"""What each picture file holds: its hash and header, remembered while the file stays the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from metaccord import fs, jsontree
from metaccord.data.archives import read_whole
from metaccord.data.cache import cache_folder, make_folder
from metaccord.data.pictures.decode import FILE_BYTES, Look, look
from metaccord.errors import DataError, ResourceError

WORKERS = min(8, os.cpu_count() or 1)
_FEW = 64  # files: fewer are read again rather than remembered


class Entry(NamedTuple):
    """One picture file.

    Attributes:
        length: Of the file, bytes.
        sha256: Of its content, hexadecimal.
        look: What its header says.
    """

    length: int
    sha256: str
    look: Look


class Inventory(NamedTuple):
    """The picture files of a folder.

    Attributes:
        entries: In the order asked for; None for a file with a problem.
        problems: One sentence for each file that cannot be used.
    """

    entries: tuple[Entry | None, ...]
    problems: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """A hash of all contents, in order."""
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update(f"{entry.length if entry else 0}:{entry and entry.sha256}\n".encode())
        return digest.hexdigest()


def inventory(root: Path, files: Sequence[str]) -> Inventory:
    """Return what each file holds; files that did not change are not read again.

    A file counts as unchanged while its length, times of change, and place on the disk are the
    same; this table lies in the cache.

    Args:
        root: The folder.
        files: Paths under it.
    """
    table = _table_path(root)
    known = _recalled(table) if len(files) >= _FEW else {}

    def one(name: str) -> tuple[list[Any] | None, Entry | None, str | None]:
        try:
            stamp = _stamp(root / name)
            row = known.get(name)
            if row is not None and row[:5] == stamp:
                return row, Entry(stamp[0], row[5], Look(*row[6:9])), None
            entry = examined(root / name)
            if _stamp(root / name) != stamp:
                raise DataError(
                    f"file {root / name} changed while it was read: wait for its writer"
                )
        except OSError as error:
            return None, None, f"file {root / name} cannot be read ({error.strerror}): mend it"
        except DataError as error:
            return None, None, str(error)
        return [*stamp, entry.sha256, *entry.look], entry, None

    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(one, files))
    rows = {name: row for name, (row, _, _) in zip(files, found, strict=True) if row is not None}
    if len(files) >= _FEW and rows != known:
        _remember(table, rows)
    problems = tuple(problem for _, _, problem in found if problem)
    return Inventory(tuple(entry for _, entry, _ in found), problems)


def noted(path: Path, what: str, make: Callable[[], Any]) -> Any:
    """Return what was found out about a file, found out again when the file has changed.

    Args:
        path: The file.
        what: What is asked.
        make: Finds it out; a JSON tree.

    Raises:
        DataError: if the file cannot be looked at.
    """
    try:
        stamp = _stamp(path)
    except OSError as error:
        raise DataError(f"file {path} cannot be read ({error.strerror}): check it") from error
    table = _table_path(path)
    known = _recalled(table)
    if known.get("stamp") != stamp:
        known = {"stamp": stamp}
    if what not in known:
        known[what] = make()
        _remember(table, known)
    return known[what]


def examined(path: Path) -> Entry:
    """Return length, hash and header of one picture file.

    Raises:
        DataError: if it cannot be read or is no picture.
    """
    content = read_whole(path, FILE_BYTES)
    return Entry(len(content), hashlib.sha256(content).hexdigest(), look(content, f"file {path}"))


def _stamp(path: Path) -> list[int]:
    """Return what changes whenever a file does."""
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def _table_path(root: Path) -> Path:
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()
    return cache_folder() / "pictures" / "tables" / f"{name}.json"


def _recalled(path: Path) -> dict[str, Any]:
    """Return the table of an earlier look; a damaged one is as good as none."""
    try:
        content = fs.read(path)
        seal, body = content[:64], content[65:]
        if hashlib.sha256(body).hexdigest().encode() != seal:
            return {}
        return dict(jsontree.decode(body))
    except (OSError, ResourceError, ValueError):
        return {}


def _remember(path: Path, rows: dict[str, Any]) -> None:
    """Keep the table; a cache that cannot be written costs only time."""
    body = jsontree.encode(rows, "table of pictures").encode()
    try:
        make_folder(path.parent)
        fs.write_atomic(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    except (OSError, ResourceError):
        return
