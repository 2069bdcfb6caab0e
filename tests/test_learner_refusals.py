"""Saved tensors are compared with what the method keeps before they are used."""

from __future__ import annotations

from pathlib import Path

import pytest

import metaccord as mc
from metaccord.errors import CheckpointError


def test_statistics_of_another_number_of_steps_are_refused(tmp_path: Path) -> None:
    trained = mc.methods.gradient_sharing(mc.methods.maml(steps=2, lr=0.01))
    objective = mc.Objective(mc.models.MLP(), mc.losses.mse)
    mc.save(tmp_path / "saved", trained, objective, mc.initialise(trained, objective, seed=0))
    options = {"model": mc.models.MLP(), "criterion": mc.losses.mse}
    assert mc.load(tmp_path / "saved", **options).method == trained
    other = mc.methods.gradient_sharing(mc.methods.maml(steps=3, lr=0.01))
    with pytest.raises(CheckpointError, match=r"holds \[2\] .* with 3 inner steps keeps \[3\]"):
        mc.load(tmp_path / "saved", method=other, **options)
    with pytest.raises(CheckpointError, match=r"but maml with 2 inner steps keeps nothing"):
        mc.load(tmp_path / "saved", method=mc.methods.maml(steps=2, lr=0.01), **options)
