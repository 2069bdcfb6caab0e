"""The user's cache folder: where it is, one writer at a time, no half-written file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from metaccord.errors import ResourceError


def cache_folder() -> Path:
    """Return the cache folder: ``METACCORD_CACHE``, else the platform's; it need not exist."""
    named = os.environ.get("METACCORD_CACHE")
    if named:
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("metaccord")).expanduser()


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents.

    Args:
        folder: May exist already.

    Raises:
        ResourceError: if the system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"cache folder {folder} cannot be made ({error.strerror}): "
            "set METACCORD_CACHE to a folder that can be written"
        ) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` for the length of a ``with`` block; others wait.

    The system drops the lock when its process ends, however that happens. Where there is no
    ``flock`` nobody waits: work may then be done twice, and still nothing half-written appears.

    Args:
        path: The lock file; it stays behind, empty.
    """
    with path.open("ab") as handle:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def publish(staged: Path, final: Path) -> None:
    """Move a finished file to its name, so that a reader sees the old one or the new one.

    Args:
        staged: A complete file on the same file system.
        final: Its name; replaced if it exists.
    """
    with staged.open("rb+") as handle:
        os.fsync(handle.fileno())
    os.replace(staged, final)
    if sys.platform != "win32":
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def unwritable(final: Path, error: OSError) -> ResourceError:
    """Return the error for a file of the cache that cannot be written."""
    return ResourceError(
        f"file {final} cannot be written ({error.strerror or error}): make room, or set "
        "METACCORD_CACHE to another folder"
    )
