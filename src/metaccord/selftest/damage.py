"""Damaged files: each flipped bit, cut or exchanged file must be refused, not used in silence."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from metaccord import checkpoint
from metaccord.errors import MetaccordError
from metaccord.learner import Learner
from metaccord.losses import mse
from metaccord.method import initialise
from metaccord.methods import fomaml, maml
from metaccord.objective import Objective
from metaccord.rundir_files import CHECKPOINTS, RUN
from metaccord.saved import load, save
from metaccord.selftest.outcome import Cases, Outcome
from metaccord.selftest.trial import go_on, place, quiet, trial
from metaccord.stored import load_state
from metaccord.types import Params

PROMISE = "a damaged file is refused or an older intact one used, never accepted"
Files = dict[str, bytes]


class Damages(NamedTuple):
    """How many of each kind."""

    flips: int
    truncations: int
    swaps: int


@dataclass(frozen=True)
class Victim:
    """Files that are read together.

    Attributes:
        name: What they are, for the report.
        folder: Where they lie.
        files: Those that are damaged: path in the folder, and intact content.
        others: The same files of other, intact things.
        read: Read the folder and return what can be compared; it raises an error of the library
            for what it refuses.
        allowed: What ``read`` may return instead: an older state, or data that is right although
            the bytes around it are not.
    """

    name: str
    folder: Path
    files: Files
    others: tuple[Files, ...]
    read: Callable[[], Any]
    allowed: tuple[Any, ...] = ()

    def suffers(self, damaged: Files) -> str | None:
        """Put damaged files in place, read, and say what broke the promise (None: nothing)."""
        for aside in self.folder.rglob("*.corrupt"):
            shutil.rmtree(aside)
        for name, content in (self.files | damaged).items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)
        try:
            found = self.read()
        except MetaccordError:
            return None
        except Exception as error:
            return f"{self.name} broke the reader: {error!r}"
        return None if found in self.allowed else f"{self.name} was accepted"


def damage(folder: Path, damages: Damages, *, seed: int = 0) -> Outcome:
    """Damage checkpoints, runs and saved learners; see :func:`strike`.

    Args:
        folder: An existing folder to work in.
        damages: How many of each kind.
        seed: Of the places.
    """
    return strike(victims(folder), damages, seed=seed)


def strike(found: Sequence[Victim], damages: Damages, *, seed: int = 0) -> Outcome:
    """Damage each of several victims in turn.

    Args:
        found: What is damaged.
        damages: How many of each kind.
        seed: Of the places.

    Returns:
        ``worst`` is the number of damages that were accepted or broke the reader; ``fired``
        counts those after which the bytes on the disk really differed.
    """
    start, draw = time.perf_counter(), random.Random(seed)
    broken: list[str] = []
    fired, each = 0, Counter[str]()
    with quiet():
        for victim in found:  # A refusal says nothing about what cannot be read undamaged.
            assert victim.suffers({}) in (None, f"{victim.name} was accepted")
            victim.read()
        for harm, number in zip((_flip, _cut, _swap), damages, strict=True):
            for index in range(number):
                victim = found[index % len(found)]
                damaged = harm(victim, draw)
                fired += any(victim.files[name] != content for name, content in damaged.items())
                each[victim.name] += 1
                if wrong := victim.suffers(damaged):
                    broken.append(f"{wrong} ({harm.__name__[1:]} {index}: {', '.join(damaged)})")
        for victim in found:
            victim.suffers({})
    detail = f"seed {seed}, " + ", ".join(f"{number} of {name}" for name, number in each.items())
    count = sum(damages)
    name = "damaged files" if len(found) > 1 else f"damaged files: {found[0].name}"
    return Outcome.of_runs(name, PROMISE, Cases(count, fired, broken), start, detail)


def victims(folder: Path) -> list[Victim]:
    """Train and save tiny things in ``folder`` and return them."""
    run, other = folder / "run", folder / "other"
    for seed, path in enumerate((run, other)):
        for _ in go_on(trial("steps=4", "validate_every=0", f"seed={seed}"), path):
            pass
    older, newer = place(Path(), 2), place(Path(), 4)
    ours, theirs = _files(run, newer), _files(other, newer)
    yesterday = {
        str(newer / Path(name).name): content for name, content in _files(run, older).items()
    }
    saved, foreign = (folder / name for name in ("saved", "saved by another"))
    for path, method in ((saved, maml(2, 0.1)), (foreign, fomaml(2, 0.2))):
        objective = _own_objective()
        save(path, method, objective, initialise(method, objective, seed=len(path.name)))
    only = place(Path(), 0)
    before = _tensors(checkpoint.read(run / CHECKPOINTS, 2).tensors)
    return [
        Victim(
            "checkpoint", run, ours, (theirs, yesterday),
            lambda: _tensors(checkpoint.read(run / CHECKPOINTS).tensors), (before,),
        ),
        Victim(
            "run for use", run, ours | _files(run), (theirs | _files(other),),
            lambda: _of_learner(load(run)), (_of_learner(_at(run, 2)),),
        ),
        Victim(
            "saved learner", saved, _files(saved, only) | _files(saved),
            (_files(foreign, only) | _files(foreign),),
            lambda: _of_learner(load(saved, model=_own_objective().model, criterion=mse)),
        ),
    ]  # fmt: skip


def _files(folder: Path, below: Path | None = None) -> Files:
    """Return the files of one checkpoint, or without one the configuration."""
    paths = [folder / RUN] if below is None else sorted((folder / below).iterdir())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _at(run: Path, step: int) -> Learner:
    experiment, state, _ = load_state(run, step)
    return Learner(experiment.method, experiment.objective(), state)


def _own_objective() -> Objective:
    return Objective(nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)), mse)


def _of_learner(learner: Learner) -> tuple[str, dict[str, bytes]]:
    return repr(learner.method), _tensors(learner.state.params)


def _tensors(tensors: Params) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def _flip(victim: Victim, draw: random.Random) -> Files:
    """Change one bit of one file."""
    name = draw.choice(list(victim.files))
    content = bytearray(victim.files[name])
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return {name: bytes(content)}


def _cut(victim: Victim, draw: random.Random) -> Files:
    """Keep the beginning of one file."""
    name = draw.choice(list(victim.files))
    content = victim.files[name]
    return {name: content[: draw.choice((0, 1, len(content) - 1, draw.randrange(len(content))))]}


def _swap(victim: Victim, draw: random.Random) -> Files:
    """Exchange some files, not all, for those of another, or one for its neighbour."""
    names = list(victim.files)
    other = draw.choice(victim.others)
    if len(names) > 1 and draw.random() < 0.2:
        one, two = draw.sample(names, 2)
        return {one: victim.files[two]}
    differ = [name for name in victim.files if victim.files[name] != other[name]]
    most = max(1, len(differ) - 1)
    return {name: other[name] for name in draw.sample(differ, draw.randint(1, most))}
