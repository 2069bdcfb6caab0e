"""Hand-sign episodes: new signs for test, unseen pictures for validation, any label order."""

from __future__ import annotations

import hashlib
from itertools import combinations, permutations

import numpy as np
import pytest
import torch

from metaccord.data import sign_digits
from metaccord.errors import DataError, UsageError
from metaccord.tasks.sign_digits import DEVIATION, MEAN, SignDigits
from metaccord.tasks.source import SPLITS
from metaccord.types import Episode
from tests.folder import FOLDER

FILE = None if FOLDER is None else FOLDER / "sign_digits" / "sign_digits32.npz"
needs_data = pytest.mark.skipif(
    FILE is None or not FILE.is_file(), reason="needs the hand signs: set METACCORD_DATA"
)


def source(**options) -> SignDigits:
    return SignDigits(root=str(FOLDER), **options)


def rows(inputs: torch.Tensor) -> np.ndarray:
    """Return which pictures of the whole set the inputs are; each is there exactly once."""
    known = {p.tobytes(): i for i, p in enumerate(sign_digits.load(FILE).pictures)}
    scale, shift = (torch.tensor(x)[:, None, None] for x in (DEVIATION, MEAN))
    pixels = (inputs * scale + shift).round().to(torch.uint8).numpy()
    found = [known[p.tobytes()] for p in pixels.reshape(-1, 3, 32, 32)]
    return np.array(found).reshape(inputs.shape[:2])


def all_of(tasks: SignDigits, split: str) -> set[int]:
    return {int(i) for digit in tasks.classes(split) for i in tasks.pictures(split, int(digit))}


@pytest.mark.parametrize("split_seed", range(4))
def test_test_signs_are_new_and_validation_pictures_are_unseen(split_seed):
    tasks = SignDigits(split_seed=split_seed)
    train, validation, test = (set(tasks.classes(s).tolist()) for s in SPLITS)
    assert train == validation
    assert not train & test
    assert train | test == set(range(10))
    pools = [all_of(tasks, s) for s in SPLITS]
    assert not any(a & b for a, b in combinations(pools, 2))
    assert set.union(*pools) == set(range(2062))
    for digit in train:
        held, kept = (len(tasks.pictures(s, digit)) for s in ("validation", "train"))
        assert held == sign_digits.COUNTS[digit] // 5 == (held + kept) // 5


def test_the_split_seed_draws_signs_and_pictures():
    splits = {tuple(sorted(SignDigits(split_seed=s).classes("test"))) for s in range(50)}
    assert len(splits) > 30, "of 252"
    counts = np.bincount([d for split in splits for d in split], minlength=10)
    assert counts.min() > 0
    held = {tuple(SignDigits(split_seed=s).pictures("test", 3)) for s in _holding(3, "test")}
    assert len(held) == 1, "all pictures of a test sign are for test"
    held = {tuple(SignDigits(split_seed=s).pictures("validation", 3)) for s in _holding(3, "train")}
    assert len(held) > 10
    again = SignDigits(split_seed=5, seed=9)
    assert (again.classes("test") == SignDigits(split_seed=5).classes("test")).all()


def _holding(digit: int, split: str) -> list[int]:
    return [s for s in range(50) if digit in SignDigits(split_seed=s).classes(split)]


@needs_data
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("ways", [2, 5])
def test_an_episode_holds_the_pictures_it_names(split, ways):
    tasks = source(ways=ways, shots=2, queries=3, split_seed=1)
    episode = tasks.episodes(split, 5, range(6))
    assert episode.support.inputs.shape == (6, 2 * ways, 3, 32, 32)
    assert episode.query.inputs.shape == (6, 3 * ways, 3, 32, 32)
    assert episode.support.inputs.dtype == torch.float32
    digits = sign_digits.load(FILE).labels
    named = episode.extra["classes"]
    assert named.shape == (6, ways)
    assert named.dtype == torch.int64
    support, query = rows(episode.support.inputs), rows(episode.query.inputs)
    for batch, found in ((episode.support, support), (episode.query, query)):
        assert batch.targets.dtype == torch.int64
        assert (digits[found] == named.gather(1, batch.targets).numpy()).all()
        assert (batch.targets.diff(dim=1) >= 0).all(), "class by class"
        assert set(found.ravel().tolist()) <= all_of(tasks, split)
    for task in range(6):
        assert len(set(named[task].tolist())) == ways
        assert len({*support[task], *query[task]}) == 5 * ways, "no picture twice"


