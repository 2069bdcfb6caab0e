"""What a record says is about the tasks of all processes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

import metaccord as mc
from metaccord.methods import maml, reptile
from metaccord.testing.ranks import ThreadRanks, on_ranks
from tests import cases


@pytest.mark.parametrize("method", [maml(steps=2, lr=0.1), reptile(steps=2, lr=0.1, batch=None)])
def test_numbers_are_those_of_all_ranks(method: mc.Method) -> None:
    def numbers(ranks: ThreadRanks | None) -> list[dict[str, Any]]:
        goal = mc.Objective(cases.module("batchnorm2d"), cases.cross_entropy, mc.Plan(chunk=1))
        loop = mc.train(
            method, goal, Doubled(), steps=2, num_tasks=4, seed=3, ranks=ranks, exact=True
        )
        return [record.numbers for record in loop]

    alone = numbers(None)
    expected = {"grad_norm", "support_loss"}
    expected |= {"query_loss"} if method.estimator.takes_query else set()
    assert all(set(found) >= expected for found in alone)
    assert ("query_loss" in alone[0]) is method.estimator.takes_query
    for found in on_ranks(2, numbers):
        assert found == alone


class Doubled(cases.Blobs):
    """Pictures in float64."""

    def episodes(self, split: str, step: int, tasks: range) -> Any:
        """Return the same tasks, widened."""
        found = super().episodes(split, step, tasks)
        return mc.tree.mapped(lambda t: t.double() if t.is_floating_point() else t, found)


def test_a_record_cannot_be_changed_and_is_equal_to_itself_alone() -> None:
    """It holds tensors, whose equality is no truth value."""
    goal = cases.objective("batchnorm2d")
    first, second = mc.train(maml(steps=1), goal, Doubled(), steps=2, num_tasks=2)
    assert first == first
    assert first != replace(first)
    assert len({first, second, first}) == 2
    with pytest.raises(FrozenInstanceError):
        first.step = 7  # type: ignore[misc]
