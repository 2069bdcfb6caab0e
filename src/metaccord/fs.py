"""The only place where the store calls the file system.

Every call goes through the name ``os`` of this file, so a test can put a stand-in there whose n-th
call fails. What the machine refuses (disk full, quota, permission, defect, file handles) becomes a
:class:`~metaccord.errors.ResourceError` with the path and a remedy; answers about the files
themselves (missing, not a folder, not a regular file) stay ``OSError`` for the caller to judge.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from metaccord.errors import ResourceError

_CHUNK = 1 << 24
_ABOUT_FILES = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO}
)
_OTHER_FOLDER = "choose another --out or mend the permissions"
_REMEDIES = {
    errno.ENOSPC: "free space on this file system or choose another --out",
    errno.EDQUOT: "free space in your quota or choose another --out",
    errno.EIO: "the disk reports a defect: copy the run to another disk and continue there",
    errno.EROFS: "the file system is read-only: choose another --out",
    errno.EACCES: _OTHER_FOLDER,
    errno.EPERM: _OTHER_FOLDER,
    errno.EMFILE: "too many open files: raise `ulimit -n`",
    errno.ENFILE: "too many open files on this machine: end other programs",
    errno.ENOMEM: "end other programs or use a machine with more memory",
    errno.ENOLCK: "the file system has no locks: choose an --out on a local disk",
}


@contextmanager
def _doing(action: str, path: Path, answers: frozenset[int] = frozenset()) -> Iterator[None]:
    """Turn every ``OSError`` into a ResourceError, except those whose errno is in ``answers``."""
    try:
        yield
    except OSError as error:
        if error.errno in answers:
            raise
        remedy = _REMEDIES.get(error.errno or 0, "check that the folder still exists and try again")
        name = errno.errorcode.get(error.errno or 0, "no errno")
        message = f"cannot {action} {str(path)!r}: {error.strerror} ({name}); {remedy}"
        raise ResourceError(message) from error


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read(path: Path, most: int | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file.
        most: Refuse a longer file before reading it, bytes.

    Raises:
        OSError: if it is missing, not a regular file, or longer than ``most``.
        ResourceError: if the machine cannot read it.
    """
    # Without O_NONBLOCK a named pipe in place of the file would hang the program.
    with (
        _doing("read", path, _ABOUT_FILES),
        _opened(path, os.O_RDONLY | os.O_NONBLOCK) as descriptor,
    ):
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if most is not None and status.st_size > most:
            raise OSError(errno.EINVAL, f"{status.st_size} bytes, expected at most {most}")
        chunks = []
        while chunk := os.read(descriptor, _CHUNK):
            chunks.append(chunk)
        return b"".join(chunks)


def write(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with (
        _doing("write", path),
        _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW) as descriptor,
    ):
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a whole file: afterwards it is either the old or the new one, on the disk."""
    staging = path.with_name(f".{path.name}.staging")
    try:
        write(staging, content)
        replace(staging, path)
    except BaseException:
        with suppress(OSError, ResourceError):
            os.unlink(staging)
        raise
    sync(path.parent)


def append(path: Path, content: bytes, at: int) -> int:
    """Write ``content`` at offset ``at``, the end of what is known to be good.

    What a failed append left behind ``at`` is cut off first, so it never glues two lines together.

    Args:
        path: An existing file.
        content: The new bytes.
        at: Length of the good part, bytes.

    Returns:
        The new length, bytes.
    """
    with _doing("append to", path), _opened(path, os.O_WRONLY | os.O_NOFOLLOW) as descriptor:
        size = os.fstat(descriptor).st_size
        if size < at:
            raise OSError(errno.ESTALE, f"shortened by another program from {at} to {size} bytes")
        if size > at:
            os.ftruncate(descriptor, at)
        done = 0
        while done < len(content):
            done += os.pwrite(descriptor, content[done:], at + done)
    return at + done


def truncate(path: Path, size: int) -> None:
    """Cut a file to ``size`` bytes and wait until that is on the disk."""
    with _doing("truncate", path), _opened(path, os.O_WRONLY | os.O_NOFOLLOW) as descriptor:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)


def replace(source: Path, target: Path) -> None:
    """Rename in one indivisible step."""
    with _doing("rename to", target):
        os.replace(source, target)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    with _doing("sync", path), _opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)


def make(folder: Path) -> None:
    """Create a folder and its parents, each of them durably; an existing one is left alone.

    Raises:
        OSError: if something on the way is no folder.
        ResourceError: if the machine cannot create it.
    """
    with _doing("create", folder, _ABOUT_FILES | {errno.EEXIST}):
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(folder).st_mode):
                raise
            return
        except FileNotFoundError:
            if folder.parent == folder:
                raise
            make(folder.parent)
            os.mkdir(folder)
    sync(folder.parent)


def names(folder: Path) -> list[str]:
    """Return the sorted names in a folder.

    Raises:
        OSError: if it is missing or no folder.
        ResourceError: if the machine cannot list it.
    """
    with _doing("list", folder, _ABOUT_FILES):
        return sorted(os.listdir(folder))


def remove(path: Path) -> None:
    """Remove a file or a whole folder; symbolic links are removed, never followed."""
    with _doing("remove", path):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        for name in names(path):
            remove(path / name)
        os.rmdir(path)


def free(folder: Path) -> int:
    """Return the bytes that this user may still write on the folder's file system."""
    with _doing("ask for free space of", folder):
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize


def lock(path: Path, owner: bytes) -> int | None:
    """Take an exclusive lock and leave ``owner`` in the file.

    The kernel frees it when the process ends, however it ends.

    Returns:
        The open descriptor to hand to :func:`unlock`, or None if somebody else holds the lock.
    """
    with _doing("lock", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, owner, 0)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def unlock(descriptor: int) -> None:
    """Give a lock back, also if a child process was forked meanwhile."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    close(descriptor)


def close(descriptor: int) -> None:
    """Close a descriptor; in a forked child this leaves the parent's lock alone."""
    with suppress(OSError):
        os.close(descriptor)
