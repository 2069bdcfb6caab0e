"""The tool that changes sources and watches whether tests notice: on a toy package."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import mutants as tool
import pytest
from bench import Bench, Verdict
from mutant_tests import TESTS
from mutations import Mutant, mutants, mutated

import metaccord

pytestmark = pytest.mark.usefixtures("nothing_stays")
SOURCE = '''"""A toy."""

from __future__ import annotations


def larger(one: int | None, other: int) -> int:
    """Return the larger one."""
    if one is None or one < other:
        return other
    return one


def untested(numbers: list[int]) -> int:
    while numbers and numbers[0] != 0:
        numbers = numbers[1:]
    return len(numbers) - 1
'''
TEST = """
from toy import larger

def test_larger():
    assert larger(2, 3) == 3
    assert larger(3, 2) == 3
    assert larger(None, 2) == 2
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    origin = tmp_path / "origin"
    for name, content in {"src/toy.py": SOURCE, "tests/test_toy.py": TEST}.items():
        (origin / name).parent.mkdir(parents=True)
        (origin / name).write_text(content)
    (origin / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return Bench(origin, tmp_path / "copy")


def one(before: str, after: str) -> Mutant:
    (found,) = (m for m in mutants("toy.py", SOURCE) if (m.before, m.after) == (before, after))
    return found


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ("return other", "return None", "killed"),
        ("len(numbers) - 1", "(len(numbers) + 1)", "survived"),  # untested
    ],
)
def test_verdicts(bench: Bench, before: str, after: str, word: str) -> None:
    found = bench.judge("src", one(before, after), ["tests/test_toy.py"])
    assert found.word == word
    assert found.by == ("tests/test_toy.py::test_larger" if found.killed else "")
    assert (bench.root / "src" / "toy.py").read_text() == SOURCE


@pytest.mark.long
def test_tests_that_fail_anyway_judge_nothing(bench: Bench) -> None:
    (bench.root / "tests" / "test_toy.py").write_text(f"def test_red():\n    assert False\n{TEST}")
    found = bench.judge("src", one("return other", "return None"), ["tests/test_toy.py"])
    assert (found.word, found.by) == ("killed", "tests/test_toy.py::test_larger")
    assert bench.red == ["tests/test_toy.py::test_red"]


def test_verdicts_are_kept(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "PACKAGE", "src")
    monkeypatch.setitem(tool.TESTS, "toy.py", ("tests/test_toy.py",))
    asked = []

    def judge(package: str, mutant: Mutant, tests: tuple[str, ...]) -> Verdict:
        asked.append(mutant)
        return Verdict("killed" if len(asked) % 2 else "survived", "", 0.0)

    monkeypatch.setattr(bench, "judge", judge)
    wanted = tool.sampled(bench.root, ["toy.py"], 6, seed=1)
    kept = tmp_path / "kept.jsonl"
    first = list(tool.judged(bench, wanted, kept))
    assert first == list(tool.judged(bench, wanted, kept))
    assert len(asked) == 6
    again = [mutant for mutant, _ in tool.judged(bench, wanted, kept, again=True)]
    assert again == wanted
    places = {entry["place"] for entry in tool.entries(kept)}
    assert tool.sampled(bench.root, ["toy.py"], 6, 1, places) == wanted
    assert asked[6:] == [mutant for mutant, verdict in first if not verdict.killed]
    assert len(asked) == 9
    (bench.root / "src" / "toy.py").write_text(SOURCE.replace("A toy", "Another toy"))
    wanted = tool.sampled(bench.root, ["toy.py"], 6, 1, places)
    list(tool.judged(bench, wanted, kept))
    assert len(asked) == 15


def test_a_sample_changes_only_where_the_source_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "PACKAGE", "src")
    every = tool.placed(bench.root, "toy.py")
    assert list(every.values()) == mutants("toy.py", SOURCE)
    wanted = tool.sampled(bench.root, ["toy.py"], 9, seed=1)
    assert tool.sampled(bench.root, ["toy.py"], 5, seed=1) == wanted[:5]
    assert tool.sampled(bench.root, ["toy.py"], 9, seed=2) != wanted
    before = {place for place, mutant in every.items() if mutant in wanted}
    (bench.root / "src" / "toy.py").write_text(f"ADDED = 7\n{SOURCE.replace('- 1', '- 2')}")
    now = tool.placed(bench.root, "toy.py")
    again = tool.sampled(bench.root, ["toy.py"], 9, 2, before)
    here = {place for place, mutant in now.items() if mutant in again}
    assert here >= before & now.keys()
    assert len(again) == 9


def test_the_share_leaves_out_what_is_declared(bench: Bench) -> None:
    killed, alive = Verdict("killed", "t", 1.0), Verdict("survived", "", 1.0)
    found = mutants("toy.py", SOURCE)[:10]
    verdicts = [(m, killed if k < 7 else alive) for k, m in enumerate(found)]
    assert tool.outcome(verdicts, {}, 10, 0.0).worst == pytest.approx(0.3)
    assert not tool.outcome(verdicts, {}, 10, 0.0).ok
    reasons = dict.fromkeys((m.name for m in found[8:]), "the same")
    assert tool.outcome(verdicts, reasons, 10, 0.0).worst == pytest.approx(1 / 8)
    assert not tool.outcome(verdicts, reasons, 11, 0.0).ok, "one was not judged"


@pytest.mark.parametrize("file", ["axis.py", "rules/base.py"])
def test_every_mutant_is_another_program(file: str) -> None:
    """Of real files; none touches annotations, and each stands where it says."""
    source = (Path(metaccord.__file__).parent / file).read_text()
    found = mutants(file, source)
    assert len({m.name for m in found}) == len(found) > 50
    for mutant in found:
        changed = mutated(source, mutant)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source)), mutant
        first = next(
            k for k, pair in enumerate(zip(changed, source, strict=False)) if len(set(pair)) > 1
        )
        assert mutant.line <= source[:first].count("\n") + 1
    kinds = {m.kind for m in found}
    assert {"operator", "comparison", "constant", "return", "branch", "statement"} <= kinds


def test_the_map_names_the_core_and_tests_that_exist() -> None:
    root = Path(metaccord.__file__).parent
    for file, tests in TESTS.items():
        assert (root / file).is_file()
        assert tests
        assert all((tool.ROOT / test).is_file() for test in tests), file
        assert not any("tests/reference/" in test for test in tests), "they judge the slow twins"


def test_declared_mutants_have_a_reason_and_exist() -> None:
    declared = json.loads(tool.EQUIVALENT.read_text())
    for entry in declared:
        assert entry["reason"]
        file = entry["file"]
        source = (tool.ROOT / tool.PACKAGE / file).read_text()
        here = [m for m in mutants(file, source) if tool.equivalent(tool.ROOT, m, [entry])]
        assert here, f"nothing in {file} fits {entry}"
