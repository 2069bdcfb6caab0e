"""The drawing inside a line chart: grid, bands, curves, dots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from metaccord.report.markup import Html, tag
from metaccord.report.scales import Scale, number, tick

if TYPE_CHECKING:
    from metaccord.report.charts import Line

MARKED = 24  # points up to which each is marked
Marks = Sequence[tuple[float, str]]


def drawing(lines: Sequence[Line], xs: Scale, ys: Scale, marks: Marks) -> Html:
    """Return the picture; its places are percentages, so that its text keeps its size.

    Args:
        lines: The series.
        xs, ys: The axes.
        marks: Levels with a name.
    """
    curves = [curve(line, xs, ys, data_series=str(i)) for i, line in enumerate(lines)]
    dots = [
        points(line, xs, ys, data_series=str(i))
        for i, line in enumerate(lines)
        if len(line.x) <= MARKED
    ]
    cursor = tag("line", x1="0", x2="0", y1="0", y2="100%", class_="cursor")
    return plot(xs, ys, curves, [*dots, cursor], marks)


def plot(
    xs: Scale, ys: Scale, stretched: Sequence[Html], above: Sequence[Html], marks: Marks = ()
) -> Html:
    """Return axes with something in them.

    Args:
        xs, ys: The axes.
        stretched: Drawn in a square of 1000 units that is stretched over the area.
        above: Drawn over it, in percent.
        marks: Levels with a name.
    """
    curves = tag(
        "svg",
        *stretched,
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
        width="100%",
        height="100%",
        class_="curves",
    )
    area = tag(
        "svg", *_grid(xs, ys, marks), curves, *above,
        width="100%", height="100%", class_="area", aria_hidden="true", focusable="false",
    )  # fmt: skip
    return tag("div", area, class_="plot")


def _grid(xs: Scale, ys: Scale, marks: Marks) -> list[Html]:
    step = ys.ticks[1] - ys.ticks[0] if len(ys.ticks) > 1 and not ys.log else 0.0
    grid = []
    for value in ys.ticks:
        at = f"{100 * (1 - ys.at(value)):.2f}%"
        label = number(value, 1) if ys.log else tick(value, step)
        grid.append(tag("line", x1="0", x2="100%", y1=at, y2=at, class_="grid"))
        grid.append(tag("text", label, x="-8", y=at, dy="0.32em", class_="tick left"))
    across = xs.ticks[1] - xs.ticks[0] if len(xs.ticks) > 1 else 1.0
    for value in xs.ticks:
        at = f"{100 * xs.at(value):.2f}%"
        grid.append(tag("text", tick(value, across), x=at, y="100%", dy="1.5em", class_="tick"))
    for level, name in marks:
        at = f"{100 * (1 - ys.at(level)):.2f}%"
        grid.append(tag("line", x1="0", x2="100%", y1=at, y2=at, class_="mark"))
        grid.append(tag("text", name, x="100%", y=at, dx="-4", dy="-0.4em", class_="tick right"))
    return grid


def named(colour: int) -> str:
    """Return the class of a colour; -1 is ink."""
    return f"s{colour}" if colour >= 0 else "ink"


def curve(line: Line, xs: Scale, ys: Scale, **attributes: object) -> Html:
    """Return a line with its band, in a square of 1000 units."""
    band = None
    if line.low and line.high:
        top = _path(line.x, line.high, xs, ys)
        bottom = _path(line.x, line.low, xs, ys)
        both = [(t, b) for t, b in zip(top, bottom, strict=True) if t and b]
        if both:
            ends = " ".join([*(t for t, _ in both), *(b for _, b in reversed(both))])
            band = tag("polygon", points=ends, class_="band")
    places = _path(line.x, line.y, xs, ys)
    words, pen = [], "M"
    for place in places:
        words.append(f"{pen}{place}" if place else "")
        pen = "L" if place else "M"
    drawn = tag("path", d="".join(words), class_="line dashed" if line.dashed else "line")
    return tag("g", band, drawn, class_=named(line.colour), **attributes)


def points(
    line: Line, xs: Scale, ys: Scale, *, kind: str = "dot", size: str = "3.5", **attributes: object
) -> Html:
    """Return the points of a line as circles."""
    found = [
        tag(
            "circle",
            cx=f"{100 * xs.at(a):.2f}%",
            cy=f"{100 * (1 - ys.at(b)):.2f}%",
            r=size,
            class_=kind,
        )
        for a, b in zip(line.x, line.y, strict=True)
        if math.isfinite(b)
    ]
    return tag("g", *found, class_=named(line.colour), **attributes)


def _path(x: Sequence[float], y: Sequence[float], xs: Scale, ys: Scale) -> list[str]:
    """Return places in a square of 1000 units, empty where there is none."""
    return [
        f"{1000 * xs.at(a):.1f} {1000 * (1 - min(max(ys.at(b), -1.0), 2.0)):.1f}"
        if math.isfinite(b)
        else ""
        for a, b in zip(x, y, strict=True)
    ]
