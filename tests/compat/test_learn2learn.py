"""learn2learn's way of working has the gradients of plain autograd."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from metaccord.compat import learn2learn as l2l
from metaccord.compat.learn2learn.algorithms import GBML, MAML, MetaSGD
from metaccord.errors import UsageError
from tests.compat.models import (
    CLASSES,
    INPUTS,
    MODELS,
    Idle,
    Twice,
    built,
    criterion,
    grads_of,
    plain,
    tasks,
)
from tests.reference.compare import relative_error
from tests.reference.loops import fomaml_rows, maml_rows
from tests.refusals import refusal
from tests.tolerances import TWIN_F64

LR, STEPS = 0.3, 3
OPEN = {"allow_unused": True, "allow_nograd": True}


def rows(maml: MAML, steps: int = STEPS, **clone: Any) -> list[dict[str, Tensor]]:
    """As a script of learn2learn goes, one backward pass for each task."""
    found = []
    for task in tasks(steps):
        learner = maml.clone(**clone)
        for x, y in task.batches:
            learner.adapt(criterion(learner(x), y))
        x, y = task.query
        found.append(grads_of(criterion(learner(x), y), maml.module))
    return found


@pytest.mark.parametrize("first_order", [False, True], ids=["second order", "first order"])
@pytest.mark.parametrize("name", MODELS)
def test_maml_equals_its_slow_twin(name: str, first_order: bool) -> None:
    model = built(name)
    before = copy.deepcopy(model.state_dict())
    found = rows(MAML(model, LR, first_order=first_order, **OPEN))
    twin = copy.deepcopy(model)
    params = {n: p for n, p in twin.named_parameters() if p.requires_grad}
    with sdpa_kernel(SDPBackend.MATH):
        slow = (fomaml_rows if first_order else maml_rows)(
            twin, criterion, params, tasks(STEPS), LR
        )
    for ours, theirs in zip(found, slow, strict=True):
        assert relative_error(ours, theirs) <= TWIN_F64
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before), "the module was changed"


def test_maml_by_hand() -> None:
    """Without ``functional_call`` on either side: two layers written as formulas."""
    model = built("plain")
    w, b, v, c = (p.detach().clone().requires_grad_() for p in model.parameters())
    (task, *_) = tasks(2)

    def loss(w: Tensor, b: Tensor, v: Tensor, c: Tensor, data: Any) -> Tensor:
        x, y = data
        logits = torch.tanh(x @ w.T + b) @ v.T + c
        return -(logits - logits.logsumexp(1, keepdim=True)).gather(1, y[:, None]).mean()

    fast = (w, b, v, c)
    for data in task.batches:
        grads = torch.autograd.grad(loss(*fast, data), fast, create_graph=True)
        fast = tuple(p - LR * g for p, g in zip(fast, grads, strict=True))
    expected = torch.autograd.grad(loss(*fast, task.query), (w, b, v, c))
    ours = rows(MAML(model, LR), steps=2)[0]
    by_name = dict(zip(ours, expected, strict=True))
    assert relative_error(ours, by_name) <= TWIN_F64


def test_a_loop_of_a_script_trains() -> None:
    """One optimiser over ``maml.parameters()``, ``.backward()`` for each task."""
    maml = l2l.algorithms.MAML(built("plain"), lr=LR)
    optimizer = torch.optim.SGD(maml.parameters(), lr=0.1)
    expected = rows(maml)
    optimizer.zero_grad()
    for task in tasks(STEPS):
        learner = maml.clone()
        for x, y in task.batches:
            learner.adapt(criterion(learner(x), y))
        criterion(learner(task.query[0]), task.query[1]).backward()
    grads = {name: p.grad for name, p in maml.module.named_parameters()}
    total = {name: sum(row[name] for row in expected) for name in grads}
    assert relative_error(grads, total) <= TWIN_F64
    before = [p.detach().clone() for p in maml.parameters()]
    optimizer.step()
    for p, old in zip(maml.parameters(), before, strict=True):
        assert not torch.equal(p, old)


def test_options_are_inherited_and_overridden() -> None:
    model = built("plain")
    first, second = MAML(model, LR, first_order=True), MAML(model, LR)
    assert relative_error(rows(first)[0], rows(second, first_order=True)[0]) == 0
    assert relative_error(rows(first)[0], rows(second)[0]) > 0.01
    assert relative_error(rows(first, first_order=False)[0], rows(second)[0]) == 0
    assert MAML(model, LR, allow_nograd=True).allow_unused
    (x, y), query = tasks(1)[0].batches[0], tasks(1)[0].query
    found = []
    for order in (True, False):
        learner = second.clone()
        learner.adapt(criterion(learner(x), y), first_order=order)
        found.append(grads_of(criterion(learner(query[0]), query[1]), model))
    assert relative_error(found[0], rows(first, steps=1)[0]) == 0
    assert relative_error(found[1], rows(second, steps=1)[0]) == 0


def test_a_learned_rate_gets_its_gradient() -> None:
    model, task = built("plain"), tasks(1)[0]
    rate = torch.tensor(LR, dtype=torch.float64, requires_grad=True)
    (x, y), (xq, yq) = task.batches[0], task.query

    def query(rate: Tensor) -> Tensor:
        learner = MAML(model, rate).clone()
        learner.adapt(criterion(learner(x), y))
        return criterion(learner(xq), yq)

    assert torch.autograd.gradcheck(query, (rate,))


def test_meta_sgd_by_hand() -> None:
    model, task = built("plain"), tasks(2)[0]
    meta = MetaSGD(model, lr=LR)
    assert len(list(meta.parameters())) == 2 * len(list(model.parameters()))
    learner = meta.clone()
    for x, y in task.batches:
        learner.adapt(criterion(learner(x), y))
    loss = criterion(learner(task.query[0]), task.query[1])
    found = torch.autograd.grad(loss, [*model.parameters(), *meta.lrs])
    params, rates = list(model.parameters()), list(meta.lrs)
    fast = dict(zip([n for n, _ in model.named_parameters()], params, strict=True))
    for x, y in task.batches:
        inner = criterion(torch.func.functional_call(model, fast, (x,)), y)
        grads = torch.autograd.grad(inner, tuple(fast.values()), create_graph=True)
        fast = {n: p - a * g for (n, p), a, g in zip(fast.items(), rates, grads, strict=True)}
    loss = criterion(torch.func.functional_call(model, fast, (task.query[0],)), task.query[1])
    expected = torch.autograd.grad(loss, [*params, *rates])
    names = [str(i) for i in range(len(found))]
    assert (
        relative_error(
            dict(zip(names, found, strict=True)), dict(zip(names, expected, strict=True))
        )
        <= TWIN_F64
    )


class Matrix(nn.Module):
    """Mix the rows of an update."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(size, dtype=torch.float64) * 0.7 + 0.1)

    def forward(self, g: Tensor) -> Tensor:
        return torch.tensordot(self.weight, g, dims=1)


