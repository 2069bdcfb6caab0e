"""The quick tests of the core 200 times in random order: none passes once and fails another time.

    nice python reliability/repeats.py --json results/reliability/repeats.json [--times N]

Each repeat is a process of its own; its order is drawn with seed + number, files apart and tests
inside each file, so ``--seed 17 --times 1`` repeats number 17 alone. Quick is what takes at most
``--longest`` seconds when all run once in order; the record names the others. A record of the same
commit goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mutant_tests import TESTS
from outcomes import HERE, described, line, write
from shuffled import SEED, WITHOUT

from metaccord.selftest import Outcome

TIMES = 200
LONGEST = 0.02  # seconds
CORE = tuple(sorted({test for tests in TESTS.values() for test in tests}))


def slow(longest: float, tests: tuple[str, ...] = CORE, root: Path = HERE.parent) -> list[str]:
    """Run the tests once in order and return the names of those that took longer.

    Args:
        longest: Seconds, of set-up, call and tear-down each.
        tests: Files.
        root: Where they lie.
    """
    said = _pytest(root, "--durations=0", "-vv", *tests)[1]
    lines = re.findall(r"^ *([\d.]+)s (?:setup|call|teardown) +(.+)$", said, re.MULTILINE)
    return sorted({name for seconds, name in lines if float(seconds) > longest})


def repeat(
    seed: int,
    tests: tuple[str, ...] = CORE,
    root: Path = HERE.parent,
    without: Sequence[str] = (),
) -> dict[str, Any]:
    """Run the tests once in a random order; return seed, counts and the names that failed.

    Args:
        seed: Of the order.
        tests: Files.
        root: Where they lie.
        without: Names of tests to leave out.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "without"
        names.write_text("\n".join(without))
        words = ("--tb=short", "-p", "shuffled", *tests)
        code, said = _pytest(root, *words, **{SEED: str(seed), WITHOUT: str(names)})
    passed = re.search(r"(\d+) passed", said)
    return {
        "seed": seed,
        "code": code,
        "passed": int(passed[1]) if passed else 0,
        "failed": re.findall(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE),
        "seconds": round(time.perf_counter() - start),
    }


def _pytest(root: Path, *words: str, **variables: str) -> tuple[int, str]:
    """Run pytest in a process of its own; return its exit code and what it printed."""
    path = os.pathsep.join((str(root / "src"), str(HERE)))  # the package, and this plug-in
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words], cwd=root,
        env={**os.environ, **variables, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.returncode, found.stdout


def outcome(rows: list[dict[str, Any]], times: int) -> Outcome:
    """Return how many repeats failed, or ran fewer tests than another, or none.

    Args:
        rows: What :func:`repeat` gave.
        times: How many there should be.
    """
    expected = max((row["passed"] for row in rows), default=0)
    wrong = [row for row in rows if row["code"] or row["passed"] != expected or not expected]
    names = sorted({name for row in wrong for name in row["failed"]})
    detail = f"{expected} tests in random order" + (
        f"; failed: {', '.join(names)}" if names else ""
    )
    seconds = float(sum(row["seconds"] for row in rows))
    return Outcome(
        "repeats", "no test passes in one order and fails in another", times, len(rows),
        len(wrong), 0, seconds, detail,
    )  # fmt: skip


def main() -> int:
    """Repeat, print and record after each repeat; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the record")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--longest", type=float, default=LONGEST, help="seconds of a quick test")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    options = parser.parse_args()
    record: dict[str, Any] = described(options) | {"rows": []}
    if options.json and options.json.is_file():
        before = json.loads(options.json.read_text())
        if before["commit"] == record["commit"]:
            record |= {name: before[name] for name in ("rows", "without")}
    record.setdefault("without", slow(options.longest))
    start, rows = time.perf_counter(), record["rows"]
    found = outcome(rows, options.times)
    while len(rows) < options.times and time.perf_counter() - start < 60 * options.minutes:
        rows.append(repeat(options.seed + len(rows), without=record["without"]))
        found = outcome(rows, options.times)
        record["cases"]["repeats"] = {**asdict(found), "ok": found.ok}
        write(record, options.json)
    print(line(found))
    return found.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
