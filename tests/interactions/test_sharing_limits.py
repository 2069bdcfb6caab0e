"""Gradient Sharing: where it is the base, how it starts, and tasks that are alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import mse_loss

import metaccord as mc
from metaccord import tree
from metaccord.methods import gradient_sharing, maml
from tests import cases, tolerances
from tests.interactions.support import KINDS, after, noise, once, same, started
from tests.interactions.test_sharing import BASES, coefficients, shared
from tests.reference.compare import relative_error


@pytest.mark.parametrize("per", ["step", "tensor"])
@pytest.mark.parametrize("base", ["maml", "fomaml", "anil"])
def test_without_sharing_it_is_the_base_to_the_bit(base: str, per: Any) -> None:
    """Logits of minus infinity; factors of zero. With history, too."""
    goal, found = cases.objective("batchnorm2d"), cases.episodes("batchnorm2d", seed=5)
    for mode, off in (("convex", -torch.inf), ("additive", 0.0)):
        method = shared(BASES[base], mode=mode, per=per, differentiate=True)
        state = after(method, goal, "batchnorm2d")
        zero = {k: torch.full_like(v, off) for k, v in state.params.items() if "sharing" in k}
        state = state._replace(params=state.params | zero)
        plain = state._replace(params=tree.under(tree.scope(state.params, "model"), "model"))
        step, without = once(method, goal, found, state), once(BASES[base], goal, found, plain)
        assert cases.same_bits(cases.model_rows(step.rows), cases.model_rows(without.rows))
        assert cases.same_bits(step.run.solution, without.run.solution)
        assert all(v.isfinite().all() for v in step.rows.values())


def test_equal_tasks_without_history_arrive_where_the_base_does() -> None:
    """c is everybody's own gradient; differentiated, the meta-gradient is the base's as well."""
    goal, found = cases.objective("layernorm"), same(cases.episodes("layernorm"))
    plain = once(BASES["maml"], goal, found)
    for differentiate in (False, True):
        step = once(shared(BASES["maml"], differentiate=differentiate), goal, found)
        assert relative_error(step.run.solution, plain.run.solution) <= tolerances.TWIN_F64
        grads = (tree.scope(s.grads, "model") for s in (step, plain))
        assert (relative_error(*grads) <= tolerances.TWIN_F64) == differentiate


def test_sharing_everything_keeps_tasks_together() -> None:
    """lambda = 1 and no history: joint training, one solution for all."""
    method, goal = shared(maml(steps=4, lr=0.2)), cases.objective("plain")
    state = started(method, goal)
    full = {"interaction.sharing.share": torch.full((4,), torch.inf, dtype=torch.float64)}
    found = cases.episodes("plain")
    ends = once(method, goal, found, state._replace(params=state.params | full)).run.solution
    assert all(torch.equal(v, v[:1].expand_as(v)) for v in ends.values())
    apart = once(method, goal, found, state).run.solution
    assert not torch.equal(apart["head.weight"][0], apart["head.weight"][1])


def test_alone_a_task_does_not_see_the_others() -> None:
    goal, method = cases.objective("plain"), shared(BASES["maml"])
    state, found = after(method, goal, "plain"), cases.episodes("plain", seed=8)
    together = mc.adapt(method, goal, state, found).solution
    for i in range(4):
        one = mc.adapt(method, goal, state, tree.mapped(lambda t, i=i: t[i : i + 1], found))
        alone = {k: v[i : i + 1] for k, v in together.items()}
        assert relative_error(one.solution, alone) <= tolerances.CHUNK_F64


def test_not_at_test_is_plain_adaptation_to_the_bit() -> None:
    """And evaluation gives the base's scores; with it, other ones."""
    model = mc.models.MLP(hidden=(4,), activation="tanh").double()
    goal, tasks = mc.Objective(model, mse_loss, mc.Plan(chunk="all")), cases.Sines(shots=6)
    base = maml(steps=2, lr=0.1)
    protocol, scores, runs = mc.Protocol(tasks=4, steps=3), {}, {}
    for name, method in (
        ("base", base),
        ("never", gradient_sharing(base, at_test=False)),
        ("always", gradient_sharing(base)),
    ):
        state = started(method, goal)
        episodes = (tasks.episodes("train", i, range(3)) for i in range(2))
        running = state
        for found in episodes:
            running = running._replace(running=once(method, goal, found, running).running)
        before = tree.mapped(torch.clone, running.running)
        scores[name] = mc.evaluate(method, goal, running, tasks, protocol).losses
        runs[name] = mc.adapt(method, goal, running, tasks.episodes("test", 0, range(3))).path
        assert cases.same_bits(running.running, before)
    assert torch.equal(scores["never"], scores["base"])
    assert cases.same_bits(runs["never"], runs["base"])
    assert not torch.equal(scores["always"], scores["base"])


