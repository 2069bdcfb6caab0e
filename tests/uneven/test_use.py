"""Uneven tasks in training, evaluation, on several ranks, in the doctor; and wrong sizes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import metaccord as mc
from metaccord import hazards, tree
from metaccord.axis import TaskAxis
from metaccord.deploy.measure import answered
from metaccord.errors import DataError, UsageError
from metaccord.evaluate import isolated
from metaccord.interactions import Coherence, GradientAgreement, GradientSharing
from metaccord.methods import cooperative, maml, reptile
from metaccord.tasks.checks import checked
from metaccord.testing.ranks import ThreadRanks, on_ranks
from metaccord.types import Batch, Episode, Params
from tests import cases, tolerances
from tests.reference.compare import relative_error
from tests.test_evaluate import PLANS, naive

RAGGED = cases.Ragged()
METHOD = cooperative(maml(steps=2, lr=0.2))
for part in (GradientSharing(), Coherence(), GradientAgreement()):
    METHOD = METHOD.with_interaction(part)


def goal(chunk: Any = "all", **plan: Any) -> mc.Objective:
    return cases.objective("batchnorm2d", mc.Plan(chunk=chunk, **plan))


def trained(objective: mc.Objective, method: mc.Method = METHOD, **options: Any) -> Params:
    records = mc.train(method, objective, RAGGED, steps=3, num_tasks=4, **options)
    return cases.tree.detached([record.state for record in records][-1].params)


@pytest.mark.parametrize("plan", PLANS, ids=repr)
@pytest.mark.parametrize("statistics", ["transductive", "inductive", "frozen"])
def test_protocols_equal_naive_loops(statistics: Any, plan: mc.Plan) -> None:
    """Losses and accuracies of true examples and ways alone, statistics as well."""
    method, objective = maml(steps=2, lr=0.2), cases.objective("batchnorm2d", plan)
    state = mc.initialise(method, objective)
    scores = mc.evaluate(
        method, objective, state, RAGGED, mc.Protocol(statistics=statistics, tasks=5, seed=4)
    )
    found = replace(RAGGED, seed=4).episodes("test", 0, range(5))
    assert len({(int(s), int(w)) for s, w in zip(*found.query[2:], strict=True)}) > 2
    run = isolated(method, objective, state, found)
    assert scores.accuracies is not None
    for task in range(5):
        (support, _), (query, (labels, ways)) = (cases.by_hand(part, task) for part in found[:2])
        for column, point in enumerate((run.path[0], run.solution)):
            params = {k: v[task] for k, v in {**run.solution, **point}.items()}
            outputs = naive(objective, statistics, params, support, query)[:, :ways]
            loss = torch.nn.functional.cross_entropy(outputs, labels)
            torch.testing.assert_close(scores.losses[task, column], loss, rtol=1e-10, atol=1e-12)
            right = (outputs.argmax(1) == labels).double().mean()
            assert scores.accuracies[task, column].item() == pytest.approx(right.item())


def test_the_co_learner_answers_for_uneven_tasks() -> None:
    state = mc.initialise(METHOD, goal())
    protocol = mc.Protocol(tasks=4, branch="colearner")
    scores = [mc.evaluate(METHOD, goal(c), state, RAGGED, protocol).losses for c in (1, "all")]
    torch.testing.assert_close(*scores, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk", [2, "all", "auto"])
def test_training_is_that_of_tasks_one_by_one(chunk: Any) -> None:
    outer = mc.Outer(optimizer="sgd", lr=0.1)
    whole = trained(goal(chunk), outer=outer)
    assert relative_error(whole, trained(goal(1), outer=outer)) <= 1e-10


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("exact", [False, True])
def test_ranks_slice_their_own_tasks(world: int, exact: bool) -> None:
    """Each rank pads to a width of its own; exactly, the same bits."""
    outer = mc.Outer(optimizer="sgd", lr=0.1)
    options: dict[str, Any] = {"outer": outer, "exact": exact}
    whole = trained(goal(1), **options)
    own = [goal(1) for _ in range(world)]  # threads cannot share a module, nor draw its weights

    def work(ranks: ThreadRanks) -> Params:
        return trained(own[ranks.rank], ranks=ranks, **options)

    for found in on_ranks(world, work):
        if exact:
            assert cases.same_bits(found, whole)
        assert relative_error(found, whole) <= tolerances.TWIN_F64


def test_exact_sums_need_tasks_one_by_one() -> None:
    with pytest.raises(UsageError, match="deterministic mode needs chunk=1"):
        trained(goal(2), exact=True)


def test_compilation_is_left_out_with_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    hazards.say.cache_clear()
    with caplog.at_level(logging.WARNING):
        found = trained(goal("auto", compile=True), maml(steps=2, lr=0.2))
    assert [r.message for r in caplog.records if "uneven" in r.message] == [
        "uneven tasks are not compiled: each pattern of sizes would be compiled anew"
    ]
    assert relative_error(found, trained(goal("all"), maml(steps=2, lr=0.2))) <= 1e-10


def test_a_run_goes_on_to_the_same_bits() -> None:
    method, objective = reptile(steps=3, lr=0.1, batch=2), goal()
    *_, first = mc.train(method, objective, RAGGED, steps=2, num_tasks=4)
    later = mc.train(
        method, objective, RAGGED, steps=3, num_tasks=4, state=first.state, slots=first.slots
    )
    assert cases.same_bits([*later][-1].state.params, trained(goal(), method))


def test_a_budget_of_memory_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        trained(goal("auto", memory="1GiB"), maml(steps=1, lr=0.2))
    assert any("plan: chunk" in record.message for record in caplog.records)


def test_a_learner_takes_ways_and_padding() -> None:
    """A support set of two classes; what comes back has two outputs."""
    method, objective = maml(steps=2, lr=0.2), goal()
    learner = mc.Learner(method, objective, mc.initialise(method, objective))
    found = cases.uneven("batchnorm2d")
    inputs, (labels, ways) = cases.by_hand(found.support, 0)
    run = mc.adapt(method, objective, learner.state, found)
    expected = {k: v[0] for k, v in run.solution.items()}
    for support in (
        Batch(inputs, labels, ways=torch.tensor(ways)),
        Batch(inputs, labels, ways=ways),
        tree.unbind(found.support)[0],
    ):
        assert relative_error(learner.adapted(support), expected) <= tolerances.TWIN_F64
        outputs = learner.predict(support, inputs)
        assert outputs.shape == (4, 2)
        with torch.no_grad():
            module = learner.adapt(support)(inputs)
        torch.testing.assert_close(module[:, :2], outputs, rtol=1e-12, atol=1e-12)


def test_answers_have_no_padding() -> None:
    method, objective = maml(steps=1, lr=0.2), goal()
    learner = mc.Learner(method, objective, mc.initialise(method, objective))
    found = [*answered(learner, RAGGED, mc.Protocol(tasks=4, steps=1, statistics="frozen"))]
    sizes = RAGGED.episodes("test", 0, range(4)).query
    for (outputs, labels), size, ways in zip(found, *sizes[2:], strict=True):
        assert outputs.shape == (size, ways) and labels.shape == (size,)


def test_the_doctor_finds_nothing_and_certifies() -> None:
    report = mc.check(cases.module("layernorm"), torch.nn.functional.mse_loss, maml(2, 0.05),
                      cases.uneven("layernorm", 8))  # fmt: skip
    assert report.healthy and report.certificate is not None and report.certificate.passed


def test_the_doctor_looks_at_true_examples_alone() -> None:
    """Padding is no class, no overlap and no shared example; classes beyond the ways are none."""

    @dataclass(frozen=True, kw_only=True)
    class Source(cases.Ragged):
        labels: ClassVar[int] = 30

        def episodes(self, split: str, step: int, tasks: range) -> Episode:
            found = super().episodes(split, step, tasks)
            first = 10 * ["train", "validation", "test"].index(split)
            classes = torch.stack([torch.tensor([first + 1, first, -1]) for _ in tasks])
            return found._replace(extra={**found.extra, "classes": classes})

    report = mc.check(cases.module("batchnorm2d"), cases.entropy, maml(2, 0.05), Source())
    codes = {finding.code for finding in report.findings}
    assert not codes & {"overlap", "shared_examples", "shared_classes", "label_gap", "unseen_label"}


def changed(name: str, value: Any) -> Episode:
    """Return the ragged episodes with another value in the support set."""
    found = RAGGED.episodes("train", 0, range(3))
    return found._replace(support=found.support._replace(**{name: value}))


@dataclass(frozen=True, kw_only=True)
class Wrong(cases.Ragged):
    """Give one episode whatever is asked."""

    found: Any = None

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return it."""
        return self.found


