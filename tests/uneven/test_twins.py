"""Uneven tasks against the slow twins: the tests of every method again, on padded episodes.

The twins take one task at a time, sliced by hand (``cases.by_hand``), and know no padding. Here the
padding is NaN and -7, so that whatever looks at it is found out.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord import tree, uneven
from metaccord.methods import maml
from metaccord.rules import MetaSGD, PerStep
from metaccord.types import Batch
from tests import (
    cases,
    test_evaluate,
    test_family,
    test_implicit,
    test_methods,
    test_mgaug,
    test_rates,
    test_steps,
    test_warp,
    tolerances,
)
from tests.interactions import (
    test_coherence,
    test_colearner,
    test_combined,
    test_pcgrad,
    test_sharing,
)
from tests.reference.compare import relative_error

NETS = ("batchnorm2d", "layernorm")


@pytest.fixture(autouse=True)
def padded_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests of other files compare with their twins is uneven here."""
    monkeypatch.setattr(cases, "episodes", cases.uneven)
    monkeypatch.setattr(test_colearner, "cross_entropy", cases.entropy)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", cases.METHODS)
def test_base_methods(name: str, net: str) -> None:
    """MAML, first order, Reptile with and without Adam, and agreement over each."""
    test_methods.test_rows_and_mean_equal_the_slow_twin(name, net)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", test_family.PARTS)
def test_parts(name: str, net: str) -> None:
    test_family.test_parts_equal_the_slow_twin(name, net)


@pytest.mark.parametrize("first_order", [False, True])
def test_multi_step_loss(first_order: bool) -> None:
    test_family.test_multi_step_rows_over_the_schedule("batchnorm2d", first_order, steps=3)


@pytest.mark.parametrize("net", ["batchnorm2d", "layernorm"])
@pytest.mark.parametrize("name", test_rates.RATED)
def test_learned_rates(name: str, net: str) -> None:
    order = next(iter(test_rates.ESTIMATORS))
    test_rates.test_rows_of_weights_and_rates_equal_the_slow_twin(name, net, order)


@pytest.mark.parametrize("first_order", [False, True])
def test_momentum(first_order: bool) -> None:
    test_rates.test_momentum_equals_the_slow_twin("batchnorm2d", first_order)


@pytest.mark.parametrize("net", ["batchnorm2d", "batchnorm1d"])
def test_norms_of_each_step(net: str) -> None:
    for estimator in ("maml", "multi-step"):
        test_steps.test_rows_of_everything_equal_the_slow_twin(net, estimator)


@pytest.mark.parametrize(("net", "part"), [("batchnorm1d", "all"), ("layernorm", "head")])
def test_implicit_gradients(net: str, part: str) -> None:
    test_implicit.test_rows_equal_the_dense_twin(net, part, "textbook")


@pytest.mark.parametrize("name", ["MLP", "groupnorm", "instancenorm2d"])
def test_warped_gradients(name: str) -> None:
    """Mini-batches: each is drawn from a task's true examples."""
    test_warp.test_rows_equal_the_slow_twin(name, False, False)


@pytest.mark.parametrize("kind", ["parameter", "width", "catfish"])
def test_pruned_copies(kind: str) -> None:
    test_mgaug.test_rows_equal_the_slow_twin("batchnorm2d", kind, False, False)


@pytest.mark.parametrize("rule", [MetaSGD(steps=2, lr=0.2), PerStep(steps=2, lr=0.2)])
def test_learned_rates_of_pruned_copies(rule: MetaSGD | PerStep) -> None:
    test_mgaug.test_learned_rates_learn_from_the_copies(rule)


@pytest.mark.parametrize("base", ["maml", "mini-batches", "momentum"])
@pytest.mark.parametrize("differentiate", [False, True])
def test_sharing_of_gradients(base: str, differentiate: bool) -> None:
    method = test_sharing.shared(test_sharing.BASES[base], differentiate=differentiate)
    test_sharing.agrees_over_meta_steps(method, "batchnorm2d")


@pytest.mark.parametrize("base", test_coherence.BASES)
@pytest.mark.parametrize("differentiate", [False, True])
def test_coherence_of_trajectories(base: str, differentiate: bool) -> None:
    reading: Any = "rotate"
    test_coherence.test_rows_and_solutions_equal_the_slow_twin(
        base, reading, differentiate, "batchnorm2d"
    )


@pytest.mark.parametrize("base", test_colearner.BASES)
def test_co_learner(base: str) -> None:
    """Features of true examples alone, whose batch the co-learner's own norms see."""
    test_colearner.test_pictures_equal_the_slow_twin(base, 3)
    test_colearner.test_vectors_equal_the_slow_twin(base, "batchnorm1d")


@pytest.mark.parametrize("net", ["batchnorm2d"])
@pytest.mark.parametrize("base", test_combined.BASES)
def test_all_interactions_together(base: str, net: str) -> None:
    test_combined.test_all_together_equal_the_slow_twin(base, net)


def test_projected_conflicts() -> None:
    for base in (maml(steps=2, lr=0.2), mc.methods.reptile(steps=2, batch=4)):
        test_pcgrad.test_a_meta_step_is_the_mean_of_projected_rows(base)


@pytest.mark.parametrize("name", ["maml", "reptile, adam"])
def test_adaptation_at_test(name: str) -> None:
    test_evaluate.test_adaptation_equals_the_slow_twin(name)
    for plan in test_evaluate.PLANS:
        test_evaluate.test_isolated_tasks_together_equal_tasks_alone(name, plan)


def unsliced(batch: Batch, size: int) -> Batch:
    """Return all rows, padding included."""
    del size
    return batch


def test_a_padding_that_is_not_sliced_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the padding is harmless zeros: batch statistics and means give it away."""
    method, goal, found = maml(steps=2, lr=0.2), cases.objective("batchnorm1d"), cases.uneven
    episodes = tree.mapped(torch.nan_to_num, found("batchnorm1d"))
    state = mc.initialise(method, goal)
    right = mc.meta_gradient(method, goal, state, episodes).rows
    monkeypatch.setattr(uneven, "_first", unsliced)
    wrong = mc.meta_gradient(method, goal, state, episodes).rows
    assert relative_error(wrong, right) > tolerances.CLEARLY_DIFFERENT
    with pytest.raises(AssertionError):
        test_base_methods("maml", "batchnorm1d")