def test_no_steps_share_nothing() -> None:
    goal, found = cases.objective("plain"), cases.episodes("plain")
    method = shared(maml(steps=0))
    state = mc.initialise(method, goal)
    assert not coefficients(state)
    assert cases.same_bits(once(method, goal, found).rows, once(maml(steps=0), goal, found).rows)


def test_trained_without_steps_it_adapts_like_the_base() -> None:
    goal, found = cases.objective("plain"), cases.episodes("plain")
    method = shared(maml(steps=0))
    run = mc.adapt(method.with_steps(2), goal, mc.initialise(method, goal), found)
    plain = mc.adapt(maml(steps=2), goal, mc.initialise(maml(), goal), found)
    assert cases.same_bits(run.solution, plain.solution)


def test_the_history_is_a_constant() -> None:
    """Another history moves solutions; the running tensors have no graph and no rows."""
    goal, method = cases.objective("plain"), shared(BASES["maml"])
    state, found = after(method, goal, "plain"), cases.episodes("plain", seed=5)
    means = {k: v for k, v in state.running.items() if ".mean." in k}
    other = state._replace(running=state.running | noise(means, 3))
    a, b = once(method, goal, found, state), once(method, goal, found, other)
    assert relative_error(a.run.solution, b.run.solution) > 1e-3
    assert not any(v.requires_grad for v in a.running.values())
    assert not any(".mean." in k for k in a.rows)


def test_start_values_and_notes() -> None:
    """What lambda and mu begin with is what the notes show, whatever the form."""
    goal, found = cases.objective("plain"), cases.episodes("plain")
    starts: list[tuple[dict[str, Any], float, float]] = [
        ({}, 0.5, 0.5),
        ({"share_start": 0.2}, 0.2, 0.2),
        ({"past_start": 0.9}, 0.5, 0.9),
        ({"mode": "additive"}, 0.1, 0.1),
        ({"mode": "additive", "share_start": -2.0, "past_start": 0.0}, -2.0, 0.0),
    ]
    for options, share, past in starts:
        for per in ("step", "tensor"):
            method = shared(maml(steps=2), per=per, **options)
            step = once(method, goal, found, mc.initialise(method, goal))
            assert step.notes["sharing.share"].tolist() == pytest.approx([share] * 2)
            assert step.notes["sharing.past"].tolist() == pytest.approx([past] * 2)


def test_notes_are_means_over_tensors() -> None:
    goal = cases.objective("plain")
    method = shared(maml(steps=3), per="tensor")
    state = started(method, goal)
    notes = once(method, goal, cases.episodes("plain"), state).notes
    for kind in KINDS:
        chosen = [v for k, v in coefficients(state).items() if k.startswith(f"{kind}.")]
        assert len(chosen) == len(goal.trainable())
        expected = torch.stack(chosen).sigmoid().mean(0)
        assert relative_error(notes[f"sharing.{kind}"], expected) <= tolerances.TWIN_F64
    assert all(not note.requires_grad for note in notes.values())
