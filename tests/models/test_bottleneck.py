"""Adapters: nothing changes at first, the formula, what is learned, and refusals."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import metaccord as mc
from metaccord import keys, tree
from metaccord.errors import UsageError
from metaccord.models import adapters, lora
from tests import small_transformers, tolerances
from tests.models.test_low_rank import MODELS, called, frozen, made, moved, regression
from tests.reference.compare import relative_error

TARGETS = {
    "linear": ("body",),
    "convolution": ("body.0", "head"),
    "torch's transformer": ("*.linear2", "*.norm1"),
    "GPT-2 with Conv1D": ("*.c_proj",),
    "BERT, some layers": ("*.output.dense",),
}


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_changes_at_first(name: str) -> None:
    """To the bit; afterwards the adapters are heard, in every mode, and nothing else is learned."""
    plain = made(MODELS[name][0])
    words = torch.get_rng_state()
    model = adapters(plain, TARGETS[name], 3)
    assert torch.equal(torch.get_rng_state(), words)
    with torch.no_grad():
        assert torch.equal(called(name, model), called(name, frozen(plain)))
    learned = {n for n, leaf in model.named_parameters() if leaf.requires_grad}
    assert learned == mc.Objective(model, F.mse_loss).groups["adapters"]
    moved(model)
    for mode in (model.train(), model.eval()):
        with torch.no_grad():
            outputs = called(name, mode)
        assert relative_error(outputs, called(name, plain)) > 1e-3
        assert relative_error(called(name, mode), outputs) < tolerances.TWIN_F64


def test_the_formula() -> None:
    plain = made(lambda: nn.Linear(3, 4))
    model = moved(adapters(plain, ("",), 2))
    x = torch.linspace(-1, 1, 15).view(5, 3).double()
    down, up = model.adapter.down, model.adapter.up
    h = x @ plain.weight.T + plain.bias
    expected = h + F.gelu(h @ down.weight.T + down.bias) @ up.weight.T + up.bias
    assert relative_error(model(x), expected) < tolerances.TWIN_F64


def test_they_move_inside_and_the_rest_is_constant() -> None:
    model = moved(adapters(made(MODELS["linear"][0]), ("body.0",), 2, learn=("head",)))
    objective, episodes = mc.Objective(model, F.mse_loss), tree.mapped(Tensor.double, regression())
    method = mc.methods.anil(steps=2, lr=0.1, head=("adapters",))
    step = mc.meta_gradient(method, objective, mc.initialise(method, objective), episodes)
    assert set(step.run.adapted) == objective.groups["adapters"]
    assert set(step.rows) == {f"model.{n}" for n in {*step.run.adapted, "head.weight", "head.bias"}}
    report = mc.check(model, F.mse_loss, method, episodes)
    assert report.healthy and report.certificate.passed


def test_both_together() -> None:
    """Low-rank updates below, adapters behind other layers."""
    plain = made(MODELS["linear"][0])
    model = adapters(lora(plain, 2, targets=("body.0",)), ("body.2",), learn=("*.lora",))
    assert torch.equal(called("linear", model), called("linear", plain))
    assert set(mc.Objective(model, F.mse_loss).groups) == {"batchnorm", "lora", "adapters"}


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "width": (lambda: adapters(mc.models.MLP(), ("body",), 0), "width=0"),
    "target": (lambda: adapters(mc.models.MLP(), ("tail",)), "body.0, body.2, head"),
    "no target": (lambda: adapters(mc.models.MLP(), ()), "no layer is left"),
    "twice": (lambda: adapters(adapters(mc.models.MLP(), ("head",)), ("head",)), "already"),
    "packed": (lambda: adapters(nn.MultiheadAttention(4, 2), ("out_proj",)), "selects no layer"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    call, text = BAD[name]
    with keys.seeded(0), pytest.raises(UsageError, match=text):
        call()


def test_a_record_gives_one_field() -> None:
    model = small_transformers.bert()
    inputs = {k: v[0] for k, v in small_transformers.episode(model).support.inputs.items()}
    assert torch.equal(model(**inputs), model.network(**inputs).logits)
    states = mc.models.Logits(model.network.bert, "last_hidden_state")
    assert states(**inputs).shape == (3, 5, 8)
    with pytest.raises(UsageError, match="no tensor 'logits' but last_hidden_state, pooler_output"):
        mc.models.Logits(model.network.bert)(**inputs)
    with pytest.raises(UsageError, match="Linear returned no tensor 'logits' but Tensor"):
        mc.models.Logits(nn.Linear(1, 1))(torch.ones(1, 1))
