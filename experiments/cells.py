"""Many small trainings with one resumable command: each cell is a run folder and a JSON line."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import torch

import metaccord as mc
from metaccord.defaults import default
from metaccord.experiment import Experiment

Line = dict[str, Any]


class Cell(NamedTuple):
    """One training.

    Attributes:
        family: Task family, as on the command line.
        method: Label, such as ``maml+sharing``.
        settings: As for ``--set``.
        seed: Of weights and training tasks.
        name: What tells it from the other cells of its experiment with the same label and seed.
    """

    family: str
    method: str
    settings: tuple[str, ...]
    seed: int
    name: str

    @property
    def key(self) -> str:
        """Its folder below ``runs``, and its name in the record."""
        return f"{self.name}/{self.method}/seed-{self.seed}".replace(":", "-")

    def experiment(self) -> Experiment:
        """Return what it trains."""
        base, *interactions = self.method.split("+")
        found = default(self.family, base, interactions)
        return found.changed([*self.settings, f"seed={self.seed}"])


def train(cell: Cell, runs: Path, tasks: int) -> Line:
    """Train one cell, or go on with it, and measure it on unseen tasks."""
    torch.set_num_threads(1)
    chosen, folder = cell.experiment(), runs / cell.key
    resume = (folder / "run.json").exists()
    for _ in mc.run(chosen, folder, resume=resume):
        pass
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    learner = mc.load(folder)
    protocol = mc.Protocol(tasks=tasks)
    scores = mc.evaluate(learner.method, learner.objective, learner.state, chosen.tasks, protocol)
    return {
        **cell._asdict(),
        "key": cell.key,
        "steps": chosen.steps,
        "seconds": round(sum(record["seconds"] for record in records), 2),
        "curve": list(_curve(records)),
        "trace": list(_trace(records)),
        "scores": scores.json(),
        "experiment": chosen.tree(),
        "versions": {"torch": torch.__version__, "metaccord": mc.__version__},
        "hardware": f"{platform.machine()}, 1 thread",
    }


def _curve(records: list[Line]) -> Iterator[tuple[int, float, float]]:
    """Yield meta-step, seconds of training so far, validation accuracy (or loss)."""
    spent = 0.0
    for record in records:
        spent += record["seconds"]
        if found := record.get("validation"):
            value = found.get("accuracy", found["loss"])["mean"]
            yield record["step"], round(spent, 2), round(value, 5)


def _trace(records: list[Line], points: int = 60) -> Iterator[Line]:
    """Yield what interactions recorded, at about ``points`` meta-steps."""
    every = max(1, len(records) // points)
    for record in records[::every]:
        notes = {k: v for k, v in record.items() if k.startswith(("sharing.", "coherent."))}
        if notes:
            yield {"step": record["step"], **notes}


def known(out: Path) -> list[Line]:
    """Return the lines of a record, empty if there is none."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def run(cells: list[Cell], out: Path, *, workers: int, tasks: int) -> list[Line]:
    """Train what is missing in the record, several cells at a time, and return all its lines."""
    done = {line["key"] for line in known(out)}
    missing = [cell for cell in cells if cell.key not in done]
    out.parent.mkdir(parents=True, exist_ok=True)
    runs = Path("runs") / out.stem
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        jobs = [pool.submit(train, cell, runs, tasks) for cell in missing]
        for count, job in enumerate(as_completed(jobs), 1):
            line = job.result()
            with out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            shown = line["scores"].get("accuracy", line["scores"]["loss"])["mean"]
            print(
                f"{count}/{len(jobs)} {line['key']}: {shown:.4f}, {line['seconds']} s", flush=True
            )
    wanted = {cell.key for cell in cells}
    return [line for line in known(out) if line["key"] in wanted]


def main(describe: str, plan: Callable[[str, bool, int], list[Cell]], choices: list[str]) -> None:
    """Parse the command line of an experiment and run its cells.

    Args:
        describe: Its docstring.
        plan: ``plan(what, full, seeds)`` returns the cells.
        choices: What there is to choose from.
    """
    parser = argparse.ArgumentParser(
        description=describe, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=choices)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--full", action="store_true", help="hours instead of minutes")
    parser.add_argument("--seeds", type=int, default=0, help="0: as the experiment says")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=600, help="test tasks")
    given = parser.parse_args()
    cells = plan(given.what, given.full, given.seeds)
    run(cells, given.out / f"{given.what}.jsonl", workers=given.workers, tasks=given.tasks)
