"""The losses of two tasks over the plane through the initialisation and their solutions."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor

from metaccord.diagnostics import Plane
from metaccord.plots import style
from metaccord.spans import span

LEVELS = 16
_HEIGHT = LinearSegmentedColormap.from_list(  # one hue, light where the loss is high
    "height", ["#0B2545", "#13527C", "#2E86AB", "#7FB7D0", "#CFE3EC", "#F7FAFB"]
)
_HALO = withStroke(linewidth=2.5, foreground="white")
OWN, OTHER = "#D55E00", "#3d3d3d"
NAMES = ("start", "solution 1", "solution 2")
WIDE = 4.2  # inches of a panel
NAME = (58.0, 13.0)  # room for a name, points
SPOTS = ((0, 17), (0, -17), (42, 0), (-42, 0), (0, 30), (0, -30))  # where it may stand, if high


@style.styled
def landscape(plane: Plane, paths: Tensor | None = None, *, name: str = "") -> Figure:
    """Draw support and query loss of both tasks over the plane.

    Levels are spaced evenly in the logarithm where the losses of a task span a factor of 20 or
    more; both pictures of a task share them.

    Args:
        plane: Of :func:`metaccord.diagnostics.plane`.
        paths: Of :func:`paths`, for the same state and tasks.
        name: What was trained, for the title.
    """
    note = (
        "Loss of one task over the plane through the initialisation and the solutions of two "
        "unseen tasks, each adapted alone; axes are distances in parameter space, dark is low. "
        "Orange: the task whose loss is drawn, grey: the other one; small dots: inner steps, "
        "projected on the plane. Grey areas: the loss is not finite."
    )
    if plane.parallel:
        note += (
            " The two displacements span no plane: the second axis is an arbitrary direction (or "
            "both are, if nothing moved)."
        )
    title = f"Loss around two solutions{f': {name}' if name else ''}"
    aspect = float((plane.y[-1] - plane.y[0]) / (plane.x[-1] - plane.x[0]))
    figure, panels = style.canvas(
        title, note, (2 * WIDE + 2.0, 2 * WIDE * aspect + 2.6), rows=2, columns=2
    )
    for task in (0, 1):
        grids = [kind[task].double().numpy() for kind in (plane.support, plane.query)]
        levels, norm = spaced(np.stack(grids))
        pair = panels[2 * task : 2 * task + 2]
        for axes, grid, kind in zip(pair, grids, ("support", "query"), strict=True):
            _surface(axes, plane, grid, levels, norm)
            _places(axes, plane, paths, task)
            axes.set_title(f"Task {task + 1}: {kind} loss")
        _bar(figure, pair, levels, norm)
        pair[0].set_ylabel("distance orthogonal to it")
    for axes in panels[2:]:
        axes.set_xlabel("distance along the displacement of task 1")
    return figure


def spaced(values: np.ndarray) -> tuple[np.ndarray, Normalize]:
    """Return levels for contours and the scale of their colours.

    Args:
        values: Losses of any shape; those that are not finite are left out.
    """
    low, high, log = span(values)
    if log:
        return np.geomspace(low, high, LEVELS), LogNorm(low, high)
    return np.linspace(low, high, LEVELS), Normalize(low, high)


def _surface(
    axes: Axes, plane: Plane, grid: np.ndarray, levels: np.ndarray, norm: Normalize
) -> None:
    x, y = plane.x.numpy(), plane.y.numpy()
    axes.grid(False)
    axes.set_facecolor("#b5b5b5")
    shown = np.ma.masked_invalid(np.clip(grid, levels[0], levels[-1]))
    if shown.count():
        axes.contourf(x, y, shown, levels, norm=norm, cmap=_HEIGHT)
        axes.contour(x, y, shown, levels, norm=norm, colors="white", linewidths=0.5, alpha=0.7)
    axes.set_aspect("equal")


def _places(axes: Axes, plane: Plane, shares: Tensor | None, task: int) -> None:
    """Mark the three points, and the paths of both tasks."""
    points = plane.points.double().numpy()  # [3, 2]
    for other in (1 - task, task):
        colour = OWN if other == task else OTHER
        ends = [np.zeros(2), points[other + 1]]
        track = np.stack(ends) if shares is None else shares[other].cpu().numpy() @ points[1:]
        axes.plot(*track.T, color=colour, lw=2.2, path_effects=[_HALO], zorder=3 + (other == task))
        axes.plot(*track[1:-1].T, "o", color=colour, ms=4, mec="white", mew=0.8, zorder=5)
    spots = spread(points * (72 * WIDE / float(plane.x[-1] - plane.x[0])))
    for index, (place, spot) in enumerate(zip(points, spots, strict=True)):
        colour = style.INK if index == 0 else OWN if index == task + 1 else OTHER
        mark, size = ("*", 15) if index else ("o", 8)
        axes.plot(*place, mark, color=colour, ms=size, mec="white", mew=1.2, zorder=6)
        axes.annotate(
            NAMES[index],
            place,
            spot,
            textcoords="offset points",
            color=colour,
            fontsize=9,
            ha="center",
            va="center",
            path_effects=[_HALO],
            zorder=7,
        )


def spread(places: np.ndarray) -> list[tuple[float, float]]:
    """Return for each place where its name stands, so that names cover no place and no name.

    Args:
        places: Typographic points, ``[n, 2]``.
    """
    taken = [tuple(place) for place in places]  # of everything that has its place
    chosen = []
    for x, y in places:
        up = 1 if y > places[:, 1].mean() else -1
        spots = [(float(across), float(up * height)) for across, height in SPOTS]
        free = [s for s in spots if not any(_meet(x + s[0] - u, y + s[1] - v) for u, v in taken)]
        best = (free or spots)[0]
        taken.append((x + best[0], y + best[1]))
        chosen.append(best)
    return chosen


def _meet(across: float, up: float) -> bool:
    return abs(across) < NAME[0] and abs(up) < NAME[1]


def _bar(figure: Figure, pair: list[Axes], levels: np.ndarray, norm: Normalize) -> None:
    image = ScalarMappable(norm=norm, cmap=_HEIGHT)
    bar = figure.colorbar(image, ax=pair, shrink=0.85, pad=0.02)
    ticks = levels[:: (LEVELS - 1) // 5]
    bar.set_ticks(ticks.tolist(), labels=[f"{value:.2g}" for value in ticks])
    bar.minorticks_off()
    bar.set_label("loss, log scale" if isinstance(norm, LogNorm) else "loss")
