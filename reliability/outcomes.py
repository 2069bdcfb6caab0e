"""What the scripts of this folder share: options, the record, the exit code."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import torch

from metaccord.selftest import Outcome

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "benchmarks"))
from machine import commit, described, write  # noqa: E402

__all__ = ["HERE", "commit", "described", "line", "main", "write"]
Checks = Callable[[Path, int], Iterable[Outcome]]


def main(doc: str | None, checks: Checks) -> None:
    """Run checks in a temporary folder, print and record what they found, and end the process.

    Args:
        doc: The script's own docstring.
        checks: Takes an empty folder and the seed, and gives one outcome after the other.
    """
    parser = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the record")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = described(options)
    code = 0
    with tempfile.TemporaryDirectory() as folder:
        for outcome in checks(Path(folder), options.seed):
            print(line(outcome), flush=True)
            record["cases"][outcome.name] = {**asdict(outcome), "ok": outcome.ok}
            code = code or outcome.exit_code
    write(record, options.json)
    raise SystemExit(code)


def line(outcome: Outcome) -> str:
    """Return one line for people."""
    verdict = "kept" if outcome.ok else "BROKEN"
    return (
        f"{verdict:6} {outcome.name}: {outcome.fired} of {outcome.count}, worst {outcome.worst:g}, "
        f"bound {outcome.bound:g}, {outcome.seconds:.0f} s ({outcome.detail})"
    )
