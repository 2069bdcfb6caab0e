"""ANIL, BOIL and the multi-step loss against loops; plans change none of the family."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.errors import UsageError
from metaccord.estimators import MAML, MultiStep
from metaccord.methods import anil, boil, finetune, imaml, maml, maml_pp, meta_sgd
from metaccord.rules import SGD
from metaccord.types import Episode
from tests import cases, tolerances
from tests.reference import loops, rates
from tests.reference.compare import relative_error

NETS = ("batchnorm2d", "instancenorm2d", "layernorm", "plain", "tied", "frozen")
INSIDE: dict[str, Callable[[str], bool]] = {
    "anil": lambda name: name.startswith("head."),
    "boil": lambda name: not name.startswith("head."),
}
PARTS = {"anil": anil(steps=3, lr=0.2), "boil": boil(steps=3, lr=0.2)}


@pytest.mark.parametrize("net", [n for n in NETS if n != "frozen"])
@pytest.mark.parametrize("name", PARTS)
def test_parts_equal_the_slow_twin(name: str, net: str) -> None:
    method, goal, found = PARTS[name], cases.objective(net), cases.episodes(net)
    state = mc.initialise(method, goal)
    params = tree.scope(state.params, "model")
    tasks = cases.twin_tasks(method, found)
    rows = loops.maml_rows(goal.model, goal.criterion, params, tasks, 0.2, moves=INSIDE[name])
    step = mc.meta_gradient(method, goal, state, found)
    assert relative_error(cases.model_rows(step.rows), cases.stacked(rows)) <= tolerances.TWIN_F64
    whole = cases.step(maml(steps=3, lr=0.2, never=()), net)
    assert relative_error(whole.rows, step.rows) > 1e-3


@pytest.mark.parametrize("net", [n for n in NETS if n not in ("tied", "frozen")])
def test_the_whole_net_as_head_is_maml_to_the_bit(net: str) -> None:
    whole = cases.step(maml(steps=2, lr=0.2, never=()), net)
    assert cases.same_bits(
        cases.step(anil(steps=2, lr=0.2, head=("body", "head")), net).rows, whole.rows
    )
    part = cases.step(anil(steps=2, lr=0.2), net)
    assert relative_error(part.rows, whole.rows) > 1e-3


@pytest.mark.parametrize("net", ["batchnorm2d", "layernorm", "tied"])
@pytest.mark.parametrize("name", PARTS)
def test_only_a_part_moves_but_everything_learns(name: str, net: str) -> None:
    """Also at meta-test, where the whole path is kept; BOIL moves the norms as well."""
    method, goal, found = PARTS[name], cases.objective(net), cases.episodes(net)
    state = mc.initialise(method, goal)
    start = tree.expand(tree.scope(state.params, "model"), 4)
    for run in (
        mc.meta_gradient(method, goal, state, found).run,
        mc.adapt(method, goal, state, found),
    ):
        assert {k for k in start if k in run.adapted} == {k for k in start if INSIDE[name](k)}
        for key, value in run.solution.items():
            moved = (value != start[key]).flatten(1).any(1)
            assert bool(moved.all() if INSIDE[name](key) else not moved.any()), key
    step = mc.meta_gradient(method, goal, state, found)
    assert all(row.flatten(1).any(1).all() for row in step.rows.values()), "each row has a gradient"


def test_a_net_without_that_head_is_refused() -> None:
    goal = mc.Objective(torch.nn.Linear(3, 1), torch.nn.functional.mse_loss)
    for method in (anil(), boil()):
        with pytest.raises(UsageError, match="selects 'head', but the model has no such part"):
            mc.initialise(method, goal)
    for method in (anil(head=("weight",)), boil(head=("weight",))):
        mc.initialise(method, goal)


# The multi-step loss.


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize(("horizon", "epoch"), [(1, 1), (100, 1), (6, 2), (5000, 500)])
def test_weights_follow_the_schedule(horizon: int, epoch: int, steps: int) -> None:
    """Before, at and after every change of epoch, to the end and beyond; they sum to one."""
    found = MultiStep(horizon=horizon, epoch=epoch)
    edges = {e * epoch + d for e in range(horizon // epoch + 2) for d in (-1, 0, 1)}
    for done in sorted(e for e in edges if e >= 0):
        slow = rates.multi_step_weights(done // epoch, horizon // epoch, steps)
        for dtype, bar in ((torch.float64, 1e-15), (torch.float32, 1e-6)):
            fast = found.weights(torch.tensor(done), steps, torch.zeros((), dtype=dtype))
            assert fast.dtype == dtype
            assert (fast - torch.tensor(slow, dtype=dtype)).abs().max() <= bar, done
        assert abs(float(fast.sum()) - 1) <= 1e-6
    assert fast.tolist() == [0.0] * (steps - 1) + [1.0]


@pytest.mark.parametrize("steps", [2, 3])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_multi_step_rows_over_the_schedule(net: str, first_order: bool, steps: int) -> None:
    """Nine meta-steps of three epochs; the counter is the method's own and survives by itself."""
    estimator = MultiStep(horizon=6, epoch=2, first_order=first_order)
    method = mc.Method(name="x", rule=SGD(steps=steps, lr=0.2), estimator=estimator)
    goal = cases.objective(net)
    state = mc.initialise(method, goal)
    for done in range(9):
        found = cases.episodes(net, count=2, seed=done)
        step = mc.meta_gradient(method, goal, state, found)
        rows = rates.multi_step_rows(
            goal.model, goal.criterion, tree.scope(state.params, "model"),
            cases.twin_tasks(method, found), 0.2, rates.multi_step_weights(done // 2, 3, steps),
            first_order=first_order,
        )  # fmt: skip
        mine = cases.model_rows(step.rows)
        assert relative_error(mine, cases.stacked(rows)) <= tolerances.TWIN_F64, done
        assert torch.equal(step.running["estimator.step"], torch.tensor(done + 1))
        moved = {k: v - 0.5 * step.grads[k] for k, v in state.params.items()}
        state = mc.MetaState(moved, step.running, done + 1)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_the_last_step_alone_is_maml_to_the_bit(net: str, first_order: bool) -> None:
    """At the end of the schedule; with one or no inner step, always."""
    goal, found = cases.objective(net), cases.episodes(net)
    for count, done in ((3, 1), (1, 0), (0, 0), (3, 0)):
        rule = SGD(steps=count, lr=0.2)
        end = MultiStep(horizon=1, epoch=1, first_order=first_order)
        late = mc.Method(name="x", rule=rule, estimator=end)
        state = mc.initialise(late, goal)
        state = state._replace(running={"estimator.step": torch.tensor(done)})
        base = mc.Method(name="x", rule=rule, estimator=MAML(first_order=first_order))
        rows = mc.meta_gradient(late, goal, state, found).rows
        plain = mc.meta_gradient(base, goal, mc.initialise(base, goal), found).rows
        assert cases.same_bits(rows, plain) == ((count, done) != (3, 0))


@pytest.mark.parametrize("options", [{"epoch": 0}, {"horizon": 3, "epoch": 4}, {"horizon": 0}])
def test_schedules_without_meaning_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="1 <= epoch <= horizon"):
        MultiStep(**options)
    assert maml_pp(horizon=3).estimator == MultiStep(horizon=3, epoch=3)