@needs_data
def test_every_picture_of_a_split_is_drawn_sometimes_and_no_other():
    tasks = source(shots=20, queries=20)
    for split in SPLITS:
        episode = tasks.episodes(split, 0, range(40))
        found = {*rows(episode.support.inputs).flat, *rows(episode.query.inputs).flat}
        assert found == all_of(tasks, split)


@needs_data
def test_all_label_orders_are_as_likely():
    orders = [
        tuple(o)
        for o in source(queries=1).episodes("test", 0, range(2400)).extra["classes"].tolist()
    ]
    expected = set(permutations(sorted(orders[0])))
    assert len(expected) == 120
    assert set(orders) == expected
    counts = np.array([orders.count(order) for order in expected])
    chi = ((counts - 20) ** 2 / 20).sum()
    assert chi < 180, "119 degrees of freedom: above 180 once in 4000 streams"


def flat(episode: Episode) -> list[torch.Tensor]:
    return [*episode.support[:2], *episode.query[:2], *episode.extra.values()]


@needs_data
def test_episodes_are_a_pure_function_of_their_address():
    whole = source().episodes("train", 3, range(4))
    some = source().episodes("train", 3, range(2, 4))
    assert all(torch.equal(a[2:], b) for a, b in zip(flat(whole), flat(some), strict=True))
    moved = [source(seed=1), source(split_seed=1)]
    others = [t.episodes("train", 3, range(4)) for t in moved]
    others += [
        source().episodes("validation", 3, range(4)),
        source().episodes("train", 4, range(4)),
    ]
    for other in others:
        assert not torch.equal(whole.support.inputs, other.support.inputs)
    digest = hashlib.sha256(rows(whole.support.inputs).tobytes())
    digest.update(whole.extra["classes"].numpy().tobytes())
    assert digest.hexdigest() == STORED, "the stream of episodes has changed: say so"


STORED = "c32b02231d23ef1e0ed6c5b5132e094937d591703103b1c619db87ffbb539b00"


@needs_data
def test_more_shots_keep_the_earlier_pictures():
    few, many = (source(shots=n).episodes("test", 0, range(2)) for n in (1, 3))
    assert torch.equal(few.support.inputs, many.support.inputs[:, ::3])
    assert torch.equal(few.extra["classes"], many.extra["classes"])
    tasks = source(shots=1, train_shots=4, queries=2)
    assert tasks.episodes("train", 0, range(1)).support.inputs.shape[1] == 20
    assert tasks.episodes("validation", 0, range(1)).support.inputs.shape[1] == 5


@needs_data
def test_the_whole_set_is_scaled_to_mean_0_and_deviation_1():
    pictures = sign_digits.load(FILE).pictures
    assert np.abs(pictures.mean((0, 2, 3)) - MEAN).max() < 0.05
    assert np.abs(pictures.std((0, 2, 3)) - DEVIATION).max() < 0.05
    inputs = source(queries=30).episodes("test", 0, range(20)).query.inputs
    assert inputs.mean().abs() < 0.3
    assert (inputs.std() - 1).abs() < 0.3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ways": 6}, "tasks.ways is 6, but the train split has 5 classes"),
        ({"ways": 1}, "at least 2"),
        ({"shots": 0}, "tasks.shots is 0"),
        ({"shots": 20, "queries": 22}, "validation split.* is 42: lower one"),
        ({"train_shots": 150}, "train split, .*165: lower one"),
    ],
)
def test_impossible_tasks_are_refused(wrong, words):
    with pytest.raises(UsageError, match=words):
        SignDigits(**wrong)


def test_unknown_splits_and_foreign_digits_are_refused():
    tasks = SignDigits()
    with pytest.raises(UsageError, match="did you mean 'test'"):
        tasks.classes("tests")
    with pytest.raises(UsageError, match="did you mean 'validation'"):
        tasks.episodes("validate", 0, range(1))
    with pytest.raises(UsageError, match="is not in the train split"):
        tasks.pictures("train", int(tasks.classes("test")[0]))


def test_missing_data_are_named_when_they_are_needed(tmp_path):
    tasks = SignDigits(root=str(tmp_path))
    with pytest.raises(DataError, match="sign_digits was not found"):
        tasks.episodes("train", 0, range(1))
