"""Values as names and fields: everything in the closed list comes back, nothing is evaluated."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import metaccord as mc
from metaccord import serial
from metaccord.errors import UsageError
from metaccord.estimators import MAML
from metaccord.interactions import GradientAgreement
from metaccord.method import Method
from metaccord.methods import WRAPPERS
from metaccord.rules import SGD
from metaccord.serial import build_model, coerced, from_tree, to_tree
from metaccord.settings import parsed
from tests.cases import BASES, METHODS
from tests.refusals import refusal
from tests.strategies import FIELDS, built

SECRETS = ("__import__('os').abort()", "${HOME}", "!!python/object", "lambda: 1", '{"class": 1}')


NEEDS_DATA = {mc.tasks.Omniglot, mc.tasks.Nodes}
NEEDS_TORCHJD = {mc.interactions.Aggregate}


@pytest.mark.parametrize("cls", FIELDS, ids=lambda cls: cls.__name__)
def test_values_come_back_through_json(cls: type) -> None:
    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(built(cls, FIELDS[cls]))
    def check(value: Any) -> None:
        tree = json.loads(json.dumps(to_tree(value)))
        again = from_tree(tree)
        assert again == value
        assert type(again) is type(value) is cls
        assert hash(again) == hash(value)
        assert to_tree(again) == to_tree(value)

    check()


def test_the_strategies_cover_the_list() -> None:
    """Every class and every field; what needs its data is looked at without an instance."""
    assert set(serial.VALUES.values()) == FIELDS.keys() | NEEDS_DATA | NEEDS_TORCHJD
    for cls, fields in FIELDS.items():
        assert fields.keys() == serial.fields_of(cls).keys(), cls
    for name in ("Omniglot", "Nodes"):
        with pytest.raises(UsageError, match=r"tasks\.ways is 'five': expected a whole number"):
            from_tree({"class": name, "ways": "five"}, "tasks")


@pytest.mark.parametrize("method", [*METHODS.values(), *BASES.values()], ids=[*METHODS, *BASES])
def test_presets_come_back(method: Method) -> None:
    """Alone, and with everything around them that has a meaning."""
    for wrap in (lambda base: base, *WRAPPERS.values()):
        try:
            method = wrap(method)
        except UsageError:
            continue
        again = from_tree(json.loads(json.dumps(to_tree(method))))
        assert (again, again.label, again.needs) == (method, method.label, method.needs)


@pytest.mark.parametrize(
    "tree",
    [
        {"class": "MLP", "inputs": 2, "hidden": [3, 4], "outputs": 5, "activation": "gelu"},
        {"class": "MLP", "hidden": [], "init": "maml"},
        {"class": "Conv4", "ways": 3, "channels": 2, "hidden": 4, "size": 16, "tracked": True},
        {"class": "Conv4", "downsample": "pool", "spatial": "flatten"},
        {"class": "Point", "dim": 3},
    ],
)
def test_models_are_built(tree: dict[str, Any]) -> None:
    before = dict(tree)
    with torch.device("meta"):
        module = build_model(tree)
    assert type(module).__name__ == tree["class"]
    assert tree == before


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"class": "SDG", "steps": 1, "lr": 1.0}, ["'SDG'", "did you mean 'SGD'?"]),
        ({"class": "MLP"}, ["unknown class in rule", "'MLP'"]),
        ({"class": "os.system"}, ["unknown class", "'os.system'"]),
        ({"class": None}, ["unknown class"]),
        ({"class": ["SGD"]}, ["unknown class"]),
        ({"class": {"class": "SGD"}}, ["unknown class"]),
        ({"class": "SGD", "steps": 1, "lr": 1.0, "lrr": 2}, ["rule.lrr", "did you mean 'lr'?"]),
        ({"class": "SGD", "steps": 1, "lr": 1.0, "__class__": "x"}, ["rule.__class__"]),
        ({"class": "SGD", "steps": 1}, ["rule is incomplete", "lr"]),
        ({"class": "SGD", "steps": True, "lr": 1.0}, ["rule.steps is True", "whole number"]),
        ({"class": "SGD", "steps": "1", "lr": 1.0}, ["rule.steps is '1'", "whole number"]),
        ({"class": "SGD", "steps": 1, "lr": "1"}, ["rule.lr is '1'", "a number"]),
        ({"class": "SGD", "steps": 1, "lr": float("nan")}, ["rule.lr is nan", "finite"]),
        ({"class": "SGD", "steps": 1, "lr": 10**400}, ["rule.lr", "finite"]),
        ({"class": "SGD", "steps": 1, "lr": 1.0, "only": "head"}, ["rule.only", "a list such as"]),
        ({"class": "SGD", "steps": 1, "lr": 1.0, "only": [1]}, ["rule.only is 1", "a word"]),
        ({"class": "SGD", "steps": 1, "lr": -1.0}, ["rule.lr is -1.0", "above 0"]),
        ({"class": "Method", "name": "x", "rule": {"class": "MAML"}}, ["InnerRule"]),
        ({"class": "Method", "name": "x", "interaction": {}}, ["rule.interaction"]),
        ({"class": "MAML", "second_order_from": 2}, ["second_order_from is 2", "first_order=true"]),
        ({"class": "MAML", "second_order_from": 1.0}, ["rule.second_order_from is 1.0"]),
        ({"class": "Outer", "final": 1.0}, ["outer.final is 1.0", "between 0 and outer.lr"]),
        ({"class": "Proximal", "steps": 1, "lr": 1.0, "pull": "ever"}, ["did you mean 'every'?"]),
        ({"class": "PerStep", "steps": 1, "lr": 1.0, "clip_norm": 0}, ["rule.clip_norm is 0.0"]),
    ],
)
def test_what_is_not_in_the_list_is_refused(tree: dict[str, Any], words: list[str]) -> None:
    with refusal(words):
        from_tree(tree, "rule")


@pytest.mark.parametrize("tree", [None, 3, "MLP", [], {}, {"hidden": [4]}])
def test_models_need_a_class(tree: Any) -> None:
    with pytest.raises(UsageError, match=r"model is .*: write for example"):
        build_model(tree)


def test_own_classes_are_refused_by_identity() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Mine(GradientAgreement):
        """A user's own."""

    @dataclass(frozen=True)
    class Plan:
        """A namesake."""

    for value in (Mine(), Plan(), Method(name="x", rule=SGD(steps=1, lr=1.0), estimator=MAML(),
                                         interactions=(Mine(),))):  # fmt: skip
        with pytest.raises(UsageError, match="cannot be stored by name: give it again at load"):
            to_tree(value)


