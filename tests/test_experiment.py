"""The experiment as one value: defaults, settings by name, a tree and back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import metaccord as mc
from metaccord.defaults import compose, default
from metaccord.engine import Plan
from metaccord.errors import UsageError
from metaccord.estimators import MAML, Reptile
from metaccord.interactions import GradientAgreement
from metaccord.methods import BASES, WRAPPERS
from metaccord.rules import SGD, Adam

REFUSED = {  # interactions without meaning over a base
    "reptile": {"sharing", "cooperative"},
    "imaml": {"sharing", "coherent"},
    "warp": {"sharing", "coherent"},
    "finetune": set(WRAPPERS),
}
HEADED = {"anil": "head", "boil": "head", "warp": "warp", "mgaug": "head"}  # selected
COMBINED = [
    (base, list(names))
    for base in BASES
    for names in ((), tuple(name for name in WRAPPERS if name not in REFUSED.get(base, ())))
]


@pytest.mark.parametrize(("base", "interactions"), COMBINED)
def test_every_default_comes_back_and_takes_a_step(base: str, interactions: list[str]) -> None:
    found = default("sinusoid", base, interactions).changed(["plan.chunk=all"])
    again = mc.Experiment.from_tree(json.loads(json.dumps(found.tree())))
    assert again == found
    assert again.tree() == found.tree()
    assert found.method.label == "+".join([base, *interactions])
    training = mc.train(
        again.method, again.objective(), again.tasks, steps=1, num_tasks=2, outer=again.outer
    )
    assert next(training).loss > 0


@pytest.mark.parametrize("base", [b for b in BASES if b not in HEADED])
def test_points_have_defaults_too(base: str) -> None:
    found = default("quadratics", base)
    state = mc.initialise(found.method, found.objective(), seed=0)
    episodes = found.tasks.episodes("train", 0, range(3))
    step = mc.meta_gradient(found.method, found.objective(), state, episodes)
    assert all(grad.isfinite().all() for grad in step.grads.values())


@pytest.mark.parametrize(
    ("base", "name"), [(base, name) for base, names in REFUSED.items() for name in sorted(names)]
)
def test_pairs_without_meaning_are_refused_with_the_way_out(base: str, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} has no meaning over {base}: .*maml"):
        default("sinusoid", base, [name])


@pytest.mark.parametrize(("base", "part"), HEADED.items())
def test_a_model_without_the_part_is_refused(base: str, part: str) -> None:
    found = default("quadratics", base)
    with pytest.raises(UsageError, match=f"selects '{part}', but the model has no such part"):
        mc.initialise(found.method, found.objective(), seed=0)


def test_a_co_learner_needs_features() -> None:
    found = default("quadratics", "maml", ["cooperative"])
    with pytest.raises(UsageError, match=r"give cooperative\.shape"):
        mc.initialise(found.method, found.objective(), seed=0)


@pytest.mark.parametrize("family", ["sinusoid", "quadratics"])
def test_the_model_depends_on_the_family_alone(family: str) -> None:
    assert len({json.dumps(default(family, b).model) for b in BASES if b != "warp"}) == 1


def test_settings_reach_every_part() -> None:
    before = default("sinusoid", "maml", ["agreement"])
    after = before.changed(
        [
            "rule.lr=0.5",
            "estimator.first_order=true",
            "model.hidden=[3,2]",
            "tasks.shots=7",
            "outer.clip_norm=1",
            "plan.chunk=2",
            "steps=9",
            "device=cpu",
        ]
    )
    assert after.method.rule == replace(before.method.rule, lr=0.5)
    assert after.method.estimator == MAML(first_order=True)
    assert after.method.interactions == (GradientAgreement(),)
    assert after.model == {**before.model, "hidden": (3, 2)} or after.model["hidden"] == [3, 2]
    assert after.tasks == replace(before.tasks, shots=7)
    assert after.outer == replace(before.outer, clip_norm=1.0)
    assert after.plan == Plan(chunk=2)
    assert after.steps == 9
    assert type(after.outer.clip_norm) is float
    assert before == default("sinusoid", "maml", ["agreement"]), "values do not change"
    assert before.changed([]) == before


def test_long_names_are_the_same_as_short_ones() -> None:
    before = default("sinusoid")
    assert before.changed(["method.rule.lr=0.5"]) == before.changed(["rule.lr=0.5"])
    assert before.changed(["rule.lr=0.5", "rule.lr=0.25"]) == before.changed(["rule.lr=0.25"])


def test_settings_are_applied_together() -> None:
    """Each alone would be refused: the value is built once, at the end."""
    found = default("sinusoid").changed(["rule.beta2=0.5", "rule.class=Adam"])
    assert found.method.rule == Adam(steps=1, lr=0.01, never=("batchnorm",), beta2=0.5)
    with pytest.raises(UsageError, match="exclude each other"):
        default("sinusoid").changed(["plan.compile=true", "plan.checkpoint=true"])
    changed = default("sinusoid", "reptile").changed(["tasks.shots=50", "tasks.train_shots=null"])
    assert changed.tasks.support_shots("train") == 50


def test_the_horizon_is_written_down_once() -> None:
    constant = default("sinusoid").changed(["steps=70"])
    assert constant.settled() is constant
    linear = default("sinusoid", "reptile").changed(["steps=70"])
    assert linear.outer.horizon is None
    assert linear.settled().outer.horizon == 70
    longer = linear.settled().changed(["steps=90"])
    assert longer.settled().outer.horizon == 70
    assert longer.settled() is longer


def test_the_families_methods() -> None:
    assert compose("maml", [], "quadratics").rule == SGD(steps=3, lr=0.05, never=("batchnorm",))
    assert compose("reptile", [], "omniglot").rule == Adam(steps=5, lr=1e-3, batch=10, persist=True)
    assert compose("reptile", ["agreement"], "sinusoid").estimator == Reptile()
    assert default("sinusoid", "reptile").outer.schedule == "linear"


def test_quadratics_are_in_double_precision() -> None:
    objective = default("quadratics").objective()
    assert {leaf.dtype for leaf in objective.trainable().values()} == {torch.float64}


@pytest.mark.parametrize("seed", [-1, 2**63, 10**30])
def test_seeds_out_of_range(seed: int) -> None:
    with pytest.raises(UsageError, match=r"seed is .*: it must be between 0"):
        replace(default("sinusoid"), seed=seed)
    assert replace(default("sinusoid"), seed=2**63 - 1).seed == 2**63 - 1


def test_a_tree_with_an_unknown_part_is_refused() -> None:
    tree = default("sinusoid").tree()
    with pytest.raises(UsageError, match="unknown setting 'stepss': did you mean 'steps'"):
        mc.Experiment.from_tree({**tree, "stepss": 1})
    with pytest.raises(UsageError, match="method is 3: expected Method"):
        mc.Experiment.from_tree({**tree, "method": 3})
    with pytest.raises(UsageError, match=r"tasks is .*: expected TaskSource"):
        mc.Experiment.from_tree({**tree, "tasks": tree["outer"]})


def test_equal_experiments_train_equally() -> None:
    one, other = default("sinusoid"), default("sinusoid")
    assert one == other
    assert one != default("sinusoid", "fomaml")
    assert one.changed(["seed=1"]) != one
