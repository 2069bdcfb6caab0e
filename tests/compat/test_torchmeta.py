"""Batches and loaders as Torchmeta gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import metaccord as mc
from metaccord.compat import torchmeta
from metaccord.compat.torchmeta import from_loader
from metaccord.errors import DataError, MetaccordError, UsageError
from metaccord.methods import maml
from metaccord.tasks import Sinusoid
from tests.reference.compare import relative_error
from tests.reference.loops import Task, maml_rows
from tests.refusals import refusal
from tests.tolerances import TWIN_F64

SIZE = 4


class Waves(Dataset):
    """Item i is task i, as a MetaDataset with a ClassSplitter gives it."""

    def __init__(self, count: int = 10) -> None:
        self.found = Sinusoid(shots=5, inputs="uniform").episodes("train", 0, range(count))

    def __len__(self) -> int:
        return len(self.found.support.inputs)

    def __getitem__(self, index: int) -> Any:
        parts = {"train": self.found.support, "test": self.found.query}
        return {k: (b.inputs[index].double(), b.targets[index].double()) for k, b in parts.items()}


def loader(count: int = 10) -> DataLoader:
    return DataLoader(Waves(count), batch_size=SIZE, drop_last=True)


def test_a_batch_has_the_gradient_of_the_slow_twin() -> None:
    batch = next(iter(loader()))
    model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    objective = mc.Objective(model, mc.losses.mse)
    method = maml(steps=2, lr=0.1)
    state = mc.initialise(method, objective)
    found = mc.meta_gradient(method, objective, state, torchmeta.episodes(batch))
    tasks = [
        Task([(batch["train"][0][i], batch["train"][1][i])] * 2,
             (batch["test"][0][i], batch["test"][1][i]))
        for i in range(SIZE)
    ]  # fmt: skip
    for i, row in enumerate(maml_rows(model, mc.losses.mse, objective.trainable(), tasks, 0.1)):
        ours = {name: found.rows[f"model.{name}"][i] for name in row}
        assert relative_error(ours, row) <= TWIN_F64


def uneven(*sizes: int) -> Any:
    """Return tasks of different sizes, as a ``collate_fn`` that keeps lists gives them."""
    found = Waves(len(sizes))
    pairs = [(found[i], size) for i, size in enumerate(sizes)]
    return {
        "train": tuple([t["train"][k][:s] for t, s in pairs] for k in (0, 1)),
        "test": tuple([t["test"][k][: 2 * s] for t, s in pairs] for k in (0, 1)),
    }


def test_uneven_lists_have_the_gradients_of_the_slow_twin() -> None:
    batch = uneven(3, 5, 2)
    model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    objective = mc.Objective(model, mc.losses.mse)
    method = maml(steps=2, lr=0.1)
    state = mc.initialise(method, objective)
    episodes = torchmeta.episodes(batch)
    assert torch.as_tensor(episodes.support.sizes).tolist() == [3, 5, 2]
    found = mc.meta_gradient(method, objective, state, episodes)
    tasks = [
        Task([(batch["train"][0][i], batch["train"][1][i])] * 2,
             (batch["test"][0][i], batch["test"][1][i]))
        for i in range(3)
    ]  # fmt: skip
    for i, row in enumerate(maml_rows(model, mc.losses.mse, objective.trainable(), tasks, 0.1)):
        ours = {name: found.rows[f"model.{name}"][i] for name in row}
        assert relative_error(ours, row) <= TWIN_F64


def test_batches_of_different_sizes_train_and_measure() -> None:
    """Even and uneven batches in one loader; a measurement goes across their borders."""
    batches = [uneven(3, 5, 2, 4), next(iter(loader())), uneven(2, 2, 2, 2)]
    source = from_loader(batches, test=batches)
    sizes = torch.as_tensor(source.episodes("test", 0, range(2, 8)).support.sizes)
    assert sizes.tolist() == [2, 4, 5, 5, 5, 5]
    assert source.episodes("test", 0, range(4, 12)).support.inputs.shape == (8, 5, 1)
    model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    objective, method = mc.Objective(model, mc.losses.mse), maml(steps=1, lr=0.01)
    records = list(mc.train(method, objective, source, steps=3, num_tasks=4))
    scores = mc.evaluate(method, objective, records[-1].state, source, mc.Protocol(tasks=12))
    assert bool(scores.losses.isfinite().all())


def test_steps_take_batches_in_order_and_start_again() -> None:
    source, every = from_loader(loader()), list(loader())
    for step, index in ((0, 0), (1, 1), (1, 1), (2, 0), (5, 1), (0, 0)):
        found = source.episodes("train", step, range(3))
        assert torch.equal(found.support.inputs, every[index]["train"][0][:3])
        assert torch.equal(found.query.targets, every[index]["test"][1][:3])
        assert found.extra["order"].shape == (3,)


def test_measurements_take_tasks_from_the_first_batch_on() -> None:
    source, waves = from_loader(loader(), test=loader()), Waves()
    place = torch.arange(20) % 8  # two batches of four, again and again
    for tasks in (range(3), range(2, 11), range(9, 20), range(4, 8)):
        found = source.episodes("test", 0, tasks).support.inputs
        expected = waves.found.support.inputs[place[tasks.start : tasks.stop]].double()
        assert torch.equal(found, expected)


def test_a_loader_trains_and_evaluates() -> None:
    model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    objective, method = mc.Objective(model, mc.losses.mse), maml(steps=1, lr=0.01)
    source = from_loader(loader(), test=loader(12))
    records = list(mc.train(method, objective, source, steps=3, num_tasks=SIZE))
    assert [record.step for record in records] == [1, 2, 3]
    protocol = mc.Protocol(tasks=12)
    scores = [mc.evaluate(method, objective, records[-1].state, source, protocol) for _ in "12"]
    assert torch.equal(scores[0].losses, scores[1].losses)
    assert not source.classifies


def test_whole_numbers_are_classes() -> None:
    batch = {key: (x, (y[..., 0] > 0).long()) for key, (x, y) in next(iter(loader())).items()}
    assert from_loader([batch]).classifies


GOOD = {"train": (torch.ones(2, 3, 1),) * 2, "test": (torch.ones(2, 5, 1),) * 2}
BATCHES: dict[str, tuple[Any, list[str]]] = {
    "no dict": ([1], ["batch is list", "'train' and 'test'"]),
    "no test": ({"train": GOOD["train"]}, ["no 'test'", "['train']", "ClassSplitter"]),
    "other names": ({"support": 1, "query": 2}, ["['query', 'support']", "no 'train'"]),
    "no pair": ({**GOOD, "test": torch.ones(2, 3)}, ["batch['test'] is Tensor"]),
    "three parts": ({**GOOD, "train": (1, 2, 3)}, ["(inputs, targets)"]),
    "a list": ({**GOOD, "train": ([1.0], torch.ones(1, 3))}, ["are list", "ToTensor"]),
    "lists of numbers": ({**GOOD, "train": ([1.0], [2.0])}, ["hold float", "[examples, ...]"]),
    "lists of scalars": ({**GOOD, "train": ([torch.ones(())],) * 2}, ["hold Tensor"]),
    "other lists": ({**GOOD, "train": ([torch.ones(2)], [])}, ["1 tasks but targets of 0"]),
    "no tasks": ({**GOOD, "train": ([], [])}, ["no task"]),
    "ragged": (
        {**GOOD, "train": ([torch.ones(2, 1)] * 2, [torch.ones(2), torch.ones(3)])},
        ["task 1 holds [2, 3] examples"],
    ),
    "one task": (
        {**GOOD, "train": (torch.ones(3), torch.ones(3))},
        ["shape [3]", "BatchMetaDataLoader"],
    ),
    "other lengths": (
        {**GOOD, "train": (torch.ones(2, 3, 1), torch.ones(2, 4))},
        ["inputs [2, 3]", "targets [2, 4]"],
    ),
    "other tasks": (
        {**GOOD, "train": (torch.ones(3, 3, 1), torch.ones(3, 3))},
        ["3 tasks", "batch['test'] 2"],
    ),
}
SOURCES: dict[str, tuple[Callable[[], Any], type[MetaccordError], list[str]]] = {
    "an iterator": (lambda: from_loader(iter([GOOD])), UsageError, ["train is list_iterator"]),
    "no loader": (lambda: from_loader(3), UsageError, ["train is int"]),
    "many tasks": (
        lambda: from_loader([GOOD]).episodes("train", 0, range(3)),
        UsageError,
        ["3 tasks", "num_tasks=2"],
    ),
    "no loader for it": (
        lambda: from_loader([GOOD]).episodes("test", 0, range(2)),
        UsageError,
        ["no loader for 'test'", "test=loader"],
    ),
    "unknown split": (
        lambda: from_loader([GOOD]).episodes("tests", 0, range(2)),
        UsageError,
        ["did you mean 'test'?"],
    ),
    "unknown name": (
        lambda: torchmeta.Loaders(loaders={"trian": [GOOD]}),
        UsageError,
        ["did you mean 'train'?"],
    ),
    "no batch": (
        lambda: from_loader([]),
        DataError,
        ["gives no batch"],
    ),
}


@pytest.mark.parametrize("name", BATCHES)
def test_bad_batches(name: str) -> None:
    batch, words = BATCHES[name]
    with refusal(words, DataError):
        torchmeta.episodes(batch)


@pytest.mark.parametrize("name", SOURCES)
def test_bad_loaders(name: str) -> None:
    call, error, words = SOURCES[name]
    with refusal(words, error):
        call()
