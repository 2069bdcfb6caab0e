"""What happens while a hostile file is read: no code may run, nothing be written elsewhere."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

ROOM = 192 << 20  # bytes that reading a hostile file may take
SECONDS = 10.0
RUNS = (
    "exec", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.",
    "pickle.", "marshal.", "socket.", "ctypes.", "code.", "function.", "import", "urllib.",
)  # fmt: skip
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """The events of one reading.

    Attributes:
        ran: What ran code, or might have.
        wrote: Where something was written or changed.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.wrote: list[Path] = []

    def outside(self, folder: Path) -> list[Path]:
        """Return what was written outside of a folder."""
        inside = folder.resolve()
        return [path for path in self.wrote if inside not in [path, *path.parents]]


_watches: list[Watch] = []


def _hear(event: str, given: tuple[Any, ...]) -> None:
    if not _watches:
        return
    watch = _watches[-1]
    if event.startswith(RUNS):
        watch.ran.append(f"{event} {given!r:.200}")
    elif event == "open" and isinstance(given[2], int) and given[2] & _WRITING:
        if isinstance(given[0], str | bytes | os.PathLike):
            watch.wrote.append(Path(os.fsdecode(given[0])).resolve())
    elif event in CHANGES:
        names = [x for x in given if isinstance(x, str | bytes | os.PathLike)]
        watch.wrote += [Path(os.fsdecode(name)).resolve() for name in names]


sys.addaudithook(_hear)


class TooLongError(BaseException):
    """Reading does not come to an end."""


@contextmanager
def watched() -> Iterator[Watch]:
    """Watch a block, with a limit on its memory and time."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TooLongError

    watch = Watch()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, hard))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
