"""Pictures of answers: what is written and drawn is what was answered."""

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import metaccord as mc
from metaccord.codings import Labelled
from metaccord.errors import UsageError
from metaccord.plots.predictions import MOST, predictions
from metaccord.plots.style import encode
from tests.deploy.support import BLOBS, blobs, conv, sine, wave
from tests.plots.conftest import texts


def drawn(made, inputs, support=None):
    given = made.coded(inputs)
    return predictions(made, given, made.answers(given), support=support)


def test_bars_are_the_probabilities_and_pictures_the_inputs():
    support, query = blobs()
    made = conv().predictor(support, classes=["cat", "dog", "owl"])
    figure = drawn(made, query.inputs[:4])
    odds = made.predict_proba(query.inputs[:4])
    (axes,) = figure.axes
    assert len(axes.images) == 4
    bars = [p.get_width() for p in axes.patches if isinstance(p, Rectangle) and p.get_width() < 1.7]
    assert any(abs(b - 1.7 * float(odds[0, 0])) < 1e-6 for b in bars)
    written = texts(figure)
    for label, row in zip(made.predict(query.inputs[:4]), odds, strict=True):
        assert f"{label}, {100 * float(row.max()):.0f} %" in written
    assert "4 answers" in written
    assert "Nothing was measured" in written


def test_what_was_measured_is_written():
    support, query = blobs()
    found = mc.deploy.measure(conv(), 3, source=BLOBS)
    written = texts(drawn(conv().predictor(support, measured=found), query.inputs))
    assert f"{100 * found.accuracy.mean:.0f} % were right" in written.replace("\u00a0", " ")


def test_a_curve_goes_through_its_answers_and_shows_the_support_set():
    made, x = sine().predictor(wave()), wave(6, 3).inputs
    figure = drawn(made, x, Labelled(wave(), (), ()))
    (axes,) = figure.axes
    line, points, known = axes.lines
    assert points.get_xdata().tolist() == x.flatten().tolist()
    assert points.get_ydata().tolist() == made.predict(x).flatten().tolist()
    assert known.get_ydata().tolist() == wave().targets.flatten().tolist()
    assert len(line.get_xdata()) == 201


def test_values_of_many_inputs_are_lines_of_a_table():
    model = mc.Objective(mc.models.MLP(3, (4,), 1), mc.losses.mse, mc.Plan(chunk=1))
    method = mc.methods.maml(steps=1, lr=0.1)
    learner = mc.Learner(method, model, mc.initialise(method, model, seed=0))
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    made = learner.predictor(mc.Batch(x, x[:, :1]))
    figure = drawn(made, x)
    (axes,) = figure.axes
    assert len(axes.get_yticks()) == MOST
    assert f"the first {MOST} of 40" in texts(figure).replace("\u00a0", " ")


def test_several_values_are_refused():
    model = mc.Objective(mc.models.MLP(3, (4,), 2), mc.losses.mse, mc.Plan(chunk=1))
    method = mc.methods.maml(steps=1, lr=0.1)
    learner = mc.Learner(method, model, mc.initialise(method, model, seed=0))
    made = learner.predictor(mc.Batch(torch.ones(2, 3), torch.ones(2, 2)))
    with pytest.raises(UsageError, match="2 values"):
        drawn(made, torch.ones(2, 3))


def test_equal_answers_give_equal_bytes():
    support, query = blobs()
    made = conv().predictor(support)
    one, other = (encode(drawn(made, query.inputs), "svg") for _ in range(2))
    assert one == other
    assert isinstance(drawn(made, query.inputs), Figure)
