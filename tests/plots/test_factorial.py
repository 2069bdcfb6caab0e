import itertools
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from metaccord.errors import UsageError
from metaccord.factorial import Design, effects, percent
from metaccord.plots import factorial
from metaccord.plots.style import encode
from tests.plots.conftest import texts

FACTORS = ("agreement", "sharing", "cooperative", "coherent")
BASES = ("maml", "fomaml", "maml_pp")


def drawn(design, *, losses=False, seeds=3, scale=1.0, **change):
    """Return effects of noise and their picture."""
    noise = np.random.default_rng(0).normal(size=(len(design.cells), seeds))
    noise += 5 * np.array([["sharing" in some] for _, some in design.cells])
    found = effects(design, scale * noise)
    return found, factorial(design, found, losses=losses, note="3 seeds", **change)


def numbers(axes):
    return {(round(y), round(x)): t.get_text() for t in axes.texts for x, y in [t.get_position()]}


def points(axes):
    return [
        (line.get_xdata()[0], line.get_ydata()[0], line)
        for line in axes.lines
        if line.get_marker() not in (None, "None", "") and len(line.get_xdata()) == 1
    ]


def ticks(axis):
    return [t.get_text().replace("\n", " ") for t in axis.get_ticklabels()]


def test_points_and_bars_are_the_effects_over_each_base():
    design = Design(BASES, FACTORS)
    found, figure = drawn(design)
    assert isinstance(figure, Figure)
    axes = figure.axes[0]
    shown = points(axes)
    names = [f"{f} | {b}" for f, b in itertools.product(FACTORS, BASES)]
    names += ["fomaml vs maml", "maml_pp vs maml"]
    assert [x for x, _, _ in shown] == pytest.approx([found[n].interval.mean for n in names])
    assert np.all(np.diff([y for _, y, _ in shown]) > 0)
    filled = [line.get_markerfacecolor() != "white" for *_, line in shown]
    assert filled == [found[n].clear for n in names] and True in filled and False in filled
    bars = [tuple(line.get_xdata()) for line in axes.lines if line.get_marker() == "None"]
    for name in names:
        interval = found[name].interval
        assert any(np.allclose(bar, (interval.low, interval.high)) for bar in bars)
    assert ticks(axes.yaxis)[:2] == ["Gradient Agreement", "Gradient Sharing"]
    assert ticks(axes.yaxis)[4:] == ["first-order MAML vs MAML", "MAML++ vs MAML"]
    legend = [t.get_text() for t in axes.get_legend().get_texts()]
    assert legend == ["over MAML", "over first-order MAML", "over MAML++"]
    assert len({line.get_marker() for *_, line in shown[:3]}) == 3


def test_the_matrix_holds_every_pair_once_with_its_mark():
    design = Design(("maml", "anil"), FACTORS[:3])
    found, figure = drawn(design)
    cells = numbers(figure.axes[1])
    names = {
        (0, 0): "agreement x sharing",
        (1, 0): "agreement x cooperative",
        (1, 1): "sharing x cooperative",
        (2, 0): "agreement x (anil vs maml)",
        (2, 1): "sharing x (anil vs maml)",
        (2, 2): "cooperative x (anil vs maml)",
    }
    assert cells.keys() == names.keys()
    for place, name in names.items():
        number = float(cells[place].rstrip("*").replace("−", "-"))
        assert number == pytest.approx(found[name].interval.mean, rel=0.06)
        marks = 2 if found[name].holm else int(found[name].clear)
        assert cells[place].count("*") == marks
    assert ticks(figure.axes[1].xaxis) == ["Gradient Agreement", "Gradient Sharing", "CML"]
    assert ticks(figure.axes[1].yaxis) == ["Gradient Sharing", "CML", "ANIL vs MAML"]


def test_blue_helps_and_brown_harms_also_for_losses():
    design = Design(("maml",), FACTORS[:2])
    for sign, losses in itertools.product((1, -1), (False, True)):
        found = effects(design, [[0.0, 0.1], [0, 0.1], [0, 0.1], [sign, sign]])
        figure = factorial(design, found, losses=losses)
        red, _, blue = np.asarray(figure.axes[1].images[0].get_array())[0, 0]
        assert (blue > red) == ((sign > 0) != losses)
        assert f"{'Less loss' if losses else 'More accuracy'} is better" in texts(figure)


