"""Numbers that blow up: every rank stops in the same step, before it updates or saves anything."""

from __future__ import annotations

import random
import re
import shutil
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from metaccord import checkpoint
from metaccord.errors import CheckpointError, MetaccordError, NumericalError
from metaccord.experiment import Experiment
from metaccord.outer import moments
from metaccord.records import Record
from metaccord.replay import refuse_failed, repeat
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import CHECKPOINTS, read_failure
from metaccord.runs import run
from metaccord.selftest.company import company
from metaccord.selftest.outcome import Outcome
from metaccord.selftest.poison import MEMORY, STEPS, TASKS, Case, Poison, drawn_case
from metaccord.selftest.trial import place, quiet, trial
from metaccord.testing.ranks import ThreadRanks, on_ranks

PROMISE = "a value that is not finite stops all ranks in its step; nothing is updated or saved"
GRACE = 5.0  # seconds in which all ranks are to end
REAL = 25  # every so many cases run in real processes


@dataclass
class End:
    """How the training of one rank ended.

    Attributes:
        error: What it raised.
        before, after: All its tensors when the last record came and when it ended.
    """

    error: BaseException | None = None
    before: list[bytes] = field(default_factory=list)
    after: list[bytes] = field(default_factory=list)

    @property
    def step(self) -> int | None:
        """The meta-step that the error names."""
        found = re.search(r"at meta-step (\d+): ", str(self.error))
        return int(found[1]) if found and isinstance(self.error, NumericalError) else None


def injections(folder: Path, count: int, *, seed: int = 0, real: int = REAL) -> Outcome:
    """Make one number of a small training not finite, ``count`` times, and look at what is left.

    Args:
        folder: An existing folder to work in.
        count: How many trainings.
        seed: Of the cases.
        real: Every so many cases run in real processes, the others in threads; 0: none.

    Returns:
        ``worst`` is the number of cases with a broken promise.
    """
    start, draw = time.perf_counter(), random.Random(seed)
    fired, wrong, where = 0, list[str](), Counter[str]()
    with quiet():
        for number in range(count):
            case = drawn_case(draw, number)
            out = folder / f"case-{number}"
            poison = Poison(case, folder / f"{out.name}.fired")
            apart = bool(real) and number % real == 0 and case.place not in MEMORY
            with poison.active():
                lines = _processes(case, out) if apart else _threads(poison, out, number)
                exploded = case.place == "explosion"  # fires if it fails at all, seen by lines
                happened = exploded or poison.mark.exists()
                lines += _replayed(case, out) if happened and not lines else []
            fired += happened
            where[case.place] += happened
            wrong += [f"case {number} ({case}): {line}" for line in lines[:1]]
            if not lines:
                shutil.rmtree(out, ignore_errors=True)
    detail = f"seed {seed}, " + ", ".join(f"{n} {name}" for name, n in where.items())
    if wrong:
        detail += f"; {len(wrong)} broken, of which {'; '.join(wrong)}"
    seconds = time.perf_counter() - start
    return Outcome("not finite", PROMISE, count, fired, len(wrong), 0, seconds, detail)


def _experiment(case: Case) -> Experiment:
    settings = (f"steps={case.step + 3}", f"num_tasks={TASKS}", f"rule.steps={STEPS}")
    return trial(*settings, *case.settings, base=case.base, extra=case.extra)


def _processes(case: Case, out: Path) -> list[str]:
    """Train in real processes and return what is wrong."""
    codes = company(_experiment(case), out, case.world)
    if codes != [NumericalError.exit_code] * case.world:
        return [f"exit codes {codes}"]
    return _left(case, out, None)


def _threads(poison: Poison, out: Path, number: int) -> list[str]:
    """Train on threads and return what is wrong."""
    case, experiment = poison.case, _experiment(poison.case)
    leaving = threading.Barrier(case.world)

    def work(ranks: ThreadRanks) -> End:
        torch.set_num_threads(1)
        end = _trained(poison, experiment, out, ranks, random.Random(number))
        try:
            leaving.wait(GRACE)
        except threading.BrokenBarrierError:
            ranks.barrier.abort()  # releases who still waits for us
        return end

    ends = on_ranks(case.world, work)
    wrong = [
        f"rank {rank} ended with {end.error!r}, rank 0 with {ends[0].error!r}"
        for rank, end in enumerate(ends)
        if end.step is None or end.step != ends[0].step
    ]
    wrong += [
        "tensors were changed"
        for end in ends
        if end.before != end.after and "nothing was saved" not in str(end.error)
    ]  # found when it was to be saved, the last update was a good step's
    return wrong or [*_named(case, ends), *_left(case, out, ends[0])]