# How, never what.

BOUND = {torch.float64: tolerances.CHUNK_F64, torch.float32: tolerances.CHUNK_F32}
FAMILY = {
    "anil": anil(steps=2, lr=0.2),
    "boil": boil(steps=2, lr=0.2),
    "meta_sgd": meta_sgd(steps=2, lr=0.2),
    "maml_pp": maml_pp(steps=3, lr=0.2, horizon=4, epoch=1),
    "imaml": imaml(steps=3, lr=0.02, strength=20.0, iterations=4),
    "imaml, damped": imaml(steps=3, lr=0.02, strength=20.0, iterations=4, system="damped"),
    "finetune": finetune(steps=2),
    "finetune, classes": finetune(steps=2, classes=7),
}


def stepped(
    method: mc.Method, net: str, plan: mc.Plan, dtype: torch.dtype = torch.float64
) -> mc.MetaStep:
    """Return one meta-step of five tasks that know their classes."""
    goal, found = cases.objective(net, plan, dtype), cases.episodes(net, 5, dtype)
    classes = torch.stack([(torch.arange(3) * 2 + task) % 7 for task in range(5)])
    found = Episode(found.support, found.query, {**found.extra, "classes": classes})
    return mc.meta_gradient(method, goal, mc.initialise(method, goal), found)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("net", ["batchnorm2d", "groupnorm", "layernorm", "frozen"])
@pytest.mark.parametrize("name", FAMILY)
def test_plans_change_nothing(name: str, net: str, dtype: torch.dtype) -> None:
    """A loop, pieces, one vmap, the functional route; recomputed inner steps, to the bit."""
    if "classes" in name and not cases.MODELS[net].pictures:
        return  # regression
    if (name, net) == ("boil", "frozen"):
        return  # nothing moves
    alone = stepped(FAMILY[name], net, mc.Plan(chunk=1), dtype)
    assert all(v.dtype == dtype and v.isfinite().all() for v in alone.rows.values())
    for plan in (mc.Plan(2), mc.Plan(3), mc.Plan("all"), mc.Plan("all", compile=True)):
        step = stepped(FAMILY[name], net, plan, dtype)
        assert relative_error(step.rows, alone.rows) <= BOUND[dtype], plan
        assert relative_error(step.grads, alone.grads) <= BOUND[dtype], plan
        assert step.notes.keys() == alone.notes.keys()
        for key, note in alone.notes.items():
            assert note.shape == (5,)
            torch.testing.assert_close(step.notes[key], note, rtol=1e-3, atol=1e-6)
        kept, again = step.run.losses, alone.run.losses
        assert relative_error(kept, again) <= BOUND[dtype]
    for chunk in (1, 2, "all"):
        plain, remembered = (
            stepped(FAMILY[name], net, mc.Plan(chunk, checkpoint=on), dtype) for on in (False, True)
        )
        assert cases.same_bits(plain.rows, remembered.rows)
        assert cases.same_bits((plain.notes, plain.running), (remembered.notes, remembered.running))


def test_the_family_is_told_apart() -> None:
    """Swapping any two of them is seen at once."""
    steps = {k: cases.model_rows(stepped(m, "batchnorm2d", mc.Plan("all")).rows)
             for k, m in {**FAMILY, "maml": maml(steps=2, lr=0.2)}.items()}  # fmt: skip
    for a in steps:
        for b in steps:
            if {a, b} not in ({"meta_sgd", "maml"}, {a}):
                assert relative_error(steps[a], steps[b]) > 1e-2, (a, b)
