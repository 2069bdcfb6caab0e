"""200 signals to trainings of 2 and 4 processes: all save together, end together, lose no step.

    python reliability/rank_signals.py --json results/reliability/rank_signals.json

SIGTERM, SIGINT and SIGHUP reach all processes, as a launcher passes them on, or one alone. The
children run ``metaccord train`` with the environment that torchrun gives.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM, Signals
from unittest import mock

from outcomes import main
from signals import ends, saved

import metaccord.cli.main as command_line
from metaccord.book import Book
from metaccord.cli.interrupt import CODES
from metaccord.records import Record
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import RUN
from metaccord.selftest import Cases, Outcome
from metaccord.selftest.children import Child, Mark
from metaccord.selftest.company import free_port, surroundings
from metaccord.selftest.trial import SETTINGS, differences

STEPS = 24
KINDS = (SIGTERM, SIGINT, SIGHUP)
WORLDS = (2, 4)
LONGEST = 0.02  # seconds between a step and the signal
SHARED = ("num_tasks=12", "deterministic=true", "plan.chunk=1")
PROMISE = "a signal to any process ends all with its exit code, every step saved; the rest is equal"


@dataclass
class Tally:
    """What was seen so far."""

    fired: int = 0
    alone: int = 0
    longest: float = 0.0
    broken: list[str] = field(default_factory=list)


def rank_signals(folder: Path, count: int, *, seed: int = 0) -> Outcome:
    """Send signals to trainings of several processes, each of which goes on until its end.

    Args:
        folder: An existing folder to work in.
        count: How many interruptions.
        seed: Of the instants and the processes that are struck.

    Returns:
        ``fired`` counts those that ended a training; ``worst`` is the number of wrong exit codes,
        lost steps, stuck processes, and runs that ended with other bits.
    """
    import torch._dynamo  # noqa: F401 - heavy, and every child needs it

    start, draw, tally, run = time.perf_counter(), random.Random(seed), Tally(), 0
    codes = [child.end() for child in _begun(folder / "plain", 1)]
    tally.broken += [f"the undisturbed run ended with {codes}"] if any(codes) else []
    while tally.fired < count and run < count and not tally.broken:
        run += 1
        out = folder / f"run-{run}"
        while tally.fired < count and not _disturbed(out, draw, tally):
            pass
        codes = [child.end() for child in _begun(out, draw.choice(WORLDS))]
        wrong = [f"exit codes {codes}"] if any(codes) else differences(out, folder / "plain")
        tally.broken += [f"{out.name}: {line}" for line in wrong[:1]]
    detail = f"seed {seed}, {run} runs of {WORLDS} processes, {tally.alone} signals to one alone, "
    detail += f"longest end {tally.longest:.2f} s"
    return Outcome.of_runs(
        "signals to ranks", PROMISE, Cases(count, tally.fired, tally.broken), start, detail
    )


def _begun(out: Path, world: int) -> list[Child]:
    port = free_port()
    return [Child(partial(_live, out, rank, world, port)) for rank in range(world)]


def _live(out: Path, rank: int, world: int, port: int, mark: Mark) -> int:
    """Be one of the processes, telling after each step."""
    if world > 1:
        os.environ.update(surroundings(rank, world, port))
    words = ["train", "sinusoid", "--with", "agreement", "--out", str(out), "--steps", str(STEPS)]
    words += ["--resume"] if (out / RUN).exists() else ["--set", *SETTINGS, *SHARED]
    note = Book.note

    def noted(book: Book, record: Record) -> None:
        note(book, record)
        mark("step")

    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        mock.patch.object(Book, "note", noted),
    ):
        return command_line.main(words)


def _disturbed(out: Path, draw: random.Random, tally: Tally) -> bool:
    """Train on until a signal after a random step; True if the run ended before."""
    world, kind = draw.choice(WORLDS), KINDS[tally.fired % len(KINDS)]
    children = _begun(out, world)
    struck = children if tally.fired % 2 else [draw.choice(children)]
    steps = draw.randint(1, 4)
    if not all(child.passes("step", steps) for child in children):
        for child in children:
            child.end()
        return True
    time.sleep(draw.random() * LONGEST)
    sent = time.perf_counter()
    for child in struck:
        child.send(kind)
    stuck = [rank for rank, child in enumerate(children) if not ends(child)]
    for rank in stuck:
        children[rank].send(SIGKILL)
    took = time.perf_counter() - sent
    codes = [child.end() for child in children]
    if not any(codes) and saved(out) == STEPS:
        return True  # the signal came when all was done
    tally.fired += 1
    tally.alone += len(struck) == 1
    tally.longest = max(tally.longest, took)
    if wrong := _wrong(out, children, codes, kind):
        tally.broken.append(f"{out.name}, {kind.name} to {len(struck)} of {world}: {wrong}")
    return False


def _wrong(out: Path, children: list[Child], codes: list[int], kind: Signals) -> str | None:
    """Say what is wrong with a run that a signal has ended."""
    if set(codes) != {CODES[kind]}:
        return f"exit codes {codes}"
    done = {child.count("step") for child in children}
    if len(done) > 1:
        return f"the processes ended after {sorted(done)} steps"
    records = len(RunDirectory.read(out).records())
    return None if saved(out) == records else f"{records} steps recorded, {saved(out)} saved"


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    yield rank_signals(folder, 200, seed=seed)


if __name__ == "__main__":
    main(__doc__, _checks)
