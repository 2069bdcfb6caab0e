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
from metaccord.engine import Plan
from metaccord.errors import UsageError
from metaccord.estimators import MAML, Reptile
from metaccord.interactions import GradientAgreement
from metaccord.method import Method
from metaccord.rules import SGD, Adam
from metaccord.serial import build_model, coerced, from_tree, parse_setting, to_tree
from metaccord.tasks import Quadratics, Sinusoid
from tests.cases import METHODS

RATES = st.floats(1e-6, 1e6)
COUNTS = st.integers(0, 50)
SEEDS = st.integers(0, 2**63 - 1)
WORDS = st.lists(st.sampled_from(["head", "body.0", "batchnorm"]), unique=True).map(tuple)
BATCHES = st.none() | st.integers(1, 9)
SHARED = {"steps": COUNTS, "lr": RATES, "only": WORDS, "never": WORDS, "batch": BATCHES}
RULES = st.builds(SGD, **SHARED) | st.builds(
    Adam,
    **SHARED,
    beta1=st.floats(0, 0.99),
    beta2=st.floats(0.01, 0.99),
    eps=RATES,
    persist=st.booleans(),
)
CHUNKS = st.sampled_from(["auto", "all", 1, 7])
MEMORY = st.sampled_from([None, "4GiB", "0.5 MiB"])
PLANS = st.builds(Plan, chunk=CHUNKS, checkpoint=st.booleans(), memory=MEMORY)
OUTERS = st.builds(
    mc.Outer,
    optimizer=st.sampled_from(["adam", "sgd"]),
    lr=RATES,
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    horizon=st.none() | st.integers(1, 10**9),
    momentum=st.floats(0, 0.99),
    clip_norm=st.none() | RATES,
    clip_value=st.none() | RATES,
)
PROTOCOLS = st.builds(
    mc.Protocol,
    statistics=st.sampled_from(["transductive", "inductive", "frozen"]),
    tasks=st.integers(2, 10**6),
    steps=st.none() | COUNTS,
    split=st.sampled_from(["validation", "test"]),
    seed=SEEDS,
)
SINES = st.builds(
    Sinusoid,
    shots=st.integers(1, 50),
    train_shots=st.none() | st.integers(1, 50),
    inputs=st.sampled_from(["grid", "uniform"]),
    amplitude=st.tuples(st.floats(0, 1), st.floats(1, 9)),
    phase=RATES,
    seed=SEEDS,
)
BOWLS = st.builds(Quadratics, dim=st.integers(1, 99), condition=st.floats(1, 1e6), spread=RATES)
ESTIMATORS = st.sampled_from([MAML(), MAML(first_order=True), Reptile()])
TOGETHER = st.sampled_from([(), (GradientAgreement(),)])
METHOD = st.builds(Method, name=st.text(), rule=RULES, estimator=ESTIMATORS, interactions=TOGETHER)
VALUES = st.one_of(RULES, PLANS, OUTERS, PROTOCOLS, SINES, BOWLS, METHOD)
SECRETS = ("__import__('os').abort()", "${HOME}", "!!python/object", "lambda: 1", '{"class": 1}')


@settings(max_examples=100, deadline=None, derandomize=True)
@given(VALUES)
def test_values_come_back_through_json(value: Any) -> None:
    tree = json.loads(json.dumps(to_tree(value)))
    again = from_tree(tree)
    assert again == value
    assert type(again) is type(value)
    assert hash(again) == hash(value)
    assert to_tree(again) == to_tree(value)


def test_the_strategies_cover_the_list() -> None:
    """Omniglot needs its data, so its fields are looked at without an instance."""
    covered = {Method, SGD, Adam, MAML, Reptile, GradientAgreement, Plan, mc.Outer, mc.Protocol}
    covered |= {Sinusoid, Quadratics, mc.tasks.Omniglot}
    assert set(serial.VALUES.values()) == covered
    tree = {"class": "Omniglot", "ways": "five"}
    with pytest.raises(UsageError, match=r"tasks\.ways is 'five': expected a whole number"):
        from_tree(tree, "tasks")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_presets_come_back(method: Method) -> None:
    again = from_tree(to_tree(method))
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
    ],
)
def test_what_is_not_in_the_list_is_refused(tree: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        from_tree(tree, "rule")
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


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
        assert parse_setting(f"model.hidden={text}") == (["model", "hidden"], text)
    with pytest.raises(UsageError):
        mc.Experiment.from_tree({"tasks": text, "model": {"class": text}, "method": text})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("1.5", 1.5), ("1e-3", 1e-3), ("true", True), ("True", True), ("False", False),
        ("null", None), ("none", None), ("None", None), ("adam", "adam"), ('"1"', "1"),
        ("[1,2]", [1, 2]), ('{"class":"SGD"}', {"class": "SGD"}), ("a=b", "a=b"), ("", ""),
        ("inf", float("inf")), ("-inf", float("-inf")), ("Infinity", float("inf")),
        ("[1", "[1"), ("[" * 10**5, "[" * 10**5), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_settings_are_json_or_words(text: str, value: Any) -> None:
    name, found = parse_setting(f"a.b={text}")
    assert name == ["a", "b"]
    assert found == value
    assert type(found) is type(value)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for setting in (text, f"rule.lr={text}", f"{text}=1"):
        try:
            parse_setting(setting)
        except UsageError as error:
            assert "write name=value" in str(error)


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
    if name == "Omniglot":
        return
    known = [f.name for f in dataclasses.fields(serial.VALUES[name]) if f.init]
    for key in (*known[:3], "other"):
        try:
            from_tree({"class": name, key: value}, "place")
        except UsageError as error:
            assert "\n" not in str(error)
