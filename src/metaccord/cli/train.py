"""``metaccord train``."""

from __future__ import annotations

import sys
from pathlib import Path

from metaccord.cli.interrupt import listening
from metaccord.cli.options import Folder, Interactions, Name, Number, Settings, Switch, Tasks
from metaccord.cli.process import tune_process
from metaccord.cli.progress import shown
from metaccord.defaults import default
from metaccord.errors import CheckpointError, UsageError
from metaccord.experiment import Experiment
from metaccord.rundir import RunDirectory
from metaccord.runs import run
from metaccord.stored import done, refuse_changes, stored
from metaccord.tasks import Nodes


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
    json: Switch = False,
    set: Settings = (),
) -> int:
    """Meta-train on a family of tasks.

    Args:
        tasks: sinusoid, quadratics, omniglot, sign_digits, or graph:NAME such as
            graph:coauthor_cs (graph:NAME:gcn, graph:NAME:sage for other networks).
        method: maml (the default), fomaml, reptile, anil, boil, meta_sgd, maml_pp, imaml, warp,
            mgaug or finetune.
        with_: Interactions, separated by commas: agreement, sharing, cooperative, coherent; or
            pcgrad, aggregate.
        steps: Meta-steps in all (default: 10000 sinusoid, 3000 omniglot, 1000 quadratics and
            sign_digits, 500 graph).
        seed: Of initial weights and training tasks (default: 0).
        device: cpu (the default) or cuda.
        out: Folder of the run (default: runs/TASKS-METHOD-SEED).
        resume: Go on with the run in --out, exactly where it stopped.
        json: One JSON object per meta-step on standard output.
        set: Any other setting as name=value, for example rule.lr=0.1 model.hidden=[40,40].
    """
    flags = {"steps": steps, "seed": seed, "device": device}
    given = [f"{name}={value}" for name, value in flags.items() if value is not None]
    wanted = [name for name in (with_ or "").split(",") if name]
    base, plus, others = (method or "").partition("+")
    if plus:
        others = others.replace("+", ",")
        raise UsageError(f"--method {method}: write --method {base} --with {others}")
    if resume:
        experiment, folder = _resumed(tasks, method, with_, wanted, [*given, *set], out)
    else:
        experiment = default(tasks, method or "maml", wanted).changed([*given, *set])
        name = f"{tasks}-{experiment.method.label}-{experiment.seed}"
        folder = out or Path("runs") / name.replace(":", "-").replace("/", "-")
    title = f"{experiment.method.label} on {tasks}"
    start = done(folder) if resume else 0
    if start >= experiment.steps:
        print(f"{folder} has all {start} steps: raise --steps to go on", file=sys.stderr)
        return 0
    step = start
    tune_process(experiment)
    with listening() as interrupt:
        records = run(experiment, folder, resume=resume, stop=interrupt)
        for record in shown(
            records, title=title, start=start, steps=experiment.steps, as_json=json
        ):
            step = record.step
    if interrupt.code:
        print(
            f"interrupted at step {step}: saved; go on with: metaccord train {tasks} --out "
            f"{folder} --resume",
            file=sys.stderr,
        )
        return interrupt.code
    print(f"saved {folder} at step {step}; next: metaccord evaluate {folder}", file=sys.stderr)
    return 0


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
    asked = default(tasks, method or label[0], label[1:] if with_ is None else wanted)
    same = type(asked.tasks) is type(before.tasks)
    if same and isinstance(asked.tasks, Nodes) and isinstance(before.tasks, Nodes):
        same = (asked.tasks.graph, asked.tasks.form) == (before.tasks.graph, before.tasks.form)
    if not same or asked.method.label != before.method.label:
        raise CheckpointError(
            f"{out} holds {before.method.label} on {type(before.tasks).__name__.lower()}, not "
            f"{asked.method.label} on {tasks}: leave the options out, or choose another --out"
        )
    changed = before.changed(settings)
    refuse_changes(out, before.tree(), changed.tree())
    return changed, out
