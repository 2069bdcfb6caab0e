"""Agreement between tasks: weights over meta-training, and cosines between tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from torch import Tensor

from metaccord import tree
from metaccord.clusters import clustering
from metaccord.errors import UsageError
from metaccord.evaluate import isolated
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.plots import style
from metaccord.tuning import settled
from metaccord.types import Episode, MetaState

WEIGHTS = "agreement.weights"
_ROOM = 14  # tasks up to which each cell shows its number
_NAMED = 40  # tasks up to which rows and columns have names
_DIVERGING = LinearSegmentedColormap.from_list(  # blue, white, orange: safe for colour-blind eyes
    "agreement", ["#053A6B", "#2E7EBB", "#A9CFE8", "#FFFFFF", "#F9C08A", "#D9690F", "#7A3403"]
)


@style.styled
def weights(records: Sequence[Mapping[str, Any]], *, bins: int = 60) -> Figure:
    """Draw how Gradient Agreement weighed the tasks over one meta-training.

    Args:
        records: ``Record.json()`` of one run; those without weights are passed over.
        bins: Meta-steps are pooled into at most this many groups.

    Raises:
        UsageError: if no record holds weights.
    """
    kept = [r for r in records if WEIGHTS in r]
    if not kept:
        raise UsageError(
            f"records hold no {WEIGHTS!r}: train with gradient_agreement() and keep its records"
        )
    groups = [g.tolist() for g in np.array_split(np.arange(len(kept)), min(bins, len(kept)))]
    pooled = [np.concatenate([_relative(kept[i]) for i in g]) for g in groups]
    steps = np.array([np.mean([kept[i]["step"] for i in g]) for g in groups])
    tasks = sorted({len(r[WEIGHTS]) for r in kept})
    counted = " or ".join(map(str, tasks))
    figure, panels = style.canvas(
        "Gradient Agreement: how the tasks were weighed",
        f"{counted} tasks per meta-step; each point pools {max(map(len, groups))} records. "
        "Weight times number of tasks: 1 is the plain mean, below 0 a task is pushed away from. "
        "Effective tasks: 1 / sum of squared weights. Stretch: the weighted step along "
        "the plain mean, relative to it.",
        (8.4, 7.6),
        rows=4,
        heights=[2.4, 1, 1, 1],
        sharex=True,
    )
    _quantiles(panels[0], steps, pooled)
    negative = [100 * _mean([float(w < 0) for w in p if np.isfinite(w)]) for p in pooled]
    _line(panels[1], steps, negative, "negative\nweights, %", 0.0)
    for axes, key, name, rest in (
        (panels[2], "agreement.effective_tasks", "effective\ntasks", float(tasks[-1])),
        (panels[3], "agreement.stretch", "stretch", 1.0),
    ):
        values = [_mean([kept[i].get(key, np.nan) for i in g]) for g in groups]
        _line(axes, steps, values, name, rest)
    panels[3].set_xlabel("meta-step")
    panels[3].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    figure.align_ylabels(panels)
    return figure


def _relative(record: Mapping[str, Any]) -> np.ndarray:
    """Return N w_i: 1 for every task under the plain mean."""
    found = np.asarray(record[WEIGHTS], dtype=float).ravel()
    return found * len(found)


def _mean(values: Sequence[float] | np.ndarray) -> float:
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    return float(found.mean()) if len(found) else float("nan")


def _quantiles(axes: Axes, steps: np.ndarray, pooled: list[np.ndarray]) -> None:
    marks = (0.05, 0.25, 0.5, 0.75, 0.95)
    nothing = np.full(len(marks), np.nan)
    finite = [p[np.isfinite(p)] for p in pooled]
    table = np.stack([np.quantile(f, marks) if len(f) else nothing for f in finite])
    colour = style.KNOWN["reptile+agreement"]
    axes.fill_between(steps, table[:, 0], table[:, 4], color=style.mixed(colour, 0.75), lw=0)
    axes.fill_between(steps, table[:, 1], table[:, 3], color=style.mixed(colour, 0.45), lw=0)
    axes.plot(steps, table[:, 2], color=colour, label="median")
    for level in (0.0, 1.0):
        axes.axhline(level, color=style.INK, lw=0.9, ls=(0, (4, 3)) if level else "solid")
    axes.set_ylabel("weight ×\nnumber of tasks")
    _limits(axes, steps)
    last = table[-1]
    ends = [
        ((last[3] + last[4]) / 2, "middle 90 %", colour),
        ((last[2] + last[3]) / 2, "middle 50 %", colour),
        (last[2], "median", colour),
        (1.0, "plain mean", style.INK),
        (0.0, "no influence", style.INK),
    ]
    style.label_ends(axes, ends, gap=0.1)


def _line(axes: Axes, steps: np.ndarray, values: list[float], name: str, rest: float) -> None:
    """Draw one number over training, and the value that it has under the plain mean."""
    axes.plot(steps, values, color=style.KNOWN["reptile+agreement"], label=name)
    axes.axhline(rest, color=style.INK, lw=0.9, ls=(0, (4, 3)))
    axes.set_ylabel(name)
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low), high + 0.05 * (high - low))
    _limits(axes, steps)
    finite = [v for v in values if np.isfinite(v)]
    shown = f"last {finite[-1]:.3g}" if finite else "not finite"
    end = finite[-1] if finite else float("nan")
    ends = [(end, shown, style.KNOWN["reptile+agreement"]), (rest, "plain mean", style.INK)]
    style.label_ends(axes, ends, gap=0.22)


def _limits(axes: Axes, steps: np.ndarray) -> None:
    axes.set_xlim(float(steps[0]) - 1e-3, float(steps[-1]) + 1e-3)
    axes.set_ylim(*axes.get_ylim())


@style.styled
def cosines(matrix: Tensor | np.ndarray, names: Sequence[str] | None = None) -> Figure:
    """Draw the cosines between all pairs of tasks, alike tasks next to each other.

    Args:
        matrix: Cosines in [-1, 1], NaN where a task did not move, ``[T, T]``.
        names: Names of the tasks; None: their numbers.

    Raises:
        UsageError: if the matrix is not square or the names are not one per task.
    """
    table = np.asarray(matrix, dtype=float)
    count = len(table)
    if table.ndim != 2 or table.shape != (count, count) or count == 0:
        raise UsageError(f"matrix has shape {table.shape}: it must be [T, T], see task_cosines()")
    names = [str(i) for i in range(count)] if names is None else [str(n) for n in names]
    if len(names) != count:
        raise UsageError(f"names has {len(names)} entries for {count} tasks: give one per task")
    places = clustering(table).order
    table, names = table[np.ix_(places, places)], [names[i][:16] for i in places]
    apart = table[~np.eye(count, dtype=bool)]
    title = "Do the tasks pull in the same direction?"
    found = f"mean {_signed(_mean(apart))}" if np.isfinite(apart).any() else "none measured"
    side = min(8.5, 4.2 + 0.24 * count)
    figure, (axes,) = style.canvas(
        title,
        f"Cosine between the inner-loop displacements of {count} tasks, each adapted alone; "
        f"off the diagonal: {found}. Order: alike tasks together. Grey: a task that did not move.",
        (side + 1.2, side + 0.1),
    )
    axes.grid(False)
    axes.set_facecolor("#b5b5b5")
    image = axes.imshow(table, cmap=_DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.ax.set_yticklabels(["−1 opposite", "−0.5", "0 unrelated", "0.5", "1 same"])
    shown = range(count) if count <= _NAMED else range(0)
    axes.set_xticks(shown, [names[i] for i in shown], rotation=90, fontsize=8)
    axes.set_yticks(shown, [names[i] for i in shown], fontsize=8)
    axes.set(xlabel="task", ylabel="task")
    if count <= _ROOM:
        _numbers(axes, table)
    return figure


def _numbers(axes: Axes, table: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            colour = "white" if abs(value) > 0.6 else style.INK
            text = axes.text(column, row, _signed(value), fontsize=7.5, color=colour)
            text.set(ha="center", va="center")


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def task_cosines(
    method: Method, objective: Objective, state: MetaState, episodes: Episode
) -> Tensor:
    """Return the cosines between the displacements of tasks that adapt alone: ``[T, T]``.

    A task that does not move has NaN in its row and column.
    """
    run = isolated(method, settled(objective), state, episodes)
    moved = tree.flat(tree.difference(run.adapted, run.initial)).double()  # [T, P]
    unit = moved / torch.linalg.vector_norm(moved, dim=1, keepdim=True)
    return (unit @ unit.T).clamp(-1, 1).cpu()
