"""The contract of interactions and inner rules, as named checks for yours and ours alike.

Needs torch alone. The problem is a small smooth network in float64, so that every comparison of
two roads to the same gradient can ask for 1e-12.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

from metaccord.estimators import MAML
from metaccord.interactions import Interaction
from metaccord.method import Method
from metaccord.methods import maml
from metaccord.rules import InnerRule
from metaccord.testing.case import Case
from metaccord.testing.watched import Watched

__all__ = ["check_interaction", "check_rule"]
Check = tuple[str, Callable[[], None]]


def check_interaction(interaction: Interaction, *, base: Method | None = None) -> list[str]:
    """Check the contract of an interaction.

    Args:
        interaction: A value, for example ``GradientAgreement()``.
        base: The method that it is put over; None: MAML with two inner steps.

    Returns:
        The names of the checks that passed: all of them.

    Raises:
        AssertionError: naming the first check that fails.

    Example:
        >>> from metaccord.interactions import GradientAgreement
        >>> len(check_interaction(GradientAgreement()))
        15
    """
    under = base or maml(steps=2, lr=0.2)
    found = Case(under.with_interaction(interaction))
    watched = Case(under.with_interaction(Watched(inner=interaction)))
    return _passed(
        [
            ("is a frozen value", lambda: _frozen_value(interaction)),
            ("keeps type, shape, dtype and device; inputs untouched", watched.runs),
            *_engine_checks(found),
            ("finite at zero gradients", found.finite_at_zero),
            ("permuting tasks permutes rows and leaves the mean", found.equivariant),
            ("isolated tasks equal tasks alone", found.isolated),
            ("two processes equal one", found.spread),
            ("one row per learned tensor, each with a gradient", found.learns),
        ]
    )


def check_rule(rule: InnerRule) -> list[str]:
    """Check the contract of an inner rule, below MAML.

    Args:
        rule: A value, for example ``SGD(steps=2, lr=0.1)``; some inner steps are needed.

    Returns:
        The names of the checks that passed: all of them.

    Raises:
        AssertionError: naming the first check that fails.
    """
    found = Case(Method(name="maml", rule=rule, estimator=MAML()))
    return _passed(
        [
            ("is a frozen value", lambda: _frozen_value(rule)),
            ("what moves and what stays are the whole model", found.divides),
            ("keeps type, shape, dtype and device; inputs untouched", found.updates),
            *_engine_checks(found),
            ("finite at zero gradients", found.finite_at_zero),
            ("permuting tasks permutes rows and leaves the mean", found.equivariant),
            ("isolated tasks equal tasks alone", found.isolated),
            ("two processes equal one", found.spread),
            ("one row per learned tensor, each with a gradient", found.learns),
            ("meta-gradient equals finite differences", found.differentiates),
        ]
    )


def _engine_checks(found: Case) -> list[Check]:
    return [
        ("same call, same bits", found.repeats),
        ("state is returned, not hidden", found.keeps_no_state),
        ("running tensors keep their names and shapes, without graph", found.observes),
        ("independent only if released graphs equal kept ones", found.released),
        ("chunks agree", found.chunks),
        ("checkpointed equals plain", found.checkpointed),
        ("functional route equals autograd route", found.functional),
        ("padding of uneven tasks is never looked at", found.padded),
    ]


def _passed(checks: list[Check]) -> list[str]:
    for name, check in checks:
        try:
            check()
        except Exception as error:
            raise AssertionError(f"contract broken: {name}: {error}") from error
    return [name for name, _ in checks]


def _frozen_value(value: Any) -> None:
    assert is_dataclass(value), "decorate the class with @dataclass(frozen=True, kw_only=True)"
    given = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
    build: Any = type(value)
    again = build(**given)
    assert again == value, "the same fields give another value"
    assert hash(again) == hash(value), "equal values have different hashes"
    assert repr(again) == repr(value), "equal values print differently"
    try:
        setattr(value, "frozen_value", True)  # noqa: B010
    except AttributeError:
        return
    raise AssertionError("its attributes can be set")
