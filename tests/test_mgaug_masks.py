"""Which entries MGAug prunes, and when the masks change."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import metaccord as mc
from metaccord import tree
from metaccord.estimators.masks import channels
from metaccord.models import MLP, Conv4
from metaccord.rules import SGD
from metaccord.types import Episode, Stacked
from metaccord.unroll import dropout_key
from tests import cases
from tests.pruning import KINDS, LR, masks_of, method_of
from tests.reference.inner import gradient, leaves, loss_at

# Which entries.


def wide(kind: str) -> tuple[mc.Objective, Episode]:
    """Return a network with many entries, its norms scaled at random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "Conv4":
            model: nn.Module = Conv4(3, hidden=5, size=6)
        else:
            model = MLP(3, (40, 40), activation="tanh")
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.uniform_(part.bias, 0.5, 1.0)
    net, criterion = ("batchnorm2d", cross_entropy) if kind == "Conv4" else ("plain", mse_loss)
    return mc.Objective(model.double(), criterion, mc.Plan("all")), cases.episodes(net)


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9])
def test_a_fraction_of_the_entries_is_pruned(ratio: float) -> None:
    """By chance within five standard deviations; otherwise the nearest number, one always kept."""
    goal, found = wide("MLP")
    for kind in KINDS:
        method = method_of(kind, ratio=ratio)
        for mask in masks_of(method, goal, mc.initialise(method, goal), found):
            weights = {"body.0.weight": (40, 3), "body.2.weight": (40, 40)}
            biases = {"body.0.bias", "body.2.bias"} if kind == "width" else set()
            assert mask.keys() == weights.keys() | biases
            for name, kept in mask.items():
                assert kept.shape == (4, *weights.get(name, (40,)))
                assert kept.dtype == torch.float64
                assert bool(((kept == 0) | (kept == 1)).all())
                pruned, size = (kept == 0).flatten(1).sum(1), kept[0].numel()
                if kind == "parameter":
                    spread = (size * ratio * (1 - ratio)) ** 0.5
                    assert ((pruned - ratio * size).abs() <= 5 * spread).all()
                else:
                    assert pruned.tolist() == [round(ratio * size)] * 4
    narrow = cases.objective("plain")  # 4 channels
    method = method_of("width", ratio=0.99)
    (mask, _) = masks_of(method, narrow, mc.initialise(method, narrow), found)
    assert mask["body.0.bias"].sum(1).tolist() == [1.0] * 4


def test_catfish_drops_what_the_loss_depends_on_most() -> None:
    """Against a loop; 0.34 of 12 entries are 4."""
    method = method_of("catfish", rule=SGD(steps=2, lr=LR, batch=4))
    goal, found = cases.objective("plain"), cases.episodes("plain")
    state = mc.initialise(method, goal)
    (mask,) = masks_of(method, goal, state, found)
    params = leaves(tree.scope(state.params, "model"))
    for i, task in enumerate(cases.twin_tasks(method, found)):
        loss = loss_at(goal.model, goal.criterion, params, task.batches[0])
        grads = gradient(loss, params, create_graph=False)
        score = (params["body.0.weight"].detach() * grads["body.0.weight"]).abs().flatten()
        largest = sorted(range(12), key=score.tolist().__getitem__)[-4:]
        pruned = mask["body.0.weight"][i].flatten() == 0
        assert pruned.nonzero().flatten().tolist() == sorted(largest)


def test_catfish_sees_the_dropout_of_the_first_step() -> None:
    """The score is that of the loss whose gradient the first inner step takes."""
    method, found = method_of("catfish"), cases.episodes("plain")
    found = found._replace(extra={**found.extra, "dropout": torch.arange(4)})
    body = nn.Sequential(nn.Linear(3, 40), nn.Dropout(0.5), nn.Tanh())
    net = nn.Sequential()
    net.add_module("body", body)
    net.add_module("head", nn.Linear(40, 1))
    goal = mc.Objective(net.double(), mse_loss, mc.Plan("all"))
    state = mc.initialise(method, goal, seed=0)
    (mask,) = masks_of(method, goal, state, found)
    for step in range(3):
        stack = tree.expand(tree.scope(state.params, "model"), 4)
        leaf = stack["body.0.weight"].clone().requires_grad_()
        key = dropout_key(goal, found, step)
        losses = goal.losses({**stack, "body.0.weight": leaf}, found.support, key)
        score = (leaf * torch.autograd.grad(losses.sum(), leaf)[0]).abs().flatten(1).detach()
        kept = mask["body.0.weight"].flatten(1) == 1
        pruned = (~kept).sum(1)
        worst = score.where(kept, torch.zeros(())).amax(1)
        least = score.where(~kept, torch.inf * torch.ones(())).amin(1)
        assert (pruned == round(0.34 * 120)).all()
        assert bool((least >= worst).all()) == (step == 0)


