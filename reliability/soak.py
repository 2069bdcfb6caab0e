"""A long training leaks nothing: 20,000 second-order steps of MAML with all four interactions.

    python reliability/soak.py --json results/reliability/soak.json [--steps N]

The run saves and rotates 1,000 times. Resident memory, open files, threads, children, tensors and
checkpoint folders are sampled all along; after the first quarter memory may rise by 1 MB per 1,000
steps (slope of the least-squares line), and nothing else may rise at all.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from outcomes import described, line

from metaccord import checkpoint
from metaccord.methods import WRAPPERS
from metaccord.rundir_files import CHECKPOINTS
from metaccord.runs import run
from metaccord.selftest import Outcome
from metaccord.selftest.trial import quiet, trial

STEPS, SAVES, SAMPLES = 20_000, 1_000, 200
SLOPE = 1.0  # MB per 1,000 steps
PAGE = resource.getpagesize()


class Sample(NamedTuple):
    """What the process holds after a meta-step; memory in bytes."""

    step: int
    memory: int
    handles: int
    threads: int
    children: int
    tensors: int
    checkpoints: int
    saves: int


COUNTED = ("handles", "threads", "children", "tensors")
KEPT = 3  # checkpoints: the newest two, and the best


def soak(folder: Path, steps: int, saves: int, *, samples: int = SAMPLES) -> list[Sample]:
    """Train and return what the process holds at regular instants.

    Args:
        folder: An existing folder to work in.
        steps: Number of meta-steps.
        saves: Number of regular checkpoints; the best of the validations come on top.
        samples: Number of instants.
    """
    every = steps // saves
    experiment = trial(
        f"steps={steps}", f"checkpoint_every={every}", f"validate_every={5 * every}",
        extra=tuple(WRAPPERS),
    )  # fmt: skip
    assert not getattr(experiment.method.estimator, "first_order", True), "second order is meant"
    often, saved = max(1, steps // samples), 0

    def write(*given: Any, **options: Any) -> Path:
        nonlocal saved
        saved += 1
        return plain(*given, **options)

    plain = checkpoint.write
    with quiet(), mock.patch.object(checkpoint, "write", write):
        return [
            _sample(record.step, folder / "run", saved)
            for record in run(experiment, folder / "run")
            if record.step % often == 0
        ]


def judged(found: list[Sample], steps: int) -> Iterator[Outcome]:
    """Give the outcome for memory, then one for everything that is counted.

    Args:
        found: The samples of a soak.
        steps: How many steps it was to do.
    """
    later = found[len(found) // 4 :]
    done = found[-1].step if found else 0
    detail = f"{len(later)} samples after step {later[0].step if later else 0}"
    yield Outcome(
        "memory", "memory rises by at most 1 MB per 1,000 steps", steps, done,
        slope(later), SLOPE, 0.0, f"{detail}, {later[-1].memory / 1e6:.1f} MB at the end",
    )  # fmt: skip
    for name in COUNTED:
        values = [getattr(sample, name) for sample in later]
        yield Outcome(
            name, f"the number of {name} does not grow", steps, done,
            max(values) - values[0], 0, 0.0, f"{detail}, {values[0]} to {values[-1]}",
        )  # fmt: skip
    most, saves = max(sample.checkpoints for sample in later), found[-1].saves
    yield Outcome(
        "checkpoints", f"of all saves at most {KEPT} checkpoints stay", saves, saves,
        most, KEPT, 0.0, f"{detail}, {saves} saves",
    )  # fmt: skip


def slope(found: list[Sample]) -> float:
    """Return the slope of memory, in MB per 1,000 steps, by least squares."""
    steps = [sample.step / 1e3 for sample in found]
    sizes = [sample.memory / 1e6 for sample in found]
    step, size = sum(steps) / len(steps), sum(sizes) / len(sizes)
    across = sum((x - step) * (y - size) for x, y in zip(steps, sizes, strict=True))
    return across / sum((x - step) ** 2 for x in steps)


def _sample(step: int, folder: Path, saves: int) -> Sample:
    gc.collect()
    children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return Sample(
        step,
        int(Path("/proc/self/statm").read_text().split()[1]) * PAGE,
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
        len(children.split()),
        sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()),
        len(os.listdir(folder / CHECKPOINTS)),
        saves,
    )


def main() -> int:
    """Soak, print and record; return the first exit code that is not 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the record")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = described(options)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), options.steps, max(1, options.steps * SAVES // STEPS))
    record["seconds"] = time.perf_counter() - start
    outcomes = list(judged(found, options.steps))
    for outcome in outcomes:
        print(line(outcome), flush=True)
        record["cases"][outcome.name] = {**asdict(outcome), "ok": outcome.ok}
    record["samples"] = {"fields": Sample._fields, "rows": found}
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record) + "\n")
    return next((outcome.exit_code for outcome in outcomes if not outcome.ok), 0)


if __name__ == "__main__":
    raise SystemExit(main())
