"""PCGrad: against its slow twin, in closed cases, and where its random order comes from."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
import torch
from torch import Tensor

import metaccord as mc
from metaccord.axis import TaskAxis
from metaccord.interactions import PCGrad
from metaccord.interactions.pcgrad import meetings, projections
from metaccord.keys import mix
from metaccord.methods import maml, meta_sgd, pcgrad, reptile
from metaccord.types import Adaptation, Batch, Episode, Notes, Own, Stacked
from tests import cases, tolerances
from tests.reference.compare import relative_error
from tests.reference.pcgrad import pcgrad as twin


def draws(count: int, seed: int = 0, size: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64).to(dtype)


def keys(count: int, seed: int = 0) -> Tensor:
    return mix(torch.arange(count) + 1000 * seed, 1)


def reconcile(
    rows: Stacked, order: Tensor | None = None, axis: TaskAxis | None = None
) -> tuple[Stacked, Notes]:
    extra = {} if order is None else {"order": order}
    count = len(next(iter(rows.values())))
    data = Episode(Batch(torch.zeros(count, 1), ()), Batch(torch.zeros(count, 1), ()), extra)
    run = Adaptation((rows,), (), {}, rows, data)
    return PCGrad().reconcile(Own({}, {}), rows, run, axis or TaskAxis(count))


def projected(grads: Tensor, order: Tensor | None = None) -> Tensor:
    """Call the hook on gradients ``[T, P]`` in two tensors."""
    rows = {"model.a": grads[:, :1], "model.b": grads[:, 1:, None]}
    found = reconcile(rows, keys(len(grads)) if order is None else order)[0]
    return torch.cat([found["model.a"], found["model.b"][..., 0]], 1)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 25])
def test_projections_equal_the_twin(count: int) -> None:
    """More tasks than directions, too; every order that the keys can give."""
    for seed in range(10):
        g, order = draws(count, seed), keys(count, seed)
        expected = twin(list(g), meetings(order).tolist())
        assert relative_error(projected(g, order), torch.stack(expected)) <= tolerances.TWIN_F64


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_the_size_of_gradients_does_not_matter(size: float) -> None:
    g = draws(5)
    assert relative_error(projected(size * g) / size, projected(g)) <= tolerances.TWIN_F64


def test_single_orthogonal_identical_and_opposite_tasks() -> None:
    (g,) = draws(1)
    assert torch.equal(projected(g[None]), g[None])
    orthogonal = torch.diag(torch.arange(1.0, 6.0, dtype=torch.float64))
    assert torch.equal(projected(orthogonal), orthogonal)
    identical = g.expand(4, 5)
    assert torch.equal(projected(identical), identical)
    opposite = torch.stack([g, -3 * g])
    assert projected(opposite).norm() <= 1e-15 * g.norm()


def test_two_conflicting_tasks_lose_the_conflict_and_nothing_else() -> None:
    """After projection g_1 is orthogonal to g_2 as it was given, and the other way round."""
    a = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    b = torch.tensor([-1.0, 1.0, 0.0], dtype=torch.float64)
    found = projected(torch.stack([a, b]))
    assert found.tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_and_tiny_gradients_are_finite(dtype: torch.dtype) -> None:
    g = draws(4, dtype=dtype)
    for factor in (0.0, 1e-30, 1e-44):
        mixed = torch.cat([g, -factor * g[:2]])
        found, notes = reconcile({"model.w": mixed}, keys(6))
        assert found["model.w"].isfinite().all()
        assert notes["conflicts"].isfinite()
        assert found["model.w"].norm() < 3 * g.norm()


def test_the_note_counts_conflicting_pairs() -> None:
    a, b = torch.eye(2, dtype=torch.float64)
    for rows, expected in (
        ([a], 0.0), ([a, b], 0.0), ([a, -a], 1.0), ([a, b, -a], 1 / 3), ([a, b, -a - b], 2 / 3)
    ):  # fmt: skip
        notes = reconcile({"model.w": torch.stack(rows)}, keys(len(rows)))[1]
        assert notes["conflicts"].item() == pytest.approx(expected)
        assert notes["conflicts"].shape == ()


def test_weights_come_from_the_model_and_serve_every_row() -> None:
    """Rates that agree are mixed like the model's rows that conflict."""
    g, rates = draws(3), draws(3, 1, 2)
    plain = reconcile({"model.w": g}, keys(3))[0]
    found = reconcile({"model.w": g, "rule.rates": rates}, keys(3))[0]
    assert torch.equal(plain["model.w"], found["model.w"])
    weights = projections(g @ g.T, meetings(keys(3)))
    assert relative_error(found["rule.rates"], weights @ rates) <= tolerances.TWIN_F64


