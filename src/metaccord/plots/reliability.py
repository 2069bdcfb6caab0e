"""The reliability curve: how often answers are right, against how sure they are."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from metaccord.calibration import LEAST, Calibration
from metaccord.errors import UsageError
from metaccord.plots import style


@style.styled
def reliability(found: Mapping[str, Calibration], *, note: str = "") -> Figure:
    """Draw accuracy against confidence; on the diagonal a model is as right as it is sure.

    A point stands for a bin of at least 20 answers, its bar for the 95 % interval of its
    accuracy if answers were independent (those of one task are not quite).

    Args:
        found: Calibrations by name.
        note: What is said first below the title, such as the protocol.

    Raises:
        UsageError: for nothing to draw.
    """
    if not found or not any(one.examples for one in found.values()):
        raise UsageError("there is no calibration to draw: measure a classifier that gives logits")
    drawn = f"Bins of confidence with {LEAST} or more answers, 95 % intervals."
    figure, (axes,) = style.canvas(
        "Is it right as often as it is sure?",
        f"{note}. {drawn}" if note else drawn,
        (6.4, 5.2),
    )
    colours, marks = style.colours(found), style.markers(found)
    axes.plot([0, 100], [0, 100], color="0.6", lw=1, ls="--", zorder=1)
    ends = []
    for name, one in found.items():
        bins = [b for b in one.reliability if b.examples >= LEAST]
        x = np.array([100 * b.confidence for b in bins])
        y = np.array([100 * b.accuracy for b in bins])
        half = np.array([100 * b.half for b in bins])
        axes.errorbar(x, y, half, color=colours[name], marker=marks[name], ms=5, lw=1.5, capsize=2)
        label = f"{style.words(name)}\nECE {100 * one.ece:.1f} %"
        ends.append((float(y[-1]) if len(y) else math.nan, label, colours[name]))
    low = min(100 * b.low for one in found.values() for b in one.reliability if b.examples)
    axes.set_xlim(low, 100)
    axes.set_ylim(0, 102)
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("accuracy, %")
    style.label_ends(axes, ends, gap=0.1)
    return figure
