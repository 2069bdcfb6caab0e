"""``metaccord compare TASKS --grid``: every subset over every base, effects, and a picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.cli import compare as module
from metaccord.cli.grid import bare_of, designed, report, responses, verdict
from metaccord.cli.tables import show
from metaccord.errors import UsageError
from metaccord.factorial import Design, Effect, effects, percent
from metaccord.statistics import Interval
from tests.cli.support import SET, Result, equal_runs, last, scores_of, snapshot, train
from tests.cli.test_bad_input import refused

Run = Callable[..., Result]
SMALL = ("--seeds", "2", "--steps", "3", "--tasks", "5", "--out", "all", *SET)
TWO = ("compare", "sinusoid", "--grid", "--with", "coherent,agreement")
COMMAND = (*TWO, *SMALL)
LABELS = ["maml", "maml+agreement", "maml+coherent", "maml+agreement+coherent"]


def scores(level: float, *, accuracy: bool = False) -> mc.Scores:
    """Return scores of two tasks with a mean of ``level``."""
    column = torch.tensor([[9.0, level - 0.1], [9.0, level + 0.1]])
    where = mc.EpisodeSet("Sinusoid", (), "test", 0, 2, "d" * 64)
    return mc.Scores(mc.Protocol(tasks=2), (0, 1), column, column if accuracy else None, where)


def test_tables_picture_and_no_second_training(
    metaccord: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = metaccord(*COMMAND)
    assert first.code == 0, first.err
    rows = [line.split("│")[1:-1] for line in first.out.splitlines() if line.startswith("│")]
    cells = [[part.strip() for part in row] for row in rows]
    assert [row[0] for row in cells] == [*LABELS, "agreement", "coherent", "agreement x coherent"]
    assert cells[0][2] == "" and all("±" in row[2] for row in cells[1:4])
    words = {"helps", "harms", "within noise"}
    assert all(" to " in row[2] and row[3].rstrip(" *") in words for row in cells[4:])
    assert "minus the bare base (paired)" in first.out
    assert "protocol: transductive, 5 test tasks" in first.out
    assert "Holm's adjustment for 3 effects" in first.out
    assert "picture: all/effects.png" in first.out
    assert (place / "all" / "effects.svg").is_file()
    assert len(list(place.rglob("run.json"))) == 2 * len(LABELS)
    before = snapshot(place)
    monkeypatch.setattr(module, "run", None)
    again = metaccord(*COMMAND)
    assert (again.code, again.out) == (0, first.out)
    assert snapshot(place) == before


def test_numbers_are_those_of_the_runs(metaccord: Run, place: Path) -> None:
    found = scores_of(metaccord(*COMMAND, "--json").out)
    assert [cell["label"] for cell in found["cells"]] == LABELS
    table = np.array(
        [[math.log(run["loss"]["mean"]) for run in cell["runs"]] for cell in found["cells"]]
    )
    expected = effects(Design(("maml",), ("agreement", "coherent")), table)
    assert found["effects"].keys() == expected.keys()
    for name, effect in expected.items():
        shown = found["effects"][name]
        assert shown["estimate"] == pytest.approx(percent(effect.interval.mean), abs=1e-5)
        assert shown["low"] == pytest.approx(percent(effect.interval.low), abs=1e-4)
        assert shown["verdict"] == verdict(effect, True)
    bare, other = found["cells"][:2]
    assert bare["minus_bare"] is None
    gap = other["mean"] - bare["mean"]
    assert other["minus_bare"]["mean"] == pytest.approx(gap, abs=1e-5)
    assert other["with"] == ["agreement"]
    assert (found["seeds"], found["tasks"]) == (2, "sinusoid")
    assert found["protocol"]["statistics"] == "transductive"
    assert (found["aliases"], found["left_out"]) == ({}, [])
    assert found["unit"] == "per cent of the loss"
    train(place / "alone", "steps=3", "seed=1", extra=("agreement", "coherent"))
    assert equal_runs(place / "alone", place / "all" / "maml-agreement-coherent" / "seed-1")


def test_settings_of_an_interaction_go_to_the_runs_that_have_it(
    metaccord: Run, place: Path
) -> None:
    result = metaccord(*COMMAND, "coherent.rate=0.5")
    assert result.code == 0, result.err
    train(place / "alone", "steps=3", "coherent.rate=0.5", extra=("coherent",))
    assert equal_runs(place / "alone", place / "all" / "maml-coherent" / "seed-0")
    refused(metaccord(*COMMAND, "sharing.mode=additive"), 2, ["unknown setting 'sharing.mode'"])


def test_one_seed_says_that_there_are_no_intervals(metaccord: Run) -> None:
    found = metaccord(*TWO, *SMALL[2:], "--seeds", "1")
    assert found.code == 0, found.err
    assert "one seed: estimates without intervals; take --seeds 2 or more" in found.out
    numbers = scores_of(metaccord(*TWO, *SMALL[2:], "--seeds", "1", "--json").out)
    effect = numbers["effects"]["agreement"]
    assert (effect["low"], effect["p"], effect["clear"]) == (None, None, False)
    assert effect["verdict"] == "one seed"


def test_half_of_it_says_what_cannot_be_told_apart(metaccord: Run, place: Path) -> None:
    words = ("--with", "agreement,cooperative,coherent", "--bases", "maml,anil")
    found = metaccord("compare", "sinusoid", "--grid", "--fraction", "half", *words, *SMALL)
    assert found.code == 0, found.err
    assert len(list(place.rglob("run.json"))) == 2 * 8
    assert "agreement x cooperative + coherent x (anil vs maml)" in found.out
    told = "cannot be told apart: agreement x cooperative and coherent x (anil vs maml)"
    assert told in found.out
    assert "cannot be estimated: agreement | maml, agreement | anil" in found.out
    assert "half a grid" in found.out
    rows = [line for line in found.out.splitlines() if line.startswith("│ anil")]
    assert len(rows) == 5 and all(row.count("±") == 1 for row in rows[:4]), "anil alone is not run"


def test_an_interrupt_is_passed_on(metaccord: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from metaccord.cli import grid

    monkeypatch.setattr(grid, "trained", lambda *given: ({}, 143))
    result = metaccord(*COMMAND)
    assert (result.code, result.out) == (143, "")


def test_factors_are_all_that_have_a_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    every = ("agreement", "sharing", "cooperative", "coherent")
    assert designed("sinusoid", None, None, None, []) == Design(("maml",), every)
    assert designed("sinusoid", "maml,anil", None, None, []).bases == ("maml", "anil")
    assert capsys.readouterr().err == ""
    found = designed("quadratics", None, None, None, [])
    assert "cooperative" not in found.factors and "agreement" in found.factors
    assert "note: cooperative is left out of the grid: the model does not say" in (
        capsys.readouterr().err
    )
    over_reptile = designed("sinusoid", "maml,reptile", None, None, []).factors
    assert "agreement" in over_reptile and "cooperative" not in over_reptile
    settings = ["cooperative.shape=[2]", "cooperative.outputs=1"]
    assert "cooperative" in designed("quadratics", None, None, None, settings).factors


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--with agreement,sharin", ["unknown interaction 'sharin'", "'sharing'"]),
        ("--with agreement,agreement", ["agreement,agreement", "each once"]),
        ("--with agreement --bases mamml", ["unknown method 'mamml'", "'maml'"]),
        ("--bases reptile --with cooperative", ["--with cooperative over reptile", "maml()"]),
        ("--fraction third", ["unknown fraction 'third'"]),
        ("--fraction half --bases maml,fomaml,anil", ["at most two"]),
        ("--fraction half --with agreement,sharing", ["confuses main effects"]),
        ("--methods maml", ["--bases instead of --methods"]),
        ("--seeds 0", ["--seeds is 0"]),
    ],
)
def test_refusals(words: str, expected: list[str], metaccord: Run, place: Path) -> None:
    refused(metaccord(f"compare sinusoid --grid {words}"), 2, expected)
    assert snapshot(place) == {}


def test_more_refusals(metaccord: Run, finished: Path) -> None:
    refused(metaccord("compare quadratics --grid --bases anil"), 2, ["head"])
    refused(metaccord("compare quadratics --grid --with cooperative"), 2, ["feature_shape"])
    refused(metaccord("compare sinusoid --bases maml"), 2, ["--bases", "add --grid"])
    refused(metaccord("compare sinusoid --fraction half"), 2, ["--fraction", "add --grid"])
    refused(metaccord("compare sinusoid quadratics --grid"), 2, ["one family of tasks"])
    refused(metaccord(f"compare {finished} --grid"), 2, ["one family of tasks"])


def test_quadratics_with_what_they_have(metaccord: Run, place: Path) -> None:
    words = ("--with", "agreement", "--seeds", "2", "--steps", "3", "--tasks", "4")
    result = metaccord("compare", "quadratics", "--grid", *words, "--set", "num_tasks=2")
    assert result.code == 0, result.err
    assert last(place / "runs" / "grid-quadratics" / "maml-agreement" / "seed-1").step == 3


def test_differences_are_to_the_own_base(capsys: pytest.CaptureFixture[str]) -> None:
    levels = {"m": 1.0, "m+a": 1.5, "n": 5.0, "n+a": 8.0}
    results = {label: [scores(level), scores(2 * level)] for label, level in levels.items()}
    design = Design(("m", "n"), ("a",))
    show(results, "protocol", bare_of(design))
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    gaps = [row[3].split("±")[0].strip() for row in rows]
    assert gaps == ["", "0.75", "", "4.5"]
    cells = report(design, results, effects(design, responses(results)))["cells"]
    assert [cell["minus_bare"] and round(cell["minus_bare"]["mean"], 4) for cell in cells] == [
        None,
        0.75,
        None,
        4.5,
    ]


def test_responses_are_logarithms_of_losses_and_points_of_accuracy() -> None:
    losses = {"m": [scores(1.0), scores(2.0)], "m+a": [scores(4.0), scores(8.0)]}
    found = responses(losses)
    np.testing.assert_allclose(found, np.log([[1, 2], [4, 8]]), atol=1e-7)
    design = Design(("m",), ("a",))
    table = report(design, losses, effects(design, found))
    assert table["effects"]["a"]["estimate"] == pytest.approx(300)
    assert table["effects"]["a"]["verdict"] == "harms"
    right = {"m": [scores(0.5, accuracy=True)] * 2, "m+a": [scores(0.6, accuracy=True)] * 2}
    table = report(design, right, effects(design, responses(right)))
    assert table["unit"] == "percentage points of accuracy"
    assert table["effects"]["a"]["estimate"] == pytest.approx(10, rel=1e-5)
    assert table["effects"]["a"]["verdict"] == "helps"
    with pytest.raises(UsageError, match="above 0"):
        responses({"m": [scores(-1.0)]})


@pytest.mark.parametrize(
    ("mean", "half", "expected"),
    [
        (2.0, 1.0, ("helps", "harms")),
        (-2.0, 1.0, ("harms", "helps")),
        (1.0, 1.0, ("within noise",) * 2),
        (1.0, math.nan, ("one seed",) * 2),
        (math.nan, math.nan, ("not finite",) * 2),
    ],
)
def test_verdicts(mean: float, half: float, expected: tuple[str, str]) -> None:
    effect = Effect(Interval(mean, half), 0.5, False)
    assert (verdict(effect, False), verdict(effect, True)) == expected
