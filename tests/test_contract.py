"""The public contract suite over the matrix, and over values that break it on purpose."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord import rules
from metaccord.errors import UsageError
from metaccord.interactions import GradientAgreement, Interaction
from metaccord.methods import maml
from metaccord.rules import SGD
from metaccord.testing import check_interaction, check_rule
from tests import cases, defects


@pytest.mark.parametrize(("name", "base"), cases.PAIRS)
def test_interactions_keep_the_contract(name: str, base: str) -> None:
    assert len(check_interaction(cases.INTERACTIONS[name], base=cases.BASES[base])) == 15


@pytest.mark.parametrize("name", cases.RULES)
def test_rules_keep_the_contract(name: str) -> None:
    assert len(check_rule(cases.RULES[name])) == 17


def test_the_suite_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    check_interaction(Interaction())
    check_rule(SGD(steps=1, lr=0.1))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "value", [*cases.RULES.values(), *cases.INTERACTIONS.values(), *cases.METHODS.values()]
)
def test_values_print_as_the_call_that_made_them(value: object) -> None:
    """``repr`` evaluates to an equal value with an equal hash."""
    names = vars(rules) | vars(mc.interactions) | vars(mc.method) | vars(mc.methods)
    again = eval(repr(value), dict(names))
    assert again == value
    assert hash(again) == hash(value)


KEEPS = "keeps type, shape, dtype and device; inputs untouched"
ROWS = "one row per learned tensor, each with a gradient"
INDEPENDENT = "independent only if released graphs equal kept ones"
DEFECTS: list[tuple[Any, str]] = [
    (defects.SeesOthersAlone, "permuting tasks permutes rows|isolated tasks equal tasks alone"),
    (defects.ChangesItsInput, f"{KEEPS}: reconcile changed its input"),
    (defects.WrongShape, f"{KEEPS}: reconcile gives .* the shape"),
    (defects.WrongDtype, f"{KEEPS}: share gives .* the dtype"),
    (defects.WrongNames, f"{KEEPS}: correct changes the names"),
    (defects.WrongPenalty, f"{KEEPS}: penalty gives penalty the shape"),
    (defects.ClaimsIndependence, f"{INDEPENDENT}: .*set independent = False"),
    (defects.HidesItsMeeting, f"{INDEPENDENT}: relative error"),
    (defects.KnowsPlaces, "permuting tasks permutes rows and leaves the mean"),
    (defects.ReadsPadding, "padding of uneven tasks is never looked at"),
    (defects.DividesByZero, "finite at zero gradients"),
    (defects.Draws, "same call, same bits"),
    (defects.Remembers, "state is returned, not hidden"),
    (defects.LearnsNothing, f"{ROWS}: .*interaction.broken.rate"),
    (defects.RunsWithGraph, "running tensors keep their names and shapes, without graph"),
    (defects.GrowsRunning, f"{KEEPS}: observe changes the names"),
    (defects.Thawed, "is a frozen value: its attributes can be set"),
]


@pytest.mark.parametrize(("defect", "name"), DEFECTS, ids=lambda d: getattr(d, "__name__", ""))
def test_planted_defects_are_caught_by_name(defect: type[Any], name: str) -> None:
    with pytest.raises(AssertionError, match=f"contract broken: ({name})"):
        check_interaction(defect())


@pytest.mark.parametrize(
    ("defect", "name"),
    [
        (defects.Leaks, KEEPS + ": relative error"),
        (defects.Detaches, "meta-gradient equals finite differences"),
        (defects.InPlace, KEEPS + ": the bits differ"),
        (defects.Forgets, "what moves and what stays are the whole model"),
        (defects.Drops, "what moves and what stays are the whole model: at changes the names"),
    ],
    ids=lambda d: getattr(d, "__name__", ""),
)
def test_planted_defects_of_rules_are_caught_by_name(defect: type[SGD], name: str) -> None:
    with pytest.raises(AssertionError, match=f"contract broken: {name}"):
        check_rule(defect(steps=2, lr=0.2, never=("body.0.bias", "batchnorm")))


def test_refused_combinations_name_the_way_out() -> None:
    with pytest.raises(UsageError, match="put it over maml"):
        mc.methods.reptile().with_interaction(defects.WrongPenalty())
    with pytest.raises(UsageError, match="occurs twice"):
        maml().with_interaction(GradientAgreement()).with_interaction(GradientAgreement())
    learner = mc.methods.reptile().with_interaction(defects.LearnsNothing())
    with pytest.raises(UsageError, match="would never be learned: use maml"):
        mc.initialise(learner, cases.objective("plain"))
    with pytest.raises(UsageError, match="leave nothing that moves"):
        mc.initialise(maml(never=("body", "head")), cases.objective("plain"))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"steps": -1}, "rule.steps is -1"),
        ({"lr": 0.0}, "rule.lr is 0.0"),
        ({"lr": float("nan")}, "rule.lr is nan"),
        ({"batch": 0}, "rule.batch is 0"),
    ],
)
def test_rules_out_of_range_are_refused(options: dict[str, Any], word: str) -> None:
    for rule in (rules.SGD, rules.Adam):
        with pytest.raises(UsageError, match=word):
            rule(**({"steps": 1, "lr": 0.1} | options))
    with pytest.raises(UsageError, match="beta2"):
        rules.Adam(steps=1, lr=0.1, beta2=1.0)
    with pytest.raises(UsageError, match="beta1"):
        rules.Adam(steps=1, lr=0.1, beta1=-0.1)