@pytest.mark.parametrize("text", SECRETS)
def test_nothing_is_evaluated(text: str) -> None:
    method = Method(name=text, rule=SGD(steps=1, lr=0.1, only=(text,)), estimator=MAML())
    again = from_tree(json.loads(json.dumps(to_tree(method))))
    assert again.name == text
    assert again.rule.only == (text,)
    if not text.startswith("{"):
        assert parsed(text) == text
    with pytest.raises(UsageError):
        mc.Experiment.from_tree({"tasks": text, "model": {"class": text}, "method": text})


HINTS = [int, float, str, bool, type(None), int | None, Literal["a", "b"], int | Literal["all"],
         tuple[int, ...], tuple[float, float], tuple[str, ...], SGD]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(JSON, st.sampled_from(HINTS))
def test_any_value_fits_its_type_or_is_refused(value: Any, hint: Any) -> None:
    try:
        found = coerced(value, hint, "place")
    except UsageError as error:
        assert "place" in str(error)
        return
    assert coerced(found, hint, "place") == found
    if hint is int:
        assert type(found) is int
    if hint is float:
        assert abs(found) <= 1e30


@settings(max_examples=200, deadline=None, derandomize=True)
@given(JSON, st.sampled_from(sorted(serial.VALUES)))
def test_any_tree_is_built_or_refused(value: Any, name: str) -> None:
    if serial.VALUES[name] in NEEDS_DATA:
        return
    known = [f.name for f in dataclasses.fields(serial.VALUES[name]) if f.init]
    pinned = {"fingerprint": "x"} if "fingerprint" in known else {}  # else the data are looked for
    for key in (*known[:3], "other"):
        try:
            from_tree({"class": name, key: value, **pinned}, "place")
        except UsageError as error:
            assert "\n" not in str(error)
