"""Numbers of several runs: what is pooled, and what is said of it."""

from __future__ import annotations

import math

import numpy as np

from metaccord.report.numbers import across, aligned, pooled
from metaccord.report.panels.summary import _outcome
from metaccord.report.stories import Group, Story


def test_a_loss_that_is_lost_is_not_told_as_if_nothing_moved() -> None:
    scores = {"protocol": {"tasks": 2, "statistics": "frozen"}, "at": [0, 1]}
    scores["tasks"] = {"losses": [[4.0, math.nan], [2.0, math.nan]]}
    said = _outcome(Group("MAML", 0, (Story(None, {"scores": scores}),)), single=True)
    assert said.startswith("Adaptation takes the loss from 3.0\u00a0±\u00a02.0 to not finite on 2")


def test_seeds_of_unequal_length_are_pooled_over_the_same_steps() -> None:
    """Each pooled by itself, runs of 1,000 and 437 meta-steps have no point in common."""
    curves = [(np.arange(1.0, n + 1), np.full(n, float(n))) for n in (1000, 437)]
    assert not across([pooled(*curve) for curve in curves])["x"]
    empty = (np.zeros(0), np.zeros(0))
    found = across(aligned([*curves, empty]))
    assert len(found["x"]) > 50
    assert found["x"][-1] == 437
    assert set(found["y"]) == {(1000 + 437) / 2}
    assert aligned([empty]) == []
