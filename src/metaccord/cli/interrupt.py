"""Signals that ask a training to save and end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


class Interrupt:
    """A flag that a signal sets; a second Ctrl-C leaves at once.

    Attributes:
        code: Exit code that belongs to the signal; 0 without one.
    """

    def __init__(self) -> None:
        self.code = 0

    def __call__(self) -> bool:
        """Say whether a signal has come."""
        return self.code != 0

    def _set(self, number: int, frame: FrameType | None) -> None:
        if self.code and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.code = CODES[signal.Signals(number)]


@contextmanager
def listening() -> Iterator[Interrupt]:
    """Collect signals while the block runs, then put the old handlers back."""
    interrupt = Interrupt()
    before = {number: signal.signal(number, interrupt._set) for number in CODES}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
