"""The losses of two tasks over the plane through the initialisation and both solutions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from metaccord.report.context import Context, Section, aside, grid, paragraph, section
from metaccord.report.images import height_map
from metaccord.report.markup import Html, table, tag
from metaccord.report.scales import number
from metaccord.spans import span

LEVELS = 14
PLACES = ("start", "solution 1", "solution 2")


def landscape(page: Context) -> Section | None:
    """Return the planes of the first run."""
    found = page.groups[0].first.parts.get("plane")
    if not found:
        return None
    notes = [
        "Support loss above, query loss below, each over the plane through the meta-trained "
        "weights and the solutions of two unseen tasks. The more blue, the lower the loss. The "
        "thick line is the way that the task takes, the thin one that of the other task."
    ]
    if found.get("parallel"):
        notes.append("The two ways span no plane: the second axis is an arbitrary direction.")
    figures = [_panel(found, task, kind) for kind in ("support", "query") for task in (0, 1)]
    return section(
        "landscape", "Around two solutions", paragraph(" ".join(notes)), grid(*figures, pairs=True),
        _table(found),
        aside("Axes are distances in parameter space, with the same scale in both directions."),
    )  # fmt: skip


def levels(values: np.ndarray) -> np.ndarray:
    """Return borders of bands: even in the logarithm where the losses span a factor of 20."""
    low, high, log = span(values)
    found: np.ndarray = (np.geomspace if log else np.linspace)(low, high, LEVELS + 1)[1:]
    return found


def _panel(found: dict[str, Any], task: int, kind: str) -> Html:
    grids = [np.array(found[k][task], dtype=float) for k in ("support", "query")]
    bands = levels(np.stack(grids))
    x, y = np.array(found["x"]), np.array(found["y"])
    wide, high = float(x[-1] - x[0]), float(y[-1] - y[0])
    height = 100 * high / wide if wide > 0 else 100.0
    height = min(max(height, 20.0), 200.0)

    def place(point: Any) -> tuple[float, float]:
        return 100 * (point[0] - x[0]) / wide, height * (1 - (point[1] - y[0]) / high)

    tracks = [_track([place(p) for p in found["paths"][i]], i == task) for i in (1 - task, task)]
    places = [place(p) for p in found["points"]]
    middle = sum(y for _, y in places) / 3 + 1e-6
    spots = [_spot(*one, PLACES[i], middle, own=i == task + 1) for i, one in enumerate(places)]
    image = tag("image", href=height_map(grids[kind == "query"], bands), x="0", y="0", width="100",
                height=f"{height:.2f}", preserveAspectRatio="none")  # fmt: skip
    title = f"Task {task + 1}: {kind} loss"
    low, top = (number(float(v)) for v in _ends(grids[kind == "query"]))
    picture = tag(
        "svg", image, *tracks, *spots,
        viewBox=f"-1 -1 102 {height + 2:.2f}", class_="plane", role="img",
        aria_label=f"{title} over the plane, from {low} to {top}. Values at the three places "
        "are in the table below.",
    )  # fmt: skip
    return tag(
        "figure",
        tag("figcaption", tag("h4", title), tag("p", f"from {low} to {top}", class_="note")),
        picture,
        class_="chart small",
    )


def _ends(grid: np.ndarray) -> tuple[float, float]:
    finite = grid[np.isfinite(grid)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (math.nan, math.nan)


def _track(places: list[tuple[float, float]], own: bool) -> Html:
    words = "L".join(f"{a:.2f} {b:.2f}" for a, b in places)
    name = "track own" if own else "track"
    dots = [
        tag("circle", cx=f"{a:.2f}", cy=f"{b:.2f}", r="0.9", class_="place")
        for a, b in places[1:-1]
    ]
    return tag("g", tag("path", d=f"M{words}", class_=name), *dots)


def _spot(x: float, y: float, name: str, middle: float, *, own: bool) -> Html:
    """Return a mark with its name, on the side that is away from the other places."""
    at = "start" if x < 15 else "end" if x > 85 else "middle"
    up = y - 3.4 if y < middle else y + 6.0
    mark = tag("circle", cx=f"{x:.2f}", cy=f"{y:.2f}", r="1.9" if own else "1.4",
               class_="place own" if own else "place")  # fmt: skip
    label = tag("text", name, x=f"{x:.2f}", y=f"{up:.2f}", text_anchor=at, class_="spot")
    return tag("g", mark, label)


def _table(found: dict[str, Any]) -> Html:
    """Return the losses at the point of the grid next to each place."""
    x, y = np.array(found["x"]), np.array(found["y"])
    rows: list[list[object]] = []
    keys: list[list[float | str | None]] = []
    for name, point in zip(PLACES, found["points"], strict=True):
        column, row = int(np.abs(x - point[0]).argmin()), int(np.abs(y - point[1]).argmin())
        values = [
            float(found[kind][task][row][column])
            for task in (0, 1)
            for kind in ("support", "query")
        ]
        rows.append([name, *(number(v) for v in values)])
        keys.append([name, *values])
    heads = ["Place", "Task 1, support", "Task 1, query", "Task 2, support", "Task 2, query"]
    shown = table(heads, rows, caption="Losses next to the three places (grid point)", keys=keys)
    return tag("details", tag("summary", "Values as a table"), shown, class_="behind")
