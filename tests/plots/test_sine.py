from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import metaccord as mc
from metaccord.errors import UsageError
from metaccord.evaluate import isolated
from metaccord.plots import adaptation
from metaccord.plots.style import encode
from metaccord.tuning import settled
from tests.plots.conftest import texts

TASKS = mc.tasks.Sinusoid(shots=10, seed=4)


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_curves_are_the_models_outputs_after_each_step(learner):
    figure = adaptation({"reptile": learner}, TASKS, task=3)
    assert isinstance(figure, Figure) and len(figure.axes) == 1
    found = lines(figure.axes[0])
    assert set(found) == {"0 steps", "1 steps", "5 steps", "truth", "support"}
    run = isolated(
        learner.method,
        settled(learner.objective),
        learner.state,
        TASKS.episodes("test", 0, range(3, 4)),
    )
    x = torch.from_numpy(found["truth"].get_xdata()).float()[:, None]
    for step in (0, 1, 5):
        params = {k: v[0] for k, v in run.path[step].items()}
        expected = learner.objective.predict(params, x)[:, 0].numpy()
        np.testing.assert_allclose(found[f"{step} steps"].get_ydata(), expected, atol=1e-6)


@pytest.mark.parametrize("inputs", ["grid", "uniform"])
def test_truth_and_support_points(learner, inputs):
    tasks = mc.tasks.Sinusoid(shots=7, inputs=inputs)
    figure = adaptation({"reptile": learner}, tasks, task=2)
    episodes = tasks.episodes("test", 0, range(2, 3))
    found = lines(figure.axes[0])
    np.testing.assert_array_equal(found["support"].get_xdata(), episodes.support.inputs[0, :, 0])
    np.testing.assert_array_equal(found["support"].get_ydata(), episodes.support.targets[0, :, 0])
    x, y = (leaf[0, :, 0].numpy() for leaf in episodes.query[:2])
    order = np.argsort(x)
    truth = np.interp(x[order], found["truth"].get_xdata(), found["truth"].get_ydata())
    np.testing.assert_allclose(truth, y[order], atol=5e-3)
    assert "learned from 7 points" in texts(figure)


def test_one_panel_per_learner_with_the_task_loss_written(learner):
    figure = adaptation(
        {"before training": learner, "reptile+agreement": learner}, TASKS, steps=(0, 2)
    )
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "before training",
        "Reptile + Gradient Agreement",
    ]
    params = {k.removeprefix("model."): v for k, v in learner.state.params.items()}
    query = TASKS.episodes("test", 0, range(1)).query
    loss = float(learner.objective.loss(params, mc.Batch(query.inputs[0], query.targets[0])))
    assert f"0 steps loss {loss:.3g}" in texts(figure)
    assert "Test task 0" in texts(figure) and "50 query points" in texts(figure)


def test_nothing_is_trained_and_nothing_drawn_at_random(learner):
    before = {k: v.clone() for k, v in learner.state.params.items()}
    randomness = torch.get_rng_state()
    first, second = (encode(adaptation({"reptile": learner}, TASKS), "svg") for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), randomness)
    assert all(torch.equal(before[k], v) for k, v in learner.state.params.items())


def test_a_model_that_is_not_finite_is_drawn_as_nothing(learner):
    params = {k: torch.full_like(v, torch.nan) for k, v in learner.state.params.items()}
    broken = SimpleNamespace(
        method=learner.method,
        objective=learner.objective,
        state=learner.state._replace(params=params),
    )
    figure = adaptation({"reptile": broken, "maml": learner}, TASKS)
    assert "loss nan" in texts(figure)
    encode(figure, "png", dpi=50)


def test_refusals(learner):
    with pytest.raises(UsageError, match="at least one learner"):
        adaptation({}, TASKS)
    with pytest.raises(UsageError, match="0 or more"):
        adaptation({"reptile": learner}, TASKS, steps=(-1, 5))
