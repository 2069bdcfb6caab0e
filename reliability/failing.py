"""A file system whose calls fail: a stand-in for the module ``os`` in :mod:`metaccord.fs`."""

from __future__ import annotations

import errno
import os
from typing import Any

NEVER = 1 << 60
ERRNOS = (
    errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EMFILE, errno.EINTR,
)  # fmt: skip


class FailingOs:
    """A stand-in for ``os`` whose n-th call fails, or all calls from the n-th on.

    A failing write stores half of its bytes first, a failing close closes. Nothing waits for the
    disk: what that is for is tested elsewhere, and it costs most of the time.

    Args:
        at: Number of the call, from 1; by default none fails.
        code: The error number.
        persistent: All later calls fail as well.

    Attributes:
        calls: The names of all calls so far.
        fired: Those that failed.
    """

    def __init__(self, at: int = NEVER, code: int = errno.EIO, *, persistent: bool = False) -> None:
        self.at, self.code, self.persistent = at, code, persistent
        self.calls: list[str] = []
        self.fired: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if not callable(real):
            return real

        def call(*given: Any) -> Any:
            self.calls.append(name)
            number = len(self.calls)
            if number < self.at or (number > self.at and not self.persistent):
                return None if name == "fsync" else real(*given)
            self.fired.append(name)
            if name in ("write", "pwrite"):
                real(given[0], given[1][: len(given[1]) // 2], *given[2:])
            if name == "close":
                real(*given)
            raise OSError(self.code, os.strerror(self.code))

        return call
