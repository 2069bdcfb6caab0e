"""A meta-step waits for its device once: the finite check and the numbers travel together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.utils._python_dispatch import TorchDispatchMode

import metaccord as mc
from tests import cases

SINES = mc.tasks.Sinusoid(shots=6)
OUTER = mc.Outer(optimizer="sgd", lr=0.1, momentum=0.9, schedule="linear", clip_norm=1.0)
MODEL = mc.models.MLP(hidden=(5,), activation="tanh")
OBJECTIVE = mc.Objective(MODEL, mse_loss, mc.Plan(chunk="all"))


class Synchronisations(TorchDispatchMode):
    """Count what would make a host wait for its accelerator."""

    WAITING = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique2")

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in self.WAITING:
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))

    @contextmanager
    def watching(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Count calls of ``tolist`` and ``numpy`` too, which a CPU does not dispatch."""
        with monkeypatch.context() as patch, self:
            for name in ("tolist", "numpy"):
                patch.setattr(Tensor, name, self._counted(name, getattr(Tensor, name)))
            yield

    def _counted(self, name: str, original: Any) -> Any:
        def counted(tensor: Tensor, *args: Any) -> Any:
            self.seen[name] += 1
            return original(tensor, *args)

        return counted


def test_the_counter_sees_synchronisations(monkeypatch: pytest.MonkeyPatch) -> None:
    counter, x = Synchronisations(), torch.ones(2)
    with counter.watching(monkeypatch):
        x.sum().item()
        bool(x.sum() > 0)
        x.nonzero()
        x.tolist()
    assert counter.seen == {"_local_scalar_dense": 2, "nonzero": 1, "tolist": 1}


@pytest.mark.parametrize("name", cases.METHODS)
def test_one_synchronisation_per_meta_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SGD outside, because ``torch.optim.Adam`` reads its counter on the host (a CPU tensor)."""
    counter = Synchronisations()
    training = mc.train(cases.METHODS[name], OBJECTIVE, SINES, steps=4, num_tasks=3, outer=OUTER)
    next(training)
    with counter.watching(monkeypatch):
        for _ in training:
            pass
    assert counter.seen == {"tolist": 3}
