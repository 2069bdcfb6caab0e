"""Forked children that tell their parent where they are, so that it can strike there.

The parent must be one whose forks are safe: one thread, and no tensor work on a GPU.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
import traceback
from collections.abc import Callable

from metaccord.errors import MetaccordError

Mark = Callable[[str], object]


class Child:
    """A child process in a process group of its own.

    Args:
        work: What it does; it may call its argument with the name of the place where it is. What
            it returns is the exit code (None: 0); errors of the library give theirs.

    Attributes:
        pid: Its process id.
        marks: The places that it has named and when each was heard, as far as they were read.
    """

    def __init__(self, work: Callable[[Mark], int | None]) -> None:
        self._pipe, end = os.pipe()
        self.marks: list[tuple[str, float]] = []
        self._rest = b""
        self.pid = os.fork()
        if not self.pid:
            os.close(self._pipe)
            _live(work, lambda place: os.write(end, place.encode() + b"\n"))
        os.close(end)

    def passes(self, place: str, times: int = 1) -> bool:
        """Wait until the child has named a place so often; False if it ended before."""
        while self.count(place) < times:
            if not self._read():
                return False
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nobody has waited for the child yet, so its number is still its own."""
        os.kill(self.pid, number)

    def end(self) -> int:
        """Wait for the end, read all marks, and return the exit code, negative for a signal."""
        while self._read():
            pass
        os.close(self._pipe)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def count(self, place: str) -> int:
        """Return how often the child has named a place, as far as was read."""
        return sum(name == place for name, _ in self.marks)

    def names(self, place: str) -> bool:
        """Say whether the child has named a place by now."""
        while select.select([self._pipe], [], [], 0)[0] and self._read():
            pass
        return self.count(place) > 0

    def ended(self) -> bool:
        """Say whether the child has ended; :meth:`end` is still to be called."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, options) is not None

    def _read(self) -> bool:
        chunk = os.read(self._pipe, 1 << 12)
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        self.marks += [(place.decode(), time.perf_counter()) for place in whole]
        return bool(chunk)


def _live(work: Callable[[Mark], int | None], mark: Mark) -> None:
    """Be the child, and end with it: nothing of the parent's is run, flushed or removed."""
    code = 1
    try:
        os.setpgid(0, 0)
        logging.disable(logging.CRITICAL)
        code = work(mark) or 0
    except MetaccordError as error:
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
