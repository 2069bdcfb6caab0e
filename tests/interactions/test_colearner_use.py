"""CML in use: nothing of it is left afterwards, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import metaccord as mc
from metaccord import tree
from metaccord.errors import UsageError
from metaccord.interactions import CoLearner
from metaccord.methods import cooperative, maml, reptile
from metaccord.types import Batch, Params
from tests import cases
from tests.interactions.support import once
from tests.interactions.test_colearner import Conv, conv, episodes_of, goal_of


def without(state: mc.MetaState) -> mc.MetaState:
    """Delete the co-learner."""
    kept: Params = {k: v for k, v in state.params.items() if "cooperative" not in k}
    assert len(kept) < len(state.params)
    return state._replace(params=kept)


def test_nothing_of_it_is_saved_or_needed(tmp_path: Path) -> None:
    method, goal = cooperative(maml(steps=2, lr=0.2)), conv()
    state, found = mc.initialise(method, goal, seed=0), episodes_of("conv")
    mc.save(tmp_path / "saved", method, goal, state)
    names = [p.name.encode() for p in (tmp_path / "saved").rglob("*")]
    texts = [p.read_bytes() for p in (tmp_path / "saved").rglob("*") if p.is_file()]
    assert any(b"model.head.weight" in text for text in texts), "tensors are listed by name"
    assert not any(b"interaction.cooperative" in text for text in (*names, *texts))
    with torch.random.fork_rng(devices=[]):
        learner = mc.load(tmp_path / "saved", model=Conv().double(), criterion=cross_entropy)
    assert learner.method == method
    assert set(learner.state.params) == {f"model.{k}" for k in goal.trainable()}
    support, query = (Batch(*b) for b in tree.unbind((found.support, found.query))[0])
    full, bare = mc.Learner(method, goal, state), mc.Learner(method, goal, without(state))
    module = full.adapt(support)
    buffers = {"running_mean", "running_var", "num_batches_tracked"}
    assert set(module.state_dict()) - {f"body.1.{b}" for b in buffers} == set(goal.trainable())
    outputs = module(query.inputs)
    for other in (bare, learner):
        assert torch.equal(other.adapt(support)(query.inputs), outputs)
        assert torch.equal(
            other.predict(support, query.inputs), full.predict(support, query.inputs)
        )
    for a, b in ((state, without(state)), (state, learner.state)):
        runs = [mc.adapt(method, goal, s, found).path for s in (a, b)]
        assert cases.same_bits(*runs)


class Dumb(nn.Module):
    """It has a body, but does not say what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3] -> [n, 1]."""
        return self.out(torch.tanh(self.body(x)))


def test_a_model_without_head_must_be_described() -> None:
    goal = mc.Objective(Dumb().double(), nn.functional.mse_loss, mc.Plan(chunk="all"))
    for options in ({}, {"shape": (4,)}, {"outputs": 1}):
        with pytest.raises(UsageError, match="no feature_shape, no linear layer called head") as e:
            mc.initialise(cooperative(maml(), **options), goal)
        assert "\n" not in str(e.value)
    found = cases.episodes("plain")
    assert once(cooperative(maml(), shape=(4,), outputs=1), goal, found).notes


def test_a_model_without_features_must_name_them() -> None:
    goal = cases.objective("tied")
    with pytest.raises(UsageError, match="no part called features or body"):
        once(cooperative(maml()), goal, cases.episodes("tied"))


@pytest.mark.parametrize("chunk", [1, 2, "all"])
@pytest.mark.parametrize(
    ("net", "options"),
    [("plain", {"shape": (7,)}), ("plain", {"shape": (2, 3, 3)}), ("conv", {"shape": (5,)}),
     ("conv", {"shape": (2, 9, 9)}), ("conv", {"shape": (3, 6, 6)})],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_error(
    net: str, options: dict[str, Any], chunk: Any
) -> None:
    goal = goal_of(net, mc.Plan(chunk=chunk))
    with pytest.raises(UsageError, match="the co-learner does not fit features of shape") as caught:
        once(cooperative(maml(steps=1), **options), goal, episodes_of(net))
    shown = "(4,)" if net == "plain" else "(2, 6, 6)"
    assert shown in str(caught.value)
    assert "give cooperative.shape and cooperative.outputs" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_few_outputs_are_one_clear_error() -> None:
    goal = conv(mc.Plan(chunk=1))
    with pytest.raises(UsageError, match=r"outputs is 2, but the model's head gives 3"):
        once(cooperative(maml(steps=1), outputs=2), goal, episodes_of("conv"))


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_bad_weights_are_refused(weight: float) -> None:
    with pytest.raises(UsageError, match=f"cooperative.weight is {weight}: it must be finite"):
        CoLearner(weight=weight)


@pytest.mark.parametrize("options", [{"shape": (0,)}, {"shape": (2, 3)}, {"shape": (1, -2, 3)},
                                     {"shape": ()}, {"outputs": -1}, {"outputs": 0},
                                     {"hidden": -3}, {"hidden": 0}])  # fmt: skip
def test_bad_sizes_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"cooperative.{next(iter(options))} is "):
        CoLearner(**options)


def test_without_a_query_loss_it_is_refused() -> None:
    with pytest.raises(UsageError, match="cooperative has no meaning over reptile"):
        cooperative(reptile())


def test_a_head_that_is_no_single_layer_says_nothing_about_features() -> None:
    model = nn.Sequential()
    model.add_module("body", nn.Linear(3, 4))
    model.add_module("head", nn.Sequential(nn.Tanh(), nn.Linear(4, 2)))
    goal = mc.Objective(model, cross_entropy, mc.Plan(chunk=1))
    own = CoLearner(shape=(4,), outputs=2).init({}, 1, goal, seed=0)
    assert sum(v.numel() for v in own.learned.values()) > 0
    with pytest.raises(UsageError, match=r"give cooperative\.shape"):
        CoLearner().init({}, 1, goal, seed=0)
