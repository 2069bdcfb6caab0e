"""The same meta-step in `higher` and `torchopt`, each in every idiom that its users write.

An idiom is a function of a problem that returns a step: a call that computes the mean
meta-gradient over tasks, by parameter name. Which idioms are right and which is fastest is
measured, not assumed.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import partial
from types import ModuleType

import torch
from problems import Problem
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

Grads = dict[str, Tensor]
Step = Callable[[], Grads]


def load(name: str) -> ModuleType | None:
    """Import a peer, or return None; its own deprecation warnings are not ours to raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            return None


def collected(params: dict[str, nn.Parameter]) -> Grads:
    """Take the gradients away from the parameters, so that the next call starts clean."""
    found = {name: p.grad for name, p in params.items() if p.grad is not None}
    for p in params.values():
        p.grad = None
    return found


def backward(loss: Tensor) -> None:
    """Accumulate gradients into the parameters."""
    loss.backward()  # type: ignore[no-untyped-call]


def with_higher(higher: ModuleType, problem: Problem, *, at_once: bool) -> Step:
    """Follow the MAML example of `higher`: one patched module per task."""
    model, tasks, criterion = problem.copied(), problem.tasks(), problem.criterion
    params = dict(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.lr)

    def step() -> Grads:
        kept = []
        for xs, ys, xq, yq in tasks:
            with higher.innerloop_ctx(
                model, optimizer, copy_initial_weights=False, track_higher_grads=True
            ) as (net, inner):
                for _ in range(problem.steps):
                    inner.step(criterion(net(xs), ys))
                loss = criterion(net(xq), yq) / len(tasks)
                if at_once:
                    kept.append(loss)
                else:
                    backward(loss)
        if at_once:
            backward(torch.stack(kept).sum())
        return collected(params)

    return step


def with_meta_sgd(torchopt: ModuleType, problem: Problem, *, at_once: bool) -> Step:
    """Follow the MAML example of `torchopt`: MetaSGD, with the state recovered for each task."""
    model, tasks, criterion = problem.copied(), problem.tasks(), problem.criterion
    params = dict(model.named_parameters())
    inner = torchopt.MetaSGD(model, lr=problem.lr)
    start = torchopt.extract_state_dict(model, by="reference", detach_buffers=True)
    slots = torchopt.extract_state_dict(inner, by="reference")

    def step() -> Grads:
        kept = []
        for xs, ys, xq, yq in tasks:
            for _ in range(problem.steps):
                inner.step(criterion(model(xs), ys))
            loss = criterion(model(xq), yq) / len(tasks)
            if at_once:
                kept.append(loss)
            else:
                backward(loss)
            torchopt.recover_state_dict(model, start)
            torchopt.recover_state_dict(inner, slots)
        if at_once:
            backward(torch.stack(kept).sum())
        return collected(params)

    return step


def with_func_optimizer(torchopt: ModuleType, problem: Problem, *, at_once: bool) -> Step:
    """Use the functional wrapper of `torchopt`: parameters are a dict, tasks are a loop."""
    model, tasks, criterion = problem.copied(), problem.tasks(), problem.criterion
    params = dict(model.named_parameters())
    transform = torchopt.sgd(problem.lr)

    def step() -> Grads:
        kept = []
        for xs, ys, xq, yq in tasks:
            inner, fast = torchopt.FuncOptimizer(transform), dict[str, Tensor](params)
            for _ in range(problem.steps):
                fast = inner.step(criterion(functional_call(model, fast, (xs,)), ys), fast)
            loss = criterion(functional_call(model, fast, (xq,)), yq) / len(tasks)
            if at_once:
                kept.append(loss)
            else:
                backward(loss)
        if at_once:
            backward(torch.stack(kept).sum())
        return collected(params)

    return step


def with_vmap(torchopt: ModuleType, problem: Problem, *, outermost: bool) -> Step:
    """Use the gradient transformation of `torchopt` under ``vmap`` over tasks.

    With ``vmap`` inside the outer gradient (the tutorial form) networks with fused norms get a
    wrong second-order term; the check finds it and that idiom does not compete.
    """
    model, criterion = problem.copied(), problem.criterion
    support, query = problem.episodes.support, problem.episodes.query
    params = {name: p.detach() for name, p in model.named_parameters()}
    transform = torchopt.sgd(problem.lr)

    def loss(at: Grads, x: Tensor, y: Tensor) -> Tensor:
        return criterion(functional_call(model, at, (x,)), y)

    def adapted_loss(at: Grads, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> Tensor:
        state = transform.init(at)
        for _ in range(problem.steps):
            updates, state = transform.update(grad(loss)(at, xs, ys), state, inplace=False)
            at = torchopt.apply_updates(at, updates, inplace=False)
        return loss(at, xq, yq)

    axes = (None, 0, 0, 0, 0)

    def mean_loss(at: Grads, *data: Tensor) -> Tensor:
        return vmap(adapted_loss, in_dims=axes)(at, *data).mean()

    def step() -> Grads:
        data = (support.inputs, support.targets, query.inputs, query.targets)
        if not outermost:
            found: Grads = grad(mean_loss)(params, *data)
            return found
        rows = vmap(grad(adapted_loss), in_dims=axes)(params, *data)
        return {name: row.mean(0) for name, row in rows.items()}

    return step


IDIOMS: dict[str, dict[str, Callable[[ModuleType, Problem], Step]]] = {
    "higher": {
        "innerloop_ctx, backward per task": partial(with_higher, at_once=False),
        "innerloop_ctx, one backward": partial(with_higher, at_once=True),
    },
    "torchopt": {
        "MetaSGD, backward per task": partial(with_meta_sgd, at_once=False),
        "MetaSGD, one backward": partial(with_meta_sgd, at_once=True),
        "FuncOptimizer, backward per task": partial(with_func_optimizer, at_once=False),
        "FuncOptimizer, one backward": partial(with_func_optimizer, at_once=True),
        "sgd, vmap inside grad": partial(with_vmap, outermost=False),
        "sgd, vmap outside grad": partial(with_vmap, outermost=True),
    },
}
