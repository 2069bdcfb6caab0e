"""On a CUDA device: the same numbers as on the CPU, and one synchronisation per meta-step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import metaccord as mc
from metaccord import tree
from tests import cases, tolerances
from tests.reference.compare import relative_error

pytestmark = pytest.mark.gpu
METHODS = {
    "maml": mc.methods.maml(2, 0.1),
    "maml+agreement": mc.methods.gradient_agreement(mc.methods.maml(2, 0.1)),
    "reptile": mc.methods.reptile(3, 0.1),
}
DTYPES = [(torch.float64, tolerances.DEVICE_F64), (torch.float32, tolerances.DEVICE_F32)]
ALONE = "none"


def problem(dtype: torch.dtype, device: str, **plan: object) -> tuple[mc.Objective, mc.Episode]:
    torch.manual_seed(0)
    model = mc.models.Conv4(3, 1, 8, 16).to(dtype)
    labels = torch.arange(3).repeat(4, 2)
    batches = [mc.Batch(torch.randn(4, 6, 1, 16, 16, dtype=dtype), labels) for _ in range(2)]
    how = mc.Plan(**{"chunk": "all", **plan})
    objective = mc.Objective(model, mc.losses.cross_entropy, how, device=device)
    return objective, tree.to(mc.Episode(*batches), torch.device(device))


def gradient(
    method: mc.Method, objective: mc.Objective, episodes: mc.Episode
) -> dict[str, torch.Tensor]:
    """Return the mean meta-gradient of a fresh state, on the processor."""
    state = mc.initialise(method, objective)
    step = mc.meta_gradient(method, objective, state, tree.to(episodes, objective.place()))
    return {k: v.cpu() for k, v in step.grads.items()}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("dtype", "bound"), DTYPES)
def test_one_meta_gradient_equals_the_cpu(name, dtype, bound):
    here, there = (gradient(METHODS[name], *problem(dtype, d)) for d in ("cpu", "cuda"))
    assert relative_error(there, here) <= bound


@pytest.mark.parametrize("drawn", [cases.even, cases.uneven], ids=["even", "uneven"])
@pytest.mark.parametrize("net", ["batchnorm2d", "layernorm"])
@pytest.mark.parametrize(("interaction", "base"), cases.PAIRS)
def test_every_method_equals_the_cpu(interaction, base, net, drawn):
    """Each interaction over each base, also on uneven tasks."""
    parts = () if interaction == ALONE else (cases.INTERACTIONS[interaction],)
    method = replace(cases.BASES[base], interactions=parts)
    here = cases.objective(net)
    there = mc.Objective(here.model, here.criterion, here.plan, device="cuda")
    found = gradient(method, there, drawn(net))
    assert relative_error(found, gradient(method, here, drawn(net))) <= tolerances.DEVICE_F64


@pytest.mark.parametrize("plan", [{"compile": True}, {"chunk": 2}, {"checkpoint": True}], ids=str)
def test_every_plan_gives_the_same(plan):
    method = METHODS["maml+agreement"]
    plain = gradient(method, *problem(torch.float64, "cpu"))
    assert relative_error(gradient(method, *problem(torch.float64, "cuda", **plan)), plain) <= 1e-10


def test_weights_start_as_on_the_cpu_and_no_generator_moves():
    before = torch.cuda.get_rng_state()
    states = []
    for device in ("cpu", "cuda"):
        objective, _ = problem(torch.float32, device)
        states.append(mc.initialise(METHODS["maml"], objective, seed=3).params)
    assert all(torch.equal(there.cpu(), states[0][name]) for name, there in states[1].items())
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_the_same_training_twice_gives_the_same_bits():
    tasks = mc.tasks.Sinusoid()
    objective = mc.Objective(mc.models.MLP(), mc.losses.mse, device="cuda")
    runs = [
        [r.numbers for r in mc.train(METHODS["maml"], objective, tasks, steps=3, exact=True)]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_a_training_goes_on_exactly_and_synchronises_once():
    tasks = mc.tasks.Sinusoid()
    objective = mc.Objective(mc.models.MLP(), mc.losses.mse, mc.Plan(chunk="all"), device="cuda")
    method = METHODS["maml+agreement"]
    whole = list(mc.train(method, objective, tasks, steps=6, num_tasks=4))[-1].state
    half = list(mc.train(method, objective, tasks, steps=3, num_tasks=4))[-1]
    rest = mc.train(
        method, objective, tasks, steps=6, num_tasks=4, state=half.state, slots=half.slots
    )
    next(rest)
    with pytest.warns(UserWarning, match="prototype"):
        torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchroniz") as seen:
            record = next(rest)
        assert len(seen) == 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    record = [*rest][-1]
    assert all(torch.equal(record.state.params[k], v) for k, v in whole.params.items())
    scores = mc.evaluate(method, objective, record.state, tasks, mc.Protocol(tasks=4))
    assert scores.loss.mean > 0
