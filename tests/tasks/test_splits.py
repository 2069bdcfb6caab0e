"""Splits by name: disjoint, whole, a pure function of their seed; and what leaks between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaccord.errors import DataError, UsageError
from metaccord.tasks.leaks import nearly_shared, refuse_leaks, row_digests, shared
from metaccord.tasks.source import SPLITS
from metaccord.tasks.splits import Division, divide
from metaccord.tasks.stream import subset, words

NAMES = [f"g{i}" for i in range(20)]
SHARES = st.floats(0, 1).map(lambda x: round(x, 2))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(3, 40), st.tuples(SHARES, SHARES, SHARES), st.integers(0, 99))
def test_every_name_is_in_one_split(count: int, shares, seed: int) -> None:
    total = sum(shares)
    if not total:
        return
    fractions = tuple(share / total * 0.999 for share in shares)
    names = [f"n{i}" for i in range(count)]
    found = divide(names, Division(fractions, seed), "group")
    assert sorted(np.concatenate([*found.values()])) == list(range(count))
    for split, share in zip(SPLITS, fractions, strict=True):
        assert len(found[split]) >= (1 if share > 0 else 0)
        assert abs(len(found[split]) - share / sum(fractions) * count) < 2
        assert (np.diff(found[split]) > 0).all()
    again = divide(names, Division(fractions, seed), "group")
    assert all(np.array_equal(found[s], again[s]) for s in SPLITS)


def test_numbers_and_lists_are_kept() -> None:
    found = divide(NAMES, Division((10, 4, 6)), "group")
    assert [len(found[s]) for s in SPLITS] == [10, 4, 6]
    assert [len(divide(NAMES, Division((10, 0, 6)), "group")[s]) for s in SPLITS] == [10, 0, 6]
    found = divide(NAMES, Division(test=("g3", "g1")), "group")
    assert found["test"].tolist() == [1, 3]
    assert len(found["train"]) + len(found["validation"]) == 18
    found = divide(NAMES, Division(train=("g0",), validation=("g1",)), "group")
    assert found["test"].tolist() == list(range(2, 20))


def test_seeds_differ() -> None:
    one, other = (divide(NAMES, Division(seed=s), "group")["test"].tolist() for s in (0, 1))
    assert one != other


BAD = {
    "two lists": (Division(train=("g1",), test=("g1",)), DataError, r"'g1' is in tasks\.train and"),
    "unknown": (Division(test=("g99",)), DataError, r"names the group 'g99': did you mean 'g9'"),
    "left over": (
        Division(train=("g0",), validation=("g1",), test=("g2",)), DataError,
        r"'g3' is in none of .* \(17 in all\)",
    ),
    "negative": (Division((0.5, -0.1, 0.2)), UsageError, r"use fractions"),
    "nothing": (Division((0, 0, 0)), UsageError, r"use fractions"),
    "too many": (Division((10, 10, 10)), UsageError, r"whole numbers of at most 20"),
    "broken": (Division((1.5, 2, 3)), UsageError, r"whole numbers of at most 20"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_splits_that_cannot_be_are_refused(fault: str) -> None:
    division, kind, message = BAD[fault]
    with pytest.raises(kind, match=message):
        divide(NAMES, division, "group")


def test_each_split_needs_enough() -> None:
    with pytest.raises(DataError, match=r"20 classes .* each of which needs 7"):
        divide(NAMES, Division((0.6, 0.2, 0.2)), "class", 7)
    with pytest.raises(DataError, match=r"20 classes .* each of which needs 11"):
        divide(NAMES, Division(), "class", 11)
    found = divide(NAMES, Division((0.5, 0, 0.5)), "class", 7)
    assert [len(found[s]) for s in SPLITS] == [10, 0, 10]
    found = divide(NAMES, Division(), "class", 7)
    assert [len(found[s]) for s in SPLITS] == [13, 0, 7]


def test_identical_rows_are_found_across_splits_alone() -> None:
    rows = np.array([[1.0, 0.0], [1.0, -0.0], [2.0, 2.0], [2.0, 2.0], [1.0, 0.0]])
    digests = row_digests(rows)
    assert digests[0] == digests[1] == digests[4]
    assert shared(digests, np.array([0, 0, 1, 1, 0])) is None
    assert shared(digests, np.array([0, 0, 1, 1, 2])) == (1, (0, 4))
    assert shared(digests, np.array([0, 0, 1, 1, -1])) is None
    with pytest.raises(DataError, match=r"row 0 \(train\) and row 4 \(test\).*accept_leaks=true"):
        refuse_leaks(digests, np.array([0, 0, 1, 1, 2]), None, "it", accept=False)


def test_near_rows_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 5))
    split = np.arange(40) % 3
    assert nearly_shared(rows, split) is None
    rows[7] = rows[0] + 1e-6
    assert nearly_shared(rows, split) == (1, (0, 7))
    assert nearly_shared(rows[:, :3], split) is None  # left to chance in few columns
    rows[8] = rows[0]
    refuse_leaks(row_digests(rows), split, rows, "it", accept=True)
    assert ["identical" in r.message for r in caplog.records] == [True, True]
    assert [" nearly " in r.message for r in caplog.records] == [False, True]


@pytest.mark.parametrize(("count", "size"), [(0, 0), (1, 1), (5, 5), (3, 7), (40, 1000)])
def test_subsets_are_distinct_and_in_range(count: int, size: int) -> None:
    for step in range(20):
        found = subset(words(0, "x", step, 0, 2 * count), size)
        assert len(set(found.tolist())) == count
        assert all(0 <= i < size for i in found)


def test_subsets_and_their_orders_are_equally_likely() -> None:
    seen = [tuple(subset(words(1, "x", step, 0, 4), 3)) for step in range(6000)]
    counts = {pair: seen.count(pair) for pair in set(seen)}
    assert len(counts) == 6
    assert all(abs(n - 1000) < 4 * np.sqrt(1000) for n in counts.values())
