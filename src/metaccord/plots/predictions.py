"""What an adapted model answers to new examples, and how sure it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from metaccord.codings import Labelled, Unlabelled
from metaccord.deploy import Answers, Predictor
from metaccord.errors import UsageError
from metaccord.plots import style

MOST = 24  # examples that are drawn
COLUMNS = 3
BARS = 5  # classes whose probability is drawn
_CELL, _ROW, _GAP, _BARS = 4.1, 1.3, 0.12, 1.7  # in pictures
_INCH = 0.72  # of a picture
_LINE = 0.3  # inches of one predicted value


@style.styled
def predictions(
    made: Predictor, given: Unlabelled, answers: Answers, *, support: Labelled | None = None
) -> Figure:
    """Draw examples with the probabilities of their classes, or predicted values.

    Pictures are drawn beside their bars; a regression on one number is drawn as points on the
    model's curve, any other as one value per line.

    Args:
        made: The adapted model.
        given: The examples, as :meth:`metaccord.deploy.Predictor.coded` returns them.
        answers: What the model answered to them.
        support: The support set, to be drawn as well in a regression.

    Raises:
        UsageError: if each example has several values.
    """
    if answers.probabilities is not None:
        return _classes(made, given, answers)
    assert answers.values is not None
    values = answers.values.double().flatten(1) if answers.values.dim() > 1 else answers.values
    if values.dim() > 1 and values.shape[1] != 1:
        raise UsageError(
            f"each example has {values.shape[1]} values: pictures are drawn of one, use --out"
        )
    inputs = given.inputs
    if isinstance(inputs, Tensor) and inputs[0].numel() == 1:
        return _curve(made, inputs, values.flatten(), support)
    return _values(made, answers.names, values.flatten(), support)


def _classes(made: Predictor, given: Unlabelled, answers: Answers) -> Figure:
    """Draw a cell per example: its picture if it is one, and the bars of its classes."""
    assert answers.probabilities is not None
    odds = answers.probabilities.double().numpy()
    count, ways = odds.shape
    drawn = min(count, MOST)
    columns = min(COLUMNS, drawn)
    rows = -(-drawn // columns)
    pictures = pixels(made, given.inputs)
    start = 0.0 if pictures is None else 1 + _GAP
    cell = _CELL - (1.0 - start)
    few = f"the first {drawn} of {count}" if drawn < count else f"all {count}"
    most = f" of the {BARS} likeliest classes" if ways > BARS else ""
    title = f"{count} {'answer' if count == 1 else 'answers'}"
    figure, (axes,) = style.canvas(
        f"{title}, {100 * odds.max(1).mean():.0f} % sure on average",
        f"{style.words(made.card.method)}, {made.card.made}, {ways} classes. Drawn: {few}. Bars: "
        f"probability{most}, full width 100 %. {_trust(made)}",
        (max(5.5, columns * cell * _INCH + 0.2), rows * _ROW * _INCH + 1.3),
    )
    axes.set_axis_off()
    for i in range(drawn):
        corner = (i % columns) * cell, (i // columns) * _ROW
        if pictures is not None:
            _picture(axes, pictures[i], *corner)
        _bars(axes, odds[i], answers.classes, answers.names[i], (corner[0] + start, corner[1]))
    axes.set(xlim=(-0.05, columns * cell), ylim=(rows * _ROW, -0.1), aspect="equal")
    axes.set_anchor("W")
    return figure


def _bars(
    axes: Axes, odds: Any, classes: tuple[str, ...], name: str, corner: tuple[float, float]
) -> None:
    """Draw the verdict and the most probable classes of one example."""
    x, y = corner
    guess = int(odds.argmax())
    shown = sorted(sorted(range(len(odds)), key=lambda c: (-odds[c], c))[:BARS])
    axes.text(x, y + 0.08, _short(name, 26), fontsize=7, va="center", color=style.GREY)
    verdict = f"{_short(classes[guess], 14)}, {100 * odds[guess]:.0f} %"
    axes.text(x, y + 0.28, verdict, color=style.RIGHT, fontsize=9, fontweight="bold", va="center")
    thick = 0.6 / max(3, len(shown))
    for i, label in enumerate(shown):
        at = y + 0.42 + i * thick
        fill = style.RIGHT if label == guess else "#b0b0b0"
        axes.add_patch(Rectangle((x, at), _BARS, thick * 0.8, fc="#f1f1f1", lw=0))
        axes.add_patch(Rectangle((x, at), _BARS * float(odds[label]), thick * 0.8, fc=fill, lw=0))
        named = _short(classes[label], 12)
        axes.text(
            x + _BARS + 0.05, at + thick * 0.42, named, fontsize=6.8, va="center", color=style.GREY
        )


def _curve(made: Predictor, inputs: Tensor, values: Tensor, support: Labelled | None) -> Figure:
    """Draw a regression on one number: the curve, the answers, the support set."""
    known = None if support is None else _task(made, support)
    everything = inputs.flatten() if known is None else torch.cat([inputs.flatten(), known[0]])
    low, high = float(everything.min()), float(everything.max())
    reach = 0.05 * (high - low) or 1.0
    line = torch.linspace(low - reach, high + reach, 201, dtype=inputs.dtype)
    y = made.answers(line.reshape(-1, *inputs.shape[1:])).values
    assert y is not None
    figure, (axes,) = style.canvas(
        f"{len(values)} predicted {'value' if len(values) == 1 else 'values'}",
        f"{style.words(made.card.method)}, {made.card.made}. Line: the adapted model; filled: the "
        f"answers{'' if known is None else '; open circles: the support set'}. {_trust(made)}",
        (6.4, 4.2),
    )
    axes.plot(_raw(made, line), y.flatten(), color=style.RIGHT, zorder=2)
    if (error := _error(made)) is not None:
        band = (y.flatten() - error, y.flatten() + error)
        axes.fill_between(_raw(made, line), *band, color=style.mixed(style.RIGHT, 0.85), lw=0)
    axes.plot(_raw(made, inputs.flatten()), values, "o", ms=5, color=style.RIGHT, zorder=4)
    if known is not None:
        axes.plot(
            _raw(made, known[0]), known[1], "o", ms=7, mfc="white", mec=style.INK, mew=1.4, zorder=3
        )
    axes.set(xlabel="input", ylabel="value")
    return figure


def _values(
    made: Predictor, names: tuple[str, ...], values: Tensor, support: Labelled | None
) -> Figure:
    """Draw one predicted value per line, the typical error, and where the support set lies."""
    drawn = min(len(values), MOST)
    few = f"the first {drawn} of {len(values)}" if drawn < len(values) else f"all {drawn}"
    known = None if support is None else _task(made, support)[1]
    figure, (axes,) = style.canvas(
        f"{len(values)} predicted {'value' if len(values) == 1 else 'values'}",
        f"{style.words(made.card.method)}, {made.card.made}. Drawn: {few}. "
        f"{'' if known is None else 'Ticks at the bottom: targets of the support set. '}"
        f"{_trust(made)}",
        (6.4, max(3.0, drawn * _LINE + 1.6)),
    )
    places = np.arange(drawn)
    error = _error(made)
    axes.errorbar(
        values[:drawn],
        places,
        xerr=error,
        fmt="o",
        color=style.RIGHT,
        ecolor=style.mixed(style.RIGHT, 0.5),
        elinewidth=1.6,
        zorder=3,
    )
    for at, value in zip(places, values[:drawn].tolist(), strict=True):
        axes.annotate(
            f"{value:.4g}", (value, at), (0, 5), textcoords="offset points", ha="center", fontsize=7
        )
    bottom = drawn - 0.3
    if known is not None:
        axes.plot(known, [bottom] * len(known), "|", ms=9, color=style.INK)
    axes.set_yticks(places, [_short(name, 24) for name in names[:drawn]])
    axes.set(ylim=(bottom + 0.2, -0.8), xlabel="value")
    axes.grid(visible=False, axis="y")
    return figure


def pixels(made: Predictor, inputs: Any) -> np.ndarray | None:
    """Return pictures in [0, 1], dark is 0: ``[m, H, W]`` or ``[m, H, W, 3]``; None if none."""
    if not isinstance(inputs, Tensor) or inputs.dim() != 4 or inputs.shape[1] not in (1, 3):
        return None
    found = inputs.detach().float().cpu().numpy()
    low, high = float(found.min()), float(found.max())
    if low < 0 or high > 1:
        found = (found - low) / ((high - low) or 1.0)
    return 1 - found[:, 0] if found.shape[1] == 1 else found.transpose(0, 2, 3, 1)


def _picture(axes: Axes, picture: np.ndarray, x: float, y: float) -> None:
    extent = (x, x + 1, y + 1, y)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    axes.add_patch(Rectangle((x, y), 1, 1, fill=False, ec=style.FAINT, lw=0.8))


def _task(made: Predictor, support: Labelled) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of a support set, the targets in the user's units."""
    targets = support.batch.targets
    values = targets if made.coding is None else made.coding.values(targets)
    inputs = support.batch.inputs
    return inputs.flatten() if isinstance(inputs, Tensor) else torch.zeros(0), values.flatten()


def _raw(made: Predictor, inputs: Tensor) -> Tensor:
    """Return inputs in the user's units, where the coding says how."""
    shift, scale = (getattr(made.coding, name, (1.0, 1.0)) for name in ("centre", "scale"))
    if len(shift) != 1 or len(scale) != 1:
        return inputs
    return inputs * scale[0] + shift[0]


def _error(made: Predictor) -> float | None:
    """Return the error that was measured on unseen tasks."""
    return (made.card.measured or {}).get("error")


def _trust(made: Predictor) -> str:
    """Return what is known about how far the answers may be trusted."""
    found = made.card.measured
    if found is None:
        return "Nothing was measured: adapt with --measure to learn how far to trust this."
    tasks = found["protocol"]["tasks"]
    if found["error"] is not None:
        return f"Band or bar: typical error on {tasks} unseen tasks, {found['error']:.3g}."
    mean = 100 * found["accuracy"]["mean"]
    ece = 100 * found["calibrated"]["ece"]
    return (
        f"On {tasks} unseen tasks {mean:.0f} % were right; calibrated by temperature "
        f"{found['temperature']:.2f}, calibration error {ece:.1f} %."
    )


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
