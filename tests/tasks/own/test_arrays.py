"""Tasks over arrays: what is drawn from which split, with which statistics, what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.defaults import default
from metaccord.errors import CheckpointError, DataError, UsageError
from metaccord.tasks.source import SPLITS
from tests.cli.support import call
from tests.tasks.own.made import blobs, lines


def test_classes_are_new_in_each_split_and_labels_follow_them() -> None:
    X, y = blobs()
    tasks = mc.tasks.from_arrays(X, y, shots=2, queries=4)
    seen = {}
    for split in SPLITS:
        found = tasks.episodes(split, 3, range(5))
        assert found.support.inputs.shape == (5, 10, 4)
        assert found.query.targets.tolist() == [[label for label in range(5) for _ in range(4)]] * 5
        seen[split] = {tasks.names(split)[i] for i in found.extra["classes"].flatten().tolist()}
        assert seen[split] <= set(tasks.members(split))
        raw = found.support.inputs.double() * torch.tensor(tasks.coding.scale)
        raw = (raw + torch.tensor(tasks.coding.centre)).numpy()
        for rows, classes in zip(raw, found.extra["classes"], strict=True):
            for row, which in zip(rows.reshape(5, 2, 4), classes, strict=True):
                own = X[y == int(tasks.names(split)[which])]
                assert all(np.abs(own - point).sum(1).min() < 1e-5 for point in row)
    assert not seen["train"] & seen["test"]
    assert tasks.labels == 15
    assert tasks.classifies


def test_an_episode_depends_on_its_address_alone() -> None:
    tasks = mc.tasks.from_arrays(*blobs(), seed=4)
    whole, part = tasks.episodes("test", 2, range(4)), tasks.episodes("test", 2, range(2, 4))
    assert torch.equal(whole.support.inputs[2:], part.support.inputs)
    again = replace(tasks).episodes("test", 2, range(4))
    assert torch.equal(whole.query.inputs, again.query.inputs)
    assert not torch.equal(whole.support.inputs, tasks.episodes("test", 3, range(4)).support.inputs)


def test_groups_are_tasks_of_their_true_sizes() -> None:
    X, y, groups = lines(rows=15)
    keep = ~((groups == 3) & (np.arange(len(groups)) % 15 > 9))
    tasks = mc.tasks.from_arrays(
        X[keep], y[keep], groups=groups[keep], shots=8, queries=99, train=("3", "4")
    )
    found = tasks.episodes("train", 0, range(40))
    assert found.support.inputs.shape == (40, 8, 3)
    sizes = zip(found.extra["group"].tolist(), found.query.sizes.tolist(), strict=True)
    seen = {(tasks.names("train")[group], size) for group, size in sizes}
    assert ("3", 2) in seen
    assert all(size == (2 if name == "3" else 7) for name, size in seen)
    values = tasks.coding.values(found.query.targets[0])
    group = int(tasks.names("train")[found.extra["group"][0]])
    assert all((abs(y[groups == group] - v) < 1e-4).any() for v in values[:2, 0].tolist())


def test_statistics_are_those_of_the_training_groups() -> None:
    X, y, groups = lines()
    tasks = mc.tasks.from_arrays(X, y, groups=groups)
    own = np.isin(groups.astype(str), tasks.members("train"))
    assert np.allclose(tasks.coding.centre, X[own].mean(0), rtol=1e-12)
    assert np.allclose(tasks.coding.target_scale, y[own].std(), rtol=1e-12)
    other = X.copy()
    other[~own] += 100.0
    assert mc.tasks.from_arrays(other, y, groups=groups).coding == tasks.coding
    assert mc.tasks.from_arrays(X, y, groups=groups, standardise=False).coding.scale == (1.0,)


def test_labels_with_groups_mean_the_same_in_each() -> None:
    X, y, groups = lines()
    labels = np.where(y > 50, "high", "low")
    tasks = mc.tasks.from_arrays(X, labels, groups=groups)
    assert (tasks.coding.aim, tasks.coding.classes) == ("classes", ("high", "low"))
    assert default(tasks).model["outputs"] == 2


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 8, 8), (2, 2, 2, 2)])
def test_inputs_of_any_shape_are_learnt(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 255, (60, *shape)).astype(np.uint8), np.repeat(np.arange(6), 10)
    tasks = mc.tasks.from_arrays(X, y, ways=2, queries=3, accept_leaks=True)
    experiment = default(tasks).changed(["steps=1", "num_tasks=2"])
    assert experiment.model["class"] == ("Conv4" if shape == (1, 8, 8) else "MLP")
    for record in mc.train(experiment.method, experiment.objective(), tasks, steps=1, num_tasks=2):
        assert record.step == 1


X, Y, G = lines(groups=4, rows=6)
OTHER = np.where(G == 1, "c", np.where(Y > 50, "a", "b"))
BAD = {
    "one class": ((X, [0] * 24), {}, DataError, r"one class, '0'"),
    "one group": ((X, Y), {"groups": ["a"] * 24}, DataError, r"one group, 'a'"),
    "one example": (([[1.0]], [0]), {}, DataError, r"at least 2 examples"),
    "lengths": ((X, Y[:-1]), {"groups": G}, DataError, r"24 rows in X and 23 in y"),
    "group lengths": ((X, Y), {"groups": G[:-1]}, DataError, r"24 rows in X and 23 in groups"),
    "numbers": ((X, Y), {}, DataError, r"y, row 0 is .*: labels are whole numbers or text"),
    "nan": (([[np.nan]] * 4, [0, 0, 1, 1]), {}, DataError, r"X, row 0 is missing"),
    "inf": ((X, Y * np.inf), {"groups": G}, DataError, r"y, row 0 is missing, not finite"),
    "text": (([["a"]] * 4, [0, 0, 1, 1]), {}, DataError, r"X holds text"),
    "object": ((np.array([{}, {}]), [0, 1]), {}, DataError, r"X holds object"),
    "ragged": (([[1], [1, 2]], [0, 1]), {}, DataError, r"X is ragged"),
    "constant": ((X, np.ones(24)), {"groups": G}, DataError, r"y is the same in all training rows"),
    "few classes": ((X, G), {"ways": 3}, DataError, r"4 classes for train and .* needs 3"),
    "few rows": ((X, G), {"shots": 7}, DataError, r"class of at least 8 rows, and there are 0"),
    "minimum": ((X, Y), {"groups": G, "minimum": 1}, UsageError, r"tasks\.minimum is 1"),
    "ways": ((X, G), {"ways": 1}, UsageError, r"tasks\.ways is 1"),
    "aim": ((X, Y), {"groups": G, "aim": "number"}, UsageError, r"did you mean 'numbers'"),
    "leak": (
        (np.concatenate([X, X]), [*Y, *Y]), {"groups": [*G, *(G + 9)], "shots": 3}, DataError,
        r"identical rows in different splits",
    ),
    "class leak": (
        (np.repeat([[1.0], [2.0], [3.0]], 40, 0), np.arange(120) % 6), {}, DataError,
        r"identical rows in different splits",
    ),
    "unseen class": (
        (X, OTHER), {"groups": G, "train": ["0", "2"], "test": ["1"]}, DataError,
        r"row 6 is of the class 'c', which no training group has",
    ),
    "constant class": ((X, ["a"] * 24), {"groups": G}, DataError, r"1 classes in training"),
    "many classes": (
        (np.arange(120.0), np.arange(120)), {"groups": np.arange(120) % 2}, DataError,
        r"60 classes in training: use 2 to 50, tasks\.aim=numbers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_what_cannot_be_learnt_is_refused(fault: str) -> None:
    data, options, kind, message = BAD[fault]
    with pytest.raises(kind, match=message):
        mc.tasks.from_arrays(*data, **options).episodes("train", 0, range(1))


def test_small_groups_are_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    X, y, groups = lines()
    keep = (groups != 5) | (np.arange(len(groups)) % 15 < 3)
    tasks = mc.tasks.from_arrays(X[keep], y[keep], groups=groups[keep], shots=5)
    assert "5" not in tasks.names("train")
    assert "fewer than 6 rows" in caplog.text
    assert "'5'" in caplog.text


def test_a_run_needs_the_data_only_to_draw(tmp_path: Path) -> None:
    X, y, groups = lines()
    tasks = mc.tasks.from_arrays(X, y, groups=groups, shots=5)
    settings = ["steps=2", "num_tasks=2", "plan.chunk=all"]
    list(mc.run(default(tasks).changed(settings), tmp_path / "run"))
    learner = mc.load(tmp_path / "run")
    scores = mc.evaluate(
        learner.method, learner.objective, learner.state, tasks, mc.Protocol(tasks=4)
    )
    assert scores.losses.shape[0] == 4
    experiment, _, _ = mc.stored.load_state(tmp_path / "run")
    assert experiment.tasks.coding == tasks.coding
    with pytest.raises(DataError, match=r"data were in the memory of the program that trained"):
        experiment.tasks.episodes("test", 0, range(1))
    more = default(tasks).changed([*settings, "steps=3"])
    assert [r.step for r in mc.run(more, tmp_path / "run", resume=True)] == [3]


def test_other_data_do_not_go_on_with_a_run(tmp_path: Path) -> None:
    X, y, groups = lines()
    settings = ["steps=2", "num_tasks=2", "plan.chunk=all"]

    def experiment(y: np.ndarray, *more: str) -> mc.Experiment:
        tasks = mc.tasks.from_arrays(X, y, groups=groups, shots=5)
        return default(tasks).changed([*settings, *more])

    list(mc.run(experiment(y), tmp_path / "run"))
    y[-1] += 1e-9
    with pytest.raises(CheckpointError, match=r"was made with other data .*fingerprint"):
        list(mc.run(experiment(y, "steps=3"), tmp_path / "run", resume=True))


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    X, y, groups = lines()
    path = tmp_path / "a.npz"
    np.savez(path, X=X, y=y, groups=groups)
    tasks = mc.tasks.Arrays(path=str(path)).settled()
    assert replace(tasks, data=None).layout().fingerprint == tasks.fingerprint
    np.savez(path, X=X, y=-y, groups=groups)
    with pytest.raises(DataError, match=r"has changed: its fingerprint is"):
        tasks.episodes("train", 0, range(1))
    path.unlink()
    assert tasks.coding.shape == (3,)
    with pytest.raises(DataError, match=r"cannot be read from"):
        tasks.episodes("train", 0, range(1))


FILES = {
    "no zip": (b"X,y", r"is no npz file"),
    "empty": (b"", r"is empty"),
    "no X": ({"x": X, "y": Y}, r"no array 'X' \(did you mean 'x'\?\)"),
    "objects": (
        {"X": X, "y": np.array([None] * 24)},
        r"'y' cannot be used \(it holds Python objects",
    ),
    "lengths": ({"X": X, "y": Y[1:]}, r"24 rows in X and 23 in y"),
    "nan": ({"X": X * np.nan, "y": G}, r"X, row 0 is missing"),
}


@pytest.mark.parametrize("fault", FILES)
def test_one_clear_line_for_a_bad_file(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content, message = FILES[fault]
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        (tmp_path / "a.npz").write_bytes(content)
    else:
        np.savez(tmp_path / "a.npz", **content)
    found = call(capsys, "train", "arrays:a.npz", "--steps", "1")
    assert (found.code, len(found.errors)) == (3, 1), found.err
    assert re.search(message, found.errors[0]), found.errors
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_settings_reach_data_in_memory() -> None:
    experiment = default(mc.tasks.from_arrays(*blobs()))
    changed = experiment.changed(["tasks.shots=3", "tasks.split_seed=5"])
    assert changed.tasks.episodes("train", 0, range(1)).support.inputs.shape == (1, 15, 4)
    assert changed.tasks.members("test") != experiment.tasks.members("test")
    assert changed.settled().tasks.fingerprint != experiment.settled().tasks.fingerprint


def test_arrays_name_the_splits(tmp_path: Path) -> None:
    """In memory and in a file; a group or class in two splits is refused."""
    X, y = blobs(8)
    splits = np.array(["train"] * 4 + ["dev"] * 2 + ["test"] * 2)[y]
    np.savez(tmp_path / "a.npz", X=X, y=y, splits=splits)
    for tasks in (
        mc.tasks.from_arrays(X, y, splits=splits), mc.tasks.Arrays(path=str(tmp_path / "a.npz"))
    ):  # fmt: skip
        found = [tasks.members(split) for split in ("train", "validation", "test")]
        assert found == [("0", "1", "2", "3"), ("4", "5"), ("6", "7")]
        assert tasks.coding.outputs == 2
        assert tasks.episodes("test", 0, range(1)).support.inputs.shape == (1, 10, 4)
    assert mc.tasks.from_arrays(X, y).settled().fingerprint != tasks.settled().fingerprint
    splits[0] = "test"
    for bad, settings, message in (
        (splits, {}, r"the class '0' is in two splits by splits, test \(row 0\) and train \(row 1"),
        (["tset"] * 96, {}, r"row 0, splits is 'tset': did you mean 'test'"),
        (["test"] * 96, {}, r"splits has no class for training"),
        (["test"] * 5, {}, r"96 rows in X and 5 in splits"),
        (splits, {"test": ["1"]}, r"has splits, which say who is in which"),
    ):
        with pytest.raises((DataError, UsageError), match=message):
            mc.tasks.from_arrays(X, y, splits=bad, **settings)
