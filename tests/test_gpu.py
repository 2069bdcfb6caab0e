"""On a CUDA device: the same numbers as on the CPU, and one synchronisation per meta-step."""

from __future__ import annotations

import pytest
import torch

import metaccord as mc
from metaccord import tree
from tests import tolerances
from tests.reference.compare import relative_error

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
METHODS = {
    "maml": mc.methods.maml(2, 0.1),
    "maml+agreement": mc.methods.gradient_agreement(mc.methods.maml(2, 0.1)),
    "reptile": mc.methods.reptile(3, 0.1, batch=2, inner="adam"),
}


def problem(dtype: torch.dtype, device: str) -> tuple[mc.Objective, mc.Episode]:
    torch.manual_seed(0)
    model = mc.models.Conv4(3, 1, 8, 16).to(dtype)
    labels = torch.arange(3).repeat(4, 2)
    batches = [mc.Batch(torch.randn(4, 6, 1, 16, 16, dtype=dtype), labels) for _ in range(2)]
    objective = mc.Objective(model, mc.losses.cross_entropy, mc.Plan(chunk="all"), device=device)
    return objective, tree.to(mc.Episode(*batches), torch.device(device))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(torch.float64, tolerances.DEVICE_F64), (torch.float32, tolerances.DEVICE_F32)],
)
def test_one_meta_gradient_equals_the_cpu(name, dtype, bound):
    found = []
    for device in ("cpu", "cuda"):
        objective, episodes = problem(dtype, device)
        state = mc.initialise(METHODS[name], objective)
        step = mc.meta_gradient(METHODS[name], objective, state, episodes)
        found.append({k: v.cpu() for k, v in step.grads.items()})
    assert relative_error(found[1], found[0]) <= bound


def test_a_training_goes_on_exactly_and_synchronises_once():
    tasks = mc.tasks.Sinusoid()
    objective = mc.Objective(mc.models.MLP(), mc.losses.mse, mc.Plan(chunk="all"), device="cuda")
    method = METHODS["maml+agreement"]
    whole = list(mc.train(method, objective, tasks, steps=6, num_tasks=4))[-1].state
    half = list(mc.train(method, objective, tasks, steps=3, num_tasks=4))[-1]
    torch.cuda.set_sync_debug_mode("warn")
    try:
        rest = mc.train(
            method, objective, tasks, steps=6, num_tasks=4, state=half.state, slots=half.slots
        )
        next(rest)
        with pytest.warns(UserWarning, match="synchroniz") as seen:
            record = next(rest)
        assert len(seen) == 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    record = [*rest][-1]
    assert all(torch.equal(record.state.params[k], v) for k, v in whole.params.items())
    scores = mc.evaluate(method, objective, record.state, tasks, mc.Protocol(tasks=4))
    assert scores.loss.mean > 0
