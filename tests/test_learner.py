"""Saving, loading and adapting: a plain module that computes what ``predict`` computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import metaccord as mc
from metaccord import tree
from metaccord.defaults import default
from metaccord.errors import CheckpointError, DataError, UsageError
from metaccord.interactions import Interaction
from metaccord.losses import cross_entropy, mse
from metaccord.methods import gradient_agreement, maml, reptile
from metaccord.types import Batch
from tests import cases

ALL = mc.Plan(chunk="all")
NAMES = ("batchnorm2d", "batchnorm1d", "layernorm", "groupnorm", "plain", "tied", "frozen")


@dataclass(frozen=True, kw_only=True)
class Own(Interaction):
    """Somebody's own way to let tasks meet; it does nothing."""

    name: ClassVar[str] = "own"


def learner(name: str, method: mc.Method | None = None) -> mc.Learner:
    """Return a learner of a model of the matrix after two meta-steps on paper."""
    method = method or maml(steps=2, lr=0.2)
    objective = cases.objective(name, ALL)
    state = mc.initialise(method, objective)
    return mc.Learner(method, objective, state._replace(step=2))


def task(name: str) -> tuple[Batch, Tensor]:
    """Return a support set and query inputs of one task."""
    found = tree.unbind(cases.episodes(name)[:2])[0]
    return Batch(*found[0]), found[1][0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_module_computes_what_predict_computes(name: str, count: int) -> None:
    """Example by example: with frozen statistics a batch of one is as good as any."""
    found, (support, inputs) = learner(name), task(name)
    batch = torch.cat([inputs, inputs.flip(0)])[:count]
    module = found.adapt(support)
    assert type(module) is type(found.objective.model)
    assert not any(part.training for part in module.modules())
    with torch.no_grad():
        outputs = module(batch)
        single = torch.cat([module(batch[i : i + 1]) for i in range(count)])
    expected = found.predict(support, batch)
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(single, expected, rtol=1e-12, atol=1e-12)


def test_frozen_statistics_are_not_those_of_the_queries() -> None:
    found, (support, inputs) = learner("batchnorm2d"), task("batchnorm2d")
    assert not torch.allclose(
        found.predict(support, inputs), found.predict(support, inputs, statistics="transductive")
    )


@pytest.mark.parametrize("tracked", [False, True])
def test_batch_norm_that_tracks_statistics_of_its_own(tracked: bool) -> None:
    model = mc.models.Conv4(ways=3, hidden=4, size=6, tracked=tracked)
    objective = mc.Objective(model, cross_entropy, ALL)
    method = maml(steps=1, lr=0.1)
    found = mc.Learner(method, objective, mc.initialise(method, objective, seed=0))
    episodes = cases.Blobs(shots=3, queries=4).episodes("test", 0, range(1))
    support, query = tree.unbind((episodes.support, episodes.query))[0]
    module = found.adapt(support)
    for count in (1, 2, 7):
        inputs = query.inputs[:count]
        torch.testing.assert_close(
            module(inputs), found.predict(support, inputs), rtol=1e-5, atol=1e-6
        )
    own = {name for name, _ in model.named_buffers()}
    assert {name for name, _ in model.named_buffers()} == own, "the user's model is not changed"


@pytest.mark.parametrize("name", NAMES)
def test_the_learners_own_tensors_stay(name: str) -> None:
    found, (support, inputs) = learner(name), task(name)
    before = cases.bits((found.state[:2], found.objective.model.state_dict()))
    given = cases.bits((support, inputs))
    module = found.adapt(support)
    found.predict(support, inputs)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.mul_(0.0)
    assert cases.same_bits(before, (found.state[:2], found.objective.model.state_dict()))
    assert cases.same_bits(given, (support, inputs))
    assert all(leaf.grad is None for leaf in found.objective.model.parameters())


def test_the_number_of_steps_may_differ_from_training() -> None:
    found, (support, _) = learner("plain"), task("plain")
    start = tree.scope(found.state.params, "model")
    assert cases.same_bits(dict(sorted(found.adapted(support, steps=0).items())),
                           dict(sorted(start.items())))  # fmt: skip
    more, same = found.adapted(support, steps=5), found.adapted(support)
    assert not torch.equal(more["head.weight"], same["head.weight"])
    loss = found.objective.loss
    assert loss(more, support) < loss(same, support) < loss(start, support)


@pytest.mark.parametrize(
    "harm",
    [
        lambda inputs, targets: (inputs[:0], targets[:0]),
        lambda inputs, targets: (inputs, targets[:-1]),
        lambda inputs, targets: (inputs[:0], targets),
        lambda inputs, targets: (inputs, targets.sum()),
        lambda inputs, targets: ((inputs, inputs[:-1]), targets),
        lambda inputs, targets: ((), ()),
    ],
)
def test_empty_or_ragged_support_sets_are_refused(harm: Callable[..., object]) -> None:
    found, (support, inputs) = learner("plain"), task("plain")
    bad = Batch(*harm(support.inputs, support.targets))  # type: ignore[misc]
    for call in (found.adapt, found.adapted, lambda given: found.predict(given, inputs)):
        with pytest.raises(DataError, match="one common length above 0") as caught:
            call(bad)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["batchnorm2d", "plain", "tied", "frozen"])
