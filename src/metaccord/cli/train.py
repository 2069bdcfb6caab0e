"""``metaccord train``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import NamedTuple

from metaccord import jsontree
from metaccord.cli.interrupt import Interrupt, listening
from metaccord.cli.options import (
    Folder,
    Interactions,
    Name,
    Number,
    Settings,
    Switch,
    Tasks,
    interaction_names,
)
from metaccord.cli.process import tune_process
from metaccord.cli.progress import shown
from metaccord.defaults import OWN, default
from metaccord.errors import CheckpointError, UsageError
from metaccord.experiment import Experiment
from metaccord.launched import TIMEOUT, joined, restarted
from metaccord.ranks import Ranks, largest, spread
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import RUN
from metaccord.runs import run
from metaccord.serial import to_tree
from metaccord.stored import done, refuse_changes, stored
from metaccord.tasks import Nodes, TaskSource
from metaccord.tasks.own.base import OwnData
from metaccord.trackers.opening import checked, followed


def train(
    tasks: Tasks,
    *,
    method: Name = None,
    with_: Interactions = None,
    steps: Number = None,
    seed: Number = None,
    device: Name = None,
    out: Folder = None,
    resume: Switch = False,
    timeout: float = TIMEOUT,
    track: Name = None,
    json: Switch = False,
    set: Settings = (),
) -> int:
    """Meta-train on a family of tasks, in one process or in those that torchrun starts.

    Args:
        tasks: sinusoid, quadratics, omniglot, sign_digits, cifar_fs, fc100, mini_imagenet,
            tiered_imagenet, cub, or graph:NAME such as graph:coauthor_cs (graph:NAME:gcn,
            graph:NAME:sage for other networks); your own data: folders:PATH (pictures, a folder for
            each class), table:FILE (CSV or Parquet; --set tasks.target=COLUMN tasks.group=COLUMN)
            or arrays:FILE (npz with X, y, perhaps groups).
        method: maml (the default), fomaml, reptile, anil, boil, meta_sgd, maml_pp, imaml, warp,
            mgaug or finetune.
        with_: Interactions, separated by commas: agreement, sharing, cooperative, coherent; or
            pcgrad, aggregate.
        steps: Meta-steps in all (default: 10000 sinusoid, 1000 quadratics, sign_digits,
            tables and arrays, 500 graph, 3000 other pictures).
        seed: Of initial weights and training tasks (default: 0).
        device: cpu (the default) or cuda.
        out: Folder of the run (default: runs/TASKS-METHOD-SEED).
        resume: Go on with the run in --out, exactly where it stopped.
        timeout: Seconds until a silent process of several is given up.
        track: Trackers that get the same records, separated by commas: tensorboard, mlflow, wandb
            (offline); their files are in RUN/trackers.
        json: One JSON object per meta-step on standard output.
        set: Any other setting as name=value, for example rule.lr=0.1 model.hidden=[40,40].
    """
    if not 0 < timeout <= 1e6:
        raise UsageError(f"--timeout is {timeout:g}: give seconds above 0, at most a million")
    trackers = checked(track)
    with joined(timeout) as ranks:
        if ranks is None or ranks.rank == 0:
            given = {"steps": steps, "seed": seed, "device": device}
            settings = [f"{k}={v}" for k, v in given.items() if v is not None]
            job = _job(tasks, method, with_, [*settings, *set], out, resume)
            if ranks is not None:
                spread(jsontree.encode(job.experiment.tree(), "settings").encode(), ranks)
            return _lead(tasks, job, ranks, as_json=json, trackers=trackers)
        return _follow(Experiment.from_tree(jsontree.decode(spread(b"", ranks))), ranks)


SIZES = ("ways", "shots", "queries", "train_shots", "split")  # what a small graph may need


class _Job(NamedTuple):
    """What is to be trained, where, and whether it goes on."""

    experiment: Experiment
    folder: Path
    resume: bool


class _Stop:
    """Whether a signal has come to any process, and which exit code belongs to it."""

    def __init__(self, interrupt: Interrupt, ranks: Ranks | None) -> None:
        self.interrupt, self.ranks, self.code = interrupt, ranks, 0

    def __call__(self) -> bool:
        """Ask all processes."""
        self.code = largest(self.interrupt.code, self.ranks)
        return self.code != 0


def _job(
    tasks: str,
    method: str | None,
    with_: str | None,
    settings: list[str],
    out: Path | None,
    resume: bool,
) -> _Job:
    """Return what the command line asks for."""
    wanted = interaction_names(with_)
    base, plus, others = (method or "").partition("+")
    if plus:
        others = others.replace("+", ",")
        raise UsageError(f"--method {method}: write --method {base} --with {others}")
    if resume:
        return _Job(*_resumed(tasks, method, with_, wanted, settings, out), True)
    experiment = default(tasks, "maml" if method is None else method, wanted, settings)
    experiment = experiment.changed(settings)
    name = f"{_short(tasks)}-{experiment.method.label}-{experiment.seed}"
    folder = out or Path("runs") / name.replace(":", "-").replace("/", "-")
    return _Job(experiment, folder, restarted() and (folder / RUN).exists())


def _short(tasks: str) -> str:
    """Return the words for tasks without the folders in which own data lie."""
    family, _, path = tasks.partition(":")
    return f"{family}-{Path(path).stem}" if family in OWN else tasks


def _place(tasks: TaskSource) -> Path:
    """Return where own data lie."""
    return (tasks.place() if isinstance(tasks, OwnData) else Path(vars(tasks)["path"])).resolve()


def _lead(tasks: str, job: _Job, ranks: Ranks | None, *, as_json: bool, trackers: list[str]) -> int:
    """Train, show, track and write, alone or as the first of several processes."""
    experiment, folder, resume = job
    start = done(folder) if resume else 0
    if start >= experiment.steps:
        print(f"{folder} has all {start} steps: raise --steps to go on", file=sys.stderr)
        if ranks is not None:
            largest(1, ranks)
        return 0
    if ranks is not None:
        largest(0, ranks)
    title, step = f"{experiment.method.label} on {tasks}", start
    tune_process(experiment)
    with listening() as interrupt:
        stop = _Stop(interrupt, ranks)
        records = run(experiment, folder, resume=resume, stop=stop, ranks=ranks)
        seen = followed(records, trackers, folder, experiment.tree()) if trackers else records
        for record in shown(
            seen, title=title, start=start, steps=experiment.steps, as_json=as_json
        ):
            step = record.step
    if stop.code:
        print(
            f"interrupted at step {step}: saved; go on with: metaccord train {tasks} --out "
            f"{folder} --resume",
            file=sys.stderr,
        )
        return stop.code
    print(f"saved {folder} at step {step}; next: metaccord evaluate {folder}", file=sys.stderr)
    return 0


def _follow(experiment: Experiment, ranks: Ranks) -> int:
    """Compute the share of one of the other processes; nothing is shown or written."""
    if largest(0, ranks):
        return 0
    logging.getLogger("metaccord").setLevel(logging.ERROR)
    tune_process(experiment)
    with listening() as interrupt:
        stop = _Stop(interrupt, ranks)
        for _ in run(experiment, Path(), stop=stop, ranks=ranks):
            pass
    return stop.code


def _resumed(
    tasks: str,
    method: str | None,
    with_: str | None,
    wanted: list[str],
    settings: list[str],
    out: Path | None,
) -> tuple[Experiment, Path]:
    """Return the stored experiment after checking that what was given agrees with it."""
    if out is None:
        raise UsageError("--resume needs --out with the folder of the run")
    before = stored(RunDirectory.read(out))
    label = before.method.label.split("+")
    own = tasks.partition(":")[0] in OWN and hasattr(before.tasks, "path")
    known = to_tree(before.tasks)
    again = known.keys() - {"class", "path"} if own else SIZES
    same_tasks = [f"tasks.{k}={jsontree.encode(v)}" for k, v in known.items() if k in again]
    names = label[1:] if with_ is None else wanted
    asked = default(tasks, method or label[0], names, same_tasks)
    same = type(asked.tasks) is type(before.tasks)
    if same and isinstance(asked.tasks, Nodes) and isinstance(before.tasks, Nodes):
        same = (asked.tasks.graph, asked.tasks.form) == (before.tasks.graph, before.tasks.form)
    if same and own:
        same = _place(asked.tasks) == _place(before.tasks)
    if not same or asked.method.label != before.method.label:
        raise CheckpointError(
            f"{out} holds {before.method.label} on {type(before.tasks).__name__.lower()}, not "
            f"{asked.method.label} on {tasks}: leave the options out, or choose another --out"
        )
    changed = before.changed(settings)
    refuse_changes(out, before.tree(), changed.tree())
    return changed, out
