"""Gradient Agreement: the laws that follow from its equations, its notes, its degenerate cases."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

import metaccord as mc
from metaccord.axis import TaskAxis
from metaccord.interactions import GradientAgreement
from metaccord.methods import gradient_agreement, maml, reptile
from metaccord.testing.ranks import ThreadRanks, on_ranks
from metaccord.types import Adaptation, Notes, Own, Stacked
from tests import cases, tolerances
from tests.reference import quadratics
from tests.reference.compare import relative_error


def reconcile(
    moved: Tensor, rows: Tensor | None = None, axis: TaskAxis | None = None
) -> tuple[Stacked, Notes]:
    """Call the hook on displacements ``[T, P]`` in two tensors; rows are other vectors."""
    start = torch.zeros_like(moved)
    path = tuple({"a": p[:, :1], "b": p[:, 1:, None]} for p in (start, -moved))
    run = Adaptation(path, (), {}, path[-1], None, ())
    given = {"model.w": moved if rows is None else rows}
    return GradientAgreement().reconcile(Own({}, {}), given, run, axis or TaskAxis(len(moved)))


def weights(*vectors: Tensor) -> Tensor:
    return reconcile(torch.stack(vectors))[1]["weights"]


def draws(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 5, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("count", [1, 2, 5, 25])
def test_weights_and_step_equal_the_matrix_form(count: int) -> None:
    """Absolute sum 1; signed sum ||sum g||^2 / Z in [0, 1]; the mean of rows is sum w_i row_i."""
    for seed in range(20):
        g, rows = draws(count, seed), draws(count, seed + 100)
        found, notes = reconcile(g, rows)
        w = torch.from_numpy(quadratics.agreement_weights(g.numpy()))
        assert relative_error(notes["weights"], w) <= tolerances.TWIN_F64
        assert relative_error(found["model.w"].mean(0), w @ rows) <= tolerances.TWIN_F64
        assert w.abs().sum().item() == pytest.approx(1.0, rel=1e-12)
        scores = g @ g.sum(0)
        signed = g.sum(0).square().sum() / scores.abs().sum()
        assert notes["weights"].sum().item() == pytest.approx(signed.item(), rel=1e-11)
        assert 0 <= signed <= 1 + 1e-12


def test_equal_orthogonal_opposite_and_single_tasks() -> None:
    (g,) = draws(1)
    assert weights(g).tolist() == [1.0]
    assert weights(g, g, g, g).tolist() == [0.25] * 4
    lengths = torch.arange(1.0, 6.0, dtype=torch.float64)
    orthogonal = weights(*torch.diag(lengths))
    assert relative_error(orthogonal, lengths**2 / (lengths**2).sum()) <= tolerances.TWIN_F64
    against = weights(g, g, -g)
    assert relative_error(against, torch.tensor([1, 1, -1]).double() / 3) <= tolerances.TWIN_F64
    assert weights(g, 3 * g)[1].item() == pytest.approx(0.75)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cancelling_tasks_are_uniform_in_every_order(dtype: torch.dtype) -> None:
    """Rounding must not decide; nothing is NaN, not even in the notes."""
    a, b = draws(2, dtype=dtype)
    groups = [(a, -a), (0 * a, 0 * b), *permutations([a, b, -(a + b)])]
    for group in groups:
        found, notes = reconcile(torch.stack(group))
        assert notes["weights"].tolist() == pytest.approx([1 / len(group)] * len(group))
        assert all(v.isfinite().all() for v in (*notes.values(), *found.values()))
        assert notes["effective_tasks"].item() == pytest.approx(len(group))


def test_near_cancellation_is_not_swallowed() -> None:
    """A thousandth of disagreement is far above the floor."""
    (a,) = draws(1)
    assert weights(a, -0.999 * a)[1] < 0


@pytest.mark.parametrize("scale", [1e-9, 0.3, -2.0, 1e6])
def test_a_common_scale_does_not_matter(scale: float) -> None:
    g = draws(5)
    assert relative_error(weights(*(scale * g)), weights(*g)) <= tolerances.TWIN_F64


def test_permuted_tasks_permute_weights() -> None:
    g, order = draws(5), [3, 0, 4, 1, 2]
    assert relative_error(weights(*g[order]), weights(*g)[order]) <= tolerances.TWIN_F64
    rows = reconcile(g)[0]["model.w"]
    permuted = reconcile(g[order])[0]["model.w"]
    assert relative_error(permuted.mean(0), rows.mean(0)) <= tolerances.PERMUTED_SUM_F64 * 10


@pytest.mark.parametrize("seed", range(20))
def test_reptile_form_never_opposes_the_mean(seed: int) -> None:
    g = draws(6, seed)
    assert reconcile(g)[0]["model.w"].mean(0) @ g.mean(0) >= 0


def test_notes_say_what_they_mean() -> None:
    g = draws(4)
    w, notes = weights(*g), reconcile(g)[1]
    assert notes["effective_tasks"].item() == pytest.approx(1 / w.square().sum().item())
    mean = g.mean(0)
    assert notes["stretch"].item() == pytest.approx(((w @ g) @ mean / mean.square().sum()).item())
    assert reconcile(g[:1])[1]["stretch"].item() == pytest.approx(1.0)
    assert all(not v.requires_grad for v in notes.values())


@pytest.mark.parametrize("seed", range(20))
def test_stretch_is_the_whole_length_where_tasks_pull_along_one_line(seed: int) -> None:
    """And never more: so what the whole length did not warn of is not warned of."""
    g = draws(6, seed)
    line = g[:, :1] * draws(1, seed + 100)
    for moved, law in ((line, torch.isclose), (g, torch.le)):
        length = (weights(*moved) @ moved).norm() / moved.mean(0).norm()
        assert law(reconcile(moved)[1]["stretch"], length)


@pytest.mark.parametrize("count", [2, 30, 500])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_stretch_is_finite_on_both_sides_of_the_floor(count: int, dtype: torch.dtype) -> None:
    """Pairs of opposite tasks, but for a difference that is about to be lost."""
    found = []
    for power in range(-60, 1):
        g = draws(count, dtype=dtype)
        g[1::2] = -g[::2] * (1 - 2.0**power)
        found.append(reconcile(g)[1])
    assert all(n["stretch"].isfinite() and n["stretch"] >= 1 - 1e-5 for n in found)
    uniform = [n["weights"].min().item() == pytest.approx(1 / count) for n in found]
    assert {True, False} == set(uniform)


def test_stretch_is_bounded_where_the_signed_sum_of_weights_is_rounding() -> None:
    """In task order the small sum over a thousand weights is off by half its value."""
    eps, count = torch.finfo(torch.float32).eps, 1000
    moved = torch.ones(count, 1)
    moved[count // 2 :] = 132 * eps - 1
    run = Adaptation(({"a": moved * 0}, {"a": -moved}), (), {}, {"a": -moved}, None, ())
    axis = TaskAxis(count, exact=True)
    notes = GradientAgreement().reconcile(Own({}, {}), {"model.w": moved}, run, axis)[1]
    assert notes["weights"].min() < 0
    assert notes["weights"].double().sum() > 64 * eps > axis.sum(notes["weights"])[0]
    assert notes["stretch"].item() == pytest.approx(1 / (64 * eps), rel=1e-3)


def test_the_exchanges_of_a_step() -> None:
    """One as long as the parameters, whatever else is recorded; the mean over rows is another."""

    class Counted(ThreadRanks):
        def sum(self, x: Tensor) -> Tensor:
            sizes[self.rank].append(x.numel())
            return super().sum(x)

        def gather(self, x: Tensor) -> Tensor:
            sizes[self.rank].append(x.numel())
            return super().gather(x)

    g, sizes = draws(4), ([], [])

    def work(ranks: ThreadRanks) -> Notes:
        counted = Counted(ranks.rank, ranks.count, ranks.table, ranks.barrier)
        axis = TaskAxis(4, ranks=counted)
        return reconcile(g[axis.tasks.start : axis.tasks.stop], axis=axis)[1]

    whole = reconcile(g)[1]
    for notes in on_ranks(2, work):
        assert all(relative_error(v, whole[k]) <= tolerances.TWIN_F64 for k, v in notes.items())
    assert sizes == ([5, 2, 2, 2], [5, 2, 2, 2])


def test_weights_scale_every_row_and_come_from_displacements() -> None:
    """Not from the rows, which may be rates of another size and shape."""
    g, step = draws(3), torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    found, notes = reconcile(g, step)
    assert relative_error(found["model.w"][:, 0], 3 * notes["weights"] * step[:, 0]) <= 1e-12


def test_isolated_tasks_are_alone() -> None:
    g = draws(4)
    found, notes = reconcile(g, axis=TaskAxis(4, isolated=True))
    assert notes["weights"].tolist() == [1.0] * 4
    assert torch.equal(found["model.w"], g)


@pytest.mark.parametrize("base", cases.BASES)
def test_one_task_is_the_base_to_the_bit(base: str) -> None:
    plain, weighed = (
        cases.step(m, "batchnorm2d", count=1)
        for m in (cases.BASES[base], gradient_agreement(cases.BASES[base]))
    )
    assert cases.same_bits(plain.rows, weighed.rows)


def test_identical_tasks_are_the_base() -> None:
    for base in (maml(steps=2), reptile(steps=2, batch=4)):
        found = mc.tree.mapped(lambda t: t[:1].expand(3, *t.shape[1:]), cases.episodes("plain"))
        goal = cases.objective("plain")
        grads = [
            mc.meta_gradient(m, goal, mc.initialise(m, goal), found).grads
            for m in (base, gradient_agreement(base))
        ]
        assert relative_error(grads[1], grads[0]) <= tolerances.TWIN_F64


def test_weights_are_constants() -> None:
    """MAML's rows under agreement are the plain rows times N w_i: w is not differentiated."""
    plain = cases.step(maml(steps=2, lr=0.2), "batchnorm2d")
    weighed = cases.step(gradient_agreement(maml(steps=2, lr=0.2)), "batchnorm2d")
    expected = mc.tree.scale(plain.rows, 4 * weighed.notes["agreement.weights"])
    assert relative_error(weighed.rows, expected) <= tolerances.TWIN_F64