@pytest.mark.parametrize("method", [maml(steps=2), gradient_agreement(reptile(inner="adam"))])
def test_own_models_come_back(name: str, method: mc.Method, tmp_path: Path) -> None:
    """Needs the model and the criterion, and gives the same bits."""
    found = learner(name, method)
    mc.save(tmp_path / "saved", method, found.objective, found.state)
    with pytest.raises(UsageError, match="give model= and criterion="):
        mc.load(tmp_path / "saved")
    with pytest.raises(UsageError, match="give model= and criterion="):
        mc.load(tmp_path / "saved", model=cases.module(name))
    criterion = found.objective.criterion
    again = mc.load(tmp_path / "saved", model=cases.module(name), criterion=criterion)
    assert again.method == method
    assert again.state.step == 2
    assert list(again.state.params) == list(found.state.params)
    assert cases.same_bits(again.state[:2], found.state[:2])
    support, inputs = task(name)
    assert torch.equal(again.predict(support, inputs), found.predict(support, inputs))


def test_another_model_is_refused(tmp_path: Path) -> None:
    found = learner("plain")
    mc.save(tmp_path / "saved", found.method, found.objective, found.state)
    for name in ("tied", "layernorm"):
        with pytest.raises(CheckpointError, match="another model: names or shapes differ"):
            mc.load(tmp_path / "saved", model=cases.module(name), criterion=mse)
    with pytest.raises(CheckpointError, match="another model"):
        mc.load(tmp_path / "saved", model=cases.module("plain").float(), criterion=mse)


def test_own_interactions_are_given_again(tmp_path: Path) -> None:
    method = maml(steps=2, lr=0.2).with_interaction(Own())
    found = learner("plain", method)
    mc.save(tmp_path / "saved", method, found.objective, found.state)
    given = {"model": cases.module("plain"), "criterion": found.objective.criterion}
    with pytest.raises(UsageError, match="method of your own: give load") as caught:
        mc.load(tmp_path / "saved", **given)
    assert "method=" in str(caught.value)
    again = mc.load(tmp_path / "saved", **given, method=method)
    assert again.method is method
    support, inputs = task("plain")
    assert torch.equal(again.predict(support, inputs), found.predict(support, inputs))


def test_a_namesake_of_a_class_is_an_own_class(tmp_path: Path) -> None:
    """A user's SGD is not stored as the library's."""

    @dataclass(frozen=True, kw_only=True)
    class SGD(mc.rules.SGD):
        """Their own."""

    method = mc.Method(name="mine", rule=SGD(steps=1, lr=0.1), estimator=maml().estimator)
    found = learner("plain", method)
    mc.save(tmp_path / "saved", method, found.objective, found.state)
    with pytest.raises(UsageError, match="method of your own"):
        mc.load(tmp_path / "saved", model=cases.module("plain"), criterion=mse)


def test_a_run_needs_nothing(tmp_path: Path) -> None:
    settings = ["plan.chunk=all", "model.hidden=[4]", "num_tasks=2", "tasks.shots=4", "steps=2"]
    experiment = default("sinusoid", "reptile", ["agreement"]).changed(settings)
    *_, record = mc.run(experiment, tmp_path / "run")
    found = mc.load(tmp_path / "run")
    assert found.method == experiment.method
    assert found.state.step == 2
    assert cases.same_bits(found.state.params, dict(record.state.params))
    x = torch.linspace(-5, 5, 4)[:, None]
    module = found.adapt(Batch(x, x.sin()))
    assert torch.equal(module(x), found.predict(Batch(x, x.sin()), x))


@pytest.mark.parametrize("kind", ["weights", "run"])
def test_damage_and_absence_are_named(kind: str, tmp_path: Path) -> None:
    given = {"model": cases.module("plain"), "criterion": mse}
    with pytest.raises(UsageError, match="holds no run"):
        mc.load(tmp_path / "nowhere", **given)
    folder = tmp_path / kind
    if kind == "run":
        settings = ["plan.chunk=all", "model.hidden=[4]", "num_tasks=2", "steps=1"]
        list(mc.run(default("sinusoid").changed(settings), folder))
    else:
        found = learner("plain")
        mc.save(folder, found.method, found.objective, found.state)
        with pytest.raises(UsageError, match="already holds a run"):
            mc.save(folder, found.method, found.objective, found.state)
    (path,) = folder.rglob("tensors.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x77")
    with pytest.raises(CheckpointError, match="no intact checkpoint"):
        mc.load(folder, **given)


def test_modules_that_call_a_norm_twice_need_predict() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.norm(x) + 1))

    objective = mc.Objective(Twice().double(), mse, ALL)
    found = mc.Learner(maml(), objective, mc.initialise(maml(), objective))
    support, inputs = task("plain")
    with pytest.raises(UsageError, match=r"use Learner\.predict"):
        found.adapt(support)
    assert found.predict(support, inputs).shape == (5, 1)
