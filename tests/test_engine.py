"""Plans change how, never what: chunks, checkpoints, released graphs, routes, budgets, bfloat16."""

from __future__ import annotations

import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import ResourceError, UsageError
from metaccord.interactions import Interaction
from metaccord.memory import peak_bytes
from metaccord.methods import maml, reptile
from metaccord.tuning import settled, tune
from metaccord.types import Own, Stacked
from tests import cases, tolerances
from tests.reference.compare import relative_error

BOUND = {torch.float64: tolerances.CHUNK_F64, torch.float32: tolerances.CHUNK_F32}
RELEASED = {torch.float64: tolerances.RELEASED_F64, torch.float32: tolerances.RELEASED_F32}


class Coupled(Interaction):
    """Change nothing, but claim that tasks meet, so that graphs are kept."""

    name = "coupled"

    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        return grads


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("net", cases.NORMS)
@pytest.mark.parametrize("name", cases.METHODS)
def test_chunks_agree(name: str, net: str, dtype: torch.dtype) -> None:
    """A plain loop, pieces of 2 and 3 (the last piece of 5 tasks is shorter), one vmap."""
    method = cases.METHODS[name]
    alone = cases.step(method, net, mc.Plan(chunk=1), count=5, dtype=dtype)
    for chunk in (2, 3, "all"):
        step = cases.step(method, net, mc.Plan(chunk=chunk), count=5, dtype=dtype)
        assert relative_error(step.rows, alone.rows) <= BOUND[dtype], chunk
        assert relative_error(step.grads, alone.grads) <= BOUND[dtype], chunk
        assert all(v.dtype == dtype for v in step.rows.values())


@pytest.mark.parametrize("name", ["maml", "maml_pp", "reptile, adam"])
def test_runs_of_chunks_join(name: str) -> None:
    """Path, end, losses and what the rule carried are those of one piece with all tasks."""
    method = cases.BASES[name]
    whole = cases.step(method, "plain", mc.Plan(chunk="all"), count=5).run
    for chunk in (1, 2):
        run = cases.step(method, "plain", mc.Plan(chunk=chunk), count=5).run
        assert len(run.path) == len(whole.path)
        for part in ("path", "solution", "carry", "support_losses", "losses"):
            found, expected = getattr(run, part), getattr(whole, part)
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12, msg=part)


@pytest.mark.parametrize("chunk", [1, 2, "all"])
@pytest.mark.parametrize("net", cases.NORMS)
@pytest.mark.parametrize("name", ["maml", "fomaml, agreement", "reptile, adam"])
def test_checkpointing_keeps_every_bit(name: str, net: str, chunk: int) -> None:
    plain, remembered = (
        cases.step(cases.METHODS[name], net, mc.Plan(chunk=chunk, checkpoint=on), count=3)
        for on in (False, True)
    )
    assert cases.same_bits(plain.rows, remembered.rows)
    assert cases.same_bits((plain.grads, plain.running), (remembered.grads, remembered.running))


