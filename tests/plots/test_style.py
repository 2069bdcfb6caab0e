import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from metaccord.plots import save, style
from metaccord.plots.curves import training

RUN = [{"step": s, "seconds": 0.1, "support_loss": 1.0 / s} for s in range(1, 30)]


def test_importing_the_library_brings_no_matplotlib_and_the_pictures_no_pyplot():
    code = (
        "import sys, metaccord\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import metaccord.plots\n"
        "assert 'matplotlib' in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_settings_are_as_before():
    before = dict(matplotlib.rcParams)
    style.encode(training({"reptile": [RUN]}), "svg")
    assert dict(matplotlib.rcParams) == before
    with pytest.raises(ValueError):
        training({})
    assert dict(matplotlib.rcParams) == before


def test_the_users_settings_do_not_reach_the_picture():
    plain = style.encode(training({"reptile": [RUN]}), "svg")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "lines.linewidth": 9}):
        assert style.encode(training({"reptile": [RUN]}), "svg") == plain


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_equal_figures_are_equal_bytes_without_a_date(kind):
    first, second = (style.encode(training({"reptile": [RUN]}), kind) for _ in range(2))
    assert first == second
    assert b"date" not in first and b"Software" not in first and b"Creator" not in first


def test_save_writes_both_files(tmp_path):
    figure = training({"reptile": [RUN]})
    png, svg = save(figure, tmp_path / "a.b", dpi=50)
    assert (png.name, svg.name) == ("a.b.png", "a.b.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in svg.read_bytes()
    again = save(training({"reptile": [RUN]}), tmp_path / "again", dpi=50)
    assert [p.read_bytes() for p in again] == [png.read_bytes(), svg.read_bytes()]


def test_a_method_keeps_its_colour_whatever_stands_beside_it():
    alone = style.colours(["reptile"])["reptile"]
    beside = style.colours(["maml", "something", "reptile", "maml"])
    assert beside["reptile"] == alone
    assert style.colours(["something"])["something"] == beside["something"]


def test_no_two_methods_of_one_picture_share_a_colour():
    labels = ["reptile", "reptile+agreement", "maml", "a", "b", "c"]
    found = style.colours(labels)
    assert list(found) == labels
    assert len(set(found.values())) == len(labels)
    assert len(set(style.markers(labels).values())) == len(labels)


@pytest.mark.parametrize("colour", [*style.COLOURS, *style.KNOWN.values(), style.WRONG])
def test_every_colour_stands_out_from_white(colour):
    linear = [((c + 0.055) / 1.055) ** 2.4 if c > 0.04 else c / 12.92 for c in to_rgb(colour)]
    luminance = float(np.dot(linear, [0.2126, 0.7152, 0.0722]))
    assert 1.05 / (luminance + 0.05) >= 3.0  # WCAG 2, graphical objects


def test_labels_stand_apart_inside_the_panel():
    heights = [0.1] * 5
    places = style._apart([0.5, 0.51, 0.49, 0.99, 0.0], heights)
    gaps = np.diff(sorted(places))
    assert (gaps >= 0.1 - 1e-12).all()
    assert min(places) >= 0.05 and max(places) <= 0.95 + 1e-12
    assert places[2] < places[0] < places[1]


def test_labels_that_have_room_stay():
    assert style._apart([0.2, 0.8], [0.1, 0.1]) == [0.2, 0.8]
