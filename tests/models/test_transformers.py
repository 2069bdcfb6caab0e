"""Transformers by the library of that name: attention switched, gradients certified."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import metaccord as mc
from metaccord import hazards, keys, tree
from metaccord.differences import Wide
from metaccord.engine import Plan
from metaccord.models import adapters, lora, merged
from tests import small_transformers, tolerances
from tests.reference.compare import relative_error
from tests.small_transformers import FOREIGN, episode

METHOD = mc.methods.maml(steps=2, lr=0.1)
LOOP = Plan(chunk=1)


@pytest.mark.parametrize("name", FOREIGN)
def test_the_default_attention_is_certified(name: str) -> None:
    """As transformers builds it (SDPA): second order against autograd and against differences."""
    head = "network.score" if name == "gpt2" else "network.classifier"
    model = lora(FOREIGN[name](), 2, learn=(head,))
    report = mc.check(model, F.cross_entropy, METHOD, episode(model))
    assert report.healthy, report
    assert "fused_attention" in {finding.code for finding in report.findings}
    assert report.certificate.loop <= 1e-12
    assert report.certificate.differences <= 1e-8


def test_torchs_own_layers_with_packed_projections_are_certified() -> None:
    model = lora(small_transformers.torchs(), 2, targets=("body",), learn=("head",))
    report = mc.check(model, F.cross_entropy, METHOD, episode(model))
    assert report.healthy, report
    assert max(report.certificate.loop, report.certificate.differences) <= 1e-8


def test_adapters_in_a_transformer_are_certified() -> None:
    model = adapters(FOREIGN["bert"](), ("*.output.dense",), 2, learn=("network.classifier",))
    method = replace(METHOD, rule=replace(METHOD.rule, only=("adapters",)))
    report = mc.check(model, F.cross_entropy, method, episode(model))
    assert max(report.certificate.loop, report.certificate.differences) <= 1e-8, report


@pytest.mark.parametrize("name", FOREIGN)
def test_the_setting_of_attention_does_not_matter(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SDPA gives the gradients of eager attention, with a notice; the user's model is as before."""
    hazards.say.cache_clear()
    found, models = [], [FOREIGN[name](setting).double() for setting in ("sdpa", "eager")]
    for model in models:
        objective = mc.Objective(model, F.cross_entropy, LOOP)
        state = mc.initialise(METHOD, objective)
        episodes = tree.mapped(
            lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, episode(model)
        )
        with Wide():
            found.append(mc.meta_gradient(METHOD, objective, state, episodes).rows)
    assert relative_error(*found) < tolerances.TWIN_F64
    assert models[0].network.config._attn_implementation == "sdpa"
    assert objective.model is models[1]  # eager: nothing to switch, no copy
    notices = [r.message for r in caplog.records if "attn_implementation='eager'" in r.message]
    assert len(notices) == 1 and "network: attention sdpa" in notices[0]


def test_dropout_of_attention_comes_from_the_key() -> None:
    """With fused attention it could not; the same key gives the same mask."""
    model = FOREIGN["bert"]("sdpa", 0.5)
    objective = mc.Objective(model, F.cross_entropy, LOOP)
    params, inputs = objective.trainable(), tree.unbind(episode(model))[0].support.inputs
    key = torch.tensor(7)
    one, again, other, none = (
        objective.predict(params, inputs, k) for k in (key, key, key + 1, None)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert relative_error(none, model.eval()(**inputs)) < 1e-6


def test_an_adapted_transformer_is_plain_after_merging() -> None:
    model = lora(FOREIGN["gpt2"](), 2, learn=("network.score",))
    objective = mc.Objective(model, F.cross_entropy, LOOP)
    task = tree.unbind(episode(model))[0]
    learner = mc.Learner(METHOD, objective, mc.initialise(METHOD, objective))
    plain = merged(learner.adapt(task.support))
    assert {type(part) for part in plain.modules()} == {type(part) for part in model.modules()} - {
        type(part) for part in model.modules() if "LowRank" in type(part).__name__
    }
    outputs = learner.predict(task.support, task.query.inputs)
    assert relative_error(plain(**task.query.inputs), outputs) < 1e-5


def test_float64_stays_where_a_model_narrows() -> None:
    x = torch.tensor([0.1, 0.7], dtype=torch.float64)
    with Wide():
        for narrowed in (x.float(), x.to(torch.float32), x.to(dtype=torch.float32),
                         F.softmax(x, dim=-1, dtype=torch.float32)):  # fmt: skip
            assert narrowed.dtype == torch.float64
        assert x.float() is x and x.half().float().dtype == torch.float32
    assert x.float().dtype == torch.float32


def test_a_model_that_narrows_is_no_fault() -> None:
    """Rounding to float32 inside a copy in float64 looked like a wrong gradient."""

    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.softmax(self.head(x), -1, dtype=torch.float32).to(x.dtype)

    with keys.seeded(0):
        model = Narrow()
    x = torch.linspace(-1, 1, 36).view(2, 2, 3, 3)
    episodes = mc.Episode(mc.Batch(x[0], x[1]), mc.Batch(x[1], x[0]))
    report = mc.check(model, F.mse_loss, METHOD, episodes)
    assert report.certificate.differences <= 1e-9