def test_checkpointing_recomputes() -> None:
    """The test above would pass if nothing were recomputed: count the forward passes."""
    calls = []

    def counted(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return torch.nn.functional.mse_loss(outputs, targets)

    counts = []
    for on in (False, True):
        calls.clear()
        plan = mc.Plan(chunk="all", checkpoint=on)
        goal = mc.Objective(cases.module("plain"), counted, plan)
        method = maml(steps=3)
        mc.meta_gradient(method, goal, mc.initialise(method, goal), cases.episodes("plain"))
        counts.append(len(calls))
    assert counts[0] == 4 < counts[1]


@pytest.mark.parametrize("dtype", RELEASED)
@pytest.mark.parametrize("net", cases.NORMS)
@pytest.mark.parametrize("name", ["maml", "maml, agreement", "reptile, adam, agreement"])
def test_released_graphs_equal_kept_ones(name: str, net: str, dtype: torch.dtype) -> None:
    method = cases.METHODS[name]
    kept_method = method.with_interaction(Coupled())
    assert method.interaction.independent
    assert not kept_method.interaction.independent
    for chunk in (1, 2, 3):
        plan = mc.Plan(chunk=chunk)
        released = cases.step(method, net, plan, count=5, dtype=dtype)
        kept = cases.step(kept_method, net, plan, count=5, dtype=dtype)
        assert relative_error(released.rows, kept.rows) <= RELEASED[dtype]
        assert relative_error(released.grads, kept.grads) <= RELEASED[dtype]
        assert relative_error(released.run.solution, kept.run.solution) <= RELEASED[dtype]
        if chunk == 1 and not method.interactions:
            assert cases.same_bits(released.rows, kept.rows)


def test_released_graphs_need_less_memory() -> None:
    """The comparison above would pass if nothing were released."""
    found = []
    for method in (maml(steps=5), maml(steps=5).with_interaction(Coupled())):
        goal = cases.objective("batchnorm2d", mc.Plan(chunk=1))
        state, tasks = mc.initialise(method, goal), cases.episodes("batchnorm2d", 8)

        def once(method=method, goal=goal, state=state, tasks=tasks) -> None:
            mc.meta_gradient(method, goal, state, tasks)

        found.append(peak_bytes(once, torch.device("cpu")))
    assert found[0] < found[1] / 3


@pytest.mark.parametrize("chunk", [1, 3, "all"])
@pytest.mark.parametrize("net", cases.NORMS)
@pytest.mark.parametrize("name", ["maml", "fomaml", "maml, agreement", "reptile, adam"])
def test_the_functional_route_equals_the_autograd_route(name: str, net: str, chunk: int) -> None:
    """``Plan(compile=True)`` takes ``torch.func.grad``; here it runs without being compiled."""
    method = cases.METHODS[name]
    autograd = cases.step(method, net, mc.Plan(chunk=chunk))
    functional = cases.step(method, net, mc.Plan(chunk=chunk, compile=True))
    assert relative_error(functional.rows, autograd.rows) <= tolerances.COMPILED_F64
    assert relative_error(functional.grads, autograd.grads) <= tolerances.COMPILED_F64
    assert not any(v.requires_grad for v in functional.rows.values())


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"compile": True, "checkpoint": True}, "exclude each other"),
        ({"compile": True, "memory": "1GiB"}, "excludes plan.compile"),
        ({"chunk": 0}, "plan.chunk is 0"),
        ({"chunk": -2}, "plan.chunk is -2"),
        ({"chunk": 1.5}, "plan.chunk is 1.5"),
        ({"chunk": "some"}, "plan.chunk is 'some'"),
        ({"memory": "lots"}, "write for example '4GiB'"),
        ({"memory": "4 GB"}, "write for example '4GiB'"),
        ({"memory": "0MiB"}, "write for example '4GiB'"),
        ({"memory": "-1MiB"}, "write for example '4GiB'"),
        ({"memory": ""}, "write for example '4GiB'"),
        ({"memory": "9" * 400}, "write for example '4GiB'"),
    ],
)
def test_bad_plans_are_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        mc.Plan(**options)
    assert "\n" not in str(caught.value)


def test_budgets_are_read() -> None:
    wanted = {"4GiB": 2**32, "1.5 KiB": 1536, "3MiB": 3 * 2**20, "77": 77}
    assert {text: mc.Plan(memory=text).budget() for text in wanted} == wanted
    assert mc.Plan().budget() is None


def test_an_unsettled_chunk_is_refused_and_settled_by_rule() -> None:
    with pytest.raises(UsageError, match=r"metaccord\.tune"):
        mc.Plan().size(4)
    assert settled(cases.objective("batchnorm2d", mc.Plan())).plan.chunk == 1
    assert settled(cases.objective("layernorm", mc.Plan())).plan.chunk == "all"
    assert settled(cases.objective("layernorm", mc.Plan(chunk=3))).plan.chunk == 3


def measured(method: mc.Method, plan: mc.Plan) -> int:
    goal, found = cases.objective("batchnorm1d", plan), cases.episodes("batchnorm1d", 4)
    state = mc.initialise(method, goal)
    return peak_bytes(lambda: mc.meta_gradient(method, goal, state, found), torch.device("cpu"))


