"""An estimator's parameters, checked, as values of the library."""

from __future__ import annotations

import inspect
import math
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaccord.engine import Plan
from metaccord.errors import UsageError, unknown
from metaccord.keys import seeded
from metaccord.method import Method
from metaccord.methods import AGGREGATORS, BASES, WRAPPERS
from metaccord.models import MLP
from metaccord.objective import Objective
from metaccord.outer import Outer

if TYPE_CHECKING:
    from metaccord.scikit.base import MetaEstimator

Targets = dict[str, Tensor]
FAR = -1e30  # a logit that is never chosen; finite, for second derivatives
_WIDEST = 1 << 24


def checked(estimator: MetaEstimator) -> None:
    """Raise UsageError for a parameter out of range, by its name."""
    whole = {"inner_steps": 0, "fresh_steps": 0, "steps": 1, "tasks_per_step": 1}
    whole |= {"shots": 1, "queries": 1}
    for name, least in whole.items():
        _whole(name, getattr(estimator, name), least)
    for name in ("inner_lr", "outer_lr"):
        value = getattr(estimator, name)
        if name == "outer_lr" and value is None:
            continue
        if not _is_number(value) or not 0 < value <= 1e30:
            raise UsageError(f"{name} is {value!r}: it must be a finite number above 0")
    if isinstance(estimator.hidden, str | dict) or not isinstance(estimator.hidden, Iterable):
        raise UsageError(f"hidden is {estimator.hidden!r}: give widths, for example (64, 64)")
    for width in estimator.hidden:
        _whole("hidden", width, 1, _WIDEST)
    if estimator.activation not in ("relu", "tanh", "gelu"):
        raise unknown("activation", str(estimator.activation), ("relu", "tanh", "gelu"))
    if not isinstance(estimator.standardise, bool):
        raise UsageError(f"standardise is {estimator.standardise!r}: use True or False")
    method_of(estimator)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def _whole(name: str, value: Any, least: int, most: int = 10**9) -> None:
    if not _is_number(value) or value != int(value) or not least <= value <= most:
        raise UsageError(f"{name} is {value!r}: it must be a whole number of at least {least}")


def method_of(estimator: MetaEstimator) -> Method:
    """Return the method that the parameters describe.

    Raises:
        UsageError: for unknown names, or interactions that have no meaning over the base.
    """
    name = estimator.method
    if name not in BASES:
        raise unknown("method", str(name), BASES)
    options: dict[str, Any] = {"steps": int(estimator.inner_steps), "lr": float(estimator.inner_lr)}
    known = inspect.signature(BASES[name]).parameters
    if "batch" in known:  # the few examples of a task are no mini-batches
        options["batch"] = None
    if "horizon" in known:
        options["horizon"] = max(1, int(estimator.steps) // 2)
        options["epoch"] = max(1, int(estimator.steps) // 10)
    method = BASES[name](**options)
    wrappers = WRAPPERS | AGGREGATORS
    given = estimator.interactions
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise UsageError(f"interactions is {given!r}: give names, for example ('agreement',)")
    for interaction in given:
        if interaction not in wrappers:
            raise unknown("interaction", str(interaction), wrappers)
        method = wrappers[interaction](method)
    return method


def outer_of(estimator: MetaEstimator) -> Outer:
    """Return the outer loop: Adam; for Reptile plain steps that decay; cosine for MAML++."""
    if estimator.method == "reptile":
        rate = 1.0 if estimator.outer_lr is None else float(estimator.outer_lr)
        return Outer(optimizer="sgd", lr=rate, schedule="linear")
    rate = 1e-3 if estimator.outer_lr is None else float(estimator.outer_lr)
    if estimator.method == "maml_pp":
        return Outer(lr=rate, schedule="cosine", final=min(1e-5, rate))
    return Outer(lr=rate)


def model_of(estimator: MetaEstimator, inputs: int, outputs: int) -> dict[str, Any]:
    """Return the options of the network."""
    return {
        "inputs": inputs,
        "hidden": tuple(int(width) for width in estimator.hidden),
        "outputs": outputs,
        "activation": estimator.activation,
        "warp": estimator.method == "warp",
    }


def objective_of(model: dict[str, Any], *, classifies: bool, seed: int, device: Any) -> Objective:
    """Return the network in float64 with its criterion; all tasks run side by side.

    Raises:
        UsageError: for a device that is not there.
    """
    with seeded(seed):
        network: nn.Module = MLP(**model).double()
    criterion = weighted_cross_entropy if classifies else weighted_squares
    try:
        return Objective(network, criterion, Plan(chunk="all"), device=torch.device(device))
    except (RuntimeError, AssertionError, TypeError) as error:
        text = " ".join(str(error).split())[:160]
        raise UsageError(f"device is {device!r}, which cannot be used: {text}") from error


def seed_of(random_state: Any) -> int:
    """Return a seed: a number is one, a generator gives one, None draws one from the system.

    Raises:
        UsageError: for anything else.
    """
    if random_state is None:
        return secrets.randbits(31)
    if hasattr(random_state, "randint"):
        return int(random_state.randint(2**31 - 1))
    if not _is_number(random_state) or random_state != int(random_state) or random_state < 0:
        raise UsageError(
            f"random_state is {random_state!r}: use a whole number, a numpy RandomState or None"
        )
    return int(random_state)


def weighted_squares(outputs: Tensor, targets: Targets) -> Tensor:
    """Return the weighted mean of squared errors of ``outputs`` [n, m]: ``[]``."""
    weight = targets["weight"]  # [n], 0 for padding
    errors = (outputs - targets["value"]).square().mean(-1)
    return (weight * errors).sum() / weight.sum()


def weighted_cross_entropy(outputs: Tensor, targets: Targets) -> Tensor:
    """Return the weighted mean cross entropy among the classes of the task: ``[]``."""
    weight = targets["weight"]
    logits = torch.where(targets["allowed"], outputs, FAR)  # [n, ways]
    losses = -F.log_softmax(logits, -1).gather(-1, targets["value"]).squeeze(-1)
    return (weight * losses).sum() / weight.sum()
