"""What every refusal must look like."""

from __future__ import annotations

import time
from pathlib import Path

from tests.cli.support import MOST_SECONDS, Result, snapshot


class Refusals:
    """Look at one refusal after the other: code, form, words, time, and nothing left behind.

    Args:
        place: The folder that must not change.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.before = snapshot(place)
        self.began = time.process_time()

    def add(self, result: Result, code: int, words: list[str]) -> None:
        """Assert one line that begins with ``error: `` and holds some words, and its code."""
        assert result.code == code, result
        assert len(result.errors) == 1, result.err
        line = result.errors[0]
        assert [word for word in words if word not in line] == [], line
        assert len(line) < 1200, line
        others = [x for x in result.err.splitlines() if not x.startswith(("error: ", "note: "))]
        assert others == [], "a line that is neither an error nor a note"
        assert result.out == ""
        self._nothing_else(line)

    def add_from_the_parser(self, result: Result, word: str) -> None:
        """Assert the box of the parser of words."""
        assert result.code == 2, result
        assert word in result.err, result
        assert "Traceback" not in result.err
        self._nothing_else(word)

    def _nothing_else(self, what: str) -> None:
        now = time.process_time()
        assert now - self.began < MOST_SECONDS, f"{what} took {now - self.began} s"
        assert snapshot(self.place) == self.before, f"{what} left something"
        self.began = now