def test_tune_keeps_to_a_budget() -> None:
    """Room for a loop, for a loop with checkpoints, and for neither."""
    method = maml(steps=6, lr=0.1)
    whole = measured(method, mc.Plan(chunk="all"))
    single = measured(method, mc.Plan(chunk=1))
    remembered = measured(method, mc.Plan(chunk=1, checkpoint=True))
    assert remembered < single < whole
    found, goal = cases.episodes("batchnorm1d", 4), cases.objective("batchnorm1d")
    state = mc.initialise(method, goal)
    for budget in ((single + whole) // 2, (remembered + single) // 2):
        plan = tune(method, goal.planned(mc.Plan(memory=str(budget))), state, found)
        assert plan.memory is None
        assert isinstance(plan.chunk, int)
        assert measured(method, plan) <= budget
        assert plan.checkpoint == (budget < single)
    with pytest.raises(ResourceError, match=r"need .* MiB: allow more"):
        tune(method, goal.planned(mc.Plan(memory=str(remembered // 2))), state, found)


def test_tune_leaves_settled_plans_alone() -> None:
    method, goal = maml(steps=1), cases.objective("plain", mc.Plan(chunk=2))
    state, found = mc.initialise(method, goal), cases.episodes("plain")
    assert tune(method, goal, state, found) == mc.Plan(chunk=2)
    auto = tune(method, goal.planned(mc.Plan()), state, found)
    assert auto.chunk in (1, 2, 4)
    compiled = tune(method, goal.planned(mc.Plan(compile=True)), state, found)
    assert compiled == mc.Plan(chunk="all", compile=True)


@pytest.mark.parametrize("chunk", [1, "all"])
@pytest.mark.parametrize("net", ["batchnorm2d", "plain"])
@pytest.mark.parametrize("method", [maml(steps=2, lr=0.05), reptile(steps=2, lr=0.05, batch=None)])
def test_autocast_is_close_and_keeps_parameters(method: mc.Method, net: str, chunk: int) -> None:
    """Forward passes are rounded to bfloat16; losses, rows and solutions stay in float32."""
    goal = cases.objective(net, mc.Plan(chunk=chunk, autocast=True), torch.float32)
    state = mc.initialise(method, goal)
    found = cases.episodes(net, dtype=torch.float32)
    step = mc.meta_gradient(method, goal, state, found)
    for tensors in (step.rows, step.grads, step.run.solution):
        assert {v.dtype for v in tensors.values()} == {torch.float32}
    assert all(loss.dtype == torch.float32 for loss in step.run.support_losses)
    exact = mc.meta_gradient(method, goal.planned(mc.Plan(chunk=chunk)), state, found)
    error = relative_error(step.run.support_losses[0], exact.run.support_losses[0])
    assert 0 < error <= 1e-2
    assert 0 < relative_error(step.run.solution, exact.run.solution) <= 1e-2


def test_pieces_of_a_tree() -> None:
    """``over_tasks`` keeps trees, whatever the chunk."""
    inputs = {"a": torch.randn(5, 2), "b": (torch.randn(5, 3),)}

    def fn(one: dict[str, object]) -> dict[str, object]:
        return {"twice": one["a"] * 2, "sum": (one["b"][0].sum(),)}

    found = [mc.Plan(chunk=chunk).over_tasks(fn)(inputs) for chunk in (1, 2, "all")]
    for result in found:
        assert torch.equal(result["twice"], inputs["a"] * 2)
        torch.testing.assert_close(result["sum"][0], inputs["b"][0].sum(1))
    assert tree.common_length([inputs]) == {5}


def test_episodes_must_agree_about_the_number_of_tasks() -> None:
    method, goal = maml(steps=1), cases.objective("plain")
    state, found = mc.initialise(method, goal), cases.episodes("plain", 4)
    with pytest.raises(UsageError, match=r"TaskAxis\.count is 3"):
        mc.meta_gradient(method, goal, state, found, TaskAxis(3))
    uneven = found._replace(query=cases.episodes("plain", 3).query)
    with pytest.raises(UsageError, match=r"\[3, 4\] tasks"):
        mc.meta_gradient(method, goal, state, uneven)
