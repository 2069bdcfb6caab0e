"""``metaccord replay``."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from metaccord import jsontree
from metaccord.cli.options import Number, Run, Switch
from metaccord.replay import Replay, refuse_failed, repeat, verdict

SHOWN = 40  # tasks in the table


def replay(run: Run, *, step: Number = None, json: Switch = False) -> int:
    """Compute the meta-step at which a run failed once more, alone, and show each task.

    The exit code is 5 if a value is not finite again.

    Args:
        run: Folder of the run.
        step: Another meta-step that has a checkpoint (default: the one that failed).
        json: Print one JSON object.
    """
    found = repeat(run, step)
    if json:
        print(jsontree.encode(_tree(found)))
    else:
        Console().print(_table(found))
        if found.failure is not None:
            print(f"in the run: {found.failure['error']}: {found.failure['message']}")
    refuse_failed(found)
    if not json:
        print(verdict(found))
    return 0


def _tree(found: Replay) -> dict[str, object]:
    return {
        "step": found.step,
        "failure": found.failure,
        "losses": found.losses.tolist(),
        "lengths": found.lengths.tolist(),
        "broken": list(found.broken),
        "tasks": found.tasks,
    }


def _table(found: Replay) -> Table:
    table = Table(title=f"meta-step {found.step}", box=SIMPLE)
    steps = found.losses.shape[1]
    for name in ("task", *(f"loss {k}" for k in range(steps)), "gradient"):
        table.add_column(name, justify="right")
    bad = set(found.tasks)
    order = sorted(range(len(found.losses)), key=lambda i: (i not in bad, i))[:SHOWN]
    for i in order:
        cells = [f"{value:.4g}" for value in (*found.losses[i].tolist(), found.lengths[i].item())]
        table.add_row(str(i), *cells, style="bold red" if i in bad else "")
    if len(found.losses) > SHOWN:
        table.caption = f"{SHOWN} of {len(found.losses)} tasks"
    return table
