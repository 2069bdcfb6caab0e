"""Rules, estimators, interactions and settings are values: frozen, given by keyword, equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

import metaccord as mc
from metaccord.estimators import Estimator
from metaccord.interactions import Interaction
from metaccord.rules import InnerRule
from tests import cases


def below(cls: type) -> Iterator[type]:
    """Walk to a class of the package and to all that inherit from it."""
    if cls.__module__.startswith("metaccord."):
        yield cls
        for found in cls.__subclasses__():
            yield from below(found)


KINDS = {
    found.__name__: found
    for base in (InnerRule, Estimator, Interaction, mc.Outer, mc.Protocol, mc.Method, mc.Experiment)
    for found in below(base)
}
VALUES: dict[str, Any] = {
    **cases.RULES, **cases.ESTIMATORS, **cases.INTERACTIONS,
    "outer": mc.Outer(), "protocol": mc.Protocol(),
}  # fmt: skip


def test_the_classes_are_found() -> None:
    assert {"SGD", "Adam", "MultiStep", "Implicit", "CoLearner", "Together", "Outer"} <= set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_fields_are_given_by_keyword(name: str) -> None:
    cls = KINDS[name]
    assert [each.name for each in fields(cls) if each.init and not each.kw_only] == []


@pytest.mark.parametrize("name", VALUES)
def test_values_are_frozen_and_equal_to_their_copies(name: str) -> None:
    value = VALUES[name]
    copy = replace(value)
    assert copy is not value
    assert copy == value
    assert hash(copy) == hash(value)
    for each in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, each.name, None)
