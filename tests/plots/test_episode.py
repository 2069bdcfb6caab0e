import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import metaccord as mc
from metaccord.errors import UsageError
from metaccord.evaluate import isolated, predict
from metaccord.plots import episode
from metaccord.plots.style import encode
from tests.plots.conftest import texts


def made(ways=3, shots=2, queries=4, channels=1, tasks=2):
    draw = torch.Generator().manual_seed(0)

    def batch(number):
        inputs = torch.rand(tasks, ways * number, channels, 28, 28, generator=draw).round()
        labels = torch.arange(ways).repeat_interleave(number).expand(tasks, -1)
        return mc.Batch(inputs, labels.contiguous())

    model = mc.models.Conv4(ways, channels=channels, hidden=4)
    objective = mc.Objective(model, mc.losses.cross_entropy, mc.Plan(chunk="all"))
    method = mc.methods.fomaml(2, 0.1)
    state = mc.initialise(method, objective, seed=0)
    episodes = mc.Episode(batch(shots), batch(queries))
    return objective, isolated(method, objective, state, episodes)


def odds(objective, run, task, statistics="transductive"):
    params = {k: v[task] for k, v in run.solution.items()}
    support, query = (
        mc.Batch(b.inputs[task], b.targets[task])
        for b in (run.episodes.support, run.episodes.query)
    )
    with torch.no_grad():
        found = predict(objective, statistics, params, support, query.inputs)
    return torch.softmax(found.double(), -1), query.targets


@pytest.fixture(scope="module")
def case():
    return made()


@pytest.mark.parametrize("statistics", ["transductive", "inductive", "frozen"])
def test_title_counts_all_queries_of_the_protocol(case, statistics):
    objective, run = case
    figure = episode(objective, run, task=1, statistics=statistics)
    assert isinstance(figure, Figure)
    found, truth = odds(objective, run, 1, statistics)
    right = int((found.argmax(-1) == truth).sum())
    written = texts(figure)
    assert f"Right on {right} of 12 query pictures" in written
    assert f"Protocol {statistics}" in written
    assert "2 gradient steps" in written and "first 3 queries of each class" in written


def test_pictures_are_those_of_the_task_in_order_of_class(case):
    objective, run = case
    (axes,) = episode(objective, run, task=1, queries=1).axes
    support, query = run.episodes.support, run.episodes.query
    wanted = []
    for label in range(3):
        chosen = torch.nonzero(support.targets[1] == label).flatten()
        wanted += [support.inputs[1, i, 0] for i in chosen]
        wanted.append(query.inputs[1, int(torch.nonzero(query.targets[1] == label)[0]), 0])
    assert len(axes.images) == len(wanted)
    for image, ink in zip(axes.images, wanted, strict=True):
        np.testing.assert_array_equal(np.asarray(image.get_array()), 1 - ink.numpy())


def test_verdicts_and_bars_show_the_probabilities(case):
    objective, run = case
    (axes,) = episode(objective, run, task=0, queries=4, names=["a", "b", "c"]).axes
    found, truth = odds(objective, run, 0)
    marks = [t.get_text() for t in axes.texts if t.get_text()[0] in "✓✗"]
    guesses = found.argmax(-1).tolist()
    verdicts = [
        "✓" if g == label else "✗" for g, label in zip(guesses, truth.tolist(), strict=True)
    ]
    sure = [f"{100 * value:.0f} %" for value in found.max(-1).values.tolist()]
    expected = [f"{v} {'abc'[g]}, {s}" for v, g, s in zip(verdicts, guesses, sure, strict=True)]
    assert marks == expected
    widths = [p.get_width() for p in axes.patches if isinstance(p, Rectangle)]
    full = max(w for w in widths if w != 1)
    for value in found.flatten().tolist():
        assert np.isclose(widths, full * value).any()


def test_right_and_wrong_differ_without_colour(case):
    objective, run = case
    (axes,) = episode(objective, run, task=0, queries=4).axes
    frames = [p for p in axes.patches if p.get_linewidth() > 2]
    found, truth = odds(objective, run, 0)
    right = (found.argmax(-1) == truth).tolist()
    assert True in right and False in right
    assert [p.get_linestyle() == "solid" for p in frames] == right


def test_many_classes_and_colour_pictures():
    objective, run = made(ways=12, shots=1, queries=1, channels=3, tasks=1)
    figure = episode(objective, run, task=0)
    (axes,) = figure.axes
    assert len(axes.images) == 2 * 10
    assert axes.images[0].get_array().shape == (28, 28, 3)
    assert "of the 5 likeliest classes" in texts(figure)
    assert "first 10 classes" in texts(figure)


def test_equal_bytes(case):
    first, second = (encode(episode(*case, task=0), "svg") for _ in range(2))
    assert first == second


def test_a_model_that_is_not_finite_is_wrong(case):
    objective, run = case
    broken = {k: torch.full_like(v, torch.nan) for k, v in run.solution.items()}
    figure = episode(objective, run._replace(solution=broken), task=0)
    assert "Right on 0 of 12" in texts(figure)
    assert "✗ not finite" in texts(figure)
    encode(figure, "png", dpi=50)


def test_refusals(case):
    objective, run = case
    with pytest.raises(UsageError, match="0 to 1"):
        episode(objective, run, task=2)
    with pytest.raises(UsageError, match="one per class"):
        episode(objective, run, task=0, names=["a"])
    flat = mc.Batch(run.episodes.query.inputs.flatten(2), run.episodes.query.targets)
    with pytest.raises(UsageError, match="pictures are"):
        episode(objective, run._replace(episodes=run.episodes._replace(query=flat)), task=0)
