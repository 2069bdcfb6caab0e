"""``metaccord compare``."""

from __future__ import annotations

import json as jsonlib
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from metaccord.cli.evaluate import finite, scored
from metaccord.cli.finished import finished
from metaccord.cli.interrupt import listening
from metaccord.cli.options import Folder, Interactions, Name, Number, Settings, Switch
from metaccord.cli.process import tune_process
from metaccord.cli.progress import shown
from metaccord.cli.tables import Results, protocol_of, show, summary
from metaccord.defaults import default
from metaccord.errors import UsageError
from metaccord.experiment import Experiment
from metaccord.protocol import Protocol
from metaccord.rundir_files import RUN
from metaccord.runs import run
from metaccord.stored import done

METHODS, SEEDS = "maml,maml+agreement", 3
MOST_SEEDS = 10_000


def compare(
    what: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TASKS|RUN ..."), tyro.conf.Positional],
    *,
    methods: str = METHODS,
    grid: Switch = False,
    bases: Name = None,
    with_: Interactions = None,
    fraction: Name = None,
    seeds: int = SEEDS,
    steps: Number = None,
    out: Folder = None,
    protocol: str = "transductive",
    tasks: int = 600,
    across_protocols: Switch = False,
    json: Switch = False,
    set: Settings = (),
) -> int:
    """Train methods on the same draws over several seeds, or compare finished runs.

    Every method meets the same training episodes for a seed, and all meet the same test
    episodes. Finished and interrupted runs in --out are taken up again. With --grid: every set of
    interactions over every base, and what each does alone and two do together.

    Args:
        what: A family of tasks; or two or more folders of runs, folders that hold one run per seed,
            or files of scores.
        methods: Methods with their interactions, for example maml,reptile,reptile+agreement.
        grid: Train every set of interactions over every base, and estimate effects.
        bases: Base methods of the grid, for example maml,anil (default: maml).
        with_: Interactions of the grid (default: all that have a meaning over all bases).
        fraction: half: a balanced half of the grid; says which effects it cannot tell apart.
        seeds: Number of seeds, from 0.
        steps: Meta-steps of each run.
        out: Folder for the runs (default: runs/compare-TASKS, with --grid runs/grid-TASKS).
        protocol: transductive, inductive or frozen.
        tasks: Number of test tasks.
        across_protocols: Compare finished runs or scores although their protocols or tasks
            differ; every line says so.
        json: Print one JSON object.
        set: Settings for all runs, as name=value.
    """
    how = Protocol(statistics=protocol, tasks=tasks)  # type: ignore[arg-type]
    if not what:
        raise UsageError("compare needs a family of tasks, such as sinusoid, or folders of runs")
    ready = len(what) > 1 or (Path(what[0]) / RUN).exists()
    crossing = {"--bases": bases, "--with": with_, "--fraction": fraction}
    training = {"--methods": methods != METHODS, "--seeds": seeds != SEEDS, "--set": set != ()}
    training |= {"--steps": steps is not None, "--out": out is not None}
    _refuse_conflicts(crossing, training, grid=grid, ready=ready, across=across_protocols)
    settings = [*([f"steps={steps}"] if steps is not None else []), *set]
    if grid:
        from metaccord.cli.grid import crossed, designed  # it stands above this module

        design = designed(what[0], bases, with_, fraction, settings)
        return crossed(what[0], design, seeds, settings, out, how, json)
    if ready:
        results, code = finished(what, how, across=across_protocols), 0
    else:
        folder = out or Path("runs") / f"compare-{what[0]}"
        results, code = trained(what[0], methods.split(","), seeds, settings, folder, how, json)
    if code:
        return code
    if json:
        print(jsonlib.dumps(finite(summary(results, across=across_protocols))))
    else:
        show(results, protocol_of(results), across=across_protocols)
    return 0


def _refuse_conflicts(
    crossing: dict[str, str | None],
    training: dict[str, bool],
    *,
    grid: bool,
    ready: bool,
    across: bool,
) -> None:
    """Raise UsageError for options that would have no effect, or contradict each other.

    Args:
        crossing: Options of a grid, with their words.
        training: Options of a training, and whether they were given.
        grid: Whether a grid is asked for.
        ready: Whether finished runs, or scores, are compared.
        across: Whether protocols may differ.
    """
    for name, words in crossing.items():
        if words == "":
            raise UsageError(f"{name} is empty: name at least one, or leave it out")
    if grid and across:
        raise UsageError("--across-protocols is for finished runs: a grid has one protocol")
    if grid and (ready or training["--methods"]):
        raise UsageError("--grid takes one family of tasks, and --bases instead of --methods")
    if not grid and any(words is not None for words in crossing.values()):
        raise UsageError("--bases, --with and --fraction belong to a grid: add --grid")
    if ready and (given := [name for name, found in training.items() if found]):
        raise UsageError(
            f"{given[0]} is for a training, but finished runs or scores are compared: leave it out"
        )
    if across and not ready:
        raise UsageError("--across-protocols is for finished runs: trained ones share a protocol")


def trained(
    family: str,
    methods: list[str],
    seeds: int,
    settings: list[str],
    out: Path,
    protocol: Protocol,
    quiet: bool = False,
) -> tuple[Results, int]:
    """Train every method with every seed, and measure all on the same test episodes.

    Settings of an interaction go to the methods that have it.

    Returns:
        The scores by method, one per seed, and the exit code if a signal came.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise UsageError(f"--seeds is {seeds}: it must be at least 1 and at most {MOST_SEEDS}")
    planned: dict[str, Experiment] = {}
    present = {word for label in methods for word in label.split("+")[1:]}
    for label in methods:  # all are checked before the first one is trained
        base, *interactions = label.split("+")
        mine = default(family, base, interactions, settings)
        first = next(iter(planned.values()), mine).tasks
        tasks = replace(first, train_shots=mine.tasks.train_shots)
        others = present - {*interactions}
        meant = [setting for setting in settings if setting.split(".")[0] not in others]
        planned[label] = replace(mine, tasks=tasks).changed(meant)
    results: Results = {label: [] for label in planned}
    with listening() as interrupt:
        for label, experiment in planned.items():
            for seed in range(seeds):
                folder = folder_of(out, label, seed)
                mine = experiment.changed([f"seed={seed}"])
                exists = (folder / RUN).exists()
                begun = done(folder) if exists else 0
                tune_process(mine)
                if begun < mine.steps:
                    records = run(mine, folder, resume=exists, stop=interrupt)
                    title = f"{label}, seed {seed}"
                    for _ in (
                        records
                        if quiet
                        else shown(
                            records, title=title, start=begun, steps=mine.steps, as_json=False
                        )
                    ):
                        pass
                if interrupt.code:
                    print(f"interrupted: saved in {out}; the same command goes on", file=sys.stderr)
                    return results, interrupt.code
                results[label].append(scored(folder, protocol)[0])
    return results, 0


def folder_of(out: Path, label: str, seed: int) -> Path:
    """Return the folder of one run of a comparison."""
    return out / re.sub(r"[^\w.-]", "-", label) / f"seed-{seed}"
