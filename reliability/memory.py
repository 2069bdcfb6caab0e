"""Trainings that run out of memory or file handles: nothing corrupt, no hang, no false "saved".

    python reliability/memory.py --json results/reliability/memory.json

Forked children run ``metaccord train``. From one place of the training on the address space may
hold no more than an undisturbed run does there, plus a room that falls in 40 steps from what such
a run needs to nothing; then the same for the number of open files. Tensors are mappings of their
own, so that an allocation may fail at any of them. A training that failed is tried again within the
same limit before it goes on without any.
"""

from __future__ import annotations

import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import Any
from unittest import mock

from limits import fill_holes, free_handle, give_back, held_bytes, lower, rounded
from outcomes import main
from signals import ends, saved

import metaccord.cli.main as command_line
import metaccord.cli.process as process
import metaccord.cli.train as verb
from metaccord import book, checkpoint
from metaccord.errors import ResourceError
from metaccord.rundir_files import RUN
from metaccord.selftest import Cases, Outcome
from metaccord.selftest.children import Child, Mark
from metaccord.selftest.kills import telling
from metaccord.selftest.trial import SETTINGS, differences

STEPS, ROOMS, LIBRARIES, HANDLES = 6, 40, 16, 4
MODEL = "model.hidden=[64,64]"  # 64 KiB for the copies of four tasks
PLACES = ("begin", "step", "evaluate", "save", "rotate")
SAFE, MUTE = "safe", "mute"  # what a child tells: after each checkpoint; of an error without cause
PROMISE = "short of {}, a run ends in time, with code 6 where it can, and what it saved goes on"


@dataclass
class Tally:
    """What was seen so far."""

    fired: int = 0
    rounded: int = 0
    printed: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    longest: float = 0.0
    broken: list[str] = field(default_factory=list)


def memory(
    folder: Path, rooms: int = ROOMS, places: tuple[str, ...] = PLACES, *, loaded: bool = True
) -> Outcome:
    """Let the address space end, from each place of a training on.

    Args:
        folder: An existing folder to work in.
        rooms: How many limits at each place, from what an undisturbed run needs to nothing.
        places: Where the limits are set.
        loaded: Import before what a training imports late; else its libraries may not fit either.

    Returns:
        ``fired`` counts trainings that came to the place; ``worst`` those that hung, ended with a
        code other than 6 that Python chose, damaged their folder, told of a save that is not
        there, or went on to other bits. Differences of rounding alone are counted apart: there
        MKL multiplied without its buffers.
    """
    start, tally = time.perf_counter(), Tally()
    if loaded:
        import torch._dynamo  # noqa: F401
    need = _plain(folder)
    for place in places:
        for number in range(rooms):
            room = need * (rooms - 1 - number) // max(1, rooms - 1)
            _short(folder, f"{place}-{number}", (place, resource.RLIMIT_AS, room), tally)
    detail = (
        f"{need / 2**20:.1f} MiB are needed, {_told(tally)}, {tally.rounded} rounded otherwise, "
        f"{tally.printed} with a library's traceback"
    )
    cases = Cases(rooms * len(places), tally.fired, tally.broken)
    name = "memory" if loaded else "memory, libraries"
    return Outcome.of_runs(name, PROMISE.format("memory"), cases, start, detail)


def handles(folder: Path, most: int = HANDLES, places: tuple[str, ...] = PLACES) -> Outcome:
    """Let the file handles end, from each place of a training on.

    Args:
        folder: An existing folder to work in.
        most: From how many that may still be opened down to none.
        places: As in :func:`memory`.
    """
    import torch._dynamo  # noqa: F401

    start, tally = time.perf_counter(), Tally()
    _plain(folder)
    for place in places:
        for room in reversed(range(most)):
            _short(folder, f"{place}-{room}", (place, resource.RLIMIT_NOFILE, room), tally)
    cases = Cases(most * len(places), tally.fired, tally.broken)
    return Outcome.of_runs("handles", PROMISE.format("handles"), cases, start, _told(tally))


def _plain(folder: Path) -> int:
    """Train undisturbed, and return by how much the address space grew, bytes."""
    out = folder / "plain"

    def measured(mark: Mark) -> int:
        held = 0

        def at(place: str) -> None:
            nonlocal held
            held = fill_holes() if place == "begin" else held

        code = _command(out, mark, at)
        mark(f"grew {max(0, held_bytes()[1] - held)}")
        return code

    child = Child(measured)
    if code := child.end():
        raise AssertionError(f"the undisturbed training ended with {code}")
    return int(child.marks[-1][0].split()[1])


