"""The quick tests 200 times in random order: none may pass once and fail another time.

    nice python reliability/repeats.py --json results/reliability/repeats.json [--times N]

Each repeat is a process of its own; its order is drawn with seed + number, files apart and tests
inside each file, so ``--seed 17 --times 1`` repeats number 17 alone. A record of the same commit
goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mutant_tests import TESTS
from outcomes import HERE, described, line, write
from shuffled import SEED

from metaccord.selftest import Outcome

TIMES = 200
QUICK = tuple(sorted({test for tests in TESTS.values() for test in tests}))


def repeat(seed: int, tests: tuple[str, ...] = QUICK, root: Path = HERE.parent) -> dict[str, Any]:
    """Run the tests once in a random order; return seed, counts and the names that failed.

    Args:
        seed: Of the order.
        tests: Files.
        root: Where they lie.
    """
    start = time.perf_counter()
    words = ("--tb=short", "-p", "shuffled", "-p", "no:cacheprovider")
    found = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *tests], cwd=root,
        env={**os.environ, SEED: str(seed), "PYTHONPATH": _path(root), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    passed = re.search(r"(\d+) passed", found.stdout)
    return {
        "seed": seed,
        "code": found.returncode,
        "passed": int(passed[1]) if passed else 0,
        "failed": re.findall(r"^(?:FAILED|ERROR) (\S+)", found.stdout, re.MULTILINE),
        "seconds": round(time.perf_counter() - start),
    }


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


def _path(root: Path) -> str:
    """Return the module path of a child: this plug-in, and the package beside the tests."""
    return os.pathsep.join((str(root / "src"), str(HERE)))


def main() -> int:
    """Repeat, print and record after each repeat; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the record")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    options = parser.parse_args()
    record: dict[str, Any] = described(options) | {"rows": []}
    if options.json and options.json.is_file():
        before = json.loads(options.json.read_text())
        record["rows"] = before["rows"] if before["commit"] == record["commit"] else []
    start, rows = time.perf_counter(), record["rows"]
    found = outcome(rows, options.times)
    while len(rows) < options.times and time.perf_counter() - start < 60 * options.minutes:
        rows.append(repeat(options.seed + len(rows)))
        found = outcome(rows, options.times)
        record["cases"]["repeats"] = {**asdict(found), "ok": found.ok}
        write(record, options.json)
    print(line(found))
    return found.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
