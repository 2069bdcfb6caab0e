"""Trainings of several real processes: the same bits as one, and what happens when one is lost."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import torch

from metaccord.errors import PeerError
from metaccord.experiment import Experiment
from metaccord.launched import joined
from metaccord.peers import ANSWER
from metaccord.rundir_files import RUN
from metaccord.runs import run
from metaccord.selftest.children import Child, Mark
from metaccord.selftest.outcome import Cases, Outcome
from metaccord.selftest.trial import differences, trial

SAME = "deterministic mode gives the same bits with any number of processes"
LOST = "a lost process ends the others in time, by its name, and the run goes on to the same bits"
KINDS = ("killed", "raises", "hangs")
LIMIT = 10.0  # seconds in which a death is to end the others
TIMEOUT = 4.0  # seconds until a silent process of these trials is given up
PATIENCE = 120.0  # seconds for the meeting of processes that share few processors
SETTINGS = ("num_tasks=12", "deterministic=true", "plan.chunk=1")


def same_bits(folder: Path, worlds: tuple[int, ...] = (2, 3, 4), *, steps: int = 8) -> Outcome:
    """Train with one and with several processes, resume with others, and compare all files.

    Args:
        folder: An existing folder to work in.
        worlds: Numbers of processes; each must divide 12.
        steps: Meta-steps of each training, half of them before the change.
    """
    start = time.perf_counter()
    experiment = _trial(steps)
    plain = folder / "one"
    wrong = [f"one process: {code}" for code in company(experiment, plain, 1) if code]
    pairs = [(a, b) for a in (1, *worlds) for b in (1, *worlds) if (a, b) != (1, 1)]
    for first, second in pairs:
        out = folder / f"{first}-{second}"
        codes = company(experiment, out, first, until=steps // 2)
        codes += company(experiment, out, second)
        wrong += [f"{out.name}: exit codes {codes}"] if any(codes) else []
        wrong += [f"{out.name}: {line}" for line in differences(out, plain)[:1]]
    detail = f"worlds 1, {', '.join(map(str, worlds))}, changed half-way"
    cases = Cases(len(pairs), len(pairs), wrong)
    return Outcome.of_runs("processes", SAME, cases, start, detail)


def deaths(folder: Path, count: int, *, seed: int = 0, steps: int = 12) -> Outcome:
    """Lose one process of a training, ``count`` times: killed, with an error, or silent.

    Args:
        folder: An existing folder to work in.
        count: How many trainings.
        seed: Of the victims and the instants.
        steps: Meta-steps of one training.
    """
    start, draw = time.perf_counter(), random.Random(seed)
    experiment = _trial(steps)
    wrong = [f"undisturbed: {c}" for c in company(experiment, folder / "plain", 1) if c]
    fired, slowest = 0, 0.0
    for number in range(count):
        world, kind = draw.choice((2, 3, 4)), KINDS[number % len(KINDS)]
        victim, step = draw.randrange(world), draw.randrange(1, steps - 1)
        out = folder / f"run-{number}"
        found = _lose(experiment, out, world, victim, kind, step)
        fired += found.struck
        slowest = max(slowest, found.seconds - (TIMEOUT if kind == "hangs" else 0.0))
        name = f"{out.name} ({kind}, rank {victim} of {world}, step {step})"
        wrong += [f"{name}: {line}" for line in found.wrong]
        again = company(experiment, out, draw.choice((1, world)))
        wrong += [f"{name}: did not go on, exit codes {again}"] if any(again) else []
        wrong += [f"{name}: {line}" for line in differences(out, folder / "plain")[:1]]
    detail = f"seed {seed}, the others ended after at most {slowest:.1f} s"
    return Outcome.of_runs("a worker's death", LOST, Cases(count, fired, wrong), start, detail)


def company(experiment: Experiment, out: Path, world: int, *, until: int = 0) -> list[int]:
    """Train with so many processes and return their exit codes.

    Args:
        experiment: What to train.
        out: Its folder; a run in it goes on.
        world: Number of processes.
        until: Step after which all stop; 0: at the end.
    """
    return [child.end() for child in _begun(experiment, out, world, lambda r, s: s == until)]


class _Loss:
    """What came of losing one process."""

    def __init__(self) -> None:
        self.struck, self.seconds, self.wrong = False, 0.0, list[str]()


def _lose(
    experiment: Experiment, out: Path, world: int, victim: int, kind: str, step: int
) -> _Loss:
    def stop(rank: int, now: int) -> bool:
        if kind == "raises" and rank == victim and now == step:
            raise ArithmeticError("planted")
        return False

    children = _begun(experiment, out, world, stop)
    lost, found = children[victim], _Loss()
    found.struck = lost.passes(f"step {step}")
    start = time.perf_counter()
    if kind != "raises":
        lost.send(SIGKILL if kind == "killed" else SIGSTOP)
    codes = {rank: child.end() for rank, child in enumerate(children) if rank != victim}
    found.seconds = time.perf_counter() - start
    if kind == "hangs":
        lost.send(SIGKILL)
        lost.send(SIGCONT)
    codes[victim] = lost.end()
    expected = 1 if kind == "raises" else -SIGKILL
    found.struck |= kind == "raises" and codes[victim] == expected
    if codes[victim] != expected:
        found.wrong.append(f"the victim ended with {codes[victim]}, expected {expected}")
    limit = LIMIT + (TIMEOUT + ANSWER if kind == "hangs" else 0.0)
    if found.seconds > limit:
        found.wrong.append(f"the others took {found.seconds:.1f} s, at most {limit:g}")
    for rank, child in enumerate(children):
        if rank == victim:
            continue
        said = [name for name, _ in child.marks if name.startswith("lost:")]
        if codes[rank] != PeerError.exit_code:
            found.wrong.append(f"rank {rank} ended with {codes[rank]}")
        elif not said or f"rank {victim}" not in said[0]:
            found.wrong.append(f"rank {rank} does not name the lost one: {said}")
    return found


def _begun(
    experiment: Experiment, out: Path, world: int, stop: Callable[[int, int], bool]
) -> list[Child]:
    torch.set_num_threads(1)
    port = free_port()
    return [
        Child(partial(_work, experiment, out, rank, world, port, stop)) for rank in range(world)
    ]


def _work(
    experiment: Experiment,
    out: Path,
    rank: int,
    world: int,
    port: int,
    stop: Callable[[int, int], bool],
    mark: Mark,
) -> int:
    """Be one of the processes."""
    for name, value in surroundings(rank, world, port):
        os.environ[name] = value
    now = [0]
    try:
        with joined(TIMEOUT) as ranks:
            resume = (out / RUN).exists()
            for record in run(
                experiment, out, resume=resume, stop=lambda: stop(rank, now[0] + 1), ranks=ranks
            ):
                now[0] = record.step
                mark(f"step {record.step}")
    except PeerError as error:
        mark(f"lost: {error}")
        raise
    return 0


def surroundings(rank: int, world: int, port: int) -> Iterator[tuple[str, str]]:
    """Give the variables of the environment that a launcher gives to one of its processes."""
    yield from (("RANK", str(rank)), ("WORLD_SIZE", str(world)))
    yield from (("LOCAL_RANK", str(rank)), ("LOCAL_WORLD_SIZE", str(world)))
    yield from (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", str(port)))


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _trial(steps: int) -> Experiment:
    return trial(
        *SETTINGS, f"steps={steps}", extra=("agreement", "sharing", "cooperative", "coherent")
    )
