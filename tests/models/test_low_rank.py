"""Low-rank updates: laws, a slow twin, what is learned, stored and refused."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import metaccord as mc
from metaccord import keys, tree
from metaccord.engine import Plan
from metaccord.errors import CheckpointError, UsageError
from metaccord.learner import Learner
from metaccord.models import lora, merged
from tests import small_transformers, tolerances
from tests.reference.compare import relative_error

LOOP = Plan(chunk=1)


def inputs_of(model: nn.Module) -> dict[str, Tensor]:
    return {k: v[0] for k, v in small_transformers.episode(model).support.inputs.items()}


class Words(nn.Module):
    """An embedding with padding, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 4, padding_idx=0)
        self.head = nn.Linear(4, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head((self.words(input_ids) * attention_mask[..., None]).mean(1))


def made(build: Callable[[], nn.Module]) -> nn.Module:
    with keys.seeded(0):
        return build().double()


class Pictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1, padding_mode="circular"), nn.Tanh(),
            nn.Conv2d(4, 4, 3, padding="same", dilation=2), nn.Tanh(), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...] | None]] = {
    "linear": (lambda: mc.models.MLP(3, (5, 5), 2, activation="tanh"), None),
    "convolution": (Pictures, None),
    "embedding": (Words, ("words", "head")),
    "torch's transformer": (small_transformers.Torchs, None),
    "GPT-2 with Conv1D": (small_transformers.gpt2, ("*.h",)),
    "BERT, some layers": (small_transformers.bert, ("*.query", "*.value")),
}


def called(name: str, model: nn.Module) -> Tensor:
    """Return the outputs for a few examples, as a user's loop would compute them."""
    if name in ("linear", "convolution"):
        shape = (6, 3) if name == "linear" else (6, 1, 4, 4)
        return model(torch.linspace(-1, 1, math.prod(shape), dtype=torch.float64).view(shape))
    return model(**inputs_of(model))


def moved(model: nn.Module) -> nn.Module:
    """Return the model after its updates have left their starting point."""
    generator = torch.Generator().manual_seed(5)
    for leaf in model.parameters():
        if leaf.requires_grad:
            leaf.data += 0.3 * torch.randn(leaf.shape, generator=generator).to(leaf)
    return model


def frozen(model: nn.Module) -> nn.Module:
    """Return a copy of constant weights: torch takes another kernel for those that are learned."""
    return copy.deepcopy(model).requires_grad_(False)


@pytest.mark.parametrize("name", MODELS)
def test_laws(name: str) -> None:
    """Nothing changes at first, to the bit; merging gives the plain model with the same outputs."""
    build, targets = MODELS[name]
    plain = made(build)
    before, words = copy.deepcopy(plain.state_dict()), torch.get_rng_state()
    model = lora(plain, 2, alpha=3.0, targets=targets)
    assert torch.equal(torch.get_rng_state(), words)
    with torch.no_grad():
        assert torch.equal(called(name, model), called(name, frozen(plain)))
    learned = {n for n, leaf in model.named_parameters() if leaf.requires_grad}
    assert learned and learned < mc.Objective(model, F.mse_loss).groups["lora"]
    moved(model)
    for mode in (model.train(), model.eval()):
        with torch.no_grad():
            outputs = called(name, mode)
        assert relative_error(called(name, plain), outputs) > 1e-3
        assert relative_error(called(name, mode), outputs) < tolerances.TWIN_F64
        assert relative_error(called(name, merged(mode)), outputs) < tolerances.TWIN_F64
    bare = merged(model)
    assert {n: v.shape for n, v in bare.state_dict().items()} == {
        n: v.shape for n, v in before.items()
    }
    assert [type(part) for part in bare.modules()] == [type(part) for part in plain.modules()]
    for key, value in plain.state_dict().items():  # the user's model is left as it is
        assert torch.equal(value, before[key])
    assert all(leaf.requires_grad for leaf in plain.parameters())


