"""``metaccord analyse``: the numbers of the library, kept, taken up again, compared."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import metaccord as mc
from metaccord import analysis, checkpoint_files, diagnostics, stored
from metaccord.plots import of_analyses
from tests.cli.support import Result, copied, flip, scores_of, snapshot, train
from tests.cli.test_bad_input import refused

Run = Callable[..., Result]
QUICK = "--tasks 6 --curvature-tasks 2"


@pytest.fixture(scope="module")
def along(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints at 1, 2, 3, 4."""
    folder = tmp_path_factory.mktemp("along") / "run"
    train(folder, "steps=4", "keep_every=1")
    return folder


@pytest.fixture
def run(along: Path, place: Path) -> Path:
    return copied(along, place / "run")


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, which takes seconds, but in the tests of pictures."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(of_analyses, "of_analyses", lambda runs, out: [])


@pytest.fixture
def drawn() -> None:
    """Draw the pictures."""


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that were measured, in order."""
    seen: list[int] = []

    def watched(method: Any, objective: Any, state: mc.MetaState, *rest: Any, **named: Any) -> Any:
        seen.append(state.step)
        return diagnostics.measure(method, objective, state, *rest, **named)

    monkeypatch.setattr(analysis, "measure", watched)
    return seen


def test_the_numbers_are_the_librarys(metaccord: Run, run: Path) -> None:
    found = scores_of(metaccord(f"analyse run {QUICK} --json").out)
    points = found["runs"]["maml"]["points"]
    assert [point.pop("step") for point in points] == [0, 1, 2, 3, 4]
    experiment, state, _ = stored.load_state(run, 3)
    start = mc.initialise(experiment.method, experiment.objective(), seed=experiment.seed)
    for at, expected in ((3, state), (0, start)):
        scores = diagnostics.measure(
            experiment.method,
            experiment.objective(),
            expected,
            experiment.tasks,
            mc.Protocol(tasks=6),
            curvature_tasks=2,
        )
        assert points[at] == json.loads(json.dumps(scores.json()))
    rows = found["runs"]["maml"]["correlations"]
    assert set(rows) == set(analysis.QUANTITIES)
    assert rows["distance"]["spearman"]["points"] == 5


@pytest.mark.usefixtures("drawn")
def test_the_tables_and_the_pictures(metaccord: Run, run: Path) -> None:
    result = metaccord(f"analyse run {QUICK}")
    assert result.code == 0, result.err
    assert "measured maml at step 4, 5/5 checkpoints" in result.err
    assert "protocol: transductive, 6 test tasks, 1 steps, seed 0" in result.out
    assert "coherence of trajectories (cosine)" in result.out
    assert "not independent" in result.out
    pictures = [Path(line) for line in result.out.splitlines() if line.endswith(".png")]
    names = ["trajectories", "generalisation", "plane-maml"]
    assert pictures == [Path("run/plots") / f"{name}.png" for name in names]
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.with_suffix(".svg").read_text().rstrip().endswith("</svg>")


def test_finished_checkpoints_are_not_measured_again(
    metaccord: Run, run: Path, measured: list[int], along: Path
) -> None:
    first = metaccord(f"analyse run {QUICK} --json --out pictures")
    assert measured == [0, 1, 2, 3, 4]
    left = {k: v for k, v in snapshot(run).items() if k != "analysis.json"}
    assert left == snapshot(along), "looking changes nothing else"
    again = metaccord(f"analyse run {QUICK} --json --out pictures")
    assert (again.code, again.out, len(measured)) == (0, first.out, 5)
    longer = stored.load_state(run)[0].changed(["steps=5", "keep_every=1"])
    list(mc.run(longer, run, resume=True))
    assert metaccord(f"analyse run {QUICK}").code == 0
    assert measured[5:] == [5]


@pytest.mark.parametrize(
    "other",
    ["--tasks 7 --curvature-tasks 2", "--tasks 6 --curvature-tasks 0", f"{QUICK} --steps 2"],
)
def test_a_changed_protocol_measures_anew(
    metaccord: Run, run: Path, measured: list[int], other: str
) -> None:
    assert metaccord(f"analyse run {QUICK}").code == 0
    assert metaccord(f"analyse run {other}").code == 0
    assert measured[5:] == [0, 1, 2, 3, 4]


def test_a_signal_ends_it_and_the_same_command_goes_on(
    metaccord: Run, run: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = analysis.measure

    def disturbed(*given: Any, **named: Any) -> Any:
        if len(measured) == 2:
            signal.raise_signal(signal.SIGTERM)
        return watched(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(analysis, "measure", disturbed)
        result = metaccord(f"analyse run {QUICK}")
    assert (result.code, result.out) == (143, "")
    assert "interrupted: measurements are kept; the same command goes on" in result.err
    assert measured == [0, 1, 2]
    assert not (run / "plots").exists()
    assert metaccord(f"analyse run {QUICK}").code == 0
    assert measured == [0, 1, 2, 3, 4]


def test_a_damaged_checkpoint_is_left_out(metaccord: Run, run: Path) -> None:
    flip(run / "checkpoints" / "step-000002" / "tensors.safetensors")
    result = metaccord(f"analyse run {QUICK} --json")
    assert result.code == 0, result.err
    points = scores_of(result.out)["runs"]["maml"]["points"]
    assert [point["step"] for point in points] == [0, 1, 3, 4]
    assert "step-000002" in result.err
    assert "left out" in result.err
    assert (run / "checkpoints" / "step-000002").exists(), "it is not touched"


def test_a_replaced_checkpoint_is_measured_again(
    metaccord: Run, run: Path, measured: list[int], place: Path
) -> None:
    """The name is the same, the content is another; another run's is left out."""
    assert metaccord(f"analyse run {QUICK}").code == 0
    there = run / "checkpoints" / "step-000003"
    found = checkpoint_files.load(there)
    half = {name: t / 2 if t.is_floating_point() else t for name, t in found.tensors.items()}
    for name, content in checkpoint_files.pack(found._replace(tensors=half)).items():
        (there / name).write_bytes(content)
    assert metaccord(f"analyse run {QUICK}").code == 0
    assert measured[5:] == [3]
    train(place / "other", "steps=4", "keep_every=1", "outer.lr=0.1")
    for file in there.iterdir():
        file.write_bytes((place / "other" / file.relative_to(run)).read_bytes())
    result = metaccord(f"analyse run {QUICK}")
    assert result.code == 0
    assert measured[6:] == []
    assert "checkpoint of another run" in result.err


