"""How all pictures look: colours, sizes, titles, direct labels, and files with fixed bytes."""

from __future__ import annotations

import functools
import io
import itertools
import textwrap
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from metaccord import fs

P = ParamSpec("P")

INK, GREY, FAINT = "#222222", "#5f5f5f", "#d9d9d9"
RIGHT, WRONG = "#0072B2", "#B34700"
# Okabe and Ito's colours, the light ones darkened until they stand out from white.
COLOURS = (
    "#0072B2", "#D55E00", "#008F6B", "#A8568A", "#9A6A00", "#2F8FC4", "#6A5ACD", "#7A3B1E",
)  # fmt: skip
KNOWN = {
    "reptile": "#0072B2",
    "reptile+agreement": "#D55E00",
    "maml": "#008F6B",
    "maml+agreement": "#A8568A",
    "fomaml": "#9A6A00",
    "fomaml+agreement": "#2F8FC4",
    "before training": "#6B6B6B",
    "anil": "#6A5ACD", "boil": "#7A3B1E", "meta_sgd": "#4B6E00", "maml_pp": "#B5306E",
    "imaml": "#00798C", "finetune": "#3D4F6B",
}  # fmt: skip
MARKERS = "os^Dvph*"
_WORDS = {
    "reptile": "Reptile", "maml": "MAML", "fomaml": "first-order MAML", "anil": "ANIL",
    "boil": "BOIL", "meta_sgd": "Meta-SGD", "maml_pp": "MAML++", "imaml": "iMAML",
    "finetune": "fine-tuning", "agreement": "Gradient Agreement", "sharing": "Gradient Sharing",
    "cooperative": "CML", "coherent": "coherence",
}  # fmt: skip
_RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.facecolor": "white",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "hatch.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a class called "$x$" is not a formula
    "xtick.color": GREY,
    "ytick.color": GREY,
    "svg.hashsalt": "metaccord",
    "svg.fonttype": "path",
}


def _settings() -> dict[Any, Any]:
    backend = {"backend", "backend_fallback", "interactive", "toolbar", "webagg.open_in_browser"}
    default = {k: v for k, v in matplotlib.rcParamsDefault.items() if k not in backend}
    return {**default, **_RC}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function under the house settings, whatever the user's own are.

    The user's settings stand again afterwards, also after an error.
    """

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(_settings()):
            return draw(*args, **kwargs)

    return drawn


def colours(labels: Iterable[str]) -> dict[str, str]:
    """Return one colour per label: the same one in every picture.

    Labels without a colour of their own get one from their name; where two in one picture would
    look alike, the later one takes the next colour that is free.
    """
    names = list(dict.fromkeys(labels))
    found = {name: KNOWN[name] for name in names if name in KNOWN}
    for name in sorted(set(names) - set(found)):
        start = zlib.crc32(name.encode())
        ring = [COLOURS[(start + i) % len(COLOURS)] for i in range(len(COLOURS))]
        found[name] = next((c for c in ring if c not in found.values()), ring[0])
    return {name: found[name] for name in names}


def markers(labels: Iterable[str]) -> dict[str, str]:
    """Return one marker per label, so that nothing depends on colour alone."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(dict.fromkeys(labels))}


def words(label: str) -> str:
    """Return a method's label in words: ``reptile+agreement`` is Reptile + Gradient Agreement."""
    return " + ".join(_WORDS.get(part, part) for part in label.split("+"))


def mixed(colour: str, white: float) -> tuple[float, float, float]:
    """Return a colour with a share of white in it, as an opaque colour."""
    red, green, blue = (white + (1 - white) * part for part in to_rgb(colour))
    return red, green, blue


def canvas(
    title: str,
    note: str,
    size: tuple[float, float],
    *,
    rows: int = 1,
    columns: int = 1,
    heights: list[float] | None = None,
    **sharing: Any,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a title above, a note below on how to read it, and panels.

    Args:
        title: What is seen, one line.
        note: Protocol, numbers of seeds and tasks, units; wrapped to the width.
        size: Width and height, inches.
        rows: Rows of panels.
        columns: Columns of panels.
        heights: Relative heights of the rows.
        sharing: ``sharex`` and ``sharey``.
    """
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights, **sharing)
    lines = textwrap.fill(title, max(20, int(size[0] * 9.3)), break_on_hyphens=False)
    figure.suptitle(lines, x=0.012, ha="left", fontsize=13, fontweight="bold")
    note = note.replace(" %", "\u00a0%")
    lines = textwrap.fill(note, int(size[0] * 16), break_on_hyphens=False)
    figure.supxlabel(lines, x=0.012, ha="left", fontsize=8.5, color=GREY)
    return figure, list(axes.flat)


def label_ends(axes: Axes, ends: list[tuple[float, str, Any]], *, gap: float = 0.075) -> None:
    """Write the names of lines at the right edge, apart from each other, instead of a legend.

    Call it when the limits of the axes are final.

    Args:
        axes: The panel.
        ends: For each line its last value, its name (several lines are possible) and its colour.
        gap: Height of one line of text, as a fraction of the panel.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    right = axes.get_xlim()[1]
    values = [y if np.isfinite(y) else np.nan for y, _, _ in ends]
    exact = [float(to_axes.transform((right, y))[1]) for y in values]
    places = [min(1.0, max(0.0, place)) if np.isfinite(place) else 0.5 for place in exact]
    heights = [gap * (text.count("\n") + 1) for _, text, _ in ends]
    leader = {"arrowstyle": "-", "lw": 0.8, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)}
    for i, at in enumerate(_apart(places, heights)):
        _, text, colour = ends[i]
        axes.annotate(
            text,
            (1.0, places[i]),
            (1.035, at),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            fontsize=9.5,
            va="center",
            annotation_clip=False,
            arrowprops={**leader, "color": colour} if np.isfinite(exact[i]) else None,
        )


def _apart(places: list[float], heights: list[float]) -> list[float]:
    """Return the places moved as little as needed to stand apart and inside the panel."""
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    found = [min(max(p, h / 2), 1 - h / 2) for p, h in zip(places, heights, strict=True)]
    for before, after in itertools.pairwise(order):
        found[after] = max(found[after], found[before] + (heights[before] + heights[after]) / 2)
    for i, here in enumerate(reversed(order)):
        if i == 0:
            limit = 1 - heights[here] / 2
        else:
            above = order[len(order) - i]
            limit = found[above] - (heights[above] + heights[here]) / 2
        found[here] = min(found[here], limit)
    return found


def log_scale(axes: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers at 1, 2 and 5 of each decade."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def encode(figure: Figure, kind: str, *, dpi: int = 150) -> bytes:
    """Return a figure as the bytes of a file; equal figures give equal bytes.

    Args:
        figure: The figure.
        kind: ``"png"`` or ``"svg"``.
        dpi: Dots per inch of a PNG.
    """
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[kind]
    stream = io.BytesIO()
    with matplotlib.rc_context(_settings()):
        figure.savefig(stream, format=kind, dpi=dpi, metadata=metadata)
    return stream.getvalue()


def save(figure: Figure, path: Path, *, dpi: int = 150) -> tuple[Path, Path]:
    """Write ``path`` with the endings .png and .svg and return both paths.

    Args:
        figure: The figure.
        path: Where to, without ending; its folder exists.
        dpi: Dots per inch of the PNG.

    Raises:
        ResourceError: if a file cannot be written.
    """
    png, svg = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    fs.write_atomic(png, encode(figure, "png", dpi=dpi))
    fs.write_atomic(svg, encode(figure, "svg"))
    return png, svg