def test_no_steps_no_displacement_no_preference() -> None:
    step = cases.step(gradient_agreement(maml(steps=0)), "plain")
    assert step.notes["agreement.weights"].tolist() == [0.25] * 4
    plain = cases.step(maml(steps=0), "plain")
    assert relative_error(step.grads, plain.grads) <= tolerances.TWIN_F64


class Scaled(torch.nn.Module):
    """A parameter without any axis, such as a temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        self.head = torch.nn.Linear(3, 1, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3] -> [n, 1]."""
        return self.scale * self.head(x)


@pytest.mark.parametrize("base", [maml(steps=2), reptile(steps=2, batch=4)])
def test_parameters_without_axis_count_too(base: mc.Method) -> None:
    goal = mc.Objective(Scaled(), torch.nn.functional.mse_loss, mc.Plan(chunk="all"))
    method, found = gradient_agreement(base), cases.episodes("plain")
    step = mc.meta_gradient(method, goal, mc.initialise(method, goal), found)
    assert step.rows["model.scale"].shape == (4,)
    moved = mc.tree.difference(step.run.initial, step.run.adapted)
    g = torch.cat([v.reshape(4, -1) for v in moved.values()], 1)
    expected = torch.from_numpy(quadratics.agreement_weights(g.numpy()))
    assert relative_error(step.notes["agreement.weights"], expected) <= tolerances.TWIN_F64
