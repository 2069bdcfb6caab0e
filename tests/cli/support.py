"""Running the command line, tiny runs, and comparing what they leave behind."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import metaccord as mc
from metaccord import checkpoint
from metaccord.checkpoint import Checkpoint
from metaccord.cli.main import main
from metaccord.defaults import default
from metaccord.rundir import RunDirectory
from tests import cases

TINY = ("plan.chunk=all", "model.hidden=[4]", "num_tasks=2", "tasks.shots=4")
SET = ("--set", *TINY)
MOST_SECONDS = 2.0  # until a refusal is there


class Result(NamedTuple):
    """What a command gave back, and its processor time in seconds."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def errors(self) -> list[str]:
        """The lines that begin with ``error: ``."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def call(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Result:
    """Run one command; a single text is cut at its spaces."""
    argv = shlex.split(str(words[0])) if len(words) == 1 else [str(word) for word in words]
    capsys.readouterr()
    began = time.process_time()
    try:
        code = main(argv)
    except SystemExit as end:
        code = int(end.code or 0)
    seconds = time.process_time() - began
    found = capsys.readouterr()
    return Result(code, found.out, found.err, seconds)


def tiny(*settings: str, base: str = "maml", extra: tuple[str, ...] = ()) -> mc.Experiment:
    """Return a training on sine waves that takes milliseconds."""
    return default("sinusoid", base, list(extra)).changed([*TINY, *settings])


def train(folder: Path, *settings: str, **options: Any) -> list[mc.Record]:
    """Run a tiny training to its end."""
    return list(mc.run(tiny(*settings, **options), folder))


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Return everything below a folder: the content of files, None for folders."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def copied(run: Path, target: Path) -> Path:
    """Return a copy of a run that may be changed."""
    return Path(shutil.copytree(run, target))


def records(folder: Path) -> list[dict[str, Any]]:
    """Return the records without their clock."""
    found = RunDirectory.read(folder).records()
    return [{k: v for k, v in record.items() if k != "seconds"} for record in found]


def last(folder: Path, step: int | None = None) -> Checkpoint:
    """Return the newest checkpoint of a run, or that of a step."""
    return checkpoint.read(folder / "checkpoints", step)


def equal_runs(one: Path, other: Path) -> bool:
    """Say whether two runs ended with the same bits: tensors, state, records.

    The state's ``run`` names the configuration, which may differ in what changes no number.
    """
    a, b = last(one), last(other)
    return (
        a.step == b.step
        and {**a.state, "run": None} == {**b.state, "run": None}
        and list(a.tensors) == list(b.tensors)
        and cases.same_bits(a.tensors, b.tensors)
        and records(one) == records(other)
    )


def flip(path: Path, at: float = 0.5) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(bytes(content))


def scores_of(text: str) -> Any:
    """Return the one JSON object that a command printed."""
    (line,) = text.splitlines()
    return json.loads(line)
