"""Types of options, with what the help text shows for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from metaccord.errors import UsageError

Switch = tyro.conf.FlagCreatePairsOff[bool]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
Interactions = Annotated[
    str | None, tyro.conf.arg(name="with", metavar="NAME,...", help_behavior_hint="")
]
Number = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
Unseen = Annotated[
    Literal["refuse", "other"] | None, tyro.conf.arg(metavar="WORD", help_behavior_hint="")
]
Settings = Annotated[
    tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...", help_behavior_hint="")
]
Tasks = Annotated[str, tyro.conf.arg(metavar="TASKS", help_behavior_hint=""), tyro.conf.Positional]
Run = Annotated[Path, tyro.conf.arg(metavar="RUN", help_behavior_hint=""), tyro.conf.Positional]


def interaction_names(words: str | None) -> list[str]:
    """Return the names in ``--with``, none without it.

    Raises:
        UsageError: for an empty name.
    """
    names = [] if words is None else words.split(",")
    if "" in names:
        raise UsageError(f"--with is {words!r}: give names with one comma between two")
    return names
