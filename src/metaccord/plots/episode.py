"""One task of image classification: support pictures, query pictures, and what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from metaccord import tree
from metaccord.errors import UsageError
from metaccord.evaluate import predict
from metaccord.objective import Objective
from metaccord.plots import style
from metaccord.protocol import Statistics
from metaccord.types import Adaptation
from metaccord.uneven import alone, cut

MOST = 5  # support pictures of a class that are drawn
ROWS = 10  # classes that are drawn
BARS = 5  # classes whose probability is drawn
_GAP, _ROW, _BARS, _CELL = 0.12, 1.25, 1.2, 3.2  # in pictures
_INCH = 0.72  # of a picture
_SEES = {
    "transductive": "batch normalisation sees all query pictures together",
    "inductive": "batch normalisation sees each query picture with the support set",
    "frozen": "batch normalisation sees the support set only",
}


class _Seen(NamedTuple):
    """Arrays of one task: pictures ``[n, H, W]`` or ``[n, H, W, 3]``, classes ``[n]``."""

    support: np.ndarray
    known: np.ndarray
    query: np.ndarray
    truth: np.ndarray
    odds: np.ndarray  # [n, ways]


@style.styled
def episode(
    objective: Objective,
    run: Adaptation,
    *,
    task: int,
    statistics: Statistics = "transductive",
    names: Sequence[str] | None = None,
    queries: int = 3,
) -> Figure:
    """Draw one task: its pictures by class, the predictions, and how sure the model is.

    Args:
        objective: The model.
        run: Adapted tasks, from :func:`metaccord.evaluate.isolated`; inputs
            ``[T, n, channels, H, W]`` (one channel: ink = 1), targets ``[T, n]``.
        task: Which of them.
        statistics: What batch normalisation sees.
        names: Names of the classes; None: class 0, class 1, ...
        queries: Query pictures of each class that are drawn, the first ones.

    Raises:
        UsageError: if there is no such task, the inputs are no pictures, or names are missing.
    """
    seen = _look(objective, run, task, statistics)
    ways = seen.odds.shape[1]
    names = [f"class {i}" for i in range(ways)] if names is None else [str(n) for n in names]
    if len(names) < ways:
        raise UsageError(f"names has {len(names)} entries for {ways} classes: give one per class")
    rows = min(ways, ROWS)
    shots = min(MOST, int(np.bincount(seen.known, minlength=ways).max()))
    drawn = min(queries, int(np.bincount(seen.truth, minlength=ways).max()))
    left = -0.35 - 0.105 * max(len(_short(name, 16)) for name in names[:rows])
    start = shots * (1 + _GAP) + 0.7  # where the queries begin
    width, height = start + drawn * _CELL, rows * _ROW
    some = f" of each of the first {rows} classes" if rows < ways else " of each class"
    most = f" of the {BARS} likeliest classes" if ways > BARS else ""
    right = (seen.odds.argmax(1) == seen.truth) & np.isfinite(seen.odds).all(1)
    figure, (axes,) = style.canvas(
        f"Right on {right.sum()} of {len(right)} query pictures ({100 * right.mean():.0f} %)",
        f"{ways} classes, {len(run.support_losses)} gradient steps on the support set; "
        f"guessing: {100 / ways:.0f} %. Drawn: the first {drawn} queries{some}. "
        f"Bars: probability (softmax){most}, full width 100 %; the black frame marks the true "
        f"class. Protocol {statistics}: {_SEES[statistics]}.",
        ((width - left) * _INCH + 0.1, (height + 0.55) * _INCH + 1.0),
    )
    axes.set_axis_off()
    axes.text(0, -0.2, "support set", fontweight="bold", va="center")
    axes.text(start, -0.2, "query set: prediction and probability", fontweight="bold", va="center")
    axes.plot([start - 0.38] * 2, [0, height - 0.3], color=style.FAINT, lw=1.2)
    for label in range(rows):
        top = label * _ROW
        axes.text(-0.25, top + 0.5, _short(names[label], 16), ha="right", va="center")
        for i, picture in enumerate(seen.support[seen.known == label][:shots]):
            _picture(axes, picture, i * (1 + _GAP), top)
        for i, q in enumerate(np.flatnonzero(seen.truth == label)[:drawn]):
            _query(axes, seen, int(q), (start + i * _CELL, top), names)
    axes.set(xlim=(left, width), ylim=(height, -0.5), aspect="equal")
    return figure


def _look(objective: Objective, run: Adaptation, task: int, statistics: Statistics) -> _Seen:
    count = tree.tasks_in(run.solution)
    if not 0 <= task < count:
        raise UsageError(f"task is {task}, but the run holds {count} tasks: 0 to {count - 1}")
    both = (run.episodes.support, run.episodes.query)
    support, query = map(alone, tree.mapped(lambda leaf: leaf[task], both))
    shape = tuple(getattr(query.inputs, "shape", ()))
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise UsageError(
            f"a task's inputs have shape {shape}: pictures are [n, channels, H, W] with 1 or 3 "
            "channels"
        )
    params = {name: leaf[task] for name, leaf in run.solution.items()}
    with torch.no_grad():
        outputs = predict(objective, statistics, params, support, query.inputs)
        outputs = cut(outputs, query.ways)
    odds = torch.softmax(outputs.double(), -1).cpu().numpy()
    pictures = [_pixels(batch.inputs) for batch in (support, query)]
    classes = [batch.targets.cpu().numpy() for batch in (support, query)]
    return _Seen(pictures[0], classes[0], pictures[1], classes[1], odds)


def _pixels(inputs: torch.Tensor) -> np.ndarray:
    """Return pictures in [0, 1]; one channel is ink, so 1 is dark."""
    found = np.asarray(inputs.detach().float().cpu().numpy()).clip(0, 1)
    return 1 - found[:, 0] if found.shape[1] == 1 else found.transpose(0, 2, 3, 1)


def _picture(axes: Axes, picture: np.ndarray, x: float, y: float) -> None:
    axes.imshow(
        picture,
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(x, x + 1, y + 1, y),
        interpolation="nearest",
    )
    _box(axes, x, y, 1, 1, fill=False, ec=style.FAINT, lw=0.8)


def _query(
    axes: Axes, seen: _Seen, q: int, corner: tuple[float, float], names: Sequence[str]
) -> None:
    """Draw one query picture, its verdict and its most probable classes."""
    x, y = corner
    odds, truth = seen.odds[q], int(seen.truth[q])
    guess = int(odds.argmax())
    known = bool(np.isfinite(odds).all())
    right = known and guess == truth
    colour, dash = (style.RIGHT, "solid") if right else (style.WRONG, (0, (2, 1.2)))
    _picture(axes, seen.query[q], x, y)
    _box(axes, x, y, 1, 1, fill=False, ec=colour, lw=2.2, ls=dash, zorder=4)
    left = x + 1 + _GAP
    guessed = f"{_short(names[guess], 8)}, {100 * odds[guess]:.0f} %" if known else "not finite"
    text = f"{'✓' if right else '✗'} {guessed}"
    axes.text(left, y + 0.14, text, color=colour, fontsize=9, fontweight="bold", va="center")
    shown = _likeliest(odds, truth)
    thick = 0.68 / len(shown)
    for i, label in enumerate(shown):
        at = y + 0.32 + i * thick
        _box(axes, left, at, _BARS, thick * 0.8, fc="#f1f1f1", lw=0)
        length = _BARS * float(odds[label]) if known else 0.0
        fill = colour if label == guess else "#b0b0b0"
        _box(axes, left, at, length, thick * 0.8, fc=fill, lw=0)
        if label == truth:
            _box(axes, left, at, _BARS, thick * 0.8, fill=False, ec=style.INK, lw=0.9, zorder=5)
        named, end = _short(names[label], 8), left + _BARS + 0.05
        axes.text(end, at + thick * 0.42, named, fontsize=6.8, va="center", color=style.GREY)


def _likeliest(odds: np.ndarray, truth: int) -> list[int]:
    """Return the classes whose bars are drawn: the most probable ones and the true one."""
    top = sorted(range(len(odds)), key=lambda c: (-odds[c], c))[:BARS]
    return sorted(top if truth in top else [*top[:-1], truth])


def _box(axes: Axes, x: float, y: float, width: float, height: float, **look: Any) -> None:
    axes.add_patch(Rectangle((x, y), width, height, **look))


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