def test_isolated_tasks_are_alone() -> None:
    rows = {"model.w": draws(4)}
    found, notes = reconcile(rows, keys(4), TaskAxis(4, isolated=True))
    assert found is rows
    assert notes["conflicts"].item() == 0.0


def test_permuted_tasks_meet_in_the_same_order() -> None:
    g, order, moved = draws(6), keys(6), torch.tensor([3, 0, 5, 4, 1, 2])
    place = moved.argsort()
    assert torch.equal(meetings(order[moved]), place[meetings(order)][moved])
    assert relative_error(projected(g[moved], order[moved]), projected(g, order)[moved]) <= 1e-14


def test_orders_are_uniform_and_differ_between_tasks() -> None:
    """Chi-squared over the six orders of three tasks; below 30 with probability 1 - 1e-5."""
    number = 1200
    orders = torch.stack([meetings(keys(3, seed)) for seed in range(1, number + 1)])
    for task in range(3):
        found = Counter(map(tuple, orders[:, task].tolist()))
        assert found.keys() == set(permutations(range(3)))
        expected = number / 6
        assert sum((n - expected) ** 2 / expected for n in found.values()) < 30
    together = Counter(tuple(map(tuple, pair)) for pair in orders[:, :2].tolist())
    assert len(together) == 36


def test_tasks_without_keys_meet_by_place() -> None:
    g = draws(4)
    found = reconcile({"model.w": g})[0]["model.w"]
    expected = twin(list(g), [list(range(4))] * 4)
    assert relative_error(found, torch.stack(expected)) <= tolerances.TWIN_F64


@pytest.mark.parametrize("base", [maml(steps=2, lr=0.2), meta_sgd(), reptile(steps=2, batch=4)])
def test_a_meta_step_is_the_mean_of_projected_rows(base: mc.Method) -> None:
    plain, found = (cases.step(m, "batchnorm1d") for m in (base, pcgrad(base)))
    names = sorted(cases.model_rows(plain.rows))
    g = torch.cat([plain.rows[f"model.{k}"].flatten(1) for k in names], 1)
    expected = twin(list(g), meetings(cases.episodes("batchnorm1d").extra["order"]).tolist())
    ours = torch.cat([found.grads[f"model.{k}"].flatten() for k in names])
    assert relative_error(ours, torch.stack(expected).mean(0)) <= tolerances.TWIN_F64
    assert found.rows.keys() == plain.rows.keys()


def test_one_task_is_the_base_to_the_bit() -> None:
    for base in cases.BASES.values():
        plain, found = (cases.step(m, "plain", count=1) for m in (base, pcgrad(base)))
        assert cases.same_bits(plain.rows, found.rows)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_one_graph() -> None:
    g, order = draws(4), keys(4)
    compiled = torch.compile(
        lambda g, k: reconcile({"model.w": g}, k), fullgraph=True, backend="eager"
    )
    (rows, notes), (plain, said) = compiled(g, order), reconcile({"model.w": g}, order)
    assert relative_error(rows["model.w"], plain["model.w"]) <= tolerances.COMPILED_F64
    assert torch.equal(notes["conflicts"], said["conflicts"])


def test_tasks_of_equal_keys_meet_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where torch sorts equal numbers in any order, as it may: without keys all are equal."""
    sorted_well = Tensor.argsort

    def argsort(x: Tensor, dim: int = -1, *, stable: bool = False) -> Tensor:
        if stable:
            return sorted_well(x, dim=dim, stable=True)
        return x.shape[dim] - 1 - sorted_well(x.flip(dim), dim=dim, stable=True)

    monkeypatch.setattr(Tensor, "argsort", argsort)
    assert torch.equal(meetings(torch.zeros(5, dtype=torch.int64)), torch.arange(5).expand(5, 5))
