"""Exact resume at every step, of every method and interaction, three times in a row.

    python reliability/every_step.py --json results/reliability/every_step.json

One undisturbed run keeps the checkpoint of each step. For each step k a folder is built that holds
what a process leaves that dies just after saving it, with records behind it; then the run goes on
three times, one meta-step each, and every checkpoint must have the bytes of the undisturbed one.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

from failing import FailingOs
from outcomes import main

from metaccord import fs
from metaccord.errors import MetaccordError
from metaccord.experiment import Experiment
from metaccord.methods import BASES, WRAPPERS
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import RECORDS, RUN
from metaccord.selftest import Cases, Outcome
from metaccord.selftest.trial import CLOCK, go_on, place, quiet, trial

STEPS, CHAIN = 50, 3
PROMISE = "resumed at any step, three times in a row, a run has the bits of an undisturbed one"


def experiments(steps: int) -> dict[str, Experiment]:
    """Return a short training of every base method, and of interactions over some."""
    settings = (f"steps={steps}", "keep_every=1", "checkpoint_every=1")
    words: list[tuple[str, tuple[str, ...]]] = [(base, ()) for base in BASES]
    singles = [*WRAPPERS, "pcgrad", *(["aggregate"] if find_spec("torchjd") else [])]
    words += [("maml", (name,)) for name in singles]
    words += [("reptile", ("agreement",)), ("meta_sgd", ("sharing",)), ("maml", tuple(WRAPPERS))]
    phases = {"maml_pp": ("estimator.horizon=8", "estimator.epoch=2")}
    return {
        "+".join((base, *extra)): trial(*settings, *phases.get(base, ()), base=base, extra=extra)
        for base, extra in words
    }


def every_step(
    folder: Path,
    experiments: Mapping[str, Experiment],
    most: int | None = None,
    *,
    seed: int = 0,
) -> Outcome:
    """Resume each training at its steps.

    Args:
        folder: An existing folder to work in.
        experiments: What is trained, by name; checkpoints of every step are kept.
        most: How many steps of each, drawn at random; None: all.
        seed: Of that draw.

    Returns:
        ``count`` are the resumes; ``worst`` is the number of those that brought other bits.
    """
    start, draw = time.perf_counter(), random.Random(seed)
    count = fired = 0
    broken: list[str] = []
    with quiet(), mock.patch.object(fs, "os", FailingOs()):
        for name, experiment in experiments.items():
            plain = folder / name
            for _ in go_on(experiment, plain):
                pass
            steps: Iterable[int] = range(experiment.steps)
            for step in steps if most is None else draw.sample(list(steps), most):
                due = min(CHAIN, experiment.steps - step)
                done, wrong = resumed(experiment, plain, folder / "resumed", step)
                count, fired = count + due, fired + done
                broken += [f"{name}: {wrong}"] if wrong else []
    detail = f"seed {seed}, {', '.join(experiments)}"
    return Outcome.of_runs("every step", PROMISE, Cases(count, fired, broken), start, detail)


def resumed(experiment: Experiment, plain: Path, run: Path, step: int) -> tuple[int, str | None]:
    """Go on from ``step`` in a chain; return how many resumes there were and what differs.

    Args:
        experiment: What is trained.
        plain: The undisturbed run with all its checkpoints.
        run: Where to go on; replaced.
        step: After which the process is said to have died; 0: before its first checkpoint.
    """
    shutil.rmtree(run, ignore_errors=True)
    place(run, 0).parent.mkdir(parents=True)
    shutil.copy(plain / RUN, run)
    shutil.copy(plain / RECORDS, run)  # with all that came later
    for kept in range(max(1, step - 1), step + 1):
        shutil.copytree(place(plain, kept), place(run, kept))
    done = 0
    for now in range(step + 1, min(step + CHAIN, experiment.steps) + 1):
        try:
            steps = [record.step for record in go_on(experiment, run, stop=lambda: True)]
        except MetaccordError as error:
            return done, f"step {step} did not go on: {error}"
        done += 1
        for file in place(plain, now).iterdir():
            twin = place(run, now) / file.name
            if not twin.exists() or twin.read_bytes() != file.read_bytes():
                return done, f"resumed at {step}, {file.name} of step {now} differs"
        if steps != [now] or _records(run) != _records(plain)[:now]:
            return done, f"resumed at {step}, the records up to {now} differ"
    return done, None


def _records(run: Path) -> list[dict[str, object]]:
    return [{**record, CLOCK: 0} for record in RunDirectory.read(run).records()]


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    yield every_step(folder, experiments(STEPS), seed=seed)


if __name__ == "__main__":
    main(__doc__, _checks)