def _trained(
    poison: Poison, experiment: Experiment, out: Path, ranks: ThreadRanks, draw: random.Random
) -> End:
    """Be one rank."""
    end, last = End(), None
    try:
        for record in run(experiment, out, ranks=ranks if ranks.count > 1 else None):
            poison.between(record, ranks.rank, draw)
            last, end.before = record, _bytes(record)
    except (MetaccordError, threading.BrokenBarrierError) as error:
        end.error = error
    end.after = [] if last is None else _bytes(last)
    return end


def _bytes(record: Record) -> list[bytes]:
    """Return the bits of weights, statistics and moments."""
    every: list[Tensor] = [
        *record.state.params.values(),
        *record.state.running.values(),
        *moments(record.optimizer).values(),
    ]
    return [tensor.detach().numpy().tobytes() for tensor in every]


def _named(case: Case, ends: list[End]) -> list[str]:
    """Say which message lacks the place of the fault."""
    wrong = []
    for rank, end in enumerate(ends):
        said = str(end.error)
        if case.place != "explosion" and end.step != case.step:
            wrong.append(f"rank {rank} stopped in another step: {said}")
        if re.search(r"meta-step \d+: (a loss|grad_norm|query_loss); the losses are", said):
            wrong.append(f"rank {rank} names no tensor: {said}")
        tasks = re.search(r"inner step \d+ in tasks \[([\d, ]+)\]", said)
        if tasks and case.place not in (*MEMORY, "explosion") and case.task is not None:
            if str(case.task) not in tasks[1].split(", "):
                wrong.append(f"rank {rank} does not name task {case.task}: {said}")
        elif not tasks and case.place in ("loss", "support.targets"):
            wrong.append(f"rank {rank} names no task: {said}")
    return wrong


def _left(case: Case, out: Path, end: End | None) -> list[str]:
    """Return what is wrong with the folder of a training that has failed."""
    if end is not None and end.step == 0:
        return ["a run without a meta-step left its folder"] if out.exists() else []
    failure, records = read_failure(out), RunDirectory.read(out).records()
    if failure is None or failure["error"] != NumericalError.__name__:
        return [f"failure.json holds {failure}"]
    step, wrong = failure["step"], []
    if end is not None and (step != end.step or failure["message"] != str(end.error)):
        wrong.append(f"failure.json is about something else: {failure}")
    if [record["step"] for record in records] != list(range(1, step + 1)):
        wrong.append(f"{len(records)} records of {step} meta-steps")
    steps = checkpoint.saved(out / CHECKPOINTS)
    wrong += [
        f"{file.parent.name} holds a value that is not finite"
        for file in (out / CHECKPOINTS).rglob("*.safetensors")
        if not all(v.isfinite().all() for v in load_file(file).values())
    ]
    if steps:
        with suppress(CheckpointError):
            checkpoint.verify(place(out, steps[-1]))
            steps = []
        wrong += [f"the checkpoint of step {steps[-1]} is damaged"] if steps else []
    elif case.place not in (*MEMORY, "explosion"):
        wrong.append("no state was saved")
    return wrong


def _replayed(case: Case, out: Path) -> list[str]:
    """Return what is wrong with a repetition of the step that failed."""
    if not out.exists():
        return []
    failure, found = read_failure(out), repeat(out)
    if failure is None or found.step != failure["step"]:
        return [f"step {found.step} was repeated instead of that of {failure}"]
    refused = False
    try:
        refuse_failed(found)
    except NumericalError:
        refused = True
    if found.finite != (case.place in MEMORY) or refused == found.finite:
        return [f"repeated, it is {'' if found.finite else 'not '}finite"]
    if case.task is not None and case.place not in (*MEMORY, "explosion"):
        return [] if case.task in found.tasks else [f"tasks {found.tasks} are named"]
    return []
