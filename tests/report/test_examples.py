"""What is drawn agrees with what was measured, and says how sure it is."""

from __future__ import annotations

import torch
from torch import nn

import metaccord as mc
from metaccord.evaluate import predict
from metaccord.report.context import Context
from metaccord.report.examples import examples
from metaccord.report.panels import guesses
from metaccord.report.panels.results import _reliability
from metaccord.report.stories import Group, Story
from tests.report.test_clusters import scene_of


def test_a_curve_keeps_to_the_protocol() -> None:
    """With batch statistics the points of the curve would be normalised by one another."""
    scene = scene_of(mc.tasks.Sinusoid(), mc.methods.maml(1, 0.1))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
    objective = mc.Objective(model, mc.losses.mse, mc.Plan(chunk="all"))
    state = mc.initialise(scene.method, objective, seed=0)
    protocol = mc.Protocol(tasks=3, steps=1, statistics="frozen")
    scene = type(scene)(scene.experiment, state, objective, protocol)
    task = examples(scene, 1)["tasks"][0]
    run, _, points = scene.adapted(scene.episodes(1))
    support = mc.Batch(*(part[0] for part in run.episodes.support[:2]))
    grid = torch.tensor(task["grid"])[:, None]
    for params, drawn in zip(points, task["curves"], strict=True):
        one = {k: v[0] for k, v in params.items()}
        with torch.no_grad():
            expected = predict(objective, "frozen", one, support, grid).flatten()
        torch.testing.assert_close(torch.tensor(drawn), expected, rtol=1e-3, atol=1e-4)


def test_confidence_is_drawn_where_there_are_answers() -> None:
    """A bin of one answer is no point; a bin of thirty has a band."""
    found = mc.Calibration((1, 30), (0.4, 27.0), (0, 24), 3.0, 9.0)
    story = Story(None, {"scores": {"calibration": found.json()}})
    drawn = _reliability(Context([Group("MAML", 0, (story,))]))
    share, half = 24 / 30, found.reliability[1].half
    assert f"({100 * (share - half):.1f} to {100 * (share + half):.1f})" in drawn
    assert drawn.count('class="dot"') == 3  # and the two ends of the dashed line


def test_equal_odds_are_one_guess_and_not_right_for_every_class() -> None:
    """As accuracy counts: the first of the likeliest classes is the answer."""
    odds = [[0.5, 0.5]] * 4
    task = {"ways": 2, "classes": ["a", "b"], "truth": [0, 0, 1, 1], "odds": [odds, odds]}
    drawn = guesses.odds(task, [0, 1], 1)
    assert "a: 2 of 2 query examples right before adaptation, 2 as trained." in drawn
    assert "b: 0 of 2 query examples right before adaptation, 0 as trained." in drawn
    assert (drawn.count('class="dot"'), drawn.count('class="cross"')) == (6, 6)
