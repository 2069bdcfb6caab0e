"""One compiled graph per meta-step: equal to eager, or eager with a notice."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import metaccord as mc
from metaccord import keys
from metaccord.methods import gradient_agreement, maml, reptile
from tests import cases, tolerances
from tests.reference.compare import relative_error

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]
TASKS = cases.Sines(shots=6)


def trained(
    method: mc.Method, plan: mc.Plan, model: nn.Module | None = None
) -> tuple[mc.MetaState, list[mc.Record]]:
    """Return state and records of two meta-steps with three tasks."""
    model = model or mc.models.MLP(hidden=(4,), activation="tanh").double()
    outer = mc.Outer(optimizer="sgd", lr=0.1)
    goal = mc.Objective(model, mse_loss, plan)
    records = list(mc.train(method, goal, TASKS, steps=2, num_tasks=3, outer=outer))
    return records[-1].state, records


@pytest.mark.parametrize(
    "method", [gradient_agreement(maml(steps=1)), reptile(steps=2, batch=4)], ids=lambda m: m.label
)
def test_training_compiled_equals_eager(
    method: mc.Method, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole graph, no breaks: ``accelerate`` asks for ``fullgraph``."""
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    with caplog.at_level(logging.WARNING, "metaccord"):
        state, records = trained(method, mc.Plan(compile=True))
    assert not caplog.records, "it fell back to eager"
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    eager, plain = trained(method, mc.Plan(chunk="all"))
    assert relative_error(state.params, eager.params) <= tolerances.COMPILED_F64
    for a, b in zip(records, plain, strict=True):
        assert a.numbers.keys() == b.numbers.keys()
        for name, number in b.numbers.items():
            assert a.numbers[name] == pytest.approx(number, rel=1e-12, abs=1e-13)


def test_keys_compiled_equal_eager() -> None:
    """Integer arithmetic that Inductor once folded into an overflowing index."""

    def words(key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mixed = keys.mix(key, 3)
        return mixed, keys.permutation(mixed, 17), keys.uniform(mixed[0], (5, 7))

    torch.compiler.reset()
    key = torch.tensor([0, 1, -1, 2**62, -(2**63)])
    compiled = torch.compile(words, fullgraph=True, dynamic=False)(key)
    assert cases.same_bits(compiled, words(key))


class Breaking(nn.Module):
    """A model that one graph cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 1, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 1] -> [n, 1]."""
        torch._dynamo.graph_break()
        return self.head(x)


def test_what_cannot_compile_runs_eagerly_with_one_notice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.compiler.reset()
    with caplog.at_level(logging.WARNING, "metaccord"):
        state, _ = trained(maml(steps=1), mc.Plan(compile=True), Breaking())
    notices = [r for r in caplog.records if "torch.compile failed" in r.getMessage()]
    assert len(notices) == 1
    eager, _ = trained(maml(steps=1), mc.Plan(chunk="all"), Breaking())
    assert cases.same_bits(state.params, eager.params)