@pytest.mark.parametrize("name", ["torch's transformer", "linear"])
def test_merging_in_float32(name: str) -> None:
    with keys.seeded(0):
        model = moved(lora(MODELS[name][0](), 2)).float()
    call = (lambda m: m(torch.ones(2, 3))) if name == "linear" else (lambda m: m(**inputs_of(m)))
    assert relative_error(call(merged(model)), call(model)) < 1e-6


def test_against_the_formula_and_a_loop() -> None:
    """Meta-gradient of two inner steps, with weights W + s B A written out."""
    plain = made(lambda: mc.models.MLP(3, (5,), 2, activation="tanh"))
    model = moved(lora(plain, 2, alpha=4.0, learn=("head.bias",)))
    episodes = tree.mapped(Tensor.double, regression())
    method = mc.methods.maml(steps=2, lr=0.1)
    for plan in (LOOP, Plan(chunk="all")):
        objective = mc.Objective(model, F.mse_loss, plan)
        state = mc.initialise(method, objective)
        step = mc.meta_gradient(method, objective, state, episodes)
        for i, one in enumerate(tree.unbind(episodes)):
            slow = by_hand(plain, tree.scope(state.params, "model"), one)
            rows = {k: v[i] for k, v in tree.scope(step.rows, "model").items()}
            assert relative_error(rows, slow) < tolerances.TWIN_F64


def regression() -> mc.Episode:
    generator = torch.Generator().manual_seed(2)
    x, y = (
        torch.randn(2, 3, 8, 3, generator=generator),
        torch.randn(2, 3, 8, 2, generator=generator),
    )
    return mc.Episode(mc.Batch(x[0], y[0]), mc.Batch(x[1], y[1]))


def by_hand(plain: nn.Module, start: dict[str, Tensor], task: mc.Episode) -> dict[str, Tensor]:
    """Return the meta-gradient of one task by a loop of autograd."""
    weights = {n: v.detach() for n, v in plain.named_parameters()}

    def loss(p: dict[str, Tensor], batch: mc.Batch) -> Tensor:
        first = (
            weights["body.0.weight"] + 2.0 * p["body.0.lora.b.weight"] @ p["body.0.lora.a.weight"]
        )
        hidden = torch.tanh(batch.inputs @ first.T + weights["body.0.bias"])
        last = weights["head.weight"] + 2.0 * p["head.lora.b.weight"] @ p["head.lora.a.weight"]
        return ((hidden @ last.T + p["head.bias"] - batch.targets) ** 2).mean()

    leaves = {k: v.detach().requires_grad_() for k, v in start.items()}
    at = leaves
    for _ in range(2):
        grads = torch.autograd.grad(loss(at, task.support), [*at.values()], create_graph=True)
        at = {k: v - 0.1 * g for (k, v), g in zip(at.items(), grads, strict=True)}
    return dict(
        zip(leaves, torch.autograd.grad(loss(at, task.query), [*leaves.values()]), strict=True)
    )


def test_what_is_learned_and_what_moves_are_two_choices() -> None:
    """Updates and head are meta-learned; the head alone, or the updates alone, move inside."""
    plain = made(lambda: mc.models.MLP(3, (5,), 2))
    model = moved(lora(plain, 2, targets=("body",), learn=("head",)))
    objective, episodes = mc.Objective(model, F.mse_loss), tree.mapped(Tensor.double, regression())
    learned = {"body.0.lora.a.weight", "body.0.lora.b.weight", "head.weight", "head.bias"}
    assert set(objective.trainable()) == learned
    for only, moves in (
        (("head",), {"head.weight", "head.bias"}),
        (("lora",), {"body.0.lora.a.weight", "body.0.lora.b.weight"}),
        (("*.lora.b",), {"body.0.lora.b.weight"}),
        ((), learned),
    ):
        method = mc.methods.maml(steps=2, lr=0.1)
        method = replace(method, rule=replace(method.rule, only=only))
        step = mc.meta_gradient(method, objective, mc.initialise(method, objective), episodes)
        assert set(step.run.adapted) == moves
        assert set(tree.scope(step.rows, "model")) == learned  # no row of a frozen weight
        assert all(rows.flatten(1).any(1).all() for rows in step.rows.values())


