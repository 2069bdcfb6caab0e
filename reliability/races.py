"""Four processes start or resume one run at once, 50 times: exactly one trains.

    python reliability/races.py --json results/reliability/races.json

In every other race the run was held by a process that has just been killed: its lock is free.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

from outcomes import main

from metaccord.errors import UsageError
from metaccord.experiment import Experiment
from metaccord.rundir_files import RUN
from metaccord.runs import run
from metaccord.selftest import Cases, Outcome
from metaccord.selftest.children import Child, Mark
from metaccord.selftest.trial import differences, trial

RACERS, STEPS = 4, 6
PATIENCE = 30.0  # seconds until a racer that neither trains nor gives up is stuck
TRAINS, NAMED = "trains", "named"
PROMISE = "of several processes in one folder exactly one trains; the others exit with code 2"


def races(folder: Path, count: int, patience: float = PATIENCE) -> Outcome:
    """Let processes race for one folder.

    Args:
        folder: An existing folder to work in.
        count: How many races; every other one for a run whose process was killed.
        patience: Seconds until racers that neither train nor give up are stuck.

    Returns:
        ``fired`` counts races in which all processes came to the folder; ``worst`` those in
        which not exactly one trained, another exit code was seen, or the run ended otherwise.
    """
    import torch._dynamo  # noqa: F401 - heavy, and every child needs it

    start, fired, named = time.perf_counter(), 0, 0
    experiment = trial(f"steps={STEPS}")
    broken = []
    if Child(lambda mark: _train(experiment, folder / "plain", False, None, mark)).end():
        broken.append("the undisturbed run did not end")
    for number in range(count):
        out = folder / f"race-{number}"
        if number % 2:
            _killed(experiment, out)
        children = _raced(experiment, out, patience)
        codes = sorted(child.end() for child in children)
        fired += len(codes) == RACERS and (number % 2 == 0 or (out / RUN).exists())
        named += sum(child.count(NAMED) for child in children)
        trained = sum(child.count(TRAINS) for child in children)
        if trained != 1 or codes != [0] + [UsageError.exit_code] * (RACERS - 1):
            broken.append(f"race {number}: {trained} trained, exit codes {codes}")
        else:
            broken += [f"race {number}: {line}" for line in differences(out, folder / "plain")[:1]]
    detail = f"{named} of {count * (RACERS - 1)} losers named the process that trains"
    return Outcome.of_runs("races", PROMISE, Cases(count, fired, broken), start, detail)


def _raced(experiment: Experiment, out: Path, patience: float) -> list[Child]:
    """Start all at once, and let the winner go on when the others have given up."""
    gate, opened = os.pipe()
    resume = (out / RUN).exists()
    begin = time.time() + 0.05

    def race(mark: Mark) -> None:
        os.close(opened)
        time.sleep(max(0.0, begin - time.time()))
        try:
            _train(experiment, out, resume, gate, mark)
        except UsageError as error:
            if "is in use by process" in str(error):
                mark(NAMED)
            raise

    children = [Child(race) for _ in range(RACERS)]
    os.close(gate)
    deadline = time.perf_counter() + patience
    while not all(child.names(TRAINS) or child.ended() for child in children):
        if time.perf_counter() > deadline:
            break
        time.sleep(0.002)
    os.close(opened)
    return children


def _killed(experiment: Experiment, out: Path) -> None:
    """Leave a run whose process was killed while it held the lock."""
    gate, opened = os.pipe()
    child = Child(lambda mark: _train(experiment, out, False, gate, mark))
    os.close(gate)
    child.passes(TRAINS)
    child.send(SIGKILL)
    child.end()
    os.close(opened)


def _train(experiment: Experiment, out: Path, resume: bool, gate: int | None, mark: Mark) -> None:
    """Train; after the first record wait until the gate is closed at its other end."""
    for number, _ in enumerate(run(experiment, out, resume=resume)):
        if number == 0:
            mark(TRAINS)
            if gate is not None:
                os.read(gate, 1)


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    del seed
    yield races(folder, 50)


if __name__ == "__main__":
    main(__doc__, _checks)
