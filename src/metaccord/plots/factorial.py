"""The effects of a factorial design: each interaction over each base, and pairs of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from metaccord.errors import UsageError
from metaccord.factorial import Design, Effect, percent
from metaccord.plots import style

_ROUND = [n * 10.0**power for power in range(-4, 8) for n in (1, 2, 5)] + [30, 70, 90, 99]  # %
_TOGETHER = "abcdefghijklmnopqrstuvwxyz"


@style.styled
def factorial(
    design: Design, found: Mapping[str, Effect], *, losses: bool, note: str = ""
) -> Figure:
    """Draw main effects with their intervals, and a matrix of pairwise interaction effects.

    Args:
        design: What was run.
        found: Its effects, see :func:`metaccord.factorial.effects`.
        losses: Effects are changes of the logarithm of a loss (drawn in per cent; below 0 helps),
            not percentage points of accuracy.
        note: Seeds and protocol.

    Raises:
        UsageError: if the effects belong to another design.
    """
    if [*found] != [*design.weights]:
        raise UsageError("found belongs to another design: give effects(design, values)")
    columns, rows = _sides(design)
    count = len(design.bases)
    lines = len(design.factors) * max(1, 0.4 * count + 0.3) + 0.8 * (count - 1)
    size = (6.4 + (2.4 + 1.05 * len(columns) if rows else 0), 2.5 + max(0.5 * lines, len(rows) / 2))
    figure, panels = style.canvas(
        "What each interaction does" + (", and what two do together" if rows else ""),
        f"{_reading(design, found, losses, bool(rows))} {note}".strip(),
        size,
        columns=2 if rows else 1,
        width_ratios=[5.2, 1.4 + 1.05 * len(columns)] if rows else None,
    )
    _mains(panels[0], design, found, losses)
    if rows:
        _matrix(panels[1], design, found, losses)
    return figure


def _sides(design: Design) -> tuple[list[str], list[str]]:
    """Return the columns and rows of the matrix: factors, and factors and other bases."""
    first, *others = design.bases
    versus = [f"({base} vs {first})" for base in others]
    rows = [*design.factors[1:], *versus]
    return [*(design.factors if versus else design.factors[:-1])], rows


def _reading(design: Design, found: Mapping[str, Effect], losses: bool, pairs: bool) -> str:
    alone = all(math.isnan(effect.interval.half) for effect in found.values())
    text = [
        "One seed: no intervals."
        if alone
        else "Bars: 95 % intervals over seeds; filled, or *: the interval leaves out 0; "
        f"**: also after Holm's adjustment for {len(found)} effects."
    ]
    if pairs:
        text.append("Pairs: half the difference of one's effect with and without the other.")
        text.append("Blue helps, brown harms.")
    text.append(f"{'Less loss' if losses else 'More accuracy'} is better.")
    if design.fraction:
        text.append("Half of the grid was run: effects of many together are taken to be absent.")
    for letter, (_, group) in zip(_TOGETHER, design.aliases.items(), strict=False):
        signs = [f"{'+' if sign > 0 else '−'} {name}" for name, sign in group.items()]
        text.append(f"Not told apart ({letter}): {' '.join(signs).removeprefix('+ ')}.")
    return " ".join(text)


def _of(design: Design, found: Mapping[str, Effect], name: str) -> tuple[Effect, float, str]:
    """Return an effect, its sign, and the letter of the group that it cannot leave."""
    if name in found:
        return found[name], 1.0, ""
    groups = zip(_TOGETHER, design.aliases.items(), strict=False)
    return next((found[n], float(g[name]), f" {at}") for at, (n, g) in groups if name in g)


def _mains(axes: Axes, design: Design, found: Mapping[str, Effect], losses: bool) -> None:
    """Draw one row per factor, with a point per base, and one per other base."""
    first, *others = design.bases
    hues, shapes = style.colours(design.bases), style.markers(design.bases)
    by_base = bool(others) and not design.left_out
    ticks: list[tuple[float, str]] = []
    at = 0.0
    for factor in design.factors:
        parts = [(f"{factor} | {b}", b) for b in design.bases] if by_base else [(factor, "")]
        places = at + 0.4 * np.arange(len(parts))
        for place, (name, base) in zip(places, parts, strict=True):
            effect, _, letter = _of(design, found, name)
            _point(axes, place, effect, hues.get(base, style.INK), shapes.get(base, "o"))
        ticks.append((float(places.mean()), style.words(factor).replace(" ", "\n") + letter))
        at = places[-1] + 1.0
    for base in others:
        effect, _, letter = _of(design, found, f"{base} vs {first}")
        _point(axes, at, effect, style.INK, "d")
        ticks.append((at, f"{style.words(base)}\nvs {style.words(first)}{letter}"))
        at += 1.0
    for before, after in itertools.pairwise(ticks):
        axes.axhline((before[0] + after[0]) / 2, color=style.FAINT, lw=0.8)
    axes.axvline(0, color=style.INK, lw=0.9)
    axes.grid(axis="y", visible=False)
    axes.set_yticks([y for y, _ in ticks], [text for _, text in ticks], color=style.INK)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(at - 0.4, -0.6)
    axes.set_title("Each: with minus without")
    axes.set_xlabel(f"change of the {'query loss' if losses else 'accuracy, percentage points'}")
    if losses:
        _percents(axes)
    if by_base:
        handles = [
            axes.plot(
                [], [], color=hues[b], marker=shapes[b], ls="", label=f"over {style.words(b)}"
            )
            for b in design.bases
        ]
        assert isinstance(axes.figure, Figure)
        below = axes.transAxes + ScaledTranslation(0, -0.5, axes.figure.dpi_scale_trans)
        axes.legend(
            handles=[line for (line,) in handles],
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            bbox_transform=below,
            ncols=min(3, len(handles)),
            frameon=False,
        )


def _point(axes: Axes, place: float, effect: Effect, colour: str, marker: str) -> None:
    mean, half = effect.interval
    if math.isfinite(half):
        axes.plot([mean - half, mean + half], [place, place], color=colour, lw=1.8)
    face = colour if effect.clear else "white"
    axes.plot([mean], [place], color=colour, marker=marker, ms=7, mfc=face, mew=1.6, ls="")


def _percents(axes: Axes) -> None:
    """Put round percentages on an axis of logarithms."""
    low, high = axes.get_xlim()
    places = [math.log1p(sign * p / 100) for p in _ROUND for sign in (-1, 1) if sign * p > -100]
    kept = [0.0]
    for place in sorted((p for p in places if low <= p <= high), key=abs, reverse=True):
        if all(abs(place - other) > (high - low) / 7 for other in kept):
            kept.append(place)
    kept.sort()
    axes.set_xticks(kept, [_signed(percent(place)) + " %" for place in kept])
    axes.set_xlim(low, high)


def _matrix(axes: Axes, design: Design, found: Mapping[str, Effect], losses: bool) -> None:
    """Draw the effects of pairs: colour and number, a star where clear."""
    columns, rows = _sides(design)
    entries = {}
    for (y, row), (x, column) in itertools.product(enumerate(rows), enumerate(columns)):
        if row not in design.factors or design.factors.index(column) <= y:
            name = f"{column} x {row}"
            entries[y, x] = _of(design, found, name)
    sizes = [abs(effect.interval.mean) for effect in found.values()]
    most = max([*filter(math.isfinite, sizes), 1e-300])
    table = np.ones((len(rows), len(columns), 3))
    for (y, x), (effect, sign, letter) in entries.items():
        mean = sign * effect.interval.mean
        share = abs(mean) / most if math.isfinite(mean) else 0.0
        hue = style.RIGHT if (mean > 0) != losses else style.WRONG
        table[y, x] = style.mixed(hue, 1 - 0.9 * share)
        mark = "**" if effect.holm else "*" if effect.clear else ""
        text = _signed(percent(mean) if losses else mean) + (" %" if losses else "") + mark + letter
        colour = "white" if share > 0.6 else style.INK
        weight = "bold" if effect.clear else "normal"
        axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=9, weight=weight)
    axes.imshow(table, interpolation="nearest", aspect="auto")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=style.INK, labelsize=9)
    axes.set_xticks(range(len(columns)), [style.words(c).replace(" ", "\n") for c in columns])
    axes.set_yticks(range(len(rows)), [_wrapped(row) for row in rows])
    axes.set_title("Pairs")


def _wrapped(row: str) -> str:
    base, versus, first = row.strip("()").partition(" vs ")
    if versus:
        return f"{style.words(base)}\nvs {style.words(first)}"
    return style.words(row).replace(" ", "\n")


def _signed(value: float) -> str:
    if abs(value) < 1e-9:
        return "0"
    return (f"{value:+.2g}" if abs(value) < 100 else f"{value:+,.0f}").replace("-", "−")
