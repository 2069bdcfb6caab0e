"""What another library has and its stand-in here has not: an error that says the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from metaccord.errors import UsageError


class Absent(UsageError, AttributeError):
    """A part of another library that is not here, with the way out."""


def absent(library: str, elsewhere: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a stand-in, which says where to go for what is not here.

    Args:
        library: Name of the stand-in in this package.
        elsewhere: The way out, by the name that is looked for.
    """

    def missing(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        way = elsewhere.get(name, "see docs/migrating.md for what is")
        raise Absent(f"metaccord.compat.{library} has no {name!r}: {way}")

    return missing