def _short(folder: Path, name: str, limit: tuple[str, int, int], tally: Tally) -> None:
    """Train with a limit, judge what is there, go on without it, and judge the end."""
    out, (_, what, room) = folder / name, limit
    wrong, reached = _limited(out, limit, tally)
    tally.fired += reached
    if not wrong and saved(out) < STEPS:  # it goes on as short of everything as before
        wrong, _ = _limited(out, ("begin", what, room), tally)
    if not wrong:
        code = Child(lambda mark: _command(out, mark, lambda place: None)).end()
        wrong = [f"it did not go on: code {code}"] if code else differences(out, folder / "plain")
        if wrong and not code and what == resource.RLIMIT_AS and rounded(out, folder / "plain"):
            tally.rounded, wrong = tally.rounded + 1, []
    tally.broken += [f"{name}: {line}" for line in wrong[:1]]


def _limited(out: Path, limit: tuple[str, int, int], tally: Tally) -> tuple[list[str], bool]:
    """Train with a limit; say what is wrong then, and whether the limit was set."""
    where, what, room = limit

    def limited(mark: Mark) -> int:
        def at(place: str) -> None:
            if place == where and what == resource.RLIMIT_AS:
                lower(what, fill_holes() + room)
            elif place == where:
                lower(what, free_handle(room))

        try:
            return _command(out, mark, at)
        except SystemError:  # C code has failed without a word
            mark(MUTE)
            raise

    start = time.perf_counter()
    child = Child(limited)
    stuck = not ends(child)
    if stuck:
        child.send(SIGKILL)
    tally.longest = max(tally.longest, time.perf_counter() - start)
    code = child.end()
    tally.codes[code] += 1
    tally.printed += code == ResourceError.exit_code and "Traceback" in _said(out).read_text()
    wrong = ["it hung"] if stuck else _wrong(out, code, child)
    return wrong, child.count(where) > 0


def _wrong(out: Path, code: int, child: Child) -> list[str]:
    """Say what is wrong with a training that ended short of something."""
    said = _said(out).read_text()
    last = said.strip().splitlines()[-1:] or [""]
    if code > 0 and not child.count(MUTE) and code != ResourceError.exit_code:
        return [f"code {code}: {last[0]}"]
    foreign = "MemoryError" in said  # Rust prints what Python raised there, before it gives up
    if code == ResourceError.exit_code and (
        ("Traceback" in said and not foreign) or "error: " not in last[0]
    ):
        return [f"code {code}, but it said {last[0]!r}"]
    there = saved(out)
    told = [int(name.split()[1]) for name, _ in child.marks if name.startswith(SAFE)]
    claimed = max([*told, *map(int, re.findall(r"^saved .* at step (\d+)", said, re.M))], default=0)
    if claimed > there:
        return [f"step {claimed} was said to be safe, {there} is"]
    return []


def _command(out: Path, mark: Mark, at: Callable[[str], None]) -> int:
    """Be the child: run the command line, and call ``at`` with each place."""
    words = ["train", "sinusoid", "--with", "agreement", "--out", str(out), "--steps", str(STEPS)]
    words += ["--resume"] if (out / RUN).exists() else ["--set", *SETTINGS, MODEL]
    write = checkpoint.write

    def told(place: str) -> None:
        mark(place)
        at(place)

    def begun(*given: Any, **named: Any) -> Any:
        told("begin")
        return verb_run(*given, **named)

    def safe(folder: Path, found: checkpoint.Checkpoint, **named: Any) -> None:
        write(folder, found, **named)
        mark(f"{SAFE} {found.step}")

    verb_run = verb.run
    telling(told, STEPS)
    with (
        _said(out).open("a") as said,
        redirect_stdout(said),
        redirect_stderr(said),
        mock.patch.object(verb, "run", begun),
        mock.patch.object(book.checkpoint, "write", safe),
        mock.patch.object(process, "keep_freed", give_back),
    ):
        return command_line.main(words)


def _said(out: Path) -> Path:
    return out.with_name(f"{out.name}.txt")


def _told(tally: Tally) -> str:
    codes = ", ".join(f"{count} with {code}" for code, count in sorted(tally.codes.items()))
    return f"ends: {codes}, longest {tally.longest:.1f} s"


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    del seed
    for name in ("libraries", "memory", "handles"):
        (folder / name).mkdir()
    yield memory(folder / "libraries", LIBRARIES, ("begin",), loaded=False)
    yield memory(folder / "memory")
    yield handles(folder / "handles")


if __name__ == "__main__":
    main(__doc__, _checks)
