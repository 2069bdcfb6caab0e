"""What a record says is about the tasks of all processes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any, ClassVar

import pytest
import torch

import metaccord as mc
from metaccord.axis import TaskAxis
from metaccord.interactions import Interaction
from metaccord.methods import maml, reptile
from metaccord.records import _health, broken
from metaccord.testing.ranks import ThreadRanks, on_ranks
from metaccord.types import Adaptation, Notes, Own, Params
from tests import cases


@dataclass(frozen=True, kw_only=True)
class Counting(Interaction):
    """It does nothing but keep a number, in float64 whatever the model has."""

    name: ClassVar[str] = "counting"

    def init(self, params: Params, steps: int, objective: mc.Objective, seed: int) -> Own:
        """Return zero."""
        return Own({}, {"seen": torch.zeros((), dtype=torch.float64)})

    def observe(self, own: Own, run: Adaptation, axis: TaskAxis) -> tuple[Params, Notes]:
        """Count."""
        return {"seen": own.running["seen"] + 1}, {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "method",
    [maml(steps=2, lr=0.1), reptile(steps=2, lr=0.1, batch=None), reptile(steps=1, batch=None),
     maml(steps=1).with_interaction(Counting())],
    ids=["maml", "reptile", "one step", "other precision"],
)  # fmt: skip
def test_numbers_are_those_of_all_ranks(method: mc.Method, dtype: torch.dtype) -> None:
    def numbers(ranks: ThreadRanks | None) -> list[dict[str, Any]]:
        model = cases.module("batchnorm2d", dtype)
        goal = mc.Objective(model, cases.cross_entropy, mc.Plan(chunk=1))
        tasks = Doubled() if dtype == torch.float64 else cases.Blobs()
        loop = mc.train(method, goal, tasks, steps=2, num_tasks=4, seed=3, ranks=ranks, exact=True)
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


def test_only_what_is_broken_is_named() -> None:
    """Also what has a length that is not finite; whole numbers are never broken."""
    sound = {
        "good": torch.ones(3), "count": torch.tensor([2**62]), "nothing": torch.zeros(0),
        "one": torch.tensor([1e30]), "number": torch.tensor(1e300, dtype=torch.float64),
    }  # fmt: skip
    ill = {
        "nan": torch.tensor([1.0, torch.nan]), "large": torch.full((2,), 1e30),
        "infinite": torch.tensor(-torch.inf, dtype=torch.float64),
    }  # fmt: skip
    assert broken(sound | ill) == list(ill)
    assert _health(sound).isfinite()
    for name, tensor in ill.items():
        assert not _health(sound | {name: tensor}).isfinite(), "refused, but nothing is named"
