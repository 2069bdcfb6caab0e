import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import metaccord as mc
from metaccord.clusters import clustering
from metaccord.errors import UsageError
from metaccord.evaluate import isolated
from metaccord.plots import cosines, task_cosines, weights
from metaccord.plots.style import encode
from metaccord.tuning import settled
from tests.plots.conftest import texts


def record(step, values):
    return {
        "step": step,
        "agreement.weights": values,
        "agreement.effective_tasks": 1 / sum(v * v for v in values),
        "agreement.stretch": 1.5,
    }


def drawn(axes):
    return axes.lines[0].get_xdata(), axes.lines[0].get_ydata()


def test_weights_of_every_step():
    tables = [[0.5, 0.3, -0.2], [0.4, 0.4, 0.2], [0.1, -0.1, -0.8], [0.3, 0.3, 0.4]]
    figure = weights([record(s + 1, t) for s, t in enumerate(tables)])
    assert isinstance(figure, Figure)
    spread, negative, effective, stretch = figure.axes
    for axes in figure.axes:
        np.testing.assert_array_equal(drawn(axes)[0], [1, 2, 3, 4])
    np.testing.assert_allclose(drawn(spread)[1], [3 * np.median(t) for t in tables])
    np.testing.assert_allclose(drawn(negative)[1], [100 / 3, 0, 200 / 3, 0])
    expected = [1 / np.square(t).sum() for t in tables]
    np.testing.assert_allclose(drawn(effective)[1], expected)
    np.testing.assert_allclose(drawn(stretch)[1], [1.5] * 4)
    assert stretch.get_xlabel() == "meta-step"
    assert "3 tasks per meta-step" in texts(figure)


def test_weights_are_pooled():
    records = [record(s, [0.5, -0.5 if s > 50 else 0.5]) for s in range(1, 101)]
    figure = weights(records, bins=2)
    np.testing.assert_allclose(drawn(figure.axes[1])[0], [25.5, 75.5])
    np.testing.assert_allclose(drawn(figure.axes[1])[1], [0, 50])
    assert "pools 50 records" in texts(figure)


def test_weights_of_a_real_training_and_other_records_in_between(learner):
    method = mc.methods.gradient_agreement(learner.method)
    tasks = mc.tasks.Sinusoid(train_shots=50)
    outer = mc.Outer(optimizer="sgd", lr=1.0)
    loop = mc.train(method, learner.objective, tasks, steps=4, num_tasks=3, outer=outer)
    records = [r.json() for r in loop]
    figure = weights([*records, {"step": 4, "validation": {"loss": 1.0}}])
    assert len(drawn(figure.axes[0])[0]) == 4


def test_weights_that_are_not_finite_leave_gaps():
    broken = record(2, [0.5, 0.5]) | {
        "agreement.weights": [float("nan"), None],
        "agreement.stretch": None,
    }
    figure = weights([record(1, [0.5, 0.5]), broken])
    np.testing.assert_array_equal(drawn(figure.axes[0])[1], [1.0, np.nan])
    np.testing.assert_array_equal(drawn(figure.axes[3])[1], [1.5, np.nan])
    encode(figure, "png", dpi=50)
    encode(weights([broken]), "png", dpi=50)


def test_records_without_weights_are_refused():
    with pytest.raises(UsageError, match="gradient_agreement"):
        weights([{"step": 1, "support_loss": 1.0}])


def blocks(*sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return groups, (groups[:, None] == groups[None]).astype(float)


def test_groups_stand_together_whatever_the_order_was():
    groups, table = blocks(4, 3, 5)
    table += 0.01 * np.random.default_rng(0).random(table.shape)
    table = (table + table.T) / 2
    mixed = np.random.default_rng(1).permutation(len(table))
    places = clustering(table[np.ix_(mixed, mixed)]).order
    assert sorted(places) == list(range(12))
    assert (np.diff(groups[mixed][places]) != 0).sum() == 2


def test_directions_on_an_arc_come_out_in_their_order():
    angles = np.random.default_rng(2).uniform(0, np.pi / 2, 9)
    table = np.cos(angles[:, None] - angles[None])
    steps = np.diff(angles[clustering(table).order])
    assert (steps > 0).all() or (steps < 0).all()


def test_cosines_are_drawn_in_that_order_with_their_names():
    table = np.array([[1.0, -0.9, 0.8], [-0.9, 1.0, -0.7], [0.8, -0.7, 1.0]])
    figure = cosines(torch.from_numpy(table), ["a", "b", "$c"])
    axes = figure.axes[0]
    places = clustering(table).order
    image = axes.images[0]
    np.testing.assert_array_equal(image.get_array(), table[np.ix_(places, places)])
    assert image.get_clim() == (-1, 1)
    assert abs(places.index(0) - places.index(2)) == 1
    names = [t.get_text() for t in axes.get_yticklabels()]
    assert names == [["a", "b", "$c"][i] for i in places]
    assert "mean −0.27" in texts(figure)


def test_numbers_in_cells_only_where_they_fit():
    assert len(cosines(np.eye(3)).axes[0].texts) == 9
    assert len(cosines(np.eye(60)).axes[0].texts) == 0
    assert cosines(np.eye(60)).axes[0].get_xticks().size == 0


def test_cosines_of_a_task_that_did_not_move():
    table = np.array([[1.0, np.nan], [np.nan, np.nan]])
    for found in (table, np.full((1, 1), np.nan)):
        assert encode(cosines(found), "png", dpi=50).startswith(b"\x89PNG")


def test_cosines_refusals():
    with pytest.raises(UsageError, match="it must be"):
        cosines(np.zeros((2, 3)))
    with pytest.raises(UsageError, match="one per task"):
        cosines(np.eye(2), ["a"])


def test_task_cosines_are_those_of_the_displacements(learner):
    episodes = mc.tasks.Sinusoid().episodes("test", 0, range(4))
    found = task_cosines(learner.method, learner.objective, learner.state, episodes)
    run = isolated(learner.method, settled(learner.objective), learner.state, episodes)
    moved = torch.cat([(run.adapted[k] - run.initial[k]).flatten(1) for k in run.adapted], 1)
    expected = torch.nn.functional.cosine_similarity(moved[:, None], moved[None], dim=2)
    torch.testing.assert_close(found.float(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.diagonal(), torch.ones(4, dtype=torch.float64))


def test_task_cosines_without_a_step_are_nan(learner):
    episodes = mc.tasks.Sinusoid().episodes("test", 0, range(2))
    still = learner.method.with_steps(0)
    assert task_cosines(still, learner.objective, learner.state, episodes).isnan().all()
