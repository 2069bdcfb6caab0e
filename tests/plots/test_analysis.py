from dataclasses import replace

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.diagnostics import measure, paths, plane
from metaccord.errors import UsageError
from metaccord.plots.analysis import generalisation, trajectories
from metaccord.plots.landscape import LEVELS, landscape, spaced, spread
from metaccord.plots.style import encode
from metaccord.report.panels.landscape import levels as bands_of_a_report
from metaccord.statistics import Interval
from tests.plots.conftest import texts

TASKS = mc.tasks.Sinusoid()


@pytest.fixture(scope="module")
def points(learner):
    """The same measurement as if at three steps, with known numbers where a test reads them."""
    found = measure(learner.method, learner.objective, learner.state, TASKS, mc.Protocol(tasks=4))
    return {
        step: found._replace(
            target_loss=Interval(loss, 0.5), trajectory_coherence=Interval(0.1 * step, 0.02)
        )
        for step, loss in ((0, 5.0), (10, 3.0), (20, 4.0))
    }


def line(axes, name):
    (found,) = [one for one in axes.lines if one.get_label() == name]
    return found.get_xdata(), found.get_ydata()


def test_a_panel_for_each_quantity_of_the_paper(points):
    figure = trajectories({"maml": points, "finetune": {0: points[0], 7: points[10]}})
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(set(titles)) == 6
    target, cosine = figure.axes[5], figure.axes[3]
    np.testing.assert_array_equal(line(target, "maml"), [[0, 10, 20], [5, 3, 4]])
    np.testing.assert_array_equal(line(target, "finetune"), [[0, 7], [5, 3]])
    np.testing.assert_allclose(line(cosine, "maml")[1], [0, 1, 2])
    (band, _) = target.collections
    low, high = band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()
    assert (low, high) == (2.5, 5.5)
    assert "MAML" in texts(figure)
    assert "4 test tasks, curvature of the first 4 (transductive" in texts(figure)


def test_accuracies_are_percentages(points):
    right = {s: p._replace(target_accuracy=Interval(0.5 + s / 100, 0.1)) for s, p in points.items()}
    np.testing.assert_allclose(line(trajectories({"maml": right}).axes[5], "maml")[1], [50, 60, 70])
    figure = generalisation({"maml": right})
    np.testing.assert_allclose(line(figure.axes[0], "maml"), [[0, 1, 2], [50, 60, 70]])
    assert "target accuracy, %" in texts(figure)
    mixed = trajectories({"maml": right, "fomaml": points})
    assert mixed.axes[5].get_ylabel() == "target loss", "what all have"


def test_inner_steps_that_differ_are_told(points):
    more = {s: p._replace(protocol=replace(p.protocol, steps=9)) for s, p in points.items()}
    assert "inner steps: 5." in texts(trajectories({"maml": points}))
    assert "inner steps: MAML 5, first-order MAML 9." in texts(
        trajectories({"maml": points, "fomaml": more})
    )


def test_wide_ranges_are_logarithmic_and_cosines_never(points):
    wide = {s: p._replace(distance=Interval(10.0 ** (s / 5), 0.1)) for s, p in points.items()}
    figure = trajectories({"maml": wide})
    assert [axes.get_yscale() for axes in figure.axes].count("log") == 1
    assert "log scale" in figure.axes[2].get_ylabel()
    assert figure.axes[3].get_yscale() == "linear"


def test_the_rank_correlation_stands_at_the_name(points):
    """Coherence rises; negative losses -5, -3, -4 have ranks 1, 3, 2: rho is 0.5."""
    figure = generalisation({"maml": points})
    assert "ρ = +0.50" in " ".join(text.get_text() for text in figure.axes[0].texts)
    np.testing.assert_allclose(line(figure.axes[0], "maml"), [[0, 1, 2], [5, 3, 4]])


def test_what_is_missing_leaves_gaps(points):
    nan = Interval(float("nan"), float("nan"))
    lost = {s: p._replace(spectral_norm=None, trajectory_coherence=nan) for s, p in points.items()}
    figure = trajectories({"maml": lost})
    assert "not measured" in texts(figure)
    for drawn in (figure, generalisation({"maml": lost}), trajectories({"maml": {0: points[0]}})):
        encode(drawn, "png", dpi=40)
    assert "ρ = –" in texts(generalisation({"maml": {0: points[0]}}))


