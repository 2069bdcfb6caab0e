"""Laws of the small algebra over dicts and trees of tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metaccord import tree

ROWS = {
    "b": torch.arange(24.0).reshape(3, 2, 4) - 7,
    "a": torch.tensor([2.0, -3.0, 5.0]),
}
OTHER = {"a": torch.tensor([1.0, 10.0, -2.0]), "b": torch.arange(24.0).reshape(3, 2, 4).flip(0)}


def by_hand(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[float]:
    """Return the inner products row by row, number by number."""
    return [
        sum(
            float(x) * float(y)
            for name in one
            for x, y in zip(one[name][i].flatten(), other[name][i].flatten(), strict=True)
        )
        for i in range(3)
    ]


def test_inner_products_and_lengths() -> None:
    assert tree.dot(ROWS, OTHER).tolist() == by_hand(ROWS, OTHER)
    torch.testing.assert_close(tree.norm(ROWS) ** 2, torch.tensor(by_hand(ROWS, ROWS)))


def test_rows_as_vectors_go_by_name() -> None:
    found = tree.flat(ROWS)
    assert found.shape == (3, 9)
    assert found[1].tolist() == [-3.0, *ROWS["b"][1].flatten().tolist()]
    assert torch.equal(found, tree.flat(dict(sorted(ROWS.items()))))


def test_scaling_is_by_row() -> None:
    found = tree.scale(ROWS, torch.tensor([1.0, 0.0, -2.0]))
    for name, rows in ROWS.items():
        assert torch.equal(found[name], torch.stack([rows[0], 0 * rows[1], -2 * rows[2]]))


def test_sums_and_differences() -> None:
    for name, rows in ROWS.items():
        assert torch.equal(tree.plus(ROWS, OTHER)[name], rows + OTHER[name])
        assert torch.equal(tree.difference(ROWS, OTHER)[name], rows - OTHER[name])
    back = tree.plus(tree.difference(ROWS, OTHER), OTHER)
    assert all(torch.equal(back[name], rows) for name, rows in ROWS.items())


def test_names_below_a_prefix() -> None:
    named = {
        "rule.lr": ROWS["a"],
        "rule.norm.w": ROWS["b"],
        "ruler": ROWS["a"],
        "x.rule": OTHER["a"],
    }
    assert tree.scope(named, "rule") == {"lr": ROWS["a"], "norm.w": ROWS["b"]}
    assert tree.scope(tree.under(ROWS, "model"), "model") == ROWS
    assert set(tree.under(ROWS, "model")) == {"model.a", "model.b"}


def test_equal_rows_are_views() -> None:
    one = tree.first(ROWS)
    found = tree.expand(one, 4)
    for name, value in one.items():
        assert torch.equal(value, ROWS[name][0])
        assert found[name].shape == (4, *value.shape)
        assert found[name].stride(0) == 0
        assert all(torch.equal(row, value) for row in found[name])


def test_cutting_and_joining_are_inverse() -> None:
    nested = {"x": (ROWS["b"], ROWS["a"]), "y": [OTHER["b"]]}
    assert tree.tasks_in(nested) == 3
    for size, lengths in {1: [1, 1, 1], 2: [2, 1], 3: [3], 7: [3]}.items():
        pieces = tree.split(nested, size)
        assert [tree.tasks_in(piece) for piece in pieces] == lengths
        _same(tree.join(pieces, torch.cat), nested)
    single = tree.unbind(nested)
    assert [one["x"][1].item() for one in single] == ROWS["a"].tolist()
    _same(tree.join(single, torch.stack), nested)
    (alone,) = tree.unbind(tree.split(nested, 1)[0])
    _same(alone, single[0])
    _same(tree.join([alone], torch.stack), tree.split(nested, 1)[0])


def test_leaves_that_are_nothing_stay_nothing() -> None:
    found = tree.join([{"a": torch.ones(2), "b": None}] * 2, torch.stack)
    assert found["b"] is None
    assert found["a"].shape == (2, 2)


def test_detached_trees_have_no_graph() -> None:
    leaf = torch.ones(2, requires_grad=True)
    found = tree.detached({"a": (leaf * 2, 3)})
    assert not found["a"][0].requires_grad
    assert found["a"][0].tolist() == [2.0, 2.0]
    assert found["a"][1] == 3


def test_lengths_of_first_axes() -> None:
    assert tree.common_length([ROWS, {"x": (torch.ones(3), [torch.ones(3, 2)])}]) == {3}
    assert tree.common_length([ROWS, torch.ones(2, 3)]) == {2, 3}
    assert tree.common_length([torch.tensor(1.0)]) == {-1}


def _same(one: object, other: object) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (1, 1), (2, 2)])
def test_tasks_are_counted_by_the_first_axis(shape: tuple[int, int]) -> None:
    rows = {"a": torch.arange(float(shape[0] * shape[1])).reshape(shape)}
    singles = tree.unbind(rows)
    assert len(singles) == shape[0]
    for single, row in zip(singles, rows["a"], strict=True):
        assert torch.equal(single["a"], row)


def test_leaves_of_other_tasks_are_refused() -> None:
    """No task is dropped in silence."""
    uneven = {"a": torch.ones(3), "b": torch.ones(2)}
    for cut in (lambda: tree.unbind(uneven), lambda: tree.split(uneven, 1),
                lambda: tree.join([{"b": ROWS["b"]}, ROWS], torch.cat)):  # fmt: skip
        with pytest.raises(ValueError, match="zip"):
            cut()
