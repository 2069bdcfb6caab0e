"""Line charts as inline SVG: sizes in percent, so that text keeps its size on every screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metaccord.report.curves import drawing, named
from metaccord.report.markup import Html, Ids, data, table, tag
from metaccord.report.scales import Scale, number, scale

ROWS = 40  # of the table behind a chart


@dataclass(frozen=True)
class Line:
    """One series.

    Args:
        name: In the legend.
        x: Ascending places.
        y: Values; NaN leaves a gap.
        low, high: Of a band around it; empty: none.
        colour: Number of the colour, 0 to 7; -1: ink.
        dashed: Draw with dashes.
        band: What the band is.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: int = 0
    dashed: bool = False
    band: str = ""


@dataclass(frozen=True)
class Look:
    """How a chart is drawn.

    Args:
        title: One line.
        note: How to read it.
        x, y: What the axes are.
        log: Logarithmic values; None: where they span a factor of 20.
        share: Values in [0, 1] are shown as percent.
        zero: The value axis begins at 0.
        marks: Levels with a name: ``(value, name)``.
        whole_x: Ticks of the places at whole numbers only.
        small: One of several side by side.
    """

    title: str
    note: object = ""
    x: str = "meta-step"
    y: str = ""
    log: bool | None = False
    share: bool = False
    zero: bool = False
    marks: tuple[tuple[float, str], ...] = ()
    whole_x: bool = True
    small: bool = False


def chart(ids: Ids, lines: Sequence[Line], look: Look) -> Html:
    """Return a figure: legend, curves, values under the pointer or the arrow keys, table behind.

    Args:
        ids: Of the page.
        lines: The series, at least one.
        look: How.
    """
    factor = 100.0 if look.share else 1.0
    drawn = [_scaled(line, factor) for line in lines]
    xs = scale([v for line in drawn for v in line.x], most=6)
    if look.whole_x:
        xs = _whole(xs)
    xs = _tight(xs, [v for line in drawn for v in line.x])
    ys = scale(
        [v for line in drawn for part in (line.y, line.low, line.high) for v in part]
        + [factor * level for level, _ in look.marks],
        log=look.log,
        zero=look.zero,
    )
    identity = ids("chart")
    spoken = f"{look.title}. {summary(drawn, look)}"
    body = tag(
        "div",
        drawing(drawn, xs, ys, [(factor * level, name) for level, name in look.marks]),
        tag("div", class_="tip", aria_hidden="true"),
        class_="frame",
        tabindex="0",
        role="group",
        aria_label=f"{spoken} Left and right arrow keys read the values.",
        data_chart=f"{identity}-data",
    )
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("h4" if look.small else "h3", look.title),
            tag("p", look.note, class_="note") if look.note else None,
        ),
        _legend(drawn),
        tag("p", f"{look.y}{_unit(look, ys)}", class_="axis-name") if look.y else None,
        body,
        tag("p", look.x, class_="axis-name below"),
        tag("p", class_="spoken", aria_live="polite"),
        data(_payload(drawn, xs, look), f"{identity}-data"),
        _behind(drawn, look),
        class_="chart small" if look.small else "chart",
        id=identity,
    )


def summary(lines: Sequence[Line], look: Look) -> str:
    """Return the first and last value of each series, as the text alternative of a chart."""
    told = []
    unit = " %" if look.share else ""
    for line in lines:
        known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
        if known:
            (a, first), (b, last) = known[0], known[-1]
            told.append(
                f"{line.name}: {number(first)}{unit} at {look.x} {number(a)}, "
                f"{number(last)}{unit} at {number(b)}."
            )
        else:
            told.append(f"{line.name}: no finite value.")
    return " ".join(told)


def _scaled(line: Line, factor: float) -> Line:
    parts = {k: [factor * v for v in getattr(line, k)] for k in ("y", "low", "high")}
    return Line(**{**vars(line), **parts, "x": list(line.x)})


def _unit(look: Look, ys: Scale) -> str:
    unit = ", %" if look.share else ""
    return f"{unit}, logarithmic" if ys.log else unit


def _whole(xs: Scale) -> Scale:
    kept = tuple(t for t in xs.ticks if t == round(t))
    return xs._replace(ticks=kept or xs.ticks)


def _tight(xs: Scale, values: Sequence[float]) -> Scale:
    """Return the axis with its ends at the first and last place."""
    low, high = min(values), max(values)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    pad = (high - low) * 0.015
    ticks = tuple(t for t in xs.ticks if low - pad <= t <= high + pad)
    return xs._replace(low=low - pad, high=high + pad, ticks=ticks)


def _legend(lines: Sequence[Line]) -> Html | None:
    if len(lines) == 1 and not lines[0].band:
        return None
    keys = []
    for index, line in enumerate(lines):
        mark = tag(
            "svg",
            tag("line", x1="0", x2="22", y1="5", y2="5",
                class_="line dashed" if line.dashed else "line"),
            width="22", height="10", class_=named(line.colour), aria_hidden="true",
        )  # fmt: skip
        name = f"{line.name} ({line.band})" if line.band else line.name
        keys.append(
            tag("button", mark, tag("span", name), type="button", aria_pressed="true",
                data_series=str(index))
        )  # fmt: skip
    return tag("div", *keys, class_="legend", role="group", aria_label="Series shown")


def _payload(lines: Sequence[Line], xs: Scale, look: Look) -> dict[str, object]:
    return {
        "x": [xs.low, xs.high],
        "unit": " %" if look.share else "",
        "place": look.x,
        "series": [
            {"name": line.name, "x": list(line.x), "y": list(line.y),
             "low": list(line.low), "high": list(line.high)}
            for line in lines
        ],
    }  # fmt: skip


def _behind(lines: Sequence[Line], look: Look) -> Html:
    """Return the table behind a chart, thinned to 40 rows."""
    places = sorted({x for line in lines for x in line.x})
    if len(places) > ROWS:
        places = [places[round(i * (len(places) - 1) / (ROWS - 1))] for i in range(ROWS)]
    cells, keys = [], []
    by_place = [{x: i for i, x in enumerate(line.x)} for line in lines]
    for place in dict.fromkeys(places):
        row: list[object] = [number(place, 6)]
        key: list[float | str | None] = [place]
        for line, known in zip(lines, by_place, strict=True):
            i = known.get(place)
            row.append("" if i is None else _cell(line, i))
            key.append(None if i is None else line.y[i])
        cells.append(row)
        keys.append(key)
    unit = ", %" if look.share else ""
    heads = [look.x, *(f"{line.name}{unit}" for line in lines)]
    shown = table(heads, cells, caption=f"{look.title}: values", keys=keys)
    return tag("details", tag("summary", "Values as a table"), shown, class_="behind")


def _cell(line: Line, i: int) -> str:
    if line.low and math.isfinite(line.low[i]):
        return f"{number(line.y[i])} ({number(line.low[i])} to {number(line.high[i])})"
    return number(line.y[i])
