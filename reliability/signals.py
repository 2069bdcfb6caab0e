"""300 signals at random instants of the real command line: it saves, ends, and loses no step.

    python reliability/signals.py --json results/reliability/signals.json

SIGTERM, SIGINT, SIGHUP, and SIGINT twice, through the real handlers, in forked children that run
``metaccord train``; a sample in fresh processes is in the tests of the command line.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM, Signals
from types import FrameType
from typing import Any
from unittest import mock

from outcomes import main

import metaccord.cli.main as command_line
import metaccord.cli.train as verb
from metaccord import checkpoint
from metaccord.book import Book
from metaccord.cli.interrupt import CODES, Interrupt
from metaccord.errors import CheckpointError
from metaccord.records import Record
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import CHECKPOINTS, RUN
from metaccord.selftest import Cases, Outcome
from metaccord.selftest.children import Child, Mark
from metaccord.selftest.kills import PLACES, telling
from metaccord.selftest.trial import SETTINGS, differences

STEPS = 24
KINDS = ((SIGTERM,), (SIGINT,), (SIGHUP,), (SIGINT, SIGINT))
PATIENCE = 20.0  # seconds until a process that does not end is killed, and counted as stuck
LONGEST = 0.02  # seconds between reaching a place and the signal
NOTED, HEARD = "noted", "heard"  # what a child tells beside its places
PROMISE = "a signal ends a run with exit code 130 or 143, every step saved; the rest is the same"


@dataclass
class Tally:
    """What was seen so far."""

    fired: int = 0
    longest: float = 0.0
    where: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def signals(folder: Path, count: int, *, seed: int = 0) -> Outcome:
    """Send signals to trainings, each of which goes on until it ends by itself.

    Args:
        folder: An existing folder to work in.
        count: How many interruptions.
        seed: Of the instants.

    Returns:
        ``fired`` counts those that ended a training; ``worst`` is the number of wrong exit
        codes, lost steps, stuck processes, and runs that ended with other bits.
    """
    import torch._dynamo  # noqa: F401 - heavy, and every child needs it

    start, draw, tally, run = time.perf_counter(), random.Random(seed), Tally(), 0
    if code := _begun(folder / "plain").end():
        tally.broken.append(f"the undisturbed run ended with {code}")
    while tally.fired < count and run < count and not tally.broken:
        run += 1
        out = folder / f"run-{run}"
        while tally.fired < count and not _disturbed(out, draw, tally):
            pass
        code = _begun(out).end()
        wrong = [f"exit code {code}"] if code else differences(out, folder / "plain")
        tally.broken += [f"{out.name}: {line}" for line in wrong[:1]]
    where = ", ".join(f"{tally.where[place]} in {place}" for place in PLACES)
    detail = f"seed {seed}, {run} runs, {where}, longest end {tally.longest:.2f} s"
    return Outcome.of_runs(
        "signals", PROMISE, Cases(count, tally.fired, tally.broken), start, detail
    )


def _begun(out: Path) -> Child:
    return Child(lambda mark: _live(out, mark))


def _live(out: Path, mark: Mark) -> int:
    """Be the child."""
    try:
        return _command(out, mark)
    except KeyboardInterrupt:  # a second one, after the first has done its work
        return CODES[SIGINT]


def _command(out: Path, mark: Mark) -> int:
    """Run the command line, telling when its handlers are there."""
    words = ["train", "sinusoid", "--with", "agreement", "--out", str(out), "--steps", str(STEPS)]
    words += ["--resume"] if (out / RUN).exists() else ["--set", *SETTINGS]
    telling(mark, STEPS)
    train, note, heard = verb.run, Book.note, Interrupt._set

    def noted(book: Book, record: Record) -> None:
        note(book, record)
        mark(NOTED)

    def hearing(interrupt: Interrupt, number: int, frame: FrameType | None) -> None:
        mark(HEARD)
        heard(interrupt, number, frame)

    def told(*given: Any, **named: Any) -> Any:
        mark("begin")
        return train(*given, **named)

    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        mock.patch.object(verb, "run", told),
        mock.patch.object(Book, "note", noted),
        mock.patch.object(Interrupt, "_set", hearing),
    ):
        return command_line.main(words)


def _disturbed(out: Path, draw: random.Random, tally: Tally) -> bool:
    """Train on until a signal at a random instant; True if the run ended before."""
    kind = KINDS[tally.fired % len(KINDS)]
    place = PLACES[tally.fired // len(KINDS) % len(PLACES)]
    child = _begun(out)
    if not child.passes(place, 1 if place in ("begin", "end") else draw.randint(1, 3)):
        child.end()
        return True
    time.sleep(draw.random() * LONGEST)
    child.names(place)
    died_in = [name for name, _ in child.marks if name in PLACES][-1]
    sent = time.perf_counter()
    for number in kind:
        child.send(number)
        time.sleep(0.001)  # two that come at once are one
    stuck = not ends(child)
    if stuck:
        child.send(SIGKILL)
    took = time.perf_counter() - sent
    code = child.end()
    if code in (0, -kind[0]) and saved(out) == STEPS:
        return True  # the signal came when all was done
    tally.fired += 1
    tally.where[died_in] += 1
    tally.longest = max(tally.longest, took)
    if wrong := _wrong(out, child, code, kind):
        tally.broken.append(f"{out.name}, {[n.name for n in kind]} in {died_in}: {wrong}")
    return False


def _wrong(out: Path, child: Child, code: int, kind: tuple[Signals, ...]) -> str | None:
    """Say what is wrong with a run that a signal has ended."""
    if code != CODES[kind[0]]:
        return f"exit code {code}"
    if len(kind) > 1:
        return None  # it left at once; the resume shows that nothing is damaged
    marks = [name for name, _ in child.marks]
    later = marks[marks.index(HEARD) :].count(NOTED) if HEARD in marks else 0
    if later > 1:  # The step that is under way may end.
        return f"{later} more meta-steps were done"
    if not (out / RUN).exists():
        return "there is no run"
    records = len(RunDirectory.read(out).records())
    if saved(out) != records:
        return f"{records} steps were recorded, {saved(out)} are saved"
    return None


def saved(out: Path) -> int:
    """Return how many steps of a run are safe."""
    try:
        return checkpoint.read(out / CHECKPOINTS).step
    except CheckpointError:
        return 0


def ends(child: Child) -> bool:
    """Say whether a child ends before the patience with it does."""
    deadline = time.perf_counter() + PATIENCE
    while not child.ended():
        if time.perf_counter() > deadline:
            return False
        time.sleep(0.001)
    return True


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    yield signals(folder, 300, seed=seed)


if __name__ == "__main__":
    main(__doc__, _checks)
