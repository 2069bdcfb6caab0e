"""Errors that a user can mend: each carries the exit code of the command line.

A message names the argument, the rule, what was found and the next thing to try, on one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 100  # letters of a name in a message


class MetaccordError(Exception):
    """Base of all errors that name a remedy; ``exit_code`` is the process's exit code.

    Args:
        message: What is wrong; line ends, as a path or a cause may hold, become spaces.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(" ".join(message.splitlines()))


class UsageError(MetaccordError, ValueError):
    """Flags, configuration, unknown names, refused combinations, a busy run directory."""

    exit_code = 2


class DataError(MetaccordError, ValueError):
    """Data sets, archives, downloads, labels, support and query sets."""

    exit_code = 3


class CheckpointError(MetaccordError, RuntimeError):
    """A checkpoint is missing, corrupt, or belongs to another model, method or data set."""

    exit_code = 4


class NumericalError(MetaccordError, ArithmeticError):
    """A value is not finite; nothing was updated with it."""

    exit_code = 5


class ResourceError(MetaccordError, RuntimeError):
    """Disk, quota, memory, file handles or threads ran out."""

    exit_code = 6


class PeerError(MetaccordError, RuntimeError):
    """Another process of the training died, hung or disagrees; nothing was saved since."""

    exit_code = 7


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the closest known name, else the list of known names.

    Args:
        name: What the user wrote.
        known: The names that exist.
    """
    choices = sorted(known)
    folded = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return f"did you mean {folded[close[0]]!r}?" if close else f"choose from {', '.join(choices)}"


def unknown(what: str, name: object, known: Iterable[str]) -> UsageError:
    """Return the error for an unknown ``what`` called ``name``, which may be no text at all."""
    name = name if isinstance(name, str) else repr(name)
    short = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
    return UsageError(f"unknown {what} {short!r}: {nearest(short, known)}".replace(". '", ".'"))
