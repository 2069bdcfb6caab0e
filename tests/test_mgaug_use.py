"""MGAug in training, under plans and interactions, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import metaccord as mc
from metaccord.errors import UsageError
from metaccord.estimators import MAML, MGAug
from metaccord.interactions import Interaction
from metaccord.methods import cooperative, gradient_sharing, maml, mgaug
from metaccord.models import MLP
from metaccord.rules import Adam
from metaccord.testing import check_interaction
from tests import cases, tolerances
from tests.pruning import KIND, LR, method_of
from tests.reference.compare import relative_error


def test_training_draws_anew_and_repeats() -> None:
    def run() -> list[mc.Record]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = MLP(hidden=(6,), activation="tanh").double()
        goal = mc.Objective(model, mse_loss, mc.Plan(chunk=1))
        method = mgaug(steps=1, copies=2, ratio=0.5)
        return list(mc.train(method, goal, cases.Sines(), steps=3, num_tasks=3))

    one, two = run(), run()
    assert all("estimator.pruned_loss" in " ".join(r.numbers) for r in one)
    assert [r.numbers for r in one] == [r.numbers for r in two]
    assert cases.same_bits(one[-1].state.params, two[-1].state.params)


# How, never what.


@pytest.mark.parametrize("interaction", [Interaction(), cases.INTERACTIONS["sharing"]])
@KIND
def test_the_contract_holds_over_it(kind: str, interaction: Interaction) -> None:
    """Chunks, released graphs, recomputed steps, the functional route, order of tasks, ..."""
    assert check_interaction(interaction, base=method_of(kind, maxup=kind == "width"))


@pytest.mark.parametrize("kind", ["parameter", "width"])
def test_plans_change_nothing_on_pictures(kind: str) -> None:
    method = method_of(kind, maxup=kind == "width", rule=Adam(steps=2, lr=0.05, persist=True))
    alone = cases.step(method, "batchnorm2d", mc.Plan(1))
    for plan in (mc.Plan(3), mc.Plan("all"), mc.Plan("all", compile=True)):
        step = cases.step(method, "batchnorm2d", plan)
        assert relative_error(step.rows, alone.rows) <= tolerances.CHUNK_F64
        assert relative_error(step.notes, alone.notes) <= tolerances.CHUNK_F64
        assert step.notes["estimator.pruned_loss"].shape == (4,)
    again = cases.step(method, "batchnorm2d", mc.Plan(1, checkpoint=True))
    assert cases.same_bits((again.rows, again.notes), (alone.rows, alone.notes))


def test_at_meta_test_the_network_is_whole() -> None:
    goal, found = cases.objective("plain"), cases.episodes("plain")
    pair = (method_of("parameter"), maml(steps=2, lr=LR, never=()))
    runs = [mc.adapt(m, goal, mc.initialise(m, goal), found) for m in pair]
    assert cases.same_bits(runs[0].solution, runs[1].solution)


@pytest.mark.parametrize("wrap", [gradient_sharing, cooperative])
def test_interactions_act_on_the_whole_network_alone(wrap: Callable[..., mc.Method]) -> None:
    """Their learned tensors have the base's rows, and the copies add what they add alone."""
    goal, found = cases.objective("plain"), cases.episodes("plain")
    plain, own = maml(steps=2, lr=LR, never=()), method_of("parameter")
    steps = {}
    for name, method in {
        "base": wrap(plain),
        "all": wrap(own),
        "alone": own,
        "plain": plain,
    }.items():
        steps[name] = mc.meta_gradient(method, goal, mc.initialise(method, goal), found)
    for name, row in steps["base"].rows.items():
        if name.startswith("model."):
            extra = steps["alone"].rows[name] - steps["plain"].rows[name]
            assert relative_error(steps["all"].rows[name], row + extra) <= tolerances.TWIN_F64
        else:
            assert torch.equal(steps["all"].rows[name], row)
    kept = {k for k in steps["all"].notes if k.startswith("estimator.")}
    assert kept == {"estimator.pruned_loss", *(k for k in steps["base"].notes if "penalty" in k)}


def test_notes_have_no_graph() -> None:
    method = mgaug(2, 0.2, 2)
    assert all(not note.requires_grad for note in cases.step(method, "plain").notes.values())


def test_first_order_may_end() -> None:
    late = MGAug(first_order=True, second_order_from=3, copies=2)
    assert late.at(2) == MGAug(first_order=True, copies=2)
    assert late.at(3) == MGAug(copies=2)


# Refusals.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"copies": 0}, r"copies is 0: it must be at least 1; .* maml\(\)"),
        ({"ratio": 1.0}, r"ratio is 1\.0: it must be in \[0, 1\)"),
        ({"ratio": -0.1}, r"ratio is -0\.1"),
        ({"ratio": float("nan")}, "ratio is nan"),
        ({"kind": "widht"}, "kind 'widht': did you mean 'width'"),
        ({"kind": "catfish", "copies": 2}, "copies is 2, .*all the same"),
        ({"second_order_from": 2}, "first_order=true"),
    ],
)
def test_values_without_meaning_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        MGAug(**options)
    assert "\n" not in str(caught.value)


def test_models_with_nothing_to_prune_are_refused() -> None:
    method = mgaug()
    with pytest.raises(UsageError, match="selects 'head', but the model has no such part"):
        mc.initialise(method, mc.Objective(nn.Linear(3, 1), mse_loss))
    for model in (MLP(3, ()), cases.module("frozen")):
        with pytest.raises(UsageError, match=r"has none: use maml\(\)"):
            mc.initialise(method, mc.Objective(model, mse_loss))
    goal, found = cases.objective("plain"), cases.episodes("plain")._replace(extra={})
    with pytest.raises(UsageError, match="no 'order'"):
        mc.meta_gradient(method, goal, mc.initialise(method, goal), found)
    fish = mgaug(kind="catfish")
    mc.meta_gradient(fish, goal, mc.initialise(fish, goal), found)


def test_the_preset_says_what_it_is() -> None:
    found = mgaug(3, 0.5, 4, 0.1, kind="width", maxup=True)
    assert found.estimator == MGAug(copies=4, ratio=0.1, kind="width", maxup=True)
    assert found.rule == maml(3, 0.5).rule
    assert isinstance(found.estimator, MAML)
