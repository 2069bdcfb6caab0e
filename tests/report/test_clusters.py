"""Groups of tasks: against scipy and scikit-learn, and against families that were planted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score, silhouette_score

import metaccord as mc
from metaccord.clusters import adjusted_rand, clustering, cut, silhouette
from metaccord.report.scene import Scene
from metaccord.report.taskmap import cosines, halves, sorted_labels, task_map
from metaccord.tasks.source import TaskSource
from metaccord.types import Batch, Episode


def random_cosines(seed: int, count: int) -> np.ndarray:
    rows = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 6)))
    return cosines(rows)


@pytest.mark.parametrize("seed", range(4))
def test_the_linkage_is_scipys(seed: int) -> None:
    table = random_cosines(seed, 17)
    found = clustering(table)
    far = 1 - (table + table.T) / 2
    np.fill_diagonal(far, 0)
    known = linkage(squareform(far, checks=False), "average")
    np.testing.assert_allclose([1 - at for *_, at in found.merges], known[:, 2], atol=1e-12)
    for groups in range(2, 9):
        labels = cut(17, found.merges, groups)
        assert adjusted_rand(labels, cut_tree(known, groups)[:, 0].tolist()) == 1.0
        expected = silhouette_score(far, labels, metric="precomputed")
        assert silhouette(table, labels) == pytest.approx(expected, abs=1e-12)


def test_the_index_is_scikit_learns() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        one, other = draw.integers(0, 4, (2, 25)).tolist()
        known = adjusted_rand_score(one, other)
        assert adjusted_rand(one, other) == pytest.approx(known, abs=1e-12)
    assert adjusted_rand([0, 0, 0], [0, 0, 0]) == 1.0


def test_the_order_keeps_groups_together_and_names_them_along_it() -> None:
    found = clustering(random_cosines(5, 30))
    assert sorted(found.order) == list(range(30))
    along = [found.groups[i] for i in found.order]
    assert along == sorted(along)
    assert along[0] == 0


def test_one_group_where_nothing_separates_and_no_direction() -> None:
    same = np.full((6, 6), 0.9) + 0.1 * np.eye(6)
    assert set(clustering(same).groups) == {0}
    lost = same.copy()
    lost[2], lost[:, 2] = np.nan, np.nan
    assert sorted(clustering(lost).order) == list(range(6))
    assert clustering(np.ones((1, 1))).groups == [0]


@dataclass(frozen=True, kw_only=True)
class Families(TaskSource):
    """Planes that rise in four directions, with noise: task i belongs to family i % 4."""

    classifies: ClassVar[bool] = False
    noise: float = 0.3

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        slopes = 3 * np.eye(5)
        found = []
        for task in tasks:
            own = np.random.default_rng([self.seed, task])
            x = own.normal(size=(self.shots + self.queries, 5))
            slope = slopes[task % 4] + self.noise * own.normal(size=5)
            y = x @ slope + self.noise * own.normal(size=len(x))
            found.append((x, y))
        x = torch.tensor(np.stack([x for x, _ in found]), dtype=torch.float32)
        y = torch.tensor(np.stack([y for _, y in found]), dtype=torch.float32)[..., None]
        first = slice(None), slice(None, self.shots)
        rest = slice(None), slice(self.shots, None)
        group = torch.tensor([task % 4 for task in tasks])
        return Episode(Batch(x[first], y[first]), Batch(x[rest], y[rest]), {"group": group})

    def names(self, split: str) -> tuple[str, ...]:
        return ("north", "east", "south", "west")


def scene_of(source: TaskSource, method: mc.Method) -> Scene:
    objective = mc.Objective(mc.models.MLP(5, (8,), 1), mc.losses.mse)
    state = mc.initialise(method, objective, seed=0)

    class Made:
        tasks, num_tasks, seed = source, 4, 0

    made = Made()
    made.method = method
    settled = mc.Plan(chunk="all")
    return Scene(made, state, objective.planned(settled), mc.Protocol(tasks=10, steps=1))


@pytest.mark.parametrize("base", [mc.methods.maml(1, 0.01), mc.methods.reptile(3, 0.01)])
def test_planted_families_are_recovered(base: mc.Method) -> None:
    method = mc.methods.gradient_agreement(base)
    found = task_map(scene_of(Families(shots=60, queries=60), method))
    planted = [i % 4 for i in range(60)]
    assert adjusted_rand(found["groups"], planted) >= 0.9
    if base.name == "reptile":  # it looks at no query example
        assert found["stability"] is found["rand"] is None
    else:
        assert found["stability"] > 0.5
        assert found["rand"] > 0.9
    assert found["names"][:4] == ["north", "east", "south", "west"]


def test_noise_is_not_taken_for_families() -> None:
    """Tasks without structure: the two halves of their query sets disagree, and that is told."""
    found = task_map(scene_of(Families(shots=2, queries=4, noise=40.0), mc.methods.maml(1, 0.01)))
    assert found["rand"] < 0.5


def test_labels_are_put_into_the_order_of_the_classes() -> None:
    targets = torch.tensor([[0, 1, 2], [0, 1, 2]])
    batch = Batch(torch.zeros(2, 3, 1), targets)
    classes = torch.tensor([[7, 3, 5], [1, 2, 9]])
    found = sorted_labels(Episode(batch, batch, {"classes": classes}))
    assert found.query.targets.tolist() == [[2, 0, 1], [0, 1, 2]]
    assert found.extra["classes"].tolist() == [[3, 5, 7], [1, 2, 9]]
    assert found.extra["classes"][0, found.query.targets[0]].tolist() == classes[0].tolist()


def test_labels_of_uneven_tasks_are_sorted_too() -> None:
    """The second task has two classes and three examples; what lies beyond is never looked at."""
    targets = torch.tensor([[0, 1, 2, 0], [1, 0, 1, 0]])
    sizes, ways = torch.tensor([4, 3]), torch.tensor([3, 2])
    batch = Batch(torch.zeros(2, 4, 1), targets, sizes, ways)
    classes = torch.tensor([[7, 3, 5], [9, 2, -1]])
    found = sorted_labels(Episode(batch, batch, {"classes": classes}))
    assert found.query.targets[0].tolist() == [2, 0, 1, 2]
    assert found.query.targets[1, :3].tolist() == [0, 1, 0]
    assert found.extra["classes"].tolist() == [[3, 5, 7], [2, 9, -1]]
    assert found.query.sizes is sizes


def test_halves_share_no_example_and_respect_sizes() -> None:
    batch = Batch(torch.arange(10.0).reshape(2, 5, 1), torch.zeros(2, 5, 1))
    one, other = halves(Episode(batch, batch, {}))
    both = torch.cat([one.query.inputs, other.query.inputs], 1).sort(1).values
    assert torch.equal(both, batch.inputs)
    uneven = batch._replace(sizes=torch.tensor([5, 2]))
    one, other = halves(Episode(uneven, uneven, {}))
    assert one.query.sizes.tolist() == [3, 1]
    assert other.query.sizes.tolist() == [2, 1]
    assert halves(Episode(batch, batch._replace(sizes=torch.tensor([5, 1])), {})) is None
