"""``kill -9`` at random instants of real trainings, which must end as if nothing had happened.

The bulk runs in forked children of this process, stratified over the places of a training; a
sample runs the real command line in fresh processes, killed during their imports as well.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

from metaccord import book, checkpoint
from metaccord.evaluate import evaluate
from metaccord.experiment import Experiment
from metaccord.records import Record
from metaccord.rundir_files import RECORDS, RUN
from metaccord.selftest.children import Child, Mark
from metaccord.selftest.outcome import Cases, Outcome
from metaccord.selftest.trial import SETTINGS, differences, go_on, trial

PLACES = ("begin", "step", "evaluate", "save", "rotate", "end")
PROMISE = "killed at any instant, a run goes on unattended and ends with the same bits"
_PATIENCE = 120.0  # seconds for one process of the command line


def kills(folder: Path, count: int, *, seed: int = 0, steps: int = 16) -> Outcome:
    """Kill forked trainings ``count`` times and compare each with an undisturbed one.

    A training is killed again and again until it ends by itself; then parameters, optimiser,
    records and checkpoints are compared to the bit. A kill counts only if the process died of it.

    Args:
        folder: An existing folder to work in.
        count: How many kills.
        seed: Of the instants.
        steps: Meta-steps of one training.

    Returns:
        ``worst`` is the number of trainings that failed to go on or ended with other bits;
        ``detail`` tells where the processes died.
    """
    start, draw = time.perf_counter(), random.Random(seed)
    import torch._dynamo

    torch.set_num_threads(1)
    experiment = trial(f"steps={steps}")
    lengths = _measured(experiment, folder / "plain")
    deaths: list[str] = []
    broken: list[str] = []
    run = 0
    while len(deaths) < count and run < 10 * count:
        run += 1
        out = folder / f"run-{run}"
        code = None
        while code is None and len(deaths) < count:
            code = _struck(experiment, out, lengths, draw, deaths)
        if code is None:  # Enough kills: it may end.
            code = _begun(experiment, out).end()
        broken += _judged(code, out, folder / "plain")
    found = Counter(deaths)
    where = ", ".join(f"{found[place]} in {place}" for place in PLACES)
    detail = f"seed {seed}, {run} runs, {where}"
    return Outcome.of_runs("kill -9", PROMISE, Cases(count, len(deaths), broken), start, detail)


def fresh_kills(folder: Path, count: int, *, seed: int = 0, steps: int = 60) -> Outcome:
    """Kill processes of the command line ``count`` times; every other one during its imports.

    Args:
        folder, count, seed, steps: As in :func:`kills`.
    """
    start, draw = time.perf_counter(), random.Random(seed)
    begun = time.perf_counter()
    process = _command(folder / "plain", steps)
    _until(process, lambda: (folder / "plain" / RUN).exists())
    imports = time.perf_counter() - begun
    codes = [process.wait(_PATIENCE)]
    trains = time.perf_counter() - begun - imports
    fired, run, inside = 0, 0, 0
    broken: list[str] = []
    while fired < count and run < 10 * count and not any(codes):
        run += 1
        out, code = folder / f"run-{run}", -SIGKILL.value
        while code == -SIGKILL and fired < count:
            process, size = _command(out, steps), _size(out / RECORDS)
            if fired % 2:
                _until(process, partial(_grown, out / RECORDS, size))
            time.sleep(draw.random() * (trains if fired % 2 else imports))
            process.send_signal(SIGKILL)
            code = process.wait(_PATIENCE)
            fired += code == -SIGKILL
            inside += code == -SIGKILL and _grown(out / RECORDS, size)
        if code == -SIGKILL:
            code = _command(out, steps).wait(_PATIENCE)
        broken += _judged(code, out, folder / "plain")
    detail = f"seed {seed}, {run} runs, {inside} while training, {fired - inside} before"
    cases = Cases(count, fired, broken)
    return Outcome.of_runs("kill -9, command line", PROMISE, cases, start, detail)


def _measured(experiment: Experiment, plain: Path) -> dict[str, float]:
    """Train undisturbed and return how long a run stays in each place, in seconds."""
    child = _begun(experiment, plain)
    if code := child.end():
        raise AssertionError(f"the undisturbed training ended with {code}")
    times = [*(when for _, when in child.marks), time.perf_counter()]
    spent: dict[str, list[float]] = {place: [] for place in PLACES}
    for (place, when), after in zip(child.marks, times[1:], strict=True):
        spent[place].append(after - when)
    ended = next(when for place, when in child.marks if place == "end")
    return {**{k: sum(v) / len(v) for k, v in spent.items()}, "end": times[-1] - ended}


def _struck(
    experiment: Experiment,
    out: Path,
    lengths: dict[str, float],
    draw: random.Random,
    deaths: list[str],
) -> int | None:
    """Train on until a random instant, and kill; return the exit code if the run ended before."""
    place = PLACES[len(deaths) % len(PLACES)]
    child = _begun(experiment, out)
    times = 1 if place in ("begin", "end") else draw.randint(1, 3)
    if child.passes(place, times):
        time.sleep(draw.random() * lengths[place])
    child.send(SIGKILL)
    code = child.end()
    if code != -SIGKILL:
        return code
    deaths.append(child.marks[-1][0] if child.marks else "begin")
    return None


def _begun(experiment: Experiment, out: Path) -> Child:
    return Child(lambda mark: _train(experiment, out, mark))


def _train(experiment: Experiment, out: Path, mark: Mark) -> None:
    """Be the child."""
    mark("begin")
    telling(mark, experiment.steps)
    for _ in go_on(experiment, out):
        pass


def telling(mark: Mark, steps: int) -> None:
    """Let all trainings of this process, a child, tell where they are; there is no way back.

    The place is ``step`` from the first record on; from the last but one it is ``end``.

    Args:
        mark: What is called with the name of each place.
        steps: Meta-steps of the training.
    """
    now = ["begin"]

    def noted(keeper: book.Book, record: Record) -> None:
        note(keeper, record)
        now[0] = "end" if record.step >= steps - 1 else "step"
        mark(now[0])

    def told(function: Callable[..., Any], place: str) -> Callable[..., Any]:
        def telling(*given: Any, **named: Any) -> Any:
            mark(place)
            found = function(*given, **named)
            mark(now[0])
            return found

        return telling

    note = book.Book.note
    places: tuple[tuple[Any, str, Any], ...] = (
        (book.Book, "note", noted),
        (book, "evaluate", told(evaluate, "evaluate")),
        (checkpoint, "_commit", told(checkpoint._commit, "save")),
        (checkpoint, "_rotate", told(checkpoint._rotate, "rotate")),
    )
    for owner, name, function in places:
        setattr(owner, name, function)


def _judged(code: int, out: Path, plain: Path) -> list[str]:
    """Return what is wrong with a run that went on to its end."""
    if code:
        return [f"{out.name} did not go on: exit code {code}"]
    return [f"{out.name}: {line}" for line in differences(out, plain)[:1]]


def _command(out: Path, steps: int) -> subprocess.Popen[bytes]:
    """Begin ``metaccord train``, or go on with it."""
    words = ("train", "sinusoid", "--with", "agreement", "--out", str(out), "--steps", str(steps))
    more = ("--resume",) if (out / RUN).exists() else ("--set", *SETTINGS)
    return subprocess.Popen(
        (sys.executable, "-m", "metaccord", *words, *more),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _until(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    """Wait for something to show on the disk, or for the process to end."""
    deadline = time.perf_counter() + _PATIENCE
    while not ready() and process.poll() is None and time.perf_counter() < deadline:
        time.sleep(0.002)


def _grown(path: Path, size: int) -> bool:
    return _size(path) != size


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