def test_weights_drawn_anew_start_at_zero_again() -> None:
    model = moved(lora(mc.models.MLP(3, (5,), 2), 2))
    objective = mc.Objective(model, F.mse_loss)
    method = mc.methods.maml()
    one, two = (mc.initialise(method, objective, seed=seed).params for seed in (1, 2))
    assert not one["model.body.0.lora.b.weight"].any()
    assert not torch.equal(one["model.body.0.lora.a.weight"], two["model.body.0.lora.a.weight"])


def test_files_hold_what_was_learned_and_the_hash_of_the_rest(tmp_path: Path) -> None:
    def built(alpha: float | None = None) -> nn.Module:
        return lora(
            made(lambda: mc.models.MLP(3, (200, 200), 2)), 2, alpha=alpha, targets=("body",)
        )

    method, objective = mc.methods.maml(), mc.Objective(moved(built()), F.mse_loss)
    mc.save(tmp_path / "it", method, objective, mc.initialise(method, objective))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert size < 20_000 < 8 * 200 * 200
    found = mc.load(tmp_path / "it", model=built(), criterion=F.mse_loss)
    assert set(found.state.params) == {f"model.{k}" for k in objective.trainable()}
    for other in (built(alpha=1.0), moved(lora(made(Pictures), 2))):
        with pytest.raises(CheckpointError, match="trained with another model"):
            mc.load(tmp_path / "it", model=other, criterion=F.mse_loss)
    changed = built()
    changed.get_parameter("body.2.weight").data[0, 0] += 1e-9
    with pytest.raises(CheckpointError, match="trained with another model"):
        mc.load(tmp_path / "it", model=changed, criterion=F.mse_loss)


def test_an_adapted_model_merges() -> None:
    model = moved(lora(made(lambda: mc.models.MLP(3, (5,), 2)), 2))
    objective, method = mc.Objective(model, F.mse_loss), mc.methods.maml(steps=2, lr=0.1)
    support, query = tree.unbind(tree.mapped(Tensor.double, regression()))[0][:2]
    learner = Learner(method, objective, mc.initialise(method, objective))
    plain = merged(learner.adapt(support))
    assert not any("lora" in name for name, _ in plain.named_parameters())
    outputs = learner.predict(support, query.inputs)
    assert relative_error(plain(query.inputs), outputs) < tolerances.TWIN_F64


def test_a_tied_weight_elsewhere_keeps_its_value() -> None:
    plain = made(Words)
    plain.head = nn.Linear(4, 20, bias=False).double()
    plain.head.weight = plain.words.weight
    model = moved(lora(plain, 2, targets=("head",)))
    found = merged(model)
    assert torch.equal(found.words.weight, plain.words.weight)
    assert not torch.equal(found.head.weight, plain.head.weight)


def weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "rank": (lambda: lora(mc.models.MLP(), 0), "rank must be 1 or more"),
    "alpha": (lambda: lora(mc.models.MLP(), alpha=float("nan")), "alpha above 0"),
    "target": (lambda: lora(mc.models.MLP(), targets=("tail",)), "has: body.0, body.2, head"),
    "learn": (lambda: lora(mc.models.MLP(), learn=("tail",)), "learn='tail' selects no parameter"),
    "no layer": (lambda: lora(nn.BatchNorm1d(2)), "no layer is left"),
    "all learned": (lambda: lora(mc.models.MLP(), learn=("body", "head")), "no layer is left"),
    "twice": (lambda: lora(lora(mc.models.MLP())), "extended already"),
    "packed twice": (lambda: lora(lora(nn.MultiheadAttention(4, 2))), "computes its weight itself"),
    "weight norm": (lambda: lora(weight_norm()), "leave it out"),
    "lazy": (lambda: lora(nn.Sequential(nn.LazyLinear(2))), "call the model once"),
    "groups": (lambda: lora(nn.Sequential(nn.Conv2d(2, 2, 1, groups=2))), "2 groups"),
    "plain": (lambda: merged(mc.models.MLP()), "plain already"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_bad_input(name: str) -> None:
    call, text = BAD[name]
    with pytest.raises(UsageError, match=text):
        call()
