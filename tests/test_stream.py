"""Episodes are pure functions of their address; hashes of words and places are kept for ever.

Only integers are hashed: floats may differ in the last bit between machines.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from metaccord import keys
from metaccord.errors import UsageError
from metaccord.rules import SGD
from metaccord.tasks import Sinusoid
from metaccord.tasks.stream import below, permutation, uniforms, words
from tests import cases


def sha(values: object) -> str:
    array = values.numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.dtype == np.uint64:
        return hashlib.sha256(array.astype("<u8").tobytes()).hexdigest()[:16]
    return hashlib.sha256(array.astype("<i8").tobytes()).hexdigest()[:16]


def places(found: torch.Tensor) -> torch.Tensor:
    """Return the places of grid points among 50: ``[T, n]``."""
    return ((found[..., 0] + 5) * 4.9).round().long()


RAW = words(7, "train", 3, 5, 40)
SINE = Sinusoid(seed=3).episodes("validation", 2, range(4))
ARRANGED = SGD(steps=7, lr=0.1, batch=4).arranged(cases.episodes("plain", seed=1))
HASHES = {
    "words": (RAW, "30ca65b9667bd667"),
    "permutation": (permutation(RAW), "3f8f0ddbdbefad6f"),
    "below": (below(RAW, 17), "a08a6adb2183d716"),
    "mix": (keys.mix(torch.arange(-3, 9), 4), "3e072949468bfd8b"),
    "mix of keys": (keys.mix(torch.arange(5), torch.arange(5)), "0ce5ad8585cfeccc"),
    "task permutation": (keys.permutation(torch.tensor([0, 9, -4]), 23), "0b4a0c6c9eca772b"),
    "uniform": ((keys.uniform(torch.tensor(5), (4, 5)) * 2**40).long(), "d75788ff2133e171"),
    "sine places": (places(SINE.support.inputs), "cc81fd247a96a215"),
    "sine order": (SINE.extra["order"], "a7bcb7e6d8fb31f9"),
    "sine dropout": (SINE.extra["dropout"], "9ba3f2b1a8f74d6c"),
}


@pytest.mark.parametrize("name", HASHES)
def test_hashes_are_kept(name: str) -> None:
    found, expected = HASHES[name]
    assert sha(found) == expected


def test_places_are_places() -> None:
    """50 grid points, 10 different ones in a support set; the query set is the whole grid."""
    found = places(SINE.support.inputs)
    assert all(len(set(row.tolist())) == 10 for row in found)
    assert places(SINE.query.inputs)[0].tolist() == list(range(50))


@pytest.mark.parametrize("source", [Sinusoid(), Sinusoid(inputs="uniform"), cases.Blobs()])
def test_an_episode_depends_on_its_address_alone(source: object) -> None:
    """Alone or among others, in any order, after any draw from the global generators."""
    whole = source.episodes("train", 4, range(6))
    torch.manual_seed(1)
    np.random.seed(1)
    part = source.episodes("train", 4, range(2, 5))
    rows = [tuple(t[2:5] for t in cases.bits(tuple(whole))), cases.bits(tuple(part))]
    assert cases.same_bits(tuple(rows[0]), tuple(rows[1]))


def test_each_part_of_the_address_counts() -> None:
    found = {
        words(seed, split, step, task, 1)[0]
        for seed in range(3)
        for split in ("train", "validation", "test")
        for step in range(12)
        for task in range(12)
    }
    assert len(found) == 3 * 3 * 12 * 12
    assert np.array_equal(words(1, "test", 2, 3, 9)[:4], words(1, "test", 2, 3, 4))


def test_uniforms_and_integers_are_fair() -> None:
    """Chi-squared of 50 000 draws in 20 cells, five standard deviations."""
    raw = words(0, "train", 0, 0, 50_000)
    unit = uniforms(raw)
    assert 0 <= unit.min() < unit.max() < 1
    assert below(raw, 20).max() == 19
    keyed = keys.uniform(torch.tensor(1), (50_000,)).numpy()
    for sample in (unit, keyed):
        counts = np.histogram(sample, 20, (0, 1))[0]
        chi = ((counts - 2500) ** 2 / 2500).sum()
        assert chi < 19 + 5 * (2 * 19) ** 0.5


def test_every_place_of_a_permutation_is_fair() -> None:
    """Counts of 6 000 permutations of 4, by place and value."""
    found = keys.permutation(keys.mix(torch.arange(6000), 1), 4)
    assert torch.equal(found.sort(1).values, torch.arange(4).expand(6000, 4))
    counts = torch.stack([found.eq(value).sum(0) for value in range(4)])
    assert (counts - 1500).abs().max() < 5 * (6000 * 0.25 * 0.75) ** 0.5


def test_mini_batches_pass_through_all_examples_and_straddle() -> None:
    """6 examples in batches of 4: 28 picks are four passes and a part of the fifth."""
    plain = cases.episodes("plain", seed=1).support.inputs
    chosen = ARRANGED.support.inputs
    assert chosen.shape == (4, 28, 3)
    index = (chosen[:, :, None] == plain[:, None]).all(-1).long().argmax(2)
    for task in range(4):
        passes = index[task].split(6)
        assert all(sorted(p.tolist()) == list(range(6)) for p in passes[:4])
        assert len(set(passes[4].tolist())) == 4
        assert len({tuple(p.tolist()) for p in passes[:4]}) > 1
    assert not torch.equal(index[0], index[1])
    rule = SGD(steps=7, lr=0.1, batch=4)
    joined = torch.cat([rule.part(ARRANGED.support, k).inputs for k in range(7)], 1)
    assert torch.equal(joined, chosen)


def test_bad_addresses_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown split 'tests': did you mean 'test'"):
        Sinusoid().episodes("tests", 0, range(1))
    with pytest.raises(UsageError, match="at least 1"):
        Sinusoid(shots=0)
    with pytest.raises(UsageError, match="50 points"):
        Sinusoid(shots=51)
