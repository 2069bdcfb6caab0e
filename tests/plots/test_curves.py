import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import metaccord as mc
from metaccord.errors import UsageError
from metaccord.plots import error_by_step, training
from metaccord.plots.bands import band, running_mean
from metaccord.plots.style import encode
from metaccord.statistics import over_seeds, over_tasks
from tests.plots.conftest import texts

AT = (0, 1, 5)


def scores(seed, *, accuracy=False, **changes):
    draw = torch.rand(20, 3, generator=torch.Generator().manual_seed(seed))
    protocol = mc.Protocol(**{"tasks": 20, "steps": 5, **changes})
    return mc.Scores(protocol, AT, draw + 0.1, draw if accuracy else None)


def run(seed, steps=40, key="support_loss", every=1):
    noise = np.random.default_rng(seed)
    numbers = range(every, steps + 1, every)
    return [{"step": s, "seconds": 0.1, key: 1 / s + noise.random()} for s in numbers]


def line(axes, label):
    (found,) = (item for item in axes.lines if item.get_label() == label)
    return found


def edges(axes, index=0):
    """Return low and high of a band, by x."""
    points = axes.collections[index].get_paths()[0].vertices
    return {x: sorted({y for at, y in points.tolist() if at == x}) for x in set(points[:, 0])}


def test_several_seeds_give_the_mean_of_means_and_students_band():
    seeds = [scores(s) for s in range(3)]
    figure = error_by_step({"reptile": seeds, "maml": [scores(s) for s in range(5, 8)]})
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    found = line(axes, "reptile")
    np.testing.assert_array_equal(found.get_xdata(), AT)
    means = torch.stack([s.losses.double().mean(0) for s in seeds])
    np.testing.assert_allclose(found.get_ydata(), means.mean(0), rtol=1e-12)
    interval = over_seeds(means[:, 1].tolist())
    np.testing.assert_allclose(edges(axes)[1.0], [interval.low, interval.high], rtol=1e-12)
    written = texts(figure)
    assert "95 % interval over 3 seeds".replace(" %", "\u00a0%") in written
    assert "20 test tasks" in written and "transductive" in written
    assert axes.get_ylabel() == "query loss"
    assert axes.get_xlabel() == "gradient steps on the support set"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "1", "5"]


def test_one_seed_gives_the_interval_over_tasks_and_accuracy_in_percent():
    single = scores(1, accuracy=True)
    figure = error_by_step({"maml": [single]})
    (axes,) = figure.axes
    expected = over_tasks(single.accuracies[:, 2].double().tolist())
    np.testing.assert_allclose(line(axes, "maml").get_ydata()[2], 100 * expected.mean)
    wanted = [100 * expected.low, 100 * expected.high]
    np.testing.assert_allclose(edges(axes)[5.0], wanted, rtol=1e-12)
    assert "over the tasks of one seed" in texts(figure)
    assert axes.get_ylabel() == "query accuracy, %"


def test_a_wide_range_of_errors_is_logarithmic_and_says_so():
    table = torch.tensor([4.0, 1.0, 0.01]) * torch.linspace(0.9, 1.1, 20)[:, None]
    figure = error_by_step({"reptile": [mc.Scores(scores(0).protocol, AT, table, None)]})
    assert figure.axes[0].get_yscale() == "log"
    assert "log scale" in figure.axes[0].get_ylabel()


def test_what_is_not_finite_is_left_out_and_said():
    broken = scores(2)
    broken.losses[:, 2] = torch.nan
    seeds = [scores(0), scores(1), broken]
    figure = error_by_step({"reptile": seeds})
    means = [float(s.losses[:, 2].double().mean()) for s in seeds[:2]]
    np.testing.assert_allclose(line(figure.axes[0], "reptile").get_ydata()[2], np.mean(means))
    assert "1 of 3 seeds not finite" in texts(figure)
    encode(figure, "png", dpi=50)
    nothing = mc.Scores(scores(0).protocol, AT, torch.full((20, 3), torch.nan), None)
    encode(error_by_step({"reptile": [nothing], "maml": [nothing]}), "png", dpi=50)


@pytest.mark.parametrize("given", [{}, {"reptile": []}])
def test_nothing_to_draw_is_refused(given):
    with pytest.raises(UsageError, match="give one per seed"):
        error_by_step(given)
    with pytest.raises(UsageError, match="at least one seed"):
        training(given)