@pytest.mark.parametrize("name", ["Conv4", "MLP"])
def test_pruned_channels_are_dead(name: str) -> None:
    """Exactly 0 for every input and at every layer, before and after adaptation."""
    goal, found = wide(name)
    method = method_of("width", 1)
    state = mc.initialise(method, goal)
    (mask,) = masks_of(method, goal, state, found)
    params = tree.expand(tree.scope(state.params, "model"), 4)
    places = [f"body.{i}.2" for i in range(4)] if name == "Conv4" else ["body.1", "body.3"]
    for place in places:
        weight = (
            f"{place[:-2]}.0.weight" if name == "Conv4" else f"body.{int(place[-1]) - 1}.weight"
        )
        part = mc.Objective(goal.model, goal.criterion, goal.plan, features=place)
        for task in range(4):
            pruned = {k: v[task] * (mask[k][task] if k in mask else 1) for k, v in params.items()}
            _, features = part.predict_with_features(pruned, found.query.inputs[task])
            dead = mask[weight][task].flatten(1).amax(1) == 0
            assert 0 < int(dead.sum()) < len(dead)
            assert not features[:, dead].any()
            assert features[:, ~dead].any()


class Named(nn.Module):
    """Blocks, a norm in front, a weight that is frozen, a vector of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.LayerNorm(3)
        self.one = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 3))
        self.after = nn.LayerNorm(3)
        self.two = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
        self.two[0].weight.requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(3))
        self.gain = nn.Parameter(torch.ones(()))
        self.head = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))


def test_channels_own_what_stands_behind_them() -> None:
    """Never a vector of another block, of a frozen weight or of the head."""
    assert channels(Named(), "head") == {
        "one.0.weight": ["one.0.weight", "one.0.bias", "one.1.weight", "one.1.bias"],
        "one.2.weight": ["one.2.weight", "one.2.bias"],
    }
    assert set(channels(Named(), "one")) == {"head.0.weight"}
    blocks = [f"body.{i}" for i in range(4)]
    assert channels(Conv4(3, hidden=2, size=6), "head") == {
        f"{b}.0.weight": [f"{b}.{k}" for k in ("0.weight", "0.bias", "1.weight", "1.bias")]
        for b in blocks
    }
    assert channels(cases.module("tied"), "head") == {
        "first.weight": ["first.weight", "first.bias", "second.bias"]
    }
    assert channels(nn.Linear(2, 3), "bias") == {"weight": ["weight"]}


# Draws.


@pytest.mark.parametrize("kind", ["parameter", "width"])
def test_masks_change_with_task_copy_and_meta_step_only(kind: str) -> None:
    """Not with the global generator, the weights, the other tasks or the order of parameters."""
    goal, _ = wide("MLP")
    goal = mc.Objective(MLP(hidden=(40, 40)).double(), mse_loss, mc.Plan("all"))
    method, source = method_of(kind), cases.Sines(shots=2)
    state = mc.initialise(method, goal)
    draw = partial(masks_of, method, goal)
    first = draw(state, source.episodes("train", 0, range(4)))
    torch.rand(3)
    doubled = {k: 2 * v for k, v in reversed(state.params.items())}
    again = draw(state._replace(params=doubled), source.episodes("train", 0, range(4)))
    later = draw(state, source.episodes("train", 1, range(4)))
    part = draw(state, source.episodes("train", 0, range(1, 3)))
    seen: list[Tensor] = []
    for copy in range(2):
        for name, mask in first[copy].items():
            assert torch.equal(mask, again[copy][name])
            assert torch.equal(mask[1:3], part[copy][name])
        seen += [m[copy]["body.2.weight"][task] for m in (first, later) for task in range(4)]
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    if kind == "parameter":  # and layers of one shape differ
        square = mc.Objective(MLP(40, (40, 40)).double(), mse_loss, mc.Plan("all"))
        found = draw_of(method, square, source.episodes("train", 0, range(1)))
        assert not torch.equal(found["body.0.weight"], found["body.2.weight"])


def draw_of(method: mc.Method, goal: mc.Objective, found: Episode) -> Stacked:
    """Return the masks of the first copy."""
    mask: Stacked = masks_of(method, goal, mc.initialise(method, goal), found)[0]
    return mask
