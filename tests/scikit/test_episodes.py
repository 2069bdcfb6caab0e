"""Episodes of uneven tasks: which examples they take, and that padding changes no gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.random import RandomState

import metaccord as mc
from metaccord.scikit import MetaClassifier, settings
from metaccord.scikit.data import classification, regression
from metaccord.tasks.source import TaskSource
from metaccord.types import Batch, Episode
from tests.reference.compare import relative_error
from tests.reference.loops import Task, maml_rows
from tests.scikit.families import blobs, sine
from tests.tolerances import TWIN_F64

FIXED = {"scaled": True, "shots": 3, "queries": 4, "seed": 0}


def classes(family: object, task: int) -> torch.Tensor:
    return family.source.episodes("train", 0, range(8)).support.targets["value"][task]


def test_support_and_query_share_no_example_and_scaling_is_undone() -> None:
    draw = RandomState(0)
    tasks = [sine(draw, count) for count in (2, 5, 30)]
    family = regression(tasks, **FIXED)
    known = {float(v) for x, _ in tasks for v in family.inputs.apply(x)[:, 0]}
    sizes = set()
    for step in range(10):
        found = family.source.episodes("train", step, range(4))
        for task in range(4):
            parts = []
            for batch in found[:2]:
                true = batch.targets["weight"][task] > 0
                parts.append(batch.inputs[task, true, 0].tolist())
            assert not set(parts[0]) & set(parts[1])
            assert set(parts[0]) | set(parts[1]) <= known
            sizes.add((len(parts[0]), len(parts[1])))
    assert sizes == {(1, 1), (2, 3), (3, 4)}
    every = np.concatenate([y for _, y in tasks])
    assert np.allclose(family.targets.undo(family.targets.apply(every[:, None]))[:, 0], every)


def test_each_class_of_a_task_has_its_shots() -> None:
    draw = RandomState(1)
    x, y = blobs(draw, 30)
    keep = np.r_[np.flatnonzero(y != "ant"), np.flatnonzero(y == "ant")[:2]]
    family = classification([(x[keep], y[keep])], "auto", **FIXED)
    found = family.source.episodes("train", 0, range(1))
    for batch, expected in ((found.support, [1, 3, 3]), (found.query, [1, 4, 4])):
        true = batch.targets["weight"][0] > 0
        assert batch.targets["value"][0, true, 0].bincount().tolist() == expected


def test_labels_of_own_classes_change_from_episode_to_episode() -> None:
    x, y = blobs(RandomState(2), 30)
    for labels, expected in (("shared", 1), ("own", 6)):
        family = classification([(x, y)], labels, **FIXED)
        place = {tuple(row): name for row, name in zip(family.inputs.apply(x), y, strict=True)}
        seen = set()
        for step in range(60):
            batch = family.source.episodes("train", step, range(1)).support
            rows = zip(batch.inputs[0].tolist(), batch.targets["value"][0, :, 0], strict=True)
            seen.add(tuple(sorted({(int(v), str(place[tuple(r)])) for r, v in rows})))
        assert len(seen) == expected


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_uneven_tasks_have_the_gradients_of_one_task_at_a_time(kind: str) -> None:
    """Padded and masked against slices, in loops with torch's own criteria."""
    draw = RandomState(3)
    if kind == "regression":
        family = regression([sine(draw, count) for count in (4, 9, 14)], **FIXED)
    else:
        tasks = [blobs(draw, 7 * ways, ways) for ways in (2, 3, 5)]
        family = classification(tasks, "own", **FIXED)
    model = {"inputs": family.features, "hidden": (7,), "outputs": family.outputs}
    classifies = kind == "classification"
    objective = settings.objective_of(
        {**model, "activation": "tanh"}, classifies=classifies, seed=0, device="cpu"
    )
    method = mc.methods.maml(steps=2, lr=0.1)
    state = mc.initialise(method, objective)
    episodes = family.source.episodes("train", 0, range(6))
    found = mc.meta_gradient(method, objective, state, episodes).rows
    weights = episodes.support.targets["weight"]
    assert len({int(row.sum()) for row in weights}) > 1, "the tasks must be uneven"

    def true(batch: Batch, task: int) -> tuple[object, object]:
        kept = batch.targets["weight"][task] > 0
        value = batch.targets["value"][task, kept]
        if not classifies:
            return batch.inputs[task, kept], (value, 0)
        ways = int(batch.targets["allowed"][task, 0].sum())
        return batch.inputs[task, kept], (value[:, 0], ways)

    def criterion(outputs: torch.Tensor, targets: tuple[torch.Tensor, int]) -> torch.Tensor:
        value, ways = targets
        if not classifies:
            return torch.nn.functional.mse_loss(outputs, value)
        return torch.nn.functional.cross_entropy(outputs[:, :ways], value)

    params = objective.trainable()
    tasks = [Task([true(episodes.support, i)] * 2, true(episodes.query, i)) for i in range(6)]
    expected = maml_rows(objective.model, criterion, params, tasks, 0.1)
    for i, row in enumerate(expected):
        ours = {name: found[f"model.{name}"][i] for name in row}
        assert relative_error(ours, row) <= TWIN_F64


def test_weights_of_examples_equal_repeated_examples() -> None:
    draw = RandomState(4)
    x, y = blobs(draw, 12)
    count = np.arange(12) % 3 + 1
    model = MetaClassifier(hidden=(8,), steps=2, tasks_per_step=2)
    model.meta_fit([blobs(draw, 12) for _ in range(2)])
    weighted = model.fit(x, y, sample_weight=count).predict_proba(x)
    repeated = model.fit(np.repeat(x, count, 0), np.repeat(y, count)).predict_proba(x)
    assert np.allclose(weighted, repeated, atol=1e-12, rtol=0)


class Uneven(TaskSource):
    """Tasks with sizes and ways, as a source may give them."""

    classifies = True

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        raw = self.draws(split, step, tasks, 2)
        inputs = torch.rand(len(tasks), 6, 2, 2, generator=torch.Generator().manual_seed(step))
        labels = (torch.arange(6) % 2).expand(len(tasks), 6).clone()
        labels[:, 4:] = 99  # padding: never looked at
        sizes = torch.full((len(tasks),), 4)
        batch = _with(Batch(inputs, labels), sizes)
        return Episode(batch, batch, self.keys(raw))


def _with(batch: Batch, sizes: torch.Tensor) -> Batch:
    if "sizes" not in Batch._fields:
        pytest.skip("this version has no uneven tasks of its own")
    return batch._replace(sizes=sizes, ways=torch.full_like(sizes, 2))


def test_sizes_of_a_source_are_respected() -> None:
    family = classification(Uneven(), "auto", **FIXED)
    assert (family.features, family.outputs) == (4, 2)
    found = family.source.episodes("train", 0, range(3)).support.targets
    assert found["weight"].sum(1).tolist() == [4.0, 4.0, 4.0]
    assert int(found["value"].max()) == 1
