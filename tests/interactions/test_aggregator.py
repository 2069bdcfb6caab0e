"""Aggregators of TorchJD and of users: what they see, what the rows become, how they fail."""

from __future__ import annotations

import builtins
import json
import logging
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

import metaccord as mc
from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.defaults import compose, default
from metaccord.errors import NumericalError, UsageError
from metaccord.interactions import Aggregate
from metaccord.interactions.pcgrad import projections
from metaccord.methods import AGGREGATORS, WRAPPERS, aggregated, maml, meta_sgd, pcgrad
from metaccord.testing import check_interaction
from metaccord.types import Adaptation, Batch, Episode, Notes, Own, Stacked
from tests import cases, tolerances
from tests.reference.compare import relative_error

torchjd = pytest.importorskip("torchjd.aggregation")
NAMED = {  # a smooth one, a random one, one without weights, and one with options
    "MGDA": Aggregate(),
    "PCGrad": Aggregate(function="PCGrad"),
    "GradDrop": Aggregate(function="GradDrop"),
    "Krum": Aggregate(function="Krum", options=(("n_byzantine", 1),)),
}


def draws(count: int, size: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def reconcile(
    part: Aggregate, rows: Stacked, order: Tensor | None = None, axis: TaskAxis | None = None
) -> tuple[Stacked, Notes]:
    count = len(next(iter(rows.values())))
    extra = {"order": torch.arange(count) if order is None else order}
    data = Episode(Batch(torch.zeros(count, 1), ()), Batch(torch.zeros(count, 1), ()), extra)
    run = Adaptation((rows,), (), {}, rows, data)
    return part.reconcile(Own({}, {}), rows, run, axis or TaskAxis(count))


def called(function: Callable[[Tensor], Any], rows: Tensor) -> Tensor:
    return reconcile(Aggregate(function=function), {"model.w": rows})[0]["model.w"]


@pytest.mark.parametrize("name", NAMED)
def test_aggregators_keep_the_contract(name: str) -> None:
    """Random ones, too: the same bits again, permuted tasks permute rows, generators untouched."""
    before = torch.get_rng_state()
    assert len(check_interaction(NAMED[name], base=meta_sgd(steps=2, lr=0.2))) == 15
    assert torch.equal(before, torch.get_rng_state())


def test_a_function_keeps_the_contract() -> None:
    assert len(check_interaction(Aggregate(function=lambda m: m.median(0).values))) == 15


@pytest.mark.parametrize("function", ["Mean", lambda m: m.mean(0)])
def test_the_mean_is_the_base(function: Any) -> None:
    part = Aggregate(function=function)
    for base in cases.BASES.values():
        plain, found = (cases.step(m, "plain") for m in (base, base.with_interaction(part)))
        assert relative_error(found.grads, plain.grads) <= 1e-15


@pytest.mark.parametrize("name", ["MGDA", "IMTLG", "ConFIG", "Sum", "TrimmedMean", "AlignedMTL"])
def test_the_step_is_torchjds(name: str) -> None:
    """The mean over rows is what TorchJD makes of the same matrix."""
    options = {"trim_number": 1} if name == "TrimmedMean" else {}
    rows = {"model.b": draws(4, 3), "model.a": draws(4, 2, 1)[..., None]}
    part = Aggregate(function=name, options=tuple(options.items()))
    found = tree.flat(reconcile(part, rows)[0]).mean(0)
    expected = getattr(torchjd, name)(**options)(tree.flat(rows))
    assert relative_error(found, expected) <= tolerances.TWIN_F64


def test_weights_serve_every_row_and_vectors_the_model_alone() -> None:
    rows = {"model.w": draws(4), "rule.rates": draws(4, 2, 1)}
    found, notes = reconcile(Aggregate(), rows)
    w = torchjd.MGDAWeighting()(rows["model.w"] @ rows["model.w"].T)
    assert relative_error(notes["weights"], w) <= tolerances.TWIN_F64
    for name, value in rows.items():
        assert relative_error(found[name].mean(0), w @ value) <= tolerances.TWIN_F64
    found, notes = reconcile(Aggregate(function=lambda m: m[0] ** 2), rows)
    assert not notes
    assert torch.equal(found["model.w"], (rows["model.w"][0] ** 2).expand(4, 5))
    assert torch.equal(found["rule.rates"], rows["rule.rates"])


def test_instances_of_torchjd_weigh_and_may_remember() -> None:
    rows, state = {"model.w": draws(3), "rule.rates": draws(3, 2, 1)}, torchjd.Sum()
    found, notes = reconcile(Aggregate(function=state), rows)
    assert notes["weights"].tolist() == [1.0] * 3
    assert torch.equal(found["rule.rates"], 3 * rows["rule.rates"])
    assert hasattr(torchjd.GradVac, "reset")
    assert reconcile(Aggregate(function=torchjd.GradVac()), rows)[1]["weights"].shape == (3,)


def test_rows_come_in_the_order_of_the_keys() -> None:
    g, order = draws(4), torch.tensor([7, -1, 5, 2])
    first = reconcile(Aggregate(function=lambda m: m[0]), {"model.w": g}, order)[0]["model.w"]
    assert torch.equal(first, g[1].expand(4, 5))


def test_draws_come_from_the_keys() -> None:
    """Of all tasks, whatever their order; another step draws anew."""
    g, part = {"model.w": draws(4)}, Aggregate(function="Random")
    order = torch.tensor([3, 1, 4, 5])
    found = [reconcile(part, g, keys)[1]["weights"] for keys in (order, order, order + 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_torchjds_pcgrad_of_two_tasks_is_ours() -> None:
    """Nothing is random there; TorchJD takes the sum."""
    for base in (maml(steps=1, lr=0.2), meta_sgd()):
        found = {"order": torch.tensor([5, 8])}
        episodes = cases.episodes("plain", 2)._replace(extra=found)
        goal = cases.objective("plain")
        ours, theirs = (
            mc.meta_gradient(m, goal, mc.initialise(m, goal), episodes).grads
            for m in (pcgrad(base), aggregated(base, "PCGrad"))
        )
        assert relative_error({k: 2 * v for k, v in ours.items()}, theirs) <= tolerances.TWIN_F64


def test_torchjds_pcgrad_is_one_of_ours() -> None:
    """For three tasks: one of the results over all orders, and more than one of them occurs."""
    g = torch.tensor([[1.0, 0.0, 0.2], [-0.7, 0.9, 0.0], [-0.6, -0.8, 0.1]], dtype=torch.float64)
    others = [[[0, 1, 2], [0, 2, 1]], [[1, 0, 2], [1, 2, 0]], [[2, 0, 1], [2, 1, 0]]]
    gram = g @ g.T
    possible = torch.stack(
        [projections(gram, torch.tensor(order)).sum(0) @ g for order in product(*others)]
    )
    seen = set()
    for key in range(40):
        part = Aggregate(function="PCGrad")
        rows = reconcile(part, {"model.w": g}, torch.arange(3) + 10 * key)[0]["model.w"]
        away = (possible - rows.mean(0)).norm(dim=1)
        assert away.min() <= 1e-14
        seen.add(int(away.argmin()))
    assert len(seen) > 3


def test_isolated_tasks_are_alone() -> None:
    rows, alone = {"model.w": draws(3)}, TaskAxis(3, isolated=True)
    for part in (Aggregate(), Aggregate(function=lambda m: m.sum(0))):
        assert reconcile(part, rows, axis=alone) == (rows, {})


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        ("MGADA", (), "unknown aggregator 'MGADA': did you mean 'MGDA'"),
        ("Aggregator", (), "unknown aggregator"),
        ("os.system", (), "unknown aggregator"),
        ("Nash", (), "unknown aggregator 'Nash': choose from (?!.*(NashMTL|Constant))"),
        ("NashMTL", (("n_tasks", 3),), "NashMTL remembers earlier calls.*an instance in Python"),
        ("Constant", (), "tasks have none: use Mean"),
        ("MGDA", (("epsilom", 0.1),), "unknown option 'epsilom' of aggregator MGDA: did you mean"),
        ("Mean", (("c", 0.1),), "unknown option 'c' of aggregator Mean: it has none"),
        ("AlignedMTL", (("pref_vector", "x"),), "unknown option 'pref_vector'"),
        ("MGDA", (("epsilon", -1.0),), "aggregator MGDA cannot be made: epsilon must be positive"),
        ("Krum", (), "aggregator Krum cannot be made: .*n_byzantine"),
        (lambda m: m.sum(0), (("c", 0.1),), "options belong to a name"),
    ],
)  # fmt: skip
def test_what_is_not_offered_is_refused(function: Any, options: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Aggregate(function=function, options=options)
    assert "\n" not in str(caught.value)


def test_without_torchjd_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def absent(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("torchjd"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return plain(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UsageError, match=r"pip install 'metaccord\[aggregators\]'"):
        Aggregate()
    found = called(lambda m: m.sum(0), draws(2))
    assert torch.equal(found[0], draws(2).sum(0))


def mistaken(result: Any) -> Callable[[Tensor], Any]:
    def wrong(matrix: Tensor) -> Any:
        return result(matrix)

    return wrong


@pytest.mark.parametrize(
    ("result", "error", "words"),
    [
        (lambda m: m, UsageError, r"aggregator wrong gives \[3, 5\]: .*a tensor \[5\]"),
        (lambda m: m.sum(1), UsageError, r"gives \[3\]"),
        (lambda m: m.sum(), UsageError, r"gives \[\]"),
        (lambda m: m.sum(0).tolist(), UsageError, "gives list"),
        (lambda m: m.sum(0) / 0, NumericalError, "aggregator wrong gives .*not finite"),
        (lambda m: m.sum(0) * float("nan"), NumericalError, "not finite for finite gradients"),
    ],
)
def test_wrong_results_are_named(result: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        called(mistaken(result), draws(3))


def test_weights_are_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, error, words in (
        (lambda self, m: torch.ones(7), UsageError, r"aggregator Mean gives \[7\]: .*\[3\]"),
        (lambda self, m: m.sum(1) / 0, NumericalError, "aggregator Mean gives values"),
    ):
        monkeypatch.setattr(torchjd.MeanWeighting, "forward", wrong)
        with pytest.raises(error, match=words):
            reconcile(Aggregate(function="Mean"), {"model.w": draws(3)})


def test_too_few_tasks_for_an_aggregator() -> None:
    with pytest.raises(UsageError, match="aggregator Krum refuses 4 tasks of 5 numbers: "):
        part = Aggregate(function="Krum", options=(("n_byzantine", 3),))
        reconcile(part, {"model.w": draws(4)})


def test_errors_of_a_users_function_stay_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError):
        called(lambda m: m / (1 // 0), draws(2))


def test_gradients_that_are_not_finite_are_not_the_aggregators_fault() -> None:
    rows = {"model.w": draws(3).index_fill(0, torch.tensor(1), float("nan"))}
    assert reconcile(Aggregate(), rows) == (rows, {})


def test_results_get_the_type_of_the_gradients() -> None:
    assert called(lambda m: m.sum(0).double(), draws(3).float()).dtype == torch.float32


def test_named_values_are_stored_and_functions_are_not() -> None:
    method = aggregated(maml(), "Krum", n_selected=2, n_byzantine=1)
    (part,) = method.interactions
    assert part.options == (("n_byzantine", 1), ("n_selected", 2))
    stored = json.loads(json.dumps(mc.serial.to_tree(method)))
    assert mc.serial.from_tree(stored) == method
    with pytest.raises(UsageError, match="cannot be stored by name: give it again at load"):
        mc.serial.to_tree(aggregated(maml(), torch.median))


def test_words_and_settings() -> None:
    """The four systems stay what they are; the aggregators are words beside them."""
    assert not AGGREGATORS.keys() & WRAPPERS.keys()
    assert compose("maml", [*WRAPPERS, *AGGREGATORS], "sinusoid").label.endswith("pcgrad+aggregate")
    settings = ["aggregate.function=Krum", 'aggregate.options=[["n_byzantine",1]]']
    found = default("sinusoid", "maml", ["aggregate"]).changed(settings)
    assert found.method == aggregated(compose("maml", [], "sinusoid"), "Krum", n_byzantine=1)
    assert mc.Experiment.from_tree(json.loads(json.dumps(found.tree()))) == found
    with pytest.raises(UsageError, match="did you mean 'pcgrad'"):
        compose("maml", ["pc_grad"], "sinusoid")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
def test_compiling_falls_back_with_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    torch.compiler.reset()
    model = mc.models.MLP(hidden=(4,), activation="tanh").double()
    states = []
    for plan in (mc.Plan(compile=True), mc.Plan(chunk="all")):
        goal, method = mc.Objective(model, mc.losses.mse, plan), aggregated(maml(steps=1))
        with caplog.at_level(logging.WARNING, "metaccord"):
            records = list(mc.train(method, goal, cases.Sines(shots=6), steps=2, num_tasks=3))
        states.append(records[-1].state.params)
    assert sum("going on without it" in r.message for r in caplog.records) == 1
    assert relative_error(*states) <= tolerances.COMPILED_F64
