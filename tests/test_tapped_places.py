"""Which layer is read, and models for which that has no meaning."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import metaccord as mc
from metaccord import tapped, tree
from metaccord.errors import UsageError
from tests import cases
from tests.test_tapped import ALL, built, drawn


def test_which_place_is_taken() -> None:
    """What the user names; what the model says; a part called features; one called body."""

    def chosen(named: str | None = None, **parts: object) -> str | None:
        model = cases.module("plain")
        for name, part in parts.items():
            setattr(model, name, part)
        return tapped.place_of(model, named)

    assert chosen() == "body"
    assert chosen(features=nn.Identity()) == "features"
    assert chosen(features="body.0") == "body.0"
    assert chosen("body.1", features="body.0") == "body.1"
    assert chosen("head") == "head"
    assert tapped.place_of(cases.module("tied"), None) is None
    goal = mc.Objective(cases.module("plain"), mse_loss, ALL, features="body.0")
    x = drawn(0, 5, 3)
    expected = goal.model.get_submodule("body.0")(x)
    assert torch.equal(goal.predict_with_features(goal.trainable(), x)[1], expected)


@pytest.mark.parametrize("name", ["nonsense", "body.7", "head.weight"])
def test_a_place_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"features='{name}': the model has no such module") as e:
        mc.Objective(cases.module("plain"), mse_loss, features=name)
    assert "it has body, body.0, body.1, head" in str(e.value)
    assert "\n" not in str(e.value)


class Twice(nn.Linear):
    """One layer, two outputs."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return the same output twice."""
        return super().forward(x), super().forward(x)


class Odd(nn.Module):
    """A body that is passed over, gives two things, or is followed by what looks like a tap."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.head = how, nn.Linear(4, 1)
        self.body = Twice(3, 4) if how == "two" else nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3] -> [n, 1]."""
        if self.how == "over":
            return self.head(torch.tanh(nn.functional.linear(x, self.body.weight)))
        if self.how == "two":
            return self.head(self.body(x)[0])
        return torch.positive(self.head(self.body(x)))


@pytest.mark.parametrize("chunk", [1, "all"])
@pytest.mark.parametrize(
    ("how", "word"),
    [("over", "does not call the module that gives the features"),
     ("two", "features must be one tensor, found tuple")],
)  # fmt: skip
def test_a_forward_that_shows_nothing_is_refused(how: str, word: str, chunk: int) -> None:
    goal = mc.Objective(built(lambda: Odd(how)), mse_loss, mc.Plan(chunk=chunk))
    found = cases.episodes("plain")
    if how == "over":
        assert goal.predict(goal.trainable(), found.query.inputs[0]).shape == (5, 1)
    with pytest.raises(UsageError, match=word) as caught:
        goal.losses_with_features(tree.expand(goal.trainable(), 4), found.query)
    assert "\n" not in str(caught.value)


def test_without_a_place_there_are_no_features() -> None:
    goal = cases.objective("tied")
    with pytest.raises(UsageError, match=r"Objective\(\.\.\., features='encoder'\)"):
        goal.predict_with_features(goal.trainable(), drawn(0, 5, 3))


def test_the_models_own_positive_is_not_the_tap() -> None:
    goal, x = mc.Objective(built(lambda: Odd("plus")), mse_loss, ALL), drawn(0, 5, 3)
    _, features = goal.predict_with_features(goal.trainable(), x)
    assert torch.equal(features, goal.model.get_submodule("body")(x))


class Cached(nn.Module):
    """A tensor with a graph among its attributes, as old-fashioned weight normalisation keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 1)
        self.cache = 2 * self.body.weight

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3] -> [n, 1]."""
        return self.head(torch.tanh(self.body(x)))


def test_a_model_that_cannot_be_copied_needs_no_copy() -> None:
    goal = mc.Objective(Cached(), mse_loss, ALL)
    assert goal.predict(goal.trainable(), torch.ones(5, 3)).shape == (5, 1)
