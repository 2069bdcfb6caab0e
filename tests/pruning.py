"""What the tests of MGAug share: the method, and its masks in the form of the twin."""

from __future__ import annotations

from typing import Any

import pytest

import metaccord as mc
from metaccord import tree
from metaccord.estimators import MGAug
from metaccord.rules import SGD
from metaccord.types import Episode, MetaState, Params, Stacked

LR = 0.2
KINDS = ("parameter", "width", "catfish")
KIND = pytest.mark.parametrize("kind", KINDS)


def method_of(kind: str, copies: int = 2, **options: Any) -> mc.Method:
    """Return MGAug with everything moving, a third pruned."""
    first_order, rule = options.pop("first_order", False), options.pop("rule", None)
    found = MGAug(
        copies=1 if kind == "catfish" else copies, kind=kind, first_order=first_order,
        **{"ratio": 0.34, **options},
    )  # fmt: skip
    return mc.Method(name="mgaug", rule=rule or SGD(steps=2, lr=LR), estimator=found)


def masks_of(method: mc.Method, goal: mc.Objective, state: MetaState, found: Episode) -> Any:
    """Return the masks of all copies as the estimator draws them, ``[T, ...]``."""
    model = tree.expand(tree.scope(state.params, "model"), tree.tasks_in(found))
    estimator = method.estimator
    assert isinstance(estimator, MGAug)
    return estimator.masks(method, goal, model, method.rule.arranged(found))


def by_task(masks: list[Stacked]) -> list[list[Params]]:
    """Return the masks as the twin wants them: for each task, of each copy."""
    return [list(one) for one in zip(*(tree.unbind(mask) for mask in masks), strict=True)]
