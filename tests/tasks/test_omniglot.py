"""Omniglot episodes: right pictures, disjoint splits, the same on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.data import omniglot, one_shot_runs
from metaccord.errors import UsageError
from metaccord.tasks.source import SPLITS
from tests.folder import FOLDER

pytestmark = pytest.mark.skipif(FOLDER is None, reason="needs Omniglot: set METACCORD_DATA")


def source(**options) -> mc.tasks.Omniglot:
    return mc.tasks.Omniglot(root=str(FOLDER), **options)


@pytest.mark.parametrize(
    ("partition", "counts"),
    [
        ("random", (1100, 100, 423)),
        ("vinyals", (1028, 172, 423)),
        ("background", (803, 161, 659)),
    ],
)
def test_splits_share_no_character(partition, counts):
    tasks = source(partition=partition)
    found = [set(tasks.classes(split)[:, 0].tolist()) for split in SPLITS]
    assert tuple(map(len, found)) == counts
    assert not found[0] & found[1] and not found[0] & found[2] and not found[1] & found[2]


def test_background_training_never_meets_the_evaluation_set():
    data = omniglot.load(FOLDER)
    tasks = source(partition="background")
    seen = np.concatenate([tasks.classes(s)[:, 0] for s in ("train", "validation")])
    assert (data.partition[seen] == 0).all()
    assert (data.partition[tasks.classes("test")[:, 0]] == 1).all()
    alphabets = [set(data.alphabet[tasks.classes(s)[:, 0]].tolist()) for s in SPLITS]
    assert not alphabets[0] & alphabets[1]


def test_rotations_as_classes_multiply_training_classes_only():
    tasks = source(rotations="classes")
    assert [len(tasks.classes(s)) for s in SPLITS] == [4400, 100, 423]


def test_an_episode_holds_the_pictures_it_names():
    pictures = omniglot.load(FOLDER).pictures
    tasks = source(ways=4, shots=2, queries=3, rotations="none")
    episode = tasks.episodes("test", 5, range(2))
    assert episode.support.inputs.shape == (2, 8, 1, 28, 28)
    assert episode.query.inputs.shape == (2, 12, 1, 28, 28)
    assert episode.support.targets[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    allowed = pictures[tasks.classes("test")[:, 0]].reshape(-1, 20, 784)
    for task in range(2):
        for way in range(4):
            mine = [episode.support.inputs[task, 2 * way + i] for i in range(2)]
            mine += [episode.query.inputs[task, 3 * way + i] for i in range(3)]
            flat = torch.stack(mine).flatten(1).numpy().astype(np.uint8)
            homes = [set(np.flatnonzero((allowed == one).all(-1).any(1)).tolist()) for one in flat]
            assert set.intersection(*homes), "all examples of a class come from one character"
            assert len({one.tobytes() for one in flat}) == 5, "support and query do not overlap"


def test_drawn_rotations_turn_a_class_as_a_whole():
    plain, turned = source(rotations="none"), source(rotations="draw")
    a, b = (t.episodes("train", 1, range(3)).support.inputs for t in (plain, turned))
    for task in range(3):
        for way in range(5):
            options = [torch.rot90(a[task, way, 0], k) for k in range(4)]
            assert any(torch.equal(b[task, way, 0], option) for option in options)
    assert not torch.equal(a, b)


@pytest.mark.parametrize("rotations", ["classes", "draw", "none"])
def test_classes_name_the_character_and_its_turn(rotations):
    pictures = omniglot.load(FOLDER).pictures
    tasks = source(rotations=rotations, shots=2)
    episode = tasks.episodes("train", 2, range(6))
    named = episode.extra["classes"]
    assert named.shape == (6, 5)
    assert named.dtype == torch.int64
    allowed = set(tasks.classes("train")[:, 0].tolist())
    turns = set()
    for task in range(6):
        for way in range(5):
            character, turn = divmod(int(named[task, way]), 4)
            shown = np.rot90(pictures[character], turn, axes=(-2, -1)).reshape(20, -1)
            flat = episode.query.inputs[task, 15 * way : 15 * (way + 1)].flatten(1).numpy()
            assert all((shown == one).all(1).any() for one in flat)
            assert character in allowed
            turns.add(turn)
    assert turns == ({0} if rotations == "none" else {0, 1, 2, 3})


def test_episodes_are_a_pure_function_of_their_address():
    tasks = source()
    whole = tasks.episodes("train", 3, range(4)).support.inputs
    again = source().episodes("train", 3, range(2, 4)).support.inputs
    assert torch.equal(whole[2:], again)
    digest = hashlib.sha256(whole.numpy().astype(np.uint8).tobytes()).hexdigest()
    assert digest == STORED, "the stream of episodes has changed: say so in the changelog"


STORED = "c6e43d4cb98606ee0b234d5534638f41395078e224087320196205d7ca19ab14"


def test_the_official_runs_are_the_official_runs():
    tasks = mc.tasks.OneShotRuns(root=str(FOLDER))
    episode = tasks.episodes("test", 0, range(20))
    assert episode.support.inputs.shape == (20, 20, 1, 28, 28)
    runs = one_shot_runs()
    right = np.take_along_axis(runs.train_class, runs.answers.astype(int), 1)
    assert (right == runs.test_class).all()
    assert (np.sort(episode.query.targets.numpy(), 1) == np.arange(20)).all()
    data = omniglot.load(FOLDER)
    first = data.pictures[runs.test_class[3, 7], runs.test_drawer[3, 7]]
    assert np.array_equal(episode.query.inputs[3, 7, 0].numpy(), first)
    with pytest.raises(UsageError, match="test only"):
        tasks.episodes("train", 0, range(1))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ways": 424}, "424.*validation split has 100 classes"),
        ({"ways": 1}, "at least 2"),
        ({"shots": 10, "queries": 11}, "20 drawings.*21"),
        ({"partition": "vinyal"}, "did you mean 'vinyals'"),
        ({"rotations": "drawn"}, "did you mean 'draw'"),
    ],
)
def test_impossible_tasks_are_refused(wrong, words):
    with pytest.raises(UsageError, match=words):
        source(**wrong)