def test_losses_are_in_per_cent():
    design = Design(("maml",), FACTORS[:2])
    found, figure = drawn(design, losses=True, scale=0.1)
    value = percent(found["agreement x sharing"].interval.mean)
    text = numbers(figure.axes[1])[0, 0]
    assert float(text.split(" %")[0].replace("−", "-")) == pytest.approx(value, rel=0.06)
    axis = figure.axes[0].xaxis
    for place, label in zip(axis.get_ticklocs(), ticks(axis), strict=True):
        number = float(label.removesuffix(" %").replace("−", "-").replace(",", ""))
        assert math.log1p(number / 100) == pytest.approx(place)
    assert len(axis.get_ticklocs()) >= 3 and "0 %" in ticks(axis)


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 1.0, 3.0])
def test_percentages_stand_apart(scale):
    _, figure = drawn(Design(("maml",), FACTORS), losses=True, scale=scale)
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    places = axes.get_xticks()
    assert 2 <= len(places) <= 8
    assert np.diff(places).min() > (high - low) / 8


def test_what_cannot_be_told_apart_is_said():
    design = Design(("maml",), FACTORS, "half")
    _, figure = drawn(design)
    cells = numbers(figure.axes[1])
    assert cells[0, 0].endswith(" a") and cells[2, 2] == cells[0, 0]
    assert cells[1, 0] == cells[2, 1] and cells[1, 1] == cells[2, 0]
    assert "Not told apart (a): agreement x sharing + cooperative x coherent." in texts(figure)
    assert "Half of the grid" in texts(figure)
    _, figure = drawn(Design(("maml",), FACTORS[:3], "half"))
    assert ticks(figure.axes[0].yaxis)[0] == "Gradient Agreement a"
    pair = numbers(figure.axes[1])[1, 1]
    assert pair.endswith(" a")
    assert (pair[0] == "−") == (points(figure.axes[0])[0][0] > 0), "its sign is turned"
    _, figure = drawn(Design(("maml", "anil"), FACTORS[:3], "half"))
    assert len(points(figure.axes[0])) == 4, "effects over one base are not known"


def test_one_seed_and_one_factor():
    found, figure = drawn(Design(("maml",), ("sharing",)), seeds=1)
    (axes,) = figure.axes
    ((x, _, line),) = points(axes)
    assert x == found["sharing"].interval.mean
    assert line.get_markerfacecolor() == "white"
    assert "One seed: no intervals" in texts(figure)


@pytest.mark.parametrize(
    "design",
    [
        Design(BASES, FACTORS),
        Design(("finetune", "fomaml"), FACTORS[:3], "half"),
        Design(("meta_sgd",), FACTORS[:2]),
    ],
)
def test_no_two_labels_overlap(design):
    """On the canvas: names, numbers, ticks, titles and the legend of both panels."""
    _, figure = drawn(design, losses=True, scale=0.3)
    encode(figure, "png", dpi=100)
    renderer = figure.canvas.get_renderer()
    found = []
    for axes in figure.axes:
        labels = [*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.texts]
        found += [*labels, axes.xaxis.label, axes._left_title]
        found += axes.get_legend().get_texts() if axes.get_legend() else []
    found += [figure._suptitle, figure._supxlabel]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in found if t.get_text()]
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        assert not a.overlaps(b), (one, other)
    width, height = figure.canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height, text


def test_equal_bytes_and_what_is_not_finite():
    design = Design(("maml",), FACTORS[:2])
    first, second = (encode(drawn(design)[1], "svg") for _ in range(2))
    assert first == second
    broken = effects(design, [[1.0, math.nan], [1, 1], [1, 1], [1, 1]])
    for losses in (True, False):
        encode(factorial(design, broken, losses=losses), "png", dpi=50)


def test_effects_of_another_design_are_refused():
    found, _ = drawn(Design(("maml",), FACTORS[:2]))
    with pytest.raises(UsageError, match="another design"):
        factorial(Design(("maml",), FACTORS[:3]), found, losses=False)
