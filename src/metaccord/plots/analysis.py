"""What adaptation does along meta-training, and how coherence goes with generalisation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from metaccord.analysis import Points, classifies, column, correlations
from metaccord.errors import UsageError
from metaccord.plots import style
from metaccord.spans import LOG_FROM

Table = tuple[np.ndarray, np.ndarray, np.ndarray]  # means, lower and upper ends, each [points]
PANELS = {
    "spectral_norm": ("Curvature at the solutions", "spectral norm of the Hessian"),
    "support_loss": ("Support loss of the solutions", "support loss"),
    "distance": ("Distance from the initialisation", "Euclidean distance"),
    "trajectory_coherence": ("Coherence of trajectories", "mean cosine of displacements"),
    "gradient_coherence": ("Coherence of gradients", "mean inner product of gradients"),
}
TARGETS = {
    "target_accuracy": ("Generalisation", "target accuracy, %"),
    "target_loss": ("Generalisation", "target loss"),
}
SIGNED = ("trajectory_coherence", "gradient_coherence")  # 0 has a meaning: orthogonal tasks


@style.styled
def trajectories(runs: Mapping[str, Points]) -> Figure:
    """Draw each quantity along meta-training, with 95 % bands over tasks.

    Args:
        runs: Per run its measurements by meta-step, on the same tasks.

    Raises:
        UsageError: without a measurement.

    Reference:
        Guiroy, Verma, Pal, 2019, arXiv 1907.07287: the same quantities, each against the
        meta-training iteration.
    """
    _refuse_nothing(runs)
    target = "target_accuracy" if classifies(runs) else "target_loss"
    shown = {**PANELS, target: TARGETS[target]}
    figure, panels = style.canvas(
        "What adaptation does to unseen tasks, along meta-training",
        f"{_protocol(runs)} Step 0 is the untrained state. Bands: 95 % interval over tasks. "
        "Spectral norm and support loss are those of the whole support set after adaptation; "
        "gradients are taken at the initialisation; cosines and inner products are means over "
        "pairs of different tasks.",
        (15.0, 7.6),
        rows=2,
        columns=3,
    )
    for axes, (key, (title, unit)) in zip(panels, shown.items(), strict=True):
        _panel(axes, key, title, unit, runs)
    return figure


def _refuse_nothing(runs: Mapping[str, Points]) -> None:
    empty = [name for name, points in runs.items() if not points]
    if not runs or empty:
        raise UsageError(f"runs has no measurement for {empty or 'any run'}: give at least one")


def _protocol(runs: Mapping[str, Points]) -> str:
    """Say how it was measured; numbers of inner steps may differ between runs."""
    last = {name: list(points.values())[-1] for name, points in runs.items()}
    first = next(iter(last.values()))
    protocol = first.protocol
    each = ", ".join(f"{style.words(name)} {s.protocol.steps}" for name, s in last.items())
    same = len({s.protocol.steps for s in last.values()}) == 1
    curved = f", curvature of the first {first.curvature_tasks}" if first.curvature_tasks else ""
    return (
        f"{protocol.tasks} {protocol.split} tasks{curved} ({protocol.statistics} protocol, episode "
        f"seed {protocol.seed}); inner steps: {protocol.steps if same else each}."
    )


def _table(points: Points, key: str) -> Table:
    factor = 100.0 if key == "target_accuracy" else 1.0
    found = column(points, key)
    means, halves = (factor * np.array([getattr(i, k) for i in found]) for k in ("mean", "half"))
    return means, means - halves, means + halves


def _panel(axes: Axes, key: str, title: str, unit: str, runs: Mapping[str, Points]) -> None:
    chosen, marks = style.colours(runs), style.markers(runs)
    tables = {name: _table(points, key) for name, points in runs.items()}
    ends = []
    for name, (means, low, high) in tables.items():
        steps, colour = np.array(list(runs[name])), chosen[name]
        axes.plot(steps, means, color=colour, marker=marks[name], ms=4.5, zorder=3, label=name)
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, lw=0)
        finite = means[np.isfinite(means)]
        text = style.words(name).replace(" + ", "\n+ ")
        ends.append((float(finite[-1]) if len(finite) else np.nan, text, colour))
    _scale(axes, key, np.concatenate([means for means, _, _ in tables.values()]))
    axes.set(title=title, xlabel="meta-step", ylabel=unit)
    if axes.get_yscale() == "log":
        axes.set_ylabel(f"{unit}, log scale")
    last = max(max(points) for points in runs.values())
    axes.set_xlim(-0.02 * last - 1e-3, max(1.02 * last, 1e-3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_ylim(*axes.get_ylim())
    style.label_ends(axes, ends, gap=0.08)


def _scale(axes: Axes, key: str, means: np.ndarray) -> None:
    """Choose the scale: logarithmic for sizes over a wide range, else with a line at 0."""
    means = means[np.isfinite(means)]
    if not len(means):
        axes.text(0.5, 0.5, "not measured, or not finite", transform=axes.transAxes, ha="center")
    elif key in SIGNED:
        axes.axhline(0.0, color=style.INK, lw=0.9, ls=(0, (4, 3)))
    elif key != "target_accuracy" and means.min() > 0 and means.max() / means.min() >= LOG_FROM:
        style.log_scale(axes)
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0.4 * float(means.min())))
    elif key != "target_accuracy":
        axes.set_ylim(bottom=0.0)


@style.styled
def generalisation(runs: Mapping[str, Points]) -> Figure:
    """Draw coherence against target accuracy (or target loss), one point per checkpoint.

    Args:
        runs: Per run its measurements by meta-step, on the same tasks.

    Raises:
        UsageError: without a measurement.
    """
    _refuse_nothing(runs)
    target = "target_accuracy" if classifies(runs) else "target_loss"
    figure, panels = style.canvas(
        f"Coherence and {'target accuracy' if classifies(runs) else 'target loss'}",
        f"{_protocol(runs)} Each point is a checkpoint; lines join them in the order of training, "
        "the hollow point is the untrained state. Bars: 95 % intervals over tasks. ρ: rank "
        "correlation of coherence with "
        f"{'target accuracy' if classifies(runs) else 'the negative target loss'} along the "
        "checkpoints of one run, which are not independent of one another.",
        (13.0, 5.4),
        columns=2,
    )
    for axes, key in zip(panels, SIGNED, strict=True):
        _scatter(axes, key, target, runs)
    return figure


def _scatter(axes: Axes, key: str, target: str, runs: Mapping[str, Points]) -> None:
    chosen, marks = style.colours(runs), style.markers(runs)
    ends = []
    for name, points in runs.items():
        (x, left, right), (y, low, high) = _table(points, key), _table(points, target)
        colour, pale = chosen[name], style.mixed(chosen[name], 0.6)
        axes.hlines(y, left, right, color=pale, lw=0.9)
        axes.vlines(x, low, high, color=pale, lw=0.9)
        faces = ["white" if step == 0 else colour for step in points]
        axes.plot(x, y, color=colour, lw=1.0, zorder=3, label=name)
        axes.scatter(x, y, c=faces, edgecolors=colour, marker=marks[name], s=36, zorder=4)
        both = np.isfinite(x) & np.isfinite(y)
        found = correlations(points)[key].spearman
        rho = f"{found.value:+.2f}".replace("-", "−").replace("+nan", "–")
        text = style.words(name).replace(" + ", "\n+ ") + f"\nρ = {rho}"
        end = (float(x[both][-1]), float(y[both][-1])) if both.any() else (np.nan, np.nan)
        ends.append((*end, text, colour))
    axes.axvline(0.0, color=style.INK, lw=0.9, ls=(0, (4, 3)))
    title, unit = PANELS[key]
    lower = "" if target == "target_accuracy" else " (lower is better)"
    axes.set(title=title, xlabel=unit, ylabel=TARGETS[target][1] + lower)
    values = np.concatenate([_table(points, target)[0] for points in runs.values()])
    _scale(axes, target, values)
    if axes.get_yscale() == "log":
        axes.set_ylabel(f"{axes.get_ylabel()}, log scale")
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    for end_x, end_y, _, colour in ends:  # from the last point to its name
        axes.hlines(end_y, end_x, axes.get_xlim()[1], color=colour, lw=0.8, ls=(0, (1, 2)))
    style.label_ends(axes, [(y, text, colour) for _, y, text, colour in ends], gap=0.06)
