"""Settings of the command line: each is read as what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import metaccord as mc
from metaccord.defaults import default
from metaccord.errors import UsageError
from metaccord.settings import parse_setting, parsed, put
from tests.cli.support import call


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
    name, again = parse_setting(f"a.b={text}")
    assert (name, again) == (["a", "b"], text)
    found = parsed(text)
    assert found == value
    assert type(found) is type(value)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for setting in (text, f"rule.lr={text}", f"{text}=1"):
        try:
            parsed(parse_setting(setting)[1])
        except UsageError as error:
            assert "write name=value" in str(error)


NAMES = tuple[str, ...]


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("true", str, "true"), ("1", str, "1"), ("1.50", str, "1.50"), ("null", str, "null"),
        ("None", str, "None"), ("[1]", str, "[1]"), ('{"a":1}', str, '{"a":1}'),
        ("nan", str, "nan"), ('"true"', str, "true"),
        ("true", bool, True), ("1", int | Literal["all"], 1),
        ("none", str | None, None), ("1", str | None, "1"), ('"none"', str | None, "none"),
        ("[1,2]", tuple[float, float] | str | None, (1.0, 2.0)),
        ("[1,2,3]", tuple[float, float] | str | None, "[1,2,3]"),
        ("[1, 2.50, true, \"x\"]", NAMES, ["1", "2.50", "true", "x"]),
        ("[1]", NAMES | None, ["1"]), ("[1]", tuple[int, ...], [1]),
    ],
)  # fmt: skip
def test_text_stays_text_where_text_is_held(text: str, hint: Any, value: Any) -> None:
    found = parsed(text, hint)
    assert found == value
    assert type(found) is type(value)


def test_a_tree_says_what_its_settings_hold() -> None:
    node: dict[str, Any] = {"class": "Table"}
    for name, text in (("target", "1"), ("shots", "1"), ("unknown", "1")):
        put(node, name, text)
    assert node == {"class": "Table", "target": "1", "shots": 1, "unknown": 1}
    tree: dict[str, Any] = {}
    put(tree, "device", "1", mc.Experiment)
    assert tree == {"device": "1"}
    found = default("sinusoid").changed(["model.hidden=[8]", "rule.only=[1]", "seed=1"])
    assert (found.model["hidden"], found.method.rule.only, found.seed) == ([8], ("1",), 1)


def test_columns_and_groups_may_be_called_like_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train, go on, and a message that knows the column as it was written."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 6},{i * 37 % 101}.5,{i * i % 11}.25" for i in range(72)]
    (tmp_path / "t.csv").write_text("\n".join(["1,none,true", *rows]) + "\n")
    columns = ("--set", "tasks.target=true", "tasks.group=1", "tasks.test=[3, 4]", "tasks.shots=3")
    train = ("train", "table:t.csv", "--out", "run", "--steps")
    done = call(capsys, *train, "1", *columns, "num_tasks=2", "plan.chunk=all")
    assert done.code == 0, done.err
    tasks = mc.stored.load_state(tmp_path / "run")[0].tasks
    assert isinstance(tasks, mc.tasks.Table)
    assert (tasks.target, tasks.group, tasks.members("test")) == ("true", "1", ("3", "4"))
    again = call(capsys, *train, "2", "--resume")
    assert again.code == 0, again.err
    wrong = call(capsys, "train", "table:t.csv", "--set", "tasks.target=false", "tasks.group=1")
    assert (wrong.code, len(wrong.errors)) == (3, 1)
    assert "no column 'false'" in wrong.err
