"""A folder that is there complete or not at all: filled beside its place, then moved there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from metaccord import fs
from metaccord.errors import ResourceError


@contextmanager
def staged(staging: Path, target: Path) -> Iterator[None]:
    """Move a folder to its place, durably, when the block that makes and fills it ends.

    If the block or the move fails, the folder is removed.

    Args:
        staging: Where the block makes the folder and writes its files, each of them synced.
        target: Its place, on the same file system; nothing or an empty folder.
    """
    try:
        yield
        fs.sync(staging)
        fs.replace(staging, target)
    except BaseException:
        with suppress(OSError, ResourceError):
            fs.remove(staging)
        raise
    fs.sync(target.parent)
