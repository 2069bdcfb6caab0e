"""The task axis: sums of all, of one, and of nobody."""

from __future__ import annotations

from functools import reduce

import pytest
import torch

from metaccord.axis import TaskAxis
from metaccord.errors import UsageError

ROWS = {"a": torch.tensor([[1.0, 2.0], [3.0, 6.0]]), "b": torch.tensor([1.0, 5.0])}


def test_sum_and_mean_stand_in_every_row() -> None:
    axis = TaskAxis(2)
    assert axis.size == 2
    assert axis.sum(ROWS["a"]).tolist() == [[4.0, 8.0], [4.0, 8.0]]
    mean = axis.mean(ROWS)
    assert mean["a"].tolist() == [[2.0, 4.0], [2.0, 4.0]]
    assert mean["b"].tolist() == [3.0, 3.0]


def test_isolated_tasks_see_themselves() -> None:
    axis = TaskAxis(2, isolated=True)
    assert axis.size == 1
    assert axis.sum(ROWS["a"]) is ROWS["a"]
    assert all(torch.equal(axis.mean(ROWS)[k], v) for k, v in ROWS.items())


@pytest.mark.parametrize("isolated", [False, True])
def test_a_closed_axis_refuses_to_add(isolated: bool) -> None:
    """Also when isolated: who asks for other tasks is not independent."""
    piece = TaskAxis(4, isolated=isolated).piece(2)
    assert (piece.count, piece.closed, piece.isolated) == (2, True, isolated)
    for ask, given in (
        (piece.sum, ROWS["b"]),
        (piece.mean, ROWS),
        (piece.gather, ROWS["b"]),
        (piece.gram, ROWS["a"]),
    ):
        with pytest.raises(UsageError, match="set independent = False"):
            ask(given)


def test_all_rows_and_their_inner_products() -> None:
    axis = TaskAxis(2)
    assert torch.equal(axis.gather(ROWS["b"]), ROWS["b"])
    assert axis.gram(ROWS["a"]).tolist() == [[5.0, 15.0], [15.0, 45.0]]


def test_nobody_gets_the_rows_of_isolated_tasks() -> None:
    axis = TaskAxis(2, isolated=True)
    for ask in (axis.gather, axis.gram):
        with pytest.raises(UsageError, match="where every task is alone"):
            ask(ROWS["a"])


def test_one_process_has_all_tasks() -> None:
    axis = TaskAxis(2)
    assert list(axis.tasks) == [0, 1]
    assert torch.equal(axis.mine(ROWS["a"]), ROWS["a"])


def test_transforms_of_torch_pass_through_sums() -> None:
    """Side by side and forward over reverse, as a user's own analysis may want it."""
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.func.vmap(TaskAxis(2).sum, in_dims=1)(x).tolist() == [[4.0, 4.0], [6.0, 6.0]]
    found = torch.func.hessian(lambda x: (TaskAxis(2).mean({"x": x})["x"][0] ** 2).sum())(x[:, 0])
    assert found.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_sums_are_differentiable() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (found,) = torch.autograd.grad(TaskAxis(2).sum(x * x)[0].sum(), x)
    assert found.tolist() == [[2.0, 4.0], [6.0, 8.0]]


def test_exact_sums_go_from_task_to_task() -> None:
    """In float32 the order shows: the sum of a plain axis has other last bits."""
    rows = torch.randn(301, 7, generator=torch.Generator().manual_seed(0))
    expected = reduce(torch.add, rows)
    exact, plain = (TaskAxis(301, exact=on).sum(rows) for on in (True, False))
    assert torch.equal(exact, expected.expand_as(rows))
    assert not torch.equal(plain, exact)
    torch.testing.assert_close(plain, exact)
    assert torch.equal(TaskAxis(301, exact=True).mean({"x": rows})["x"][0], expected / 301)


@pytest.mark.parametrize("exact", [False, True])
def test_sums_of_whole_numbers_are_whole(exact: bool) -> None:
    found = TaskAxis(2, exact=exact).sum(torch.tensor([[1], [2**60]]))
    assert found.dtype == torch.int64
    assert found.tolist() == [[2**60 + 1], [2**60 + 1]]


def test_an_axis_has_tasks() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        TaskAxis(0)
