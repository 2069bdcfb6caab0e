"""What the tests of norms per step share: rule, states, and the rows of the twin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.estimators import MAML, Estimator, MultiStep
from metaccord.rules import PerStep
from metaccord.types import Params, Stacked
from tests import cases
from tests.reference import rates as unstepped
from tests.reference import steps as slow

K = 3
NORMED = ("batchnorm2d", "batchnorm1d")
NETS = pytest.mark.parametrize("net", NORMED)
RULE = PerStep(steps=K, lr=0.2, never=("batchnorm",), norms=True)
ESTIMATORS: dict[str, Estimator] = {
    "maml": MAML(),
    "fomaml": MAML(first_order=True),
    "multi-step": MultiStep(horizon=6, epoch=2),
    "multi-step, first order": MultiStep(horizon=6, epoch=2, first_order=True),
}
DONE = 3  # meta-steps: epoch 1 of 3


def method_of(estimator: Estimator | None = None, **options: Any) -> mc.Method:
    return mc.Method(
        name="x", rule=replace(RULE, **options), estimator=estimator or ESTIMATORS["multi-step"]
    )


def started(method: mc.Method, goal: mc.Objective) -> mc.MetaState:
    """Return a state in the middle of the schedule in which all entries differ."""
    state, source = mc.initialise(method, goal), torch.Generator().manual_seed(5)
    params = dict(state.params)
    for name in [k for k in params if k.startswith("rule.")]:
        drawn = torch.randn(params[name].shape, generator=source, dtype=torch.float64)
        params[name] = params[name] + 0.2 * drawn.to(params[name].dtype)
    running = {k: torch.full_like(v, DONE) for k, v in state.running.items()}
    return mc.MetaState(params, running, DONE)


def parts(state: mc.MetaState) -> tuple[Params, Params, list[Params]]:
    """Return theta, the rates, and one dictionary of norms for each step, for the twin."""
    own = tree.scope(state.params, "rule")
    norms = tree.scope(own, "norm")
    entries = tree.unbind(norms)
    return tree.scope(state.params, "model"), tree.scope(own, "rate"), entries


def expected(
    method: mc.Method, goal: mc.Objective, state: mc.MetaState, found: mc.Episode
) -> Stacked:
    """Return the twin's rows of everything learned."""
    estimator = method.estimator
    assert isinstance(estimator, MAML)
    weights = unstepped.multi_step_weights(1, 3, K) if isinstance(estimator, MultiStep) else None
    rows = slow.stepped_rows(
        goal.model, goal.criterion, *parts(state), cases.twin_tasks(method, found),
        first_order=estimator.first_order, weights=weights,
    )  # fmt: skip
    each = [
        {
            **tree.under(row.theta, "model"),
            **tree.under(row.rates, "rule.rate"),
            **tree.under(slow.stacked_norms(row.norms), "rule.norm"),
        }
        for row in rows
    ]
    return cases.stacked(each)
