"""Factorial designs: cells, contrasts by hand, aliases by rank, and the tests of many effects."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from metaccord.errors import UsageError
from metaccord.factorial import Design, effects, holm, p_value, percent
from metaccord.statistics import over_seeds

ABC, ABCD = ("a", "b", "c"), ("a", "b", "c", "d")
DESIGNS = [
    Design(("m",), ("a",)),
    Design(("m",), ABC),
    Design(("m", "n"), ("a", "b")),
    Design(("m", "n", "o"), ABC),
    Design(("m",), ABC, "half"),
    Design(("m",), ABCD, "half"),
    Design(("m",), (*ABCD, "e"), "half"),
    Design(("m", "n"), ("a", "b"), "half"),
    Design(("m", "n"), ABC, "half"),
    Design(("m", "n"), ABCD, "half"),
]


def name(design: Design) -> str:
    return f"{len(design.bases)}-{len(design.factors)}-{design.fraction}"


def effect(design: Design, values: list[float]) -> dict[str, float]:
    """Return the estimates from one seed."""
    found = effects(design, [[value] for value in values])
    return {key: one.interval.mean for key, one in found.items()}


def test_every_subset_over_every_base_in_order() -> None:
    design = Design(("m", "n"), ("b", "a"))
    over_one = [frozenset(), {"b"}, {"a"}, {"a", "b"}]
    assert design.cells == [(base, some) for base in "mn" for some in over_one]


def test_two_by_two_by_hand() -> None:
    """Cells bare 1, a 4, b 7, ab 20: a is (3 + 13) / 2, b (6 + 16) / 2, the pair (13 - 3) / 2."""
    found = effect(Design(("m",), ("a", "b")), [1, 4, 7, 20])
    assert found == pytest.approx({"a": 8, "b": 11, "a x b": 5})


def test_bases_by_hand() -> None:
    """Over m a does +2, over n +5 and over o -1; means are 1, 12.5 and 99.5."""
    found = effect(Design(("m", "n", "o"), ("a",)), [0, 2, 10, 15, 100, 99])
    expected = {"n vs m": 11.5, "o vs m": 98.5, "a": 2, "a | m": 2, "a | n": 5, "a | o": -1}
    assert found == pytest.approx(expected | {"a x (n vs m)": 1.5, "a x (o vs m)": -1.5})


def test_a_complete_design_gives_differences_of_means() -> None:
    design = DESIGNS[3]
    values = np.random.default_rng(0).normal(size=len(design.cells))
    found = effect(design, values.tolist())

    def mean(base: str = "", plus: str = "", minus: str = "") -> float:
        kept = [
            value
            for value, (at, some) in zip(values, design.cells, strict=True)
            if base in ("", at) and set(plus) <= some and not set(minus) & some
        ]
        return float(np.mean(kept))

    for a in design.factors:
        assert found[a] == pytest.approx(mean(plus=a) - mean(minus=a))
        for base in design.bases:
            assert found[f"{a} | {base}"] == pytest.approx(mean(base, a) - mean(base, "", a))
        for base in "no":
            gap = found[f"{a} | {base}"] - found[f"{a} | m"]
            assert found[f"{a} x ({base} vs m)"] == pytest.approx(gap / 2)
    for a, b in itertools.combinations(design.factors, 2):
        with_b, without = mean("", a + b) - mean("", b, a), mean("", a, b) - mean("", "", a + b)
        assert found[f"{a} x {b}"] == pytest.approx((with_b - without) / 2)
    for base in "no":
        assert found[f"{base} vs m"] == pytest.approx(mean(base) - mean("m"))


@pytest.mark.parametrize("design", DESIGNS, ids=name)
def test_responses_made_of_main_effects_and_pairs_are_recovered(design: Design) -> None:
    """Whatever the design shows of such a response is what the complete design shows of it."""
    draw = np.random.default_rng(1)
    main = {f: draw.normal() for f in design.factors}
    level = {b: draw.normal() for b in design.bases}
    pair = {frozenset(p): draw.normal() for p in itertools.combinations(design.factors, 2)}
    cross = {(b, f): draw.normal() for b in design.bases for f in design.factors}

    def response(base: str, some: frozenset[str]) -> float:
        total = level[base] + sum(main[f] + cross[base, f] for f in some)
        return total + sum(pair[frozenset(p)] for p in itertools.combinations(some, 2))

    complete = Design(design.bases, design.factors)
    truth = effect(complete, [response(*cell) for cell in complete.cells])
    found = effect(design, [response(*cell) for cell in design.cells])
    for key, value in found.items():
        parts = design.aliases.get(key, {key: 1})
        assert value == pytest.approx(sum(sign * truth[part] for part, sign in parts.items()))
    shown = [part for key in found for part in design.aliases.get(key, {key: 1})]
    assert sorted([*shown, *design.left_out]) == sorted(truth), "each once, none silently gone"


@pytest.mark.parametrize("design", [d for d in DESIGNS if d.fraction], ids=name)
def test_a_half_is_half_balanced_and_holds_the_first_base_alone(design: Design) -> None:
    complete = Design(design.bases, design.factors)
    assert 2 * len(design.cells) == len(complete.cells)
    assert design.cells[0] == (design.bases[0], frozenset())
    for base in design.bases:
        assert sum(b == base for b, _ in design.cells) == len(design.cells) / len(design.bases)
    for factor in design.factors:
        assert sum(factor in some for _, some in design.cells) == len(design.cells) / 2
    signs = [
        math.prod(
            [1 if b == design.bases[0] else -1, *(1 if f in s else -1 for f in design.factors)]
        )
        for b, s in design.cells
    ]
    assert len(set(signs)) == 1, "the defining relation"


def test_resolution() -> None:
    """Four factors over two bases: all pairs; over one base: pairs in twos; three: mains, too."""
    five = DESIGNS[-1]
    assert (five.aliases, five.left_out) == ({}, [])
    assert len(five.cells) == 16
    four = DESIGNS[5].aliases
    assert [set(parts) for parts in four.values()] == [
        {"a x b", "c x d"},
        {"a x c", "b x d"},
        {"a x d", "b x c"},
    ]
    assert next(iter(four)) == "a x b + c x d"
    three = DESIGNS[4]
    assert three.aliases["a - b x c"] == {"a": 1, "b x c": -1}
    assert [*three.weights] == ["a - b x c", "b - a x c", "c - a x b"]
    assert "a | m" in DESIGNS[8].left_out


def test_intervals_over_seeds_are_of_the_effects_of_each_seed() -> None:
    """Seeds differ much more than the effects do: 10, 20 and 60; the effect is 1, 2 and 6."""
    base = np.array([10.0, 20.0, 60.0])
    found = effects(Design(("m",), ("a",)), [base, base + np.array([1, 2, 6])])["a"]
    assert found.interval == pytest.approx(over_seeds([1.0, 2.0, 6.0]))
    assert found.p == pytest.approx(scipy.stats.ttest_1samp([1, 2, 6], 0).pvalue)
    assert not found.clear
    assert effects(Design(("m",), ("a",)), [base, base + np.array([1, 1.1, 0.9])])["a"].clear


def test_one_seed_has_no_interval_and_nothing_is_clear() -> None:
    found = effects(Design(("m",), ("a",)), [[1.0], [5.0]])["a"]
    assert found.interval.mean == pytest.approx(4)
    assert math.isnan(found.interval.half) and math.isnan(found.p)
    assert not found.clear and not found.holm


def test_a_factor_that_changes_nothing_is_never_clear() -> None:
    """Sums of equal numbers in another order differ in the last bits, alike in all seeds."""
    design = DESIGNS[3]
    level = np.random.default_rng(2).normal(size=(1, 3)) + 1e3
    found = effects(design, np.repeat(level, len(design.cells), 0))
    assert all(one.interval == (0, 0) and one.p == 1 and not one.clear for one in found.values())


def test_what_is_not_finite_stays_so() -> None:
    values = np.random.default_rng(2).normal(size=(4, 3))
    values[0, 0] = math.inf
    for one in effects(Design(("m",), ("a", "b")), values).values():
        assert not math.isfinite(one.interval.mean)
        assert not one.clear and not one.holm


@pytest.mark.parametrize("count", [*range(2, 13), 31, 60])
def test_p_values_are_those_of_scipy(count: int) -> None:
    draw = np.random.default_rng(count)
    for shift in (0.0, 0.3, -1.0, 5.0):
        values = draw.normal(size=count) + shift
        expected = scipy.stats.ttest_1samp(values, 0).pvalue
        assert p_value(values) == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_p_values_of_equal_values() -> None:
    assert p_value([0.0, 0.0]) == 1
    assert p_value([2.0, 2.0, 2.0]) == 0
    assert math.isnan(p_value([1.0])) and math.isnan(p_value([1.0, math.nan]))


def test_holm_by_hand() -> None:
    """Of four at 5 %: limits 0.0125, 0.0167, 0.025, 0.05, and nothing after the first failure."""
    assert holm({"a": 0.012, "b": 0.016, "c": 0.026, "d": 0.03}) == {"a", "b"}
    assert holm({"a": 0.013, "b": 0.0125}) == {"a", "b"}
    assert holm({"a": 0.03, "b": 0.03}) == set()
    assert holm({"a": math.nan, "b": 0.01}) == {"b"}
    assert holm({}) == set()


def test_percent() -> None:
    assert percent(math.log(2)) == pytest.approx(100)
    assert percent(math.log(0.75)) == pytest.approx(-25)
    assert math.isfinite(percent(1e9))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (((), ("a",)), "bases of a grid are empty"),
        ((("m",), ()), "factors of a grid are empty"),
        ((("m",), ("a", "a")), "a,a: name at least one, each once"),
        ((("m", "m"), ("a",)), "m,m"),
        ((("m",), ABC, "third"), "unknown fraction 'third'"),
        ((("m", "n", "o"), ABC, "half"), "at most two, or leave --fraction out"),
        ((("m",), ("a", "b"), "half"), "confuses main effects"),
        ((("m", "n"), ("a",), "half"), "confuses main effects"),
    ],
)
def test_refusals(given: tuple, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Design(*given)


def test_values_of_another_shape_are_refused() -> None:
    for values in ([[1.0]], [1.0, 2.0], [[], []]):
        with pytest.raises(UsageError, match="2 cells, seeds"):
            effects(Design(("m",), ("a",)), values)