def test_nothing_to_draw_is_refused():
    for draw in (trajectories, generalisation):
        with pytest.raises(UsageError, match="no measurement"):
            draw({})
        with pytest.raises(UsageError, match="no measurement"):
            draw({"maml": {}})


def bowls(steps=3, **options):
    method = mc.methods.maml(steps=steps, lr=0.05)
    source = mc.tasks.Quadratics(dim=3, **options)
    objective = mc.Objective(mc.tasks.Point(3).double(), mc.tasks.mean_height)
    return (
        method,
        objective,
        mc.initialise(method, objective, seed=0),
        source.episodes("test", 0, range(2)),
    )


def test_a_path_goes_from_the_start_to_the_own_solution():
    """Shares of both displacements: nothing at first, the own one at the end."""
    found = paths(*bowls(steps=4))
    assert found.shape == (2, 5, 2)
    torch.testing.assert_close(found[:, 0], torch.zeros(2, 2, dtype=torch.float64))
    torch.testing.assert_close(found[:, -1], torch.eye(2, dtype=torch.float64))


def test_a_path_in_the_plane_has_its_own_coordinates():
    """In two dimensions nothing is projected away: distances are those of the weights."""
    method = mc.methods.maml(steps=3, lr=0.05)
    objective = mc.Objective(mc.tasks.Point(2).double(), mc.tasks.mean_height)
    state = mc.initialise(method, objective, seed=0)
    episodes = mc.tasks.Quadratics(dim=2).episodes("test", 0, range(2))
    track = (
        paths(method, objective, state, episodes)
        @ plane(method, objective, state, episodes).points[1:]
    )
    run = mc.adapt(method, objective, state, episodes)
    places = torch.stack([step["weight"] for step in run.path], 1)  # [2, steps + 1, 2]
    moved = places - places[:, :1]
    torch.testing.assert_close(track.norm(dim=-1), moved.norm(dim=-1))


def test_the_plane_with_its_points():
    given = bowls()
    found = plane(*given, resolution=7)
    figure = landscape(found, paths(*given), name="MAML")
    panels = figure.axes[:4]
    assert [axes.get_title(loc="left") for axes in panels] == [
        f"Task {task}: {kind} loss" for task in (1, 2) for kind in ("support", "query")
    ]
    for axes in panels:
        drawn = [one.get_xydata() for one in axes.lines if len(one.get_xydata()) == 1]
        np.testing.assert_allclose(np.concatenate(drawn), found.points.numpy())
        assert axes.get_aspect() == 1.0
    assert "solution 1" in texts(figure)
    encode(figure, "svg")


@pytest.mark.parametrize("steps", [0, 1])
def test_tasks_that_span_no_plane(steps):
    *made, episodes = bowls(steps=steps)
    twice = tree.mapped(lambda leaf: leaf[:1].expand_as(leaf), episodes)
    given = (*made, twice)
    figure = landscape(plane(*given, resolution=3), paths(*given))
    assert "span no plane" in texts(figure)
    encode(figure, "png", dpi=40)


def test_losses_that_are_not_finite_are_grey():
    found = plane(*bowls(), resolution=3)
    broken = found.support.clone()
    broken[0, 0, 0], broken[1] = float("nan"), float("inf")
    encode(landscape(found._replace(support=broken)), "png", dpi=40)


def test_heavy_tails_are_spaced_in_the_logarithm():
    levels, _ = spaced(np.array([1.0, 10.0, 1e4, np.inf, np.nan]))
    assert len(levels) == LEVELS
    np.testing.assert_allclose(np.diff(np.log(levels)), np.log(1e4) / (LEVELS - 1))
    even, _ = spaced(np.array([1.0, 10.0]))
    np.testing.assert_allclose(np.diff(even), 9 / (LEVELS - 1))
    zero, _ = spaced(np.array([0.0, 1e-3, 1.0]))
    np.testing.assert_allclose(zero[[0, -1]], [1e-3, 1.0])
    bands = bands_of_a_report(np.array([0.0, 1e-3, 1.0]))
    np.testing.assert_allclose(bands[1:] / bands[:-1], 1e3 ** (1 / len(bands)))
    for flat in (np.zeros(3), np.full(3, 2.0), np.full(3, np.nan), np.full(2, -1.0)):
        assert (np.diff(spaced(flat)[0]) > 0).all()


def test_names_stand_apart():
    places = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    names = places + np.array(spread(places))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs(names[i] - names[j])[0] >= 58 or abs(names[i] - names[j])[1] >= 13
