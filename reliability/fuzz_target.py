"""What one target of the fuzzing is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple


class Target(NamedTuple):
    """One parser under test.

    Attributes:
        errors: What it may raise.
        make: A changed input, from a seeded generator.
        parse: Read it in an empty folder; an AssertionError says that it accepted nonsense.
    """

    errors: tuple[type[Exception], ...]
    make: Callable[[Random], Any]
    parse: Callable[[Any, Path], object]
