"""Tasks over anybody's folder of pictures: what is drawn, what is refused, what is stored."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.data.pictures.decode import decode
from metaccord.errors import DataError, UsageError
from metaccord.serial import from_tree, to_tree
from metaccord.tasks import Folders, folders, from_folders
from metaccord.tasks.stream import distinct, words
from tests.drawn import folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh cache."""
    monkeypatch.setenv("METACCORD_CACHE", str(tmp_path / "cache"))
    folders._opened.cache_clear()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Classes of 4 to 13 pictures."""
    return folder(tmp_path / "pictures", {f"c{i}": 4 + i for i in range(10)}, side=20)


def test_what_the_data_decide(root: Path) -> None:
    tasks = from_folders(root)
    assert (tasks.size, tasks.mode, tasks.ways, tasks.queries) == (28, "colour", 2, 3)
    assert tasks.labels == 10
    assert tasks.names("test") == tuple(f"c{i}" for i in range(10))
    assert [len(tasks.members(split)) for split in ("train", "validation", "test")] == [6, 2, 2]
    large = folder(root.parent / "large", 6, 3, side=90)
    assert from_folders(large).size == 84
    for path in large.rglob("*.png"):
        with mc_open(path) as picture:
            picture.convert("L").save(path)
    assert from_folders(large).mode == "grey"


def mc_open(path: Path) -> Any:
    from PIL import Image

    return Image.open(path)


def test_episodes_hold_the_pictures_that_they_name(root: Path) -> None:
    """A slow twin: each example is some file of the class that its label stands for."""
    tasks = from_folders(root, ways=2, shots=2, queries=2, seed=3)
    episode = tasks.episodes("train", 5, range(3))
    assert episode.support.inputs.shape == (3, 4, 3, 28, 28)
    assert episode.query.targets.tolist() == [[0, 0, 1, 1]] * 3
    names = tasks.names("train")
    for t in range(3):
        seen = []
        for part in (episode.support, episode.query):
            for x, label in zip(part.inputs[t], part.targets[t], strict=True):
                name = names[int(episode.extra["classes"][t, label])]
                assert name in tasks.members("train")
                files = sorted((root / name).iterdir())
                pixels = [decode(f.read_bytes(), tasks.coding.form, f.name) for f in files]
                coded = tasks.coding.scaled(torch.from_numpy(np.stack(pixels)))
                (where,) = np.flatnonzero([torch.equal(x, c) for c in coded])
                seen.append((name, int(where)))
        assert len(set(seen)) == 8, "a picture is there twice"


def test_an_episode_depends_on_its_address_alone(root: Path) -> None:
    tasks = from_folders(root, ways=2, queries=2)
    whole = tasks.episodes("test", 7, range(5))
    part = tasks.episodes("test", 7, range(2, 4))
    assert torch.equal(whole.support.inputs[2:4], part.support.inputs)
    other = replace(tasks, seed=1).episodes("test", 7, range(5))
    assert not torch.equal(whole.query.inputs, other.query.inputs)


def test_splits_share_no_class_and_follow_from_the_seed(root: Path) -> None:
    seen = set()
    for seed in range(5):
        tasks = from_folders(root, split_seed=seed)
        members = [set(tasks.members(s)) for s in ("train", "validation", "test")]
        assert sum(map(len, members)) == len(set.union(*members)) == 10
        seen.add(tuple(sorted(members[2])))
    assert len(seen) > 2
    named = from_folders(root, test=("c1", "c7"), validation=("c0", "c2"))
    assert named.members("test") == ("c1", "c7")


def test_explicit_folders_are_the_split(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    for number, (name, count) in enumerate((("train", 4), ("val", 2), ("test", 3))):
        folder(root / name, {f"{name}{i}": 4 for i in range(count)}, seed=number)
    tasks = from_folders(root)
    assert tasks.members("test") == ("test0", "test1", "test2")
    assert tasks.ways == 2
    with pytest.raises(UsageError, match="leave tasks"):
        from_folders(root, split=(4, 2, 3))
    (root / "other").mkdir()
    with pytest.raises(DataError, match="'other' beside the folders for training and test"):
        from_folders(root)
    (root / "other").rmdir()
    shutil.rmtree(root / "val")
    folders._opened.cache_clear()
    assert from_folders(root).members("validation") == ()


def test_distinct_is_uniform_and_without_repetition() -> None:
    raw = words(0, "x", 0, 0, 3 * 24_000).reshape(-1, 3)
    found = distinct(raw, np.full(len(raw), 4))
    assert all(len(set(row)) == 3 for row in found[:1000].tolist())
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 1000) ** 2 / 1000).sum() < 60  # chi-squared with 23 degrees of freedom
    sizes = np.array([3, 5, 100])
    rows = distinct(words(1, "x", 0, 0, 9).reshape(3, 3), sizes)
    assert (rows < sizes[:, None]).all()
    assert sorted(rows[0].tolist()) == [0, 1, 2]


def test_a_run_needs_no_folder_to_know_its_coding(root: Path) -> None:
    tasks = from_folders(root)
    tree = to_tree(tasks)
    shutil.rmtree(root)
    again = from_tree(tree)
    assert again == tasks
    assert again.coding == tasks.coding
    folders._opened.cache_clear()
    with pytest.raises(DataError, match="does not exist"):
        again.episodes("train", 0, range(1))


def test_a_changed_folder_is_refused(root: Path) -> None:
    tasks = from_folders(root)
    (root / "c3" / "0001.png").unlink()
    folders._opened.cache_clear()
    for look in (tasks.settled, lambda: tasks.episodes("train", 0, range(1))):
        with pytest.raises(DataError, match="has changed: its fingerprint is"):
            look()
    assert from_folders(root).fingerprint != tasks.fingerprint


def test_training_statistics_are_of_training_classes(root: Path) -> None:
    tasks = from_folders(root)
    files = [f for name in tasks.members("train") for f in (root / name).iterdir()]
    pixels = np.stack([decode(f.read_bytes(), tasks.coding.form, f.name) for f in files])
    assert np.allclose(tasks.mean, pixels.mean((0, 2, 3)), atol=1e-4)
    assert np.allclose(tasks.deviation, pixels.std((0, 2, 3)), atol=1e-4)
    assert from_folders(root, mode="ink", accept_leaks=True).coding.deviation == (1.0,)


def test_classes_with_too_few_pictures(root: Path) -> None:
    with pytest.raises(DataError, match=r"class 'c0' of .* has 4 pictures.*too_few=leave_out"):
        from_folders(root, queries=6)
    before = from_folders(root, queries=3)
    tasks = from_folders(root, queries=6, too_few="leave_out", ways=2, split=(0.5, 0, 0.5))
    counts = tasks.held().pictures.recipe.counts
    for split in ("train", "test"):
        assert all(counts[c] >= 7 for c in tasks.classes(split))
    more = from_folders(root, queries=4, too_few="leave_out")
    assert [more.members(s) for s in ("train", "test")] == [
        before.members(s) for s in ("train", "test")
    ], "leaving classes out must not change who is in which split"


def leak(root: Path, tasks: Folders) -> tuple[str, str]:
    one, other = tasks.members("train")[0], tasks.members("test")[1]
    shutil.copy(root / one / "0002.png", root / other / "zzz.png")
    return f"{one}/0002.png", f"{other}/zzz.png"


def test_identical_pictures_across_splits_are_refused(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = leak(root, from_folders(root))
    with pytest.raises(DataError, match="identical") as caught:
        from_folders(root)
    assert all(name in str(caught.value) for name in names)
    with caplog.at_level(logging.WARNING, "metaccord"):
        from_folders(root, accept_leaks=True).episodes("train", 0, range(1))
    assert "results on the test split may be too good" in caplog.text


def test_classes_of_one_name_across_splits_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    folder(root / "train", {"a": 3, "b": 3, "c": 3})
    folder(root / "test", {"d": 3, "B": 3}, seed=1)
    with pytest.raises(DataError, match=r"class 'b' of .* is in the test and in the train split"):
        from_folders(root)
    from_folders(root, accept_leaks=True)


def few(count: int) -> Callable[[Path], None]:
    return lambda root: [shutil.rmtree(p) for p in sorted(root.iterdir())[count:]] and None


def spoiled(root: Path) -> None:
    (root / "c2" / "0001.png").write_bytes(b"no picture")


def one_picture(root: Path) -> None:
    for path in sorted((root / "c5").iterdir())[1:]:
        path.unlink()


BAD: list[tuple[Callable[[Path], None], dict[str, Any], type[Exception], str]] = [
    (few(1), {}, DataError, "there are 1 classes"),
    (few(3), {}, DataError, r"3 classes"),
    (spoiled, {}, DataError, r"c2/0001.png is no intact PNG or JPEG"),
    (one_picture, {}, DataError, "class 'c5' of .* has 1 pictures"),
    (few(10), {"ways": 7}, DataError, "tasks.ways is 7: lower it"),
    (few(10), {"ways": 1}, UsageError, "at least 2 classes"),
    (few(10), {"ways": -1}, UsageError, "tasks.ways is -1"),
    (few(10), {"size": 5000}, UsageError, "tasks.size is 5000"),
    (few(10), {"mode": "rgb"}, UsageError, "unknown tasks.mode 'rgb'"),
    (few(10), {"fit": "pad"}, UsageError, "unknown tasks.fit"),
    (few(10), {"too_few": "drop"}, UsageError, "unknown tasks.too_few"),
    (few(10), {"split": (9, 2, 2)}, UsageError, "tasks.split"),
    (few(10), {"mean": (1.0,)}, UsageError, "tasks.mean has 1 numbers"),
    (few(10), {"deviation": (1.0, 0.0, 1.0)}, UsageError, "above 0"),
    (few(10), {"test": ("c77",)}, DataError, "names the class 'c77'"),
]


@pytest.mark.parametrize(("spoil", "settings", "error", "words_"), BAD)
def test_bad_input(
    spoil: Callable[[Path], None],
    settings: dict[str, Any],
    error: type[Exception],
    words_: str,
    root: Path,
) -> None:
    spoil(root)
    with pytest.raises(error, match=words_):
        from_folders(root, **settings)


def test_it_learns(tmp_path: Path) -> None:
    """Shapes and colours of new classes are told apart after adaptation, far above chance."""
    root = folder(tmp_path / "shapes", 12, 12, side=16, seed=4)
    tasks = from_folders(root, ways=2, shots=2, queries=6, size=16)
    model = mc.models.Conv4(2, 3, 8, 16)
    method = mc.methods.fomaml(steps=2, lr=0.3)
    objective = mc.Objective(model, mc.losses.cross_entropy)
    *_, last = mc.train(method, objective, tasks, steps=25, num_tasks=4, seed=0)
    result = mc.evaluate(method, objective, last.state, tasks, mc.Protocol(tasks=20))
    assert result.accuracy.mean - result.accuracy.half > 0.6
