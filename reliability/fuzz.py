"""Change good inputs a little and see that every parser refuses or reads them properly.

Only the documented errors may come out of a parser, within a second and in bounded memory; what it
accepts must be sound. Inputs are numbered: input k depends on the seed and k alone, so blocks of
them may run anywhere and in any order, and a record that was begun is gone on with.

    python reliability/fuzz.py --count 1000000 --processes 2 --json results/reliability/fuzz.json
    python reliability/fuzz.py --input 123456       # one input again, with its traceback
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import fuzz_data
import fuzz_own
import fuzz_stored
import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from machine import described, write

TARGETS = {**fuzz_data.TARGETS, **fuzz_stored.TARGETS, **fuzz_own.TARGETS}
BLOCK = 5000
HANG, STUCK = 1.0, 20.0  # processor seconds of one input; wall seconds after which it is ended
GROWTH = 256 << 20  # bytes by which a process may grow over all its inputs
NAMES = tuple(TARGETS)


class StuckError(BaseException):
    """An input that does not come to an end; nothing catches it by accident."""


def tried(number: int, seed: int, place: Path) -> tuple[str, str]:
    """Give one input to its parser.

    Args:
        number: Of the input; targets take turns.
        seed: Of all inputs.
        place: A folder for files.

    Returns:
        The target, and ``"accepted"``, ``"refused"`` or what went wrong.
    """
    name = NAMES[number % len(NAMES)]
    target = TARGETS[name]
    made = target.make(Random(f"{seed}/{number}"))
    began = time.process_time()
    outcome = "accepted"
    try:
        target.parse(made, place)
    except target.errors as error:
        outcome = "refused" if "\n" not in str(error) else f"several lines: {error!r:.200}"
    except StuckError:
        outcome = f"hangs for {STUCK} s"
    except Exception as error:
        outcome = f"{type(error).__name__}: {error!s:.200}"
    if outcome in ("accepted", "refused") and (took := time.process_time() - began) > HANG:
        outcome = f"takes {took:.1f} s"
    return name, outcome


def block(numbers: range, seed: int) -> dict[str, Any]:
    """Try some inputs and count what came of them."""
    counts: Counter[str] = Counter()
    failures = []
    began, before = time.process_time(), peak()
    with tempfile.TemporaryDirectory() as folder, guarded():
        places = {name: Path(folder) / name for name in NAMES}
        for place in places.values():
            place.mkdir()
        for number in numbers:
            signal.setitimer(signal.ITIMER_REAL, STUCK)
            name, outcome = tried(number, seed, places[NAMES[number % len(NAMES)]])
            counts[f"{name} {outcome if outcome in ('accepted', 'refused') else 'failed'}"] += 1
            if outcome not in ("accepted", "refused"):
                failures.append({"input": number, "target": name, "outcome": outcome})
    grown = peak() - before
    if grown > GROWTH:
        failures.append(
            {"input": numbers.start, "target": "all", "outcome": f"grew by {grown} bytes"}
        )
    spent = time.process_time() - began
    return {"counts": dict(counts), "failures": failures, "seconds": spent, "grown": grown}


@contextmanager
def guarded() -> Iterator[None]:
    """Bound time and memory, hide notes, and keep the user's data out."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise StuckError

    log = logging.getLogger("metaccord")
    level, handler = log.level, signal.signal(signal.SIGALRM, ring)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    log.setLevel(logging.CRITICAL)
    kept = {name: os.environ.pop(name, None) for name in ("METACCORD_DATA", "METACCORD_CACHE")}
    os.environ["METACCORD_CACHE"] = "/nonexistent"
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * GROWTH, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        log.setLevel(level)
        del os.environ["METACCORD_CACHE"]
        os.environ.update({name: value for name, value in kept.items() if value is not None})


def peak() -> int:
    """Return the most memory that this process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _numbered(given: tuple[int, int]) -> tuple[int, dict[str, Any]]:
    start, seed = given
    torch.set_num_threads(1)
    return start, block(range(start, start + BLOCK), seed)


def added(record: dict[str, Any], start: int, found: dict[str, Any]) -> None:
    """Put the result of a block into the record."""
    cases = record["cases"]
    cases["blocks"] = sorted({*cases.get("blocks", []), start})
    cases["inputs"] = cases.get("inputs", 0) + sum(found["counts"].values())
    counts = Counter(cases.get("counts", {})) + Counter(found["counts"])
    cases["counts"] = dict(sorted(counts.items()))
    cases["failures"] = [*cases.get("failures", []), *found["failures"]][:1000]
    cases["core_seconds"] = round(cases.get("core_seconds", 0) + found["seconds"], 1)
    cases["grown_bytes"] = max(cases.get("grown_bytes", 0), found["grown"])


def begun(options: argparse.Namespace) -> dict[str, Any]:
    """Return the record to go on with, of the same seed and targets, or an empty one."""
    fresh = described(options)
    fresh["cases"] = {"targets": list(NAMES), "commits": [fresh["commit"]]}
    if options.json is None or not options.json.exists():
        return fresh
    record = json.loads(options.json.read_text())
    if record["options"]["seed"] != options.seed or record["cases"]["targets"] != list(NAMES):
        raise SystemExit(f"{options.json} has another seed or other targets: move it away")
    record["cases"]["commits"] = sorted({*record["cases"]["commits"], fresh["commit"]})
    return record | {"options": fresh["options"], "date": fresh["date"]}


def main() -> None:
    """Try the inputs that the record lacks, and write it after each block."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="rounded up to whole blocks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--input", type=int, help="try one input and show its traceback")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.input is not None:
        _again(options.input, options.seed)
        return
    record = begun(options)
    missing = set(range(0, options.count, BLOCK)) - set(record["cases"].get("blocks", []))
    todo = [(start, options.seed) for start in sorted(missing)]
    with multiprocessing.get_context("fork").Pool(options.processes) as pool:
        for start, found in pool.imap_unordered(_numbered, todo):
            added(record, start, found)
            cases = record["cases"]
            print(f"{cases['inputs']} inputs, {len(cases['failures'])} failures", flush=True)
            write(record, options.json)
    raise SystemExit(bool(record["cases"].get("failures")))


def _again(number: int, seed: int) -> None:
    target = TARGETS[NAMES[number % len(NAMES)]]
    made = target.make(Random(f"{seed}/{number}"))
    print(f"{NAMES[number % len(NAMES)]}: {made!r:.2000}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            print("accepted:", target.parse(made, Path(folder)))
        except Exception:
            traceback.print_exc()


if __name__ == "__main__":
    main()