def test_gbml_by_hand() -> None:
    model, (task, *_) = built("plain"), tasks(2)

    def transform(p: Tensor) -> nn.Module | None:
        return Matrix(len(p)) if p.dim() == 2 else None

    meta = GBML(model, transform, lr=LR)
    learner = meta.clone()
    for x, y in task.batches:
        learner.adapt(criterion(learner(x), y))
    loss = criterion(learner(task.query[0]), task.query[1])
    learned = list(meta.parameters())
    assert len(learned) == 4 + 2
    found = torch.autograd.grad(loss, learned)
    fast = dict(model.named_parameters())
    for x, y in task.batches:
        inner = criterion(torch.func.functional_call(model, fast, (x,)), y)
        grads = torch.autograd.grad(inner, tuple(fast.values()), create_graph=True)
        pairs = zip(fast.items(), meta.transforms, grads, strict=True)
        fast = {n: p - LR * (t.weight @ g if p.dim() == 2 else g) for (n, p), t, g in pairs}
    loss = criterion(torch.func.functional_call(model, fast, (task.query[0],)), task.query[1])
    for one, other in zip(found, torch.autograd.grad(loss, learned), strict=True):
        assert relative_error(one, other) <= TWIN_F64


def test_utilities_keep_the_graph_of_update_after_update() -> None:
    model = built("tied")
    clone = l2l.clone_module(model)
    assert [n for n, _ in clone.named_parameters()] == [n for n, _ in model.named_parameters()]
    x = torch.randn(4, INPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(clone(x), model(x))
    scale = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    same = l2l.update_module(clone, updates=[-scale * p for p in clone.parameters()])
    assert same is clone
    second = l2l.clone_module(clone)
    l2l.update_module(second, [None for _ in second.parameters()])
    expected = torch.func.functional_call(
        model, {n: p - scale * p for n, p in model.named_parameters()}, (x,)
    )
    assert torch.allclose(second(x), expected, rtol=0, atol=1e-14)
    grads = torch.autograd.grad(second(x).sum(), (scale, model.head.weight))
    slow = torch.autograd.grad(expected.sum(), (scale, model.head.weight))
    for one, other in zip(grads, slow, strict=True):
        assert relative_error(one, other) <= TWIN_F64
    l2l.detach_module(second, keep_requires_grad=True)
    assert all(p.requires_grad and p.grad_fn is None for p in second.parameters())
    l2l.detach_module(second)
    assert not any(p.requires_grad for p in second.parameters())
    l2l.detach_module(model)
    assert not any(p.requires_grad for p in model.parameters())
    x = torch.tensor(2.0, requires_grad=True)
    assert l2l.magic_box(3 * x).item() == 1.0
    assert torch.autograd.grad(l2l.magic_box(3 * x), x)[0].item() == 3.0


def test_parts_and_methods_of_a_clone_follow_its_updates() -> None:
    model = built("called twice")
    assert isinstance(model, Twice)
    learner = MAML(model, LR).clone()
    body, x = learner.body, tasks(1)[0].batches[0][0]
    before = body(x)
    learner.adapt(criterion(learner(x), tasks(1)[0].batches[0][1]))
    assert not torch.equal(body(x), before), "a part taken before is the same part afterwards"
    assert torch.equal(learner.features(x), learner.body(learner.body(x)))
    assert torch.equal(learner.head(learner.features(x)), learner(x))
    assert torch.equal(learner.body[1](learner.body[0](x)), body(x))
    assert [type(part._base).__name__ for part in learner.body] == ["Linear", "Tanh"]
    assert len(learner.body) == 2
    assert torch.equal(learner.head.weight, dict(learner.named_parameters())["module.head.weight"])
    assert learner.head.out_features == CLASSES
    assert {name for name, _ in body.named_parameters()} == {"0.weight", "0.bias"}
    assert set(learner.state_dict()) == {f"module.{name}" for name in model.state_dict()}
    with pytest.raises(AttributeError, match="foot"):
        learner.foot  # noqa: B018


def test_modes_and_buffers_are_the_clone_s_own() -> None:
    model = built("batch norm")
    learner = MAML(model, LR).clone()
    x = tasks(1)[0].batches[0][0]
    learner(x)
    moved = dict(learner.named_buffers())["module.1.running_mean"]
    assert not torch.equal(moved, model[1].running_mean)
    assert int(dict(learner.named_buffers())["module.1.num_batches_tracked"]) == 1
    learner.eval()
    assert model.training
    assert not learner.module.training
    expected = copy.deepcopy(model)
    expected(x)
    expected.eval()
    assert torch.equal(learner(x), expected(x))
    again = learner.clone()
    assert not again.module.training
    assert torch.equal(again(x), expected(x))


def test_buffers_that_a_forward_pass_replaces_are_kept() -> None:
    clone = l2l.clone_module(built("buffers"))
    x = torch.zeros(1, INPUTS, dtype=torch.float64)
    clone(x), clone(x)
    assert (float(clone.calls), float(clone.scale)) == (2.0, 0.25)


LEARNER = dict[str, Callable[[], object]]
MODEL, DATA = plain(), torch.zeros(2, INPUTS)


def learner() -> Any:
    return MAML(MODEL, LR).clone()


def adapted(made: Callable[[], Any], loss: Callable[[Any], Any], **options: Any) -> Any:
    one = made()
    return one.adapt(loss(one), **options)


REFUSED: dict[str, tuple[Callable[[], object], list[str]]] = {
    "no module": (lambda: MAML("model", 0.1), ["model is str", "torch.nn.Module"]),
    "no module to clone": (lambda: l2l.clone_module(3), ["module is int"]),
    "no clone": (
        lambda: adapted(lambda: MAML(MODEL, LR), lambda m: m(DATA).sum()),
        ["adapt a clone", "MAML(...).clone()"],
    ),
    "a vector of losses": (lambda: adapted(learner, lambda m: m(DATA)), ["loss is [2, 3]"]),
    "no tensor": (lambda: adapted(learner, lambda m: 1.0), ["loss is float"]),
    "a constant": (
        lambda: adapted(learner, lambda m: torch.zeros(())),
        ["does not depend on any parameter", "learner(x)"],
    ),
    "the loss of another": (
        lambda: adapted(learner, lambda m: MODEL(DATA).sum()),
        ["does not depend on any parameter"],
    ),
    "unused": (
        lambda: adapted(lambda: MAML(Idle(), LR).clone(), lambda m: m(DATA).sum()),
        ["'idle.weight' is not used", "2 in all", "allow_unused=True"],
    ),
    "frozen": (
        lambda: adapted(
            lambda: MAML(plain().requires_grad_(False), LR).clone(), lambda m: m(DATA).sum()
        ),
        ["'0.weight' is frozen", "4 in all", "allow_nograd=True"],
    ),
    "all frozen": (
        lambda: adapted(
            lambda: MAML(plain().requires_grad_(False), LR, allow_nograd=True).clone(),
            lambda m: m(DATA).sum(),
        ),
        ["does not depend on any parameter"],
    ),
    "update of a module": (lambda: l2l.update_module(MODEL, []), ["Sequential", "clone_module"]),
    "no updates": (lambda: l2l.update_module(l2l.clone_module(MODEL)), ["updates is None"]),
    "few updates": (lambda: l2l.update_module(l2l.clone_module(MODEL), [None]), ["1 tensors", "4"]),
    "updates of another shape": (
        lambda: l2l.update_module(l2l.clone_module(MODEL), [torch.ones(1)] * 4),
        ["'0.weight' has shape [1]", "[5, 6]"],
    ),
    "no gradients": (
        lambda: l2l.algorithms.maml_update(l2l.clone_module(MODEL), 0.1),
        ["one gradient"],
    ),
    "few rates": (
        lambda: l2l.algorithms.meta_sgd_update(l2l.clone_module(MODEL), [1], [None] * 4),
        ["lrs has 1", "grads 4"],
    ),
    "learned inner transforms": (
        lambda: GBML(MODEL, lambda p: None, adapt_transform=True),
        ["adapt_transform is True", "outer loop"],
    ),
    "a slice": (lambda: l2l.clone_module(MODEL)[:2], ["cannot be sliced"]),
    "a clone inside": (
        lambda: l2l.clone_module(nn.Sequential(l2l.clone_module(MODEL))),
        ["a cloned module inside"],
    ),
    "what is not here": (lambda: l2l.vision, ["no 'vision'", "metaccord.tasks.Omniglot"]),
    "what nobody knows": (lambda: l2l.meta, ["no 'meta'", "docs/migrating.md"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_mistakes(name: str) -> None:
    call, words = REFUSED[name]
    with refusal(words):
        call()


def test_a_failed_update_changes_nothing() -> None:
    clone = l2l.clone_module(MODEL)
    before = [p.detach().clone() for p in clone.parameters()]
    bad = [torch.ones(5, 6), *[torch.ones(1)] * 3]
    with pytest.raises(UsageError):
        l2l.update_module(clone, bad)
    for p, old in zip(clone.parameters(), before, strict=True):
        assert torch.equal(p, old)


def test_a_module_that_cannot_be_copied_is_named() -> None:
    model = plain()
    model.lock = (i for i in range(3))
    with pytest.raises(UsageError, match=r"Sequential cannot be copied: .*generator"):
        l2l.clone_module(model)


def test_a_clone_is_freed_when_it_is_let_go() -> None:
    """Without waiting for the garbage collector, which in long loops comes too late."""
    model, (x, y) = built("convolutions"), tasks(1)[0].batches[0]
    gc.collect()
    gc.disable()
    try:
        learner = MAML(model, LR).clone()
        learner.adapt(criterion(learner(x), y))
        loss = criterion(learner(x), y)
        kept = [weakref.ref(learner), weakref.ref(next(iter(learner.parameters())))]
        loss.backward()
        del learner, loss
        assert [ref() for ref in kept] == [None, None]
    finally:
        gc.enable()


def test_losses_of_one_entry_are_numbers() -> None:
    one = learner()
    one.adapt(F.mse_loss(one(DATA), torch.ones(2, CLASSES), reduction="mean").reshape(1))
    assert one(DATA).shape == (2, CLASSES)
