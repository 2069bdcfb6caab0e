"""``metaccord selftest``."""

from __future__ import annotations

import json as jsonlib
import platform
import time
from dataclasses import asdict

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from metaccord.cli.options import Switch
from metaccord.errors import CheckpointError, NumericalError, UsageError
from metaccord.selftest.checks import CHECKS, merged
from metaccord.selftest.outcome import Outcome

HEADS = ("check", "promise", "cases", "worst", "bound", "verdict", "seconds")


def selftest(*, full: Switch = False, seed: int = 0, json: Switch = False) -> int:
    """Check the promises on this machine: exactness, gradients, curvature, resume, damage.

    Takes about a minute. Exit code 5 if a number leaves its bound, 4 if a promise about files is
    broken, 0 if all are kept.

    Args:
        full: All cases of the published figures, every method on a line of its own: long.
        seed: Of all draws.
        json: Print one JSON object.
    """
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed is {seed}: it must be between 0 and 2**32 - 1")
    start, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(1)
    found: list[Outcome] = []
    try:
        with Console(stderr=True).status("") as status:
            for check in CHECKS:
                if (count := check.full if full else check.cut) == 0:
                    continue
                status.update(f"{check.name} ...")
                outcomes = list(check.run(count, seed))
                found += outcomes if full or json else merged(check.name, outcomes)
    finally:
        torch.set_num_threads(threads)
    seconds = time.perf_counter() - start
    if json:
        print(jsonlib.dumps(recorded(found, full, seed, seconds)))
    else:
        show(found, seconds)
    return code(found)


def code(found: list[Outcome]) -> int:
    """Return the exit code: numbers before files."""
    codes = {outcome.exit_code for outcome in found}
    for worse in (NumericalError.exit_code, CheckpointError.exit_code):
        if worse in codes:
            return worse
    return 0


def recorded(found: list[Outcome], full: bool, seed: int, seconds: float) -> dict[str, object]:
    """Return everything as JSON: machine, versions, and each check with its figures."""
    return {
        "full": full,
        "seed": seed,
        "seconds": seconds,
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "checks": [{**asdict(outcome), "ok": outcome.ok} for outcome in found],
    }


WIDE = 120  # columns of a log


def show(found: list[Outcome], seconds: float) -> None:
    """Print the table, and what to look at where a promise was broken."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for head in HEADS:
        right = head in ("cases", "worst", "bound", "seconds")
        table.add_column(head, justify="right" if right else "left", no_wrap=head != "promise")
    for outcome in found:
        cases = f"{outcome.count}"
        if outcome.fired != outcome.count:
            cases = f"{outcome.fired} of {outcome.count}"
        verdict = "[green]kept[/]" if outcome.ok else "[red]BROKEN[/]"
        worst, bound = f"{outcome.worst:.1e}", f"{outcome.bound:.0e}"
        if outcome.bound == 0:
            worst, bound = f"{outcome.worst:.0f}", "0"
        took = f"{outcome.seconds:.1f}"
        table.add_row(outcome.name, outcome.promise, cases, worst, bound, verdict, took)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(table)
    broken = [outcome for outcome in found if not outcome.ok]
    for outcome in broken:
        console.print(f"{outcome.name}: {outcome.detail}", markup=False, highlight=False)
    kept = len(found) - len(broken)
    console.print(f"{kept} of {len(found)} promises kept, {seconds:.0f} s", highlight=False)
