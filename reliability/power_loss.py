"""Power failures: every disk state that may be left must give a checkpoint, a log and a resume.

    python reliability/power_loss.py --json results/reliability/power_loss.json

The file operations of a real training are recorded (it begins, saves, rotates, is killed, goes on
and ends). For every prefix of them, and every fate of what was not yet synced, the folder that a
machine would find after a power failure is built and used.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from disk import DATA, NAMES, Disk, RecordingOs
from failing import FailingOs
from outcomes import main

from metaccord import checkpoint, fs
from metaccord.checkpoint import Checkpoint
from metaccord.errors import MetaccordError
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import RUN
from metaccord.selftest import Cases, Outcome
from metaccord.selftest.trial import CLOCK, differences, go_on, quiet, trial

STEPS, KILLED = 20, (5, 13)
DRAWS = 4  # of each state that is left in part
TO_THE_END = 40  # one state of so many is trained to the end and compared to the bit
PROMISE = "after a power failure every saved step is there, the log is readable, the run goes on"


class Plain(NamedTuple):
    """The training that lost no power.

    Attributes:
        folder: Where it lies.
        trace: What it asked of the disk.
        manifests: Manifest of each checkpoint it ever wrote, by its step.
    """

    folder: Path
    trace: list[tuple[Any, ...]]
    manifests: dict[int, bytes]


def power_losses(folder: Path, most: int | None = None, *, seed: int = 0) -> Outcome:
    """Lose power in every state of a training.

    Args:
        folder: An existing folder to work in.
        most: How many states, drawn at random; None: all.
        seed: Of that draw and of what is left in part.

    Returns:
        ``count`` are the distinct states; ``worst`` is the number of those that lost something.
    """
    start, draw = time.perf_counter(), random.Random(seed)
    plain = recorded(folder / "plain" / "run")
    broken: list[str] = []
    seen: set[bytes] = set()
    fates = [
        pair
        for pair in itertools.product(DATA, NAMES)
        for _ in range(DRAWS if "part" in pair else 1)
    ]
    chosen = list(itertools.product(range(1, len(plain.trace) + 1), fates))
    draw.shuffle(chosen)
    with quiet(), mock.patch.object(fs, "os", FailingOs()):
        for index, state in enumerate(chosen):
            target = folder / f"state-{index}"
            saved, created = _left(plain, target, *state, draw=draw)
            if (digest := _digest(target)) not in seen:
                seen.add(digest)
                whole = len(seen) % TO_THE_END == 0
                if wrong := lost(target / "run", plain, saved, created=created, whole=whole):
                    broken.append(f"after {state}: {wrong}")
            shutil.rmtree(target)
            if len(seen) == most:
                break
    count = len(seen) if most is None else most
    detail = f"seed {seed}, {len(plain.trace)} operations, {count // TO_THE_END} trained to the end"
    return Outcome.of_runs(
        "power failures", PROMISE, Cases(count, len(seen), broken), start, detail
    )


def recorded(run: Path) -> Plain:
    """Train with a kill in between, note every file operation, and keep every manifest."""
    experiment, notes = trial(f"steps={STEPS}"), RecordingOs()
    run.parent.mkdir()
    manifests: dict[int, bytes] = {}
    write = checkpoint.write

    def noted(folder: Path, state: Checkpoint, **options: Any) -> Path:
        found = write(folder, state, **options)
        manifests[state.step] = (found / "manifest.json").read_bytes()
        notes.mark("saved", state.step)
        return found

    with mock.patch.object(fs, "os", notes), mock.patch.object(checkpoint, "write", noted):
        for end in (*KILLED, STEPS):
            for record in go_on(experiment, run):
                if record.step == 1:
                    notes.mark("created")
                if record.step == end:
                    break  # nothing is saved, as if it had been killed
    return Plain(run, notes.trace, manifests)


def lost(run: Path, plain: Plain, saved: int, *, created: bool, whole: bool) -> str | None:
    """Say what a power failure took from a run that must not be taken (None: nothing).

    Args:
        run: What is left of the folder.
        plain: The training that lost no power.
        saved: The last step whose save had returned.
        created: Whether the first record had been yielded.
        whole: Train to the end and compare.
    """
    if created and not (run / RUN).exists():
        return "the run is gone"
    try:
        if not (run / RUN).exists() and not whole:
            RunDirectory.create(run, {}).close()
            return None
        step = _resumed(run, plain) if (run / RUN).exists() else 0
        if step < saved:
            return f"step {saved} was saved, step {step} is left"
        if whole:
            for _ in go_on(trial(f"steps={STEPS}"), run):
                pass
            return next(iter(differences(run, plain.folder)), None)
    except (MetaccordError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _resumed(run: Path, plain: Plain) -> int:
    """Go on as a resumed run does, up to its first meta-step, and return the step."""
    with RunDirectory.open(run) as folder:
        intact = bool(checkpoint.saved(folder.checkpoints))
        found = checkpoint.read(folder.checkpoints) if intact else Checkpoint(0, {}, {})
        name = f"step-{found.step:06d}"
        manifest = folder.checkpoints / name / "manifest.json"
        assert not found.step or manifest.read_bytes() == plain.manifests[found.step], name
        folder.cut(found.step)
        expected = RunDirectory.read(plain.folder).records()[: found.step]
        assert [{**r, CLOCK: 0} for r in folder.records()] == [{**r, CLOCK: 0} for r in expected], (
            "the log differs"
        )
    return found.step


def _left(
    plain: Plain, target: Path, prefix: int, fate: tuple[str, str], *, draw: random.Random
) -> tuple[int, bool]:
    """Build what is left after a prefix of the trace; return what had been promised by then."""
    disk = Disk(plain.folder.parent)
    saved, created = 0, False
    for operation in plain.trace[:prefix]:
        disk.apply(operation)
        if operation[:2] == ("promise", "saved"):
            saved = operation[2]
        created |= operation[:2] == ("promise", "created")
    disk.write(target, *fate, draw)
    return saved, created


def _digest(folder: Path) -> bytes:
    """Return a hash of all names and bytes below a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(str(path.relative_to(folder)).encode() + b"\0")
        found.update(path.read_bytes() if path.is_file() else b"/")
    return found.digest()


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    yield power_losses(folder, seed=seed)


if __name__ == "__main__":
    main(__doc__, _checks)