BAD: dict[str, tuple[str, Any, str]] = {
    "a list": ("sizes", [2, 3, 4], r"sizes is \[2, 3, 4\]: give int64 numbers \[3\] on the CPU"),
    "floats": ("sizes", torch.ones(3), r"sizes is torch.float32 on cpu: give int64"),
    "one number": ("sizes", torch.tensor([4]), r"one number of at least 1 for each of 3"),
    "zero": ("sizes", torch.tensor([4, 0, 3]), r"sizes is \[4, 0, 3\]: give one number of at"),
    "too many": ("sizes", torch.tensor([4, 9, 3]), r"sizes reach 9 but the tensors hold \[8\]"),
    "ways of the support set": ("ways", (), "other ways in support than in query"),
    "other ways": ("ways", torch.tensor([3, 3, 3]), "other ways in support than in query"),
    "a label": ("ways", torch.tensor([1, 3, 2]), "task 0 has the label 1 but 1 ways"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_sizes_and_ways_are_refused(name: str) -> None:
    field, value, said = BAD[name]
    with pytest.raises(DataError, match=said):
        checked(Wrong(found=changed(field, value)), "train", 0, range(3))


def test_graph_inputs_cannot_have_sizes() -> None:
    """Tensors of another length than the targets are no examples, so what would be sliced?"""
    found = changed("inputs", {"x": torch.ones(3, 8, 1), "edges": torch.ones(3, 5, 2)})
    with pytest.raises(DataError, match=r"the tensors hold \[5, 8\] examples: all need one length"):
        checked(Wrong(found=found), "train", 0, range(3))


def test_a_numbers_ways_are_refused() -> None:
    found = changed("targets", torch.ones(3, 8, 1))
    with pytest.raises(DataError, match="has ways, but its targets are no labels"):
        checked(Wrong(found=found), "train", 0, range(3))


def test_a_penalty_of_ones_own_gets_tasks_without_padding() -> None:
    """What users write with ``over_tasks`` and ``judge`` sees true examples and ways."""

    class Entropy(mc.interactions.Interaction):
        name: ClassVar[str] = "entropy"

        def penalty(self, own: Any, run: Any, objective: Any, axis: TaskAxis) -> Tensor:
            def one(params: Params, batch: Batch) -> Tensor:
                return 0.5 * objective.judge(objective.predict(params, batch.inputs), batch)

            return objective.over_tasks(one)(run.solution, run.episodes.query)

    method, plain = maml(2, 0.2).with_interaction(Entropy()), maml(2, 0.2)
    found, state = cases.uneven("batchnorm2d"), mc.initialise(plain, goal())
    rows = [mc.meta_gradient(m, goal(), state, found).rows for m in (method, plain)]
    scaled = {k: 1.5 * v for k, v in rows[1].items()}
    assert relative_error(rows[0], scaled) <= tolerances.TWIN_F64