def test_damaged_measurements_are_made_again(
    metaccord: Run, run: Path, measured: list[int]
) -> None:
    assert metaccord(f"analyse run {QUICK}").code == 0
    flip(run / "analysis.json")
    result = metaccord(f"analyse run {QUICK}")
    assert result.code == 0
    assert "analysis.json is damaged" in result.err
    assert len(measured) == 10


def test_several_runs_in_one_figure(
    metaccord: Run, run: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(run, place / "twin")
    seen: list[list[str]] = []

    def drawn(runs: dict[str, analysis.Analysis], out: Path) -> list[Path]:
        seen.append([str(out), *runs])
        return []

    monkeypatch.setattr(of_analyses, "of_analyses", drawn)
    train(place / "fine", "steps=2", base="finetune")
    command = "--tasks 4 --curvature-tasks 0 --json --out pictures"
    found = scores_of(metaccord(f"analyse run twin fine {command}").out)
    assert list(found["runs"]) == ["run", "twin", "finetune"], "equal labels: told by their folders"
    assert found["runs"]["run"]["points"] == found["runs"]["twin"]["points"]
    assert found["runs"]["finetune"]["points"][0]["spectral_norm"] is None
    assert seen == [["pictures", "run", "twin", "finetune"]]


def test_quadratics_have_their_own_criterion(metaccord: Run, place: Path) -> None:
    """Every Hessian is known: its largest eigenvalue is the condition."""
    train_words = "--steps 2 --out q --set num_tasks=2 tasks.condition=6 tasks.dim=3 model.dim=3"
    assert metaccord(f"train quadratics {train_words}").code == 0
    found = scores_of(metaccord("analyse q --tasks 4 --json").out)
    for point in found["runs"]["maml"]["points"]:
        assert point["spectral_norm"]["mean"] == pytest.approx(6.0)
        assert point["curvature_tasks"] == 4, "30, or as many as there are"


@pytest.mark.usefixtures("drawn")
def test_one_number_has_no_plane(metaccord: Run, place: Path) -> None:
    words = "--steps 1 --out q --set num_tasks=2 tasks.dim=1 model.dim=1 tasks.condition=1"
    assert metaccord(f"train quadratics {words}").code == 0
    result = metaccord("analyse q --tasks 4 --json")
    assert result.code == 0, result.err
    assert "a plane needs at least 2" in result.err
    assert len(scores_of(result.out)["pictures"]) == 2


BAD = [
    ("analyse", 2, ["needs the folder of a run"]),
    ("analyse nowhere", 2, ["'nowhere' holds no run"]),
    ("analyse run --tasks 1", 2, ["tasks is 1", "at least 2"]),
    ("analyse run --tasks 4 --curvature-tasks 5", 2, ["curvature_tasks=5", "=4"]),
    ("analyse run --curvature-tasks 1", 2, ["curvature_tasks=1"]),
    ("analyse run --protocol frozn", 2, ["did you mean 'frozen'?"]),
    ("analyse run --steps -1", 2, ["steps is -1"]),
    (f"analyse run {QUICK} --json --out run/run.json", 2, ["cannot be a folder"]),
]


@pytest.mark.parametrize(("command", "code", "words"), BAD)
def test_bad_words(metaccord: Run, run: Path, command: str, code: int, words: list[str]) -> None:
    refused(metaccord(command), code, words)
    assert not (run / "plots").exists()


def test_runs_without_a_state_are_refused(metaccord: Run, run: Path, place: Path) -> None:
    train(place / "other", "steps=1", "tasks.shots=5")
    refused(metaccord("analyse run other"), 2, ["other was trained for other tasks", "shots"])
    for folder in (run / "checkpoints").iterdir():
        flip(folder / "state.json")
    result = metaccord(f"analyse run {QUICK} --json")
    assert (result.code, result.out) == (4, "")
    assert len(result.errors) == 1
    assert "no intact checkpoint" in result.errors[0]
    for folder in list((run / "checkpoints").iterdir()):
        folder.rename(place / folder.name)
    refused(metaccord("analyse run"), 4, ["no checkpoint", "keep_every"])


def test_the_bar_of_a_terminal(metaccord: Run, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    result = metaccord(f"analyse run {QUICK}")
    assert result.code == 0
    assert "5/5" in result.err
