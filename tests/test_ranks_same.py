"""Every way in which tasks influence each other gives the same meta-gradient on several ranks.

Whole runs of real processes are compared in ``tests/reliability/test_processes.py``.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

import metaccord as mc
from metaccord.axis import TaskAxis
from metaccord.methods import aggregated, maml, pcgrad
from metaccord.selftest.trial import trial
from metaccord.testing.ranks import ThreadRanks, on_ranks
from metaccord.types import Params
from metaccord.wrappers import WRAPPERS
from tests import cases, tolerances
from tests.reference.compare import relative_error

TASKS = 12
SYSTEMS = {name: (name,) for name in WRAPPERS} | {"all": tuple(WRAPPERS)}
METHODS = {name: trial(extra=extra).method for name, extra in SYSTEMS.items()}
METHODS["pcgrad"] = pcgrad(maml(steps=2, lr=0.05))
OPTIONS = {
    "FairGrad": {"alpha": 1.0},
    "Krum": {"n_byzantine": 1},
    "TrimmedMean": {"trim_number": 1},
}
AGGREGATORS = (  # without CAGrad, which needs cvxpy
    "AlignedMTL", "ConFIG", "DualProj", "FairGrad", "GradDrop", "IMTLG", "Krum", "MGDA",
    "Mean", "PCGrad", "Random", "Sum", "TrimmedMean", "UPGrad",
)  # fmt: skip


def stepped(
    method: mc.Method, ranks: ThreadRanks | None = None, *, exact: bool
) -> tuple[Params, Params]:
    """Two meta-steps, so that there is history: the gradients and the running tensors."""
    torch.set_num_threads(1)
    experiment = trial(f"num_tasks={TASKS}", extra=())
    goal = experiment.objective().planned(mc.Plan(chunk=1 if exact else "all"))
    axis = TaskAxis(TASKS, ranks=ranks, exact=exact)
    state = mc.initialise(method, goal)
    for number in range(2):
        episodes = experiment.tasks.episodes("train", number, axis.tasks)
        step = mc.meta_gradient(method, goal, state, episodes, axis)
        state = state._replace(running=step.running, step=number + 1)
    return step.grads, step.running


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("name", METHODS)
def test_fast_mode_is_one_process_to_rounding(name: str, world: int) -> None:
    """The whole meta-gradient in float32, not its length alone."""
    whole, _ = stepped(METHODS[name], exact=False)
    for found, _ in on_ranks(world, lambda ranks: stepped(METHODS[name], ranks, exact=False)):
        assert relative_error(found, whole) <= tolerances.RANKS_FAST_F32


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("name", METHODS)
def test_deterministic_mode_is_one_process_to_the_bit(name: str, world: int) -> None:
    whole = stepped(METHODS[name], exact=True)
    for found in on_ranks(world, lambda ranks: stepped(METHODS[name], ranks, exact=True)):
        assert cases.same_bits(found, whole)


@pytest.mark.skipif(find_spec("torchjd") is None, reason="needs torchjd: its aggregators")
@pytest.mark.parametrize("name", AGGREGATORS)
def test_every_aggregator_has_the_same_bits(name: str) -> None:
    """Some magnify rounding, so that only deterministic mode has one figure for all."""
    method = aggregated(maml(steps=2, lr=0.05), name, **OPTIONS.get(name, {}))
    whole = stepped(method, exact=True)
    for found in on_ranks(3, lambda ranks: stepped(method, ranks, exact=True)):
        assert cases.same_bits(found, whole)