@pytest.mark.parametrize("change", [{"statistics": "frozen"}, {"split": "validation"}])
def test_different_protocols_are_refused(change):
    with pytest.raises(UsageError, match="different ways"):
        error_by_step({"reptile": [scores(0)], "maml": [scores(0, **change)]})


def test_training_is_the_running_mean_averaged_over_seeds():
    runs = [run(s) for s in range(3)]
    figure = training({"reptile": runs}, window=10)
    (axes,) = figure.axes
    found = line(axes, "reptile")
    raw = np.array([[r["support_loss"] for r in one] for one in runs])
    np.testing.assert_allclose(found.get_ydata()[-1], raw[:, -10:].mean(), rtol=1e-12)
    np.testing.assert_allclose(found.get_ydata()[4], raw[:, :5].mean(), rtol=1e-12)
    interval = over_seeds(raw[:, -10:].mean(1).tolist())
    np.testing.assert_allclose(edges(axes)[40.0], [interval.low, interval.high], rtol=1e-12)
    assert axes.get_xlabel() == "meta-step (running mean over the last 10)"
    assert "support set before the last inner step" in texts(figure)


def test_the_query_loss_is_drawn_where_there_is_one():
    figure = training({"maml": [run(0, key="query_loss")], "reptile": [run(1)]}, window=1)
    found = line(figure.axes[0], "maml").get_ydata()
    np.testing.assert_allclose(found, [r["query_loss"] for r in run(0, key="query_loss")])
    assert "last inner step for Reptile" in texts(figure)
    assert "One seed" in texts(figure)


def test_validation_of_a_run_is_an_interval():
    """As runs record it."""
    checks = [
        {"step": s, "validation": {"loss": {"mean": 1 / s, "half": 0.1}, "accuracy": accuracy}}
        for s, accuracy in ((10, {"mean": 0.5, "half": 0.1}), (20, {"mean": 0.75, "half": 0.1}))
    ]
    found = line(training({"reptile": [[*run(0), *checks]]}).axes[1], "reptile")
    np.testing.assert_array_equal(found.get_ydata(), [50, 75])


@pytest.mark.parametrize("accuracy", [None, 0.5])
def test_validation_has_its_own_panel(accuracy):
    checks = [
        {"step": s, "validation": {"loss": 1 / s, "accuracy": accuracy and accuracy + s / 1000}}
        for s in (10, 20, 40)
    ]
    figure = training({"reptile": [[*run(0), *checks]], "maml": [run(1)]})
    left, right = figure.axes
    assert [ax.get_title(loc="left") for ax in (left, right)] == [
        "Training tasks",
        "Validation tasks",
    ]
    found = line(right, "reptile")
    np.testing.assert_array_equal(found.get_xdata(), [10, 20, 40])
    expected = [0.1, 0.05, 0.025] if accuracy is None else [51.0, 52.0, 54.0]
    np.testing.assert_allclose(found.get_ydata(), expected)
    assert right.get_ylabel() == ("query loss" if accuracy is None else "query accuracy, %")
    assert found.get_color() == line(left, "reptile").get_color()


def test_seeds_of_different_length_meet_on_common_steps():
    figure = training({"reptile": [run(0, 40), run(1, 20)]}, window=1)
    np.testing.assert_array_equal(line(figure.axes[0], "reptile").get_xdata(), range(1, 21))
    with pytest.raises(UsageError, match="share no meta-step"):
        training({"reptile": [run(0, 5), run(0, 40, every=10)]})


def test_a_missing_value_does_not_spread():
    records = run(0)
    records[10]["support_loss"] = None
    records[11]["support_loss"] = float("inf")
    figure = training({"reptile": [records, run(1)]}, window=3)
    assert np.isfinite(line(figure.axes[0], "reptile").get_ydata()).all()
    encode(figure, "png", dpi=50)


def test_running_mean_counts_meta_steps_not_records():
    steps, values = np.array([1, 2, 10, 11]), np.array([1.0, 3.0, 5.0, np.nan])
    np.testing.assert_array_equal(running_mean(steps, values, 2), [1.0, 2.0, 5.0, 5.0])
    np.testing.assert_array_equal(running_mean(steps, values, 1), [1.0, 3.0, 5.0, np.nan])


def test_band_of_one_row_has_no_width():
    found = band(np.array([[1.0, np.nan]]))
    np.testing.assert_array_equal(found.mean, [1.0, np.nan])
    assert np.isnan(found.low).all() and found.lost == 1
