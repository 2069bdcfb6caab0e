"""``metaccord report``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from metaccord.cli.options import Switch
from metaccord.memory import keep_freed
from metaccord.protocol import Protocol

Folders = Annotated[
    tuple[Path, ...],
    tyro.conf.arg(metavar="RUN ...", help_behavior_hint=""),
    tyro.conf.Positional,
]
File = Annotated[Path | None, tyro.conf.arg(metavar="FILE.html", help_behavior_hint="")]


def report(
    runs: Folders,
    *,
    out: File = None,
    tasks: int = 600,
    protocol: str = "transductive",
    quick: Switch = False,
) -> int:
    """Write one HTML file about a run, or about several side by side, that needs no network.

    What must be computed from the newest checkpoint is kept in RUN/report/, so that a second
    report is quick; the same command goes on after an interruption.

    Args:
        runs: Folders of the runs, all trained for the same tasks. Runs that differ in their seed
            alone are shown as one method.
        out: The file (default: report.html in the first RUN).
        tasks: Number of test tasks of the results.
        protocol: transductive, inductive or frozen: what batch normalisation sees.
        quick: Compute nothing: show what records and earlier reports hold.
    """
    how = Protocol(statistics=protocol, tasks=tasks)  # type: ignore[arg-type]
    from metaccord.report import write

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    keep_freed()

    print(write(runs, out, protocol=how, quick=quick, say=say))
    return 0
