"""Pairs of tasks: against double loops, at the edges, and the coverage of the interval."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from metaccord import tree
from metaccord.diagnostics import Pairs, shaped
from metaccord.diagnostics.geometry import BLOCKS
from metaccord.memory import peak_bytes
from metaccord.statistics import t_quantile
from tests.reference.curvature import jackknife_error, mean_over_pairs


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pairs(rows: Tensor, size: int | None = None, **options) -> Pairs:
    found = Pairs(**options)
    for piece in rows.split(size or max(1, len(rows))):
        found.add(piece)
    return found


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("count", [2, 3, 11, 70])
def test_the_mean_equals_a_double_loop(count: int, unit: bool, size: int) -> None:
    rows = normals(count, 6) + 0.3
    found = pairs(rows, size, unit=unit)
    assert found.mean == pytest.approx(mean_over_pairs(list(rows), unit=unit), abs=1e-13)
    assert (found.count, found.zeros) == (count, 0)


@pytest.mark.parametrize(("count", "blocks"), [(5, 64), (12, 12), (12, 4), (14, 4), (23, 22)])
def test_the_interval_equals_leaving_out_by_hand(count: int, blocks: int) -> None:
    rows = normals(count, 4, seed=count) + 0.5
    found = pairs(rows, 3, blocks=blocks).interval()
    expected = t_quantile(min(count, blocks) - 1) * jackknife_error(list(rows), blocks)
    assert found.half == pytest.approx(expected, rel=1e-9)


def test_directions_that_are_known() -> None:
    same = normals(1, 5) * torch.tensor([[1.0], [2.0], [7.0]])
    assert pairs(same, unit=True).mean == pytest.approx(1.0, abs=1e-15)
    assert pairs(torch.eye(4), unit=True).interval() == (0.0, 0.0)
    assert pairs(torch.tensor([[1.0, 2.0], [-1.0, -2.0]]), unit=True).mean == pytest.approx(-1.0)
    assert pairs(torch.tensor([[1.0, 2.0], [3.0, 1.0]])).mean == 5.0


def test_lengths_and_order_do_not_matter_to_the_cosine() -> None:
    rows, order = normals(9, 5), torch.tensor([3, 1, 8, 0, 2, 7, 5, 4, 6])
    plain = pairs(rows, unit=True).interval()
    stretched = pairs(rows * torch.logspace(-3, 3, 9)[:, None].double(), unit=True).interval()
    assert stretched == pytest.approx(plain, rel=1e-12)
    assert pairs(rows[order], unit=True).interval() == pytest.approx(plain, rel=1e-12)


def test_vectors_of_length_zero_have_no_direction() -> None:
    rows = normals(8, 3)
    holed = rows.clone()
    holed[[0, 5]] = 0.0
    found = pairs(holed, 3, unit=True)
    kept = rows[[1, 2, 3, 4, 6, 7]]
    assert (found.count, found.zeros) == (6, 2)
    assert found.interval() == pytest.approx(pairs(kept, unit=True).interval(), rel=1e-12)
    assert pairs(holed).mean == pytest.approx(mean_over_pairs(list(holed)))  # inner products stay


@pytest.mark.parametrize("unit", [False, True])
def test_too_few_vectors_give_nan(unit: bool) -> None:
    assert all(map(math.isnan, Pairs(unit=unit).interval()))
    assert all(map(math.isnan, pairs(normals(1, 3), unit=unit).interval()))
    two = pairs(normals(2, 3), unit=unit).interval()
    assert math.isfinite(two.mean) and math.isnan(two.half)
    assert math.isfinite(pairs(normals(3, 3), unit=unit).interval().half)


def test_only_zeros_and_lost_tasks() -> None:
    nothing = pairs(torch.zeros(4, 3), unit=True)
    assert math.isnan(nothing.mean) and (nothing.count, nothing.zeros) == (0, 4)
    lost = normals(5, 3)
    lost[2, 1] = math.nan
    assert math.isnan(pairs(lost, unit=True).mean) and pairs(lost, unit=True).zeros == 0


def test_float32_vectors_are_added_in_double() -> None:
    rows = normals(400, 3).float() + 1000.0
    assert pairs(rows, 50).mean == pytest.approx(mean_over_pairs(list(rows)), rel=1e-13)


def test_memory_does_not_grow_with_the_tasks() -> None:
    rows = torch.ones(20, 5000)

    def peak(batches: int) -> int:
        def fill() -> None:
            found = Pairs(unit=True)
            for _ in range(batches):
                found.add(rows)

        return peak_bytes(fill, torch.device("cpu"))

    assert peak(40) == peak(5) < (BLOCKS + 5 * len(rows)) * 5000 * 8


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize(
    ("count", "blocks", "shift"), [(12, 64, 0.6), (40, 64, 0.6), (90, 16, 0.6), (40, 64, 0.0)]
)
def test_the_interval_covers_the_truth(count: int, blocks: int, shift: float, unit: bool) -> None:
    """Around orthogonal tasks (shift 0) it is too wide, never too narrow."""
    trials, size = 300, 4
    rows = normals(trials, count, size, seed=count)
    rows[..., 0] += shift
    truth = shift**2
    if unit:
        many = normals(400_000, size, seed=7)
        many[:, 0] += shift
        centre = torch.nn.functional.normalize(many, dim=1).mean(0)
        truth = float(centre @ centre) if shift else 0.0
    covered = 0
    for trial in rows:
        found = pairs(trial, unit=unit, blocks=blocks).interval()
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / trials <= (0.99 if shift else 1.0)


def test_shaped_undoes_flat() -> None:
    rows = {"b.weight": normals(3, 2, 4), "a": normals(3), "b.bias": normals(3, 2)}
    back = shaped(tree.flat(rows), rows)
    assert back.keys() == rows.keys() and all(torch.equal(back[k], rows[k]) for k in rows)
    assert shaped(tree.flat(rows)[:1], rows)["b.weight"].shape == (1, 2, 4)
