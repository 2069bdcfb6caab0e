"""Lines with bands and direct labels, on a panel whose scale fits them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from metaccord.plots import style
from metaccord.plots.bands import Band
from metaccord.spans import LOG_FROM


def draw(
    axes: Axes,
    lines: Mapping[str, tuple[np.ndarray, Band]],
    named: Mapping[str, str],
    *,
    points: bool,
    share: bool,
    shown: list[str] | None = None,
) -> None:
    """Draw lines with bands, choose the scale, and write the names at the right edge.

    Args:
        axes: The panel.
        lines: Per method x and the band, each ``[points]``.
        named: Per method what is written at its line.
        points: Mark the points.
        share: The values are in [0, 1] and shown as percentages; otherwise they are errors.
        shown: All methods of the figure, so that colours agree between its panels.
    """
    unit = 100.0 if share else 1.0
    chosen, marks = style.colours(shown or lines), style.markers(shown or lines)
    ends = []
    for name, (x, band) in lines.items():
        colour, mark = chosen[name], marks[name] if points else None
        (line,) = axes.plot(x, unit * band.mean, color=colour, marker=mark, ms=5.5, label=name)
        line.set(zorder=3, clip_on=not points)
        axes.fill_between(x, unit * band.low, unit * band.high, color=colour, alpha=0.15, lw=0)
        finite = band.mean[np.isfinite(band.mean)]
        ends.append((unit * float(finite[-1]) if len(finite) else np.nan, named[name], colour))
    if not share:
        means = np.concatenate([b.mean[np.isfinite(b.mean)] for _, b in lines.values()])
        _errors(axes, means)
    first = min(float(x[0]) for x, _ in lines.values())
    last = max(float(x[-1]) for x, _ in lines.values())
    axes.set_xlim(first - 0.02 * (last - first) - 1e-3, last + 1e-3)
    axes.set_ylim(*axes.get_ylim())
    style.label_ends(axes, ends, gap=0.06)


def _errors(axes: Axes, means: np.ndarray) -> None:
    """Scale an axis of errors: logarithmic over a wide range, otherwise from zero."""
    if len(means) and means.min() > 0 and means.max() / means.min() >= LOG_FROM:
        style.log_scale(axes)
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0.4 * float(means.min())))
    else:
        axes.set_ylim(bottom=float(means.min(initial=0.0)))


def scale(axes: Axes) -> str:
    """Return what the axis label says about the scale."""
    return ", log scale" if axes.get_yscale() == "log" else ""
