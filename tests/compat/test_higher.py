"""higher's way of working has the gradients of optimisers written by hand, and of higher itself."""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from metaccord.compat import higher
from metaccord.compat.higher import innerloop_ctx
from metaccord.errors import UsageError
from tests.compat.models import INPUTS, MODELS, built, criterion, grads_of, plain, tasks
from tests.reference.compare import relative_error
from tests.refusals import refusal
from tests.tolerances import TWIN_F64

STEPS = 3
Make = Callable[[Any], torch.optim.Optimizer]
Named = dict[str, Tensor]
OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.3),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, dampening=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
    "weight decay": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.5, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05),
    "adam with decay": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1, betas=(0.5, 0.9)),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.05, amsgrad=True, betas=(0.3, 0.4)),
}


def peer() -> ModuleType:
    """The real library, or a skip; its own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("higher")
        except ModuleNotFoundError:
            pytest.skip("needs the real higher: pip install 'metaccord[bench]'")


def rows(library: Any, model: nn.Module, make: Make, **options: Any) -> list[Named]:
    """As a script of higher goes, one backward pass for each task."""
    found = []
    for task in tasks(STEPS):
        opt = make(model.parameters())
        with library.innerloop_ctx(model, opt, **{"copy_initial_weights": False, **options}) as (
            fmodel,
            diffopt,
        ):
            for x, y in task.batches:
                diffopt.step(criterion(fmodel(x), y))
            x, y = task.query
            found.append(grads_of(criterion(fmodel(x), y), model))
    return found


def by_hand(model: nn.Module, make: Make) -> list[Named]:
    """The same with rules of one parameter each, in the notation of the papers."""
    settings = make(list(model.parameters())).param_groups[0]
    rule = _adam if "betas" in settings else _sgd
    found = []
    for task in tasks(STEPS):
        now = {n: p for n, p in model.named_parameters() if p.requires_grad}
        slots: dict[str, Any] = dict.fromkeys(now)
        for step, (x, y) in enumerate(task.batches, 1):
            loss = criterion(functional_call(model, now, (x,)), y)
            grads = torch.autograd.grad(
                loss, tuple(now.values()), create_graph=True, allow_unused=True
            )
            moved = dict(now)
            for (name, p), g in zip(now.items(), grads, strict=True):
                if g is not None:
                    moved[name], slots[name] = rule(p, g, slots[name], step, settings)
            now = moved
        x, y = task.query
        found.append(grads_of(criterion(functional_call(model, now, (x,)), y), model))
    return found


def _sgd(p: Tensor, g: Tensor, v: Any, step: int, s: dict[str, Any]) -> tuple[Tensor, Any]:
    del step
    g = g + s["weight_decay"] * p
    if not s["momentum"]:
        return p - s["lr"] * g, None
    v = g if v is None else s["momentum"] * v + (1 - s["dampening"]) * g
    return p - s["lr"] * (g + s["momentum"] * v if s["nesterov"] else v), v


def _adam(p: Tensor, g: Tensor, kept: Any, t: int, s: dict[str, Any]) -> tuple[Tensor, Any]:
    m, v, top = kept if kept is not None else (0.0, 0.0, torch.zeros_like(p))
    b1, b2 = s["betas"]
    g = g + s["weight_decay"] * p
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    top = torch.maximum(top, v)
    seen = top if s["amsgrad"] else v
    rate = s["lr"] * (1 - b2**t) ** 0.5 / (1 - b1**t)
    return p - rate * m / (seen.sqrt() + s["eps"]), (m, v, top)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_equals_its_slow_twin(optimizer: str) -> None:
    model = built("plain")
    found = rows(higher, model, OPTIMIZERS[optimizer])
    for ours, theirs in zip(found, by_hand(model, OPTIMIZERS[optimizer]), strict=True):
        assert relative_error(ours, theirs) <= TWIN_F64


@pytest.mark.parametrize("name", MODELS)
def test_every_model_equals_its_slow_twin(name: str) -> None:
    model = built(name)
    before = copy.deepcopy(model.state_dict())
    found = rows(higher, model, OPTIMIZERS["momentum"])
    with sdpa_kernel(SDPBackend.MATH):
        slow = by_hand(copy.deepcopy(model), OPTIMIZERS["momentum"])
    for ours, theirs in zip(found, slow, strict=True):
        assert relative_error(ours, theirs) <= TWIN_F64
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before), "the module was changed"


@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("attention", "parametrized")])
def test_the_real_library_gives_the_same(name: str) -> None:
    """It has neither second derivatives of attention nor parametrizations."""
    real, model = peer(), built(name)
    for make in OPTIMIZERS.values():
        ours, theirs = rows(higher, model, make), rows(real, model, make)
        for one, other in zip(ours, theirs, strict=True):
            assert relative_error(one, other) <= TWIN_F64


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_go_where_the_real_optimiser_takes_them(optimizer: str) -> None:
    """And start from its moments. Adam of torch places epsilon elsewhere."""
    model, twin = built("plain"), built("plain")
    opts = [OPTIMIZERS[optimizer](m.parameters()) for m in (model, twin)]
    (x, y), _ = tasks(1)[0].batches[0], None
    for m, opt in zip((model, twin), opts, strict=True):
        opt.zero_grad()
        criterion(m(x), y).backward()
        opt.step()
    with innerloop_ctx(model, opts[0], track_higher_grads=False) as (fmodel, diffopt):
        for _ in range(STEPS):
            diffopt.step(criterion(fmodel(x), y))
            opts[1].zero_grad()
            criterion(twin(x), y).backward()
            opts[1].step()
    exact = not isinstance(opts[0], torch.optim.Adam)
    found = dict(fmodel.named_parameters())
    assert relative_error(found, dict(twin.named_parameters())) <= (1e-14 if exact else 1e-4)


def test_adamw_decays_apart_from_the_gradient() -> None:
    model = built("plain")
    opt = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5, eps=0.0)
    twin = copy.deepcopy(model)
    (x, y) = tasks(1)[0].batches[0]
    real = torch.optim.AdamW(twin.parameters(), lr=0.1, weight_decay=0.5, eps=0.0)
    criterion(twin(x), y).backward()
    real.step()
    with innerloop_ctx(model, opt) as (fmodel, diffopt):
        diffopt.step(criterion(fmodel(x), y))
    assert relative_error(dict(fmodel.named_parameters()), dict(twin.named_parameters())) <= 1e-14


def test_adam_is_finite_where_a_gradient_is_zero() -> None:
    """The derivative of the square root of v is infinite at 0; half of the inputs are 0 here."""
    model = nn.Linear(4, 1).double()
    x = torch.ones(3, 4, dtype=torch.float64)
    x[:, 2:] = 0
    with innerloop_ctx(model, torch.optim.Adam(model.parameters()), copy_initial_weights=False) as (
        fmodel,
        diffopt,
    ):
        for _ in range(2):
            diffopt.step(fmodel(x).square().mean())
        fmodel(x).square().mean().backward()
    assert torch.isfinite(model.weight.grad).all()


def test_copied_weights_leave_the_model_alone_and_keep_all_times() -> None:
    model, task = built("plain"), tasks(2)[0]
    with innerloop_ctx(model, OPTIMIZERS["sgd"](model.parameters())) as (fmodel, diffopt):
        for x, y in task.batches:
            returned = diffopt.step(criterion(fmodel(x), y))
        loss = criterion(fmodel(task.query[0]), task.query[1])
    assert all(a is b for a, b in zip(returned, fmodel.parameters(), strict=True))
    assert all(a is b for a, b in zip(fmodel.parameters(time=2), fmodel.parameters(), strict=True))
    start = list(fmodel.parameters(time=0))
    assert all(torch.equal(a, b) for a, b in zip(start, model.parameters(), strict=True))
    found = torch.autograd.grad(loss, start, retain_graph=True)
    expected = rows(higher, model, OPTIMIZERS["sgd"])[0]
    two = by_hand_of_two(model, task)
    assert relative_error(dict(zip(expected, found, strict=True)), two) <= TWIN_F64
    loss.backward()
    assert all(p.grad is None for p in model.parameters())
    assert [p is q for p, q in zip(fmodel.init_fast_params, start, strict=True)] == [True] * 4


def by_hand_of_two(model: nn.Module, task: Any) -> Named:
    now = dict(model.named_parameters())
    for x, y in task.batches:
        loss = criterion(functional_call(model, now, (x,)), y)
        grads = torch.autograd.grad(loss, tuple(now.values()), create_graph=True)
        now = {n: p - 0.3 * g for (n, p), g in zip(now.items(), grads, strict=True)}
    return grads_of(criterion(functional_call(model, now, (task.query[0],)), task.query[1]), model)


def test_without_tracking_nothing_holds_a_graph() -> None:
    model, task = built("plain"), tasks(2)[0]
    opt = OPTIMIZERS["momentum"](model.parameters())
    with innerloop_ctx(model, opt, track_higher_grads=False) as (fmodel, diffopt):
        for x, y in task.batches:
            diffopt.step(criterion(fmodel(x), y))
    assert all(p.grad_fn is None and p.requires_grad for p in fmodel.parameters())
    buffers = [slot["momentum_buffer"] for slots in diffopt.state for slot in slots]
    assert not any(b.requires_grad for b in buffers)
    with pytest.raises(UsageError, match="time is 1"):
        fmodel.parameters(time=1)
    with pytest.raises(UsageError, match="init_fast_params"):
        fmodel.init_fast_params  # noqa: B018


def test_learned_settings_and_groups() -> None:
    """Each group has its own rate, given as tensors that get gradients."""
    model, task = built("plain"), tasks(1)[0]
    (x, y), (xq, yq) = task.batches[0], task.query
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.1}]
    opt = torch.optim.SGD(groups, lr=0.2)

    def query(one: Tensor, two: Tensor) -> Tensor:
        with innerloop_ctx(model, opt, override={"lr": [one, two]}) as (fmodel, diffopt):
            diffopt.step(criterion(fmodel(x), y))
            diffopt.step(criterion(fmodel(x), y), override={"momentum": [0.5]})
            return criterion(fmodel(xq), yq)

    rates = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.2, 0.1)]
    assert torch.autograd.gradcheck(query, tuple(rates))
    with innerloop_ctx(model, opt) as (fmodel, diffopt):
        assert [group["lr"] for group in diffopt.param_groups] == [0.2, 0.1]
        diffopt.step(criterion(fmodel(x), y))
    moved = zip(fmodel.parameters(), model.parameters(), strict=True)
    grads = grads_of(criterion(model(x), y), model).values()
    for (new, old), g, lr in zip(moved, grads, (0.2, 0.2, 0.1, 0.1), strict=True):
        assert torch.allclose(old - new, lr * g, rtol=1e-12, atol=1e-14)


def test_a_group_may_leave_parameters_out() -> None:
    model, (x, y) = built("plain"), tasks(1)[0].batches[0]
    with innerloop_ctx(model, torch.optim.SGD(model[2].parameters(), lr=0.1)) as (fmodel, diffopt):
        diffopt.step(criterion(fmodel(x), y))
    same = [torch.equal(a, b) for a, b in zip(fmodel.parameters(), model.parameters(), strict=True)]
    assert same == [True, True, False, False]


def test_callbacks_clip_and_parameters_are_given() -> None:
    model, (x, y) = built("plain"), tasks(1)[0].batches[0]

    def clip(grads: Any) -> Any:
        return [g.clamp(-1e-3, 1e-3) for g in grads]

    with innerloop_ctx(model, torch.optim.SGD(model.parameters(), lr=1.0)) as (fmodel, diffopt):
        start = fmodel.fast_params
        after = diffopt.step(criterion(fmodel(x), y), grad_callback=clip)
        assert abs(largest(start, after) - 1e-3) < 1e-12
        assert torch.equal(fmodel(x, params=start), model(x))
        diffopt.step(criterion(fmodel(x), y), params=start)
        assert len(list(fmodel.parameters())) == 4
    optimizer = higher.get_diff_optim(
        torch.optim.SGD(model.parameters(), lr=1.0), model.parameters(), grad_callback=clip
    )
    params = list(model.parameters())
    found = optimizer.step(criterion(model(x), y), params=params)
    assert abs(largest(params, found) - 1e-3) < 1e-12


def largest(before: list[Tensor], after: list[Tensor]) -> float:
    pairs = zip(before, after, strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def test_assigned_weights_become_the_latest() -> None:
    model = built("plain")
    fmodel = higher.monkeypatch(model)
    fmodel[2].bias = torch.full((3,), 7.0, dtype=torch.float64)
    assert torch.equal(dict(fmodel.named_parameters())["2.bias"], fmodel[2].bias)
    assert float(model[2].bias.detach().abs().max()) < 7


def test_a_device_is_taken() -> None:
    fmodel = higher.monkeypatch(built("batch norm"), device="cpu", copy_initial_weights=False)
    assert all(p.device.type == "cpu" for p in fmodel.parameters())


MODEL, DATA = plain(), torch.zeros(2, INPUTS)


def entered(opt: torch.optim.Optimizer, use: Any = None, **options: Any) -> Any:
    with innerloop_ctx(MODEL, opt, **options) as pair:
        return use(*pair) if use else None


def sgd(**options: Any) -> torch.optim.SGD:
    return torch.optim.SGD(MODEL.parameters(), lr=0.1, **options)


REFUSED: dict[str, tuple[Callable[[], object], list[str]]] = {
    "another optimiser": (
        lambda: entered(torch.optim.RMSprop(MODEL.parameters())),
        ["opt is RMSprop", "SGD, Adam, AdamW"],
    ),
    "parameters of another": (
        lambda: entered(torch.optim.SGD(plain().parameters(), lr=0.1)),
        ["not one of the model's", "model.parameters()"],
    ),
    "maximize": (lambda: entered(sgd(maximize=True)), ["maximize=True", "negative loss"]),
    "unknown setting": (
        lambda: entered(sgd(), override={"rate": [1.0]}),
        ["override has 'rate'", "momentum"],
    ),
    "no list": (lambda: entered(sgd(), override={"lr": 0.5}), ["must be a list", "[0.5]"]),
    "too many values": (
        lambda: entered(sgd(), override={"lr": [1.0, 2.0, 3.0]}),
        ["3 values", "1 parameter"],
    ),
    "a vector of losses": (
        lambda: entered(sgd(), lambda f, d: d.step(f(DATA))),
        ["loss is [2, 3]", "loss.mean()"],
    ),
    "the loss of another": (
        lambda: entered(sgd(), lambda f, d: d.step(MODEL(DATA).sum())),
        ["does not depend on any of the weights", "fmodel(x)"],
    ),
    "a time to come": (
        lambda: entered(sgd(), lambda f, d: f.parameters(time=3)),
        ["time is 3", "there were 0 updates"],
    ),
    "weights of another shape": (
        lambda: entered(sgd(), lambda f, d: f(DATA, params=[torch.ones(1)])),
        ["params are 1 tensors", "fmodel.parameters()"],
    ),
    "a functional model": (
        lambda: higher.monkeypatch(higher.monkeypatch(MODEL)),
        ["already functional"],
    ),
    "no model": (lambda: higher.monkeypatch("model"), ["module is str"]),
    "no weights": (
        lambda: higher.get_diff_optim(sgd(), MODEL.parameters()).step(MODEL(DATA).sum()),
        ["step needs params="],
    ),
    "a part": (
        lambda: entered(sgd(), lambda f, d: setattr(f, "0", nn.Linear(1, 1))),
        ["'0' is a part", "before cloning"],
    ),
    "what is not here": (lambda: higher.register_optim, ["no 'register_optim'", "InnerRule"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_mistakes(name: str) -> None:
    call, words = REFUSED[name]
    with refusal(words):
        call()
