"""What one task is: a model, a criterion, and how they are executed."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from metaccord import hazards, keys, tapped, tree, uneven
from metaccord.engine import Plan
from metaccord.errors import UsageError
from metaccord.hazards import Hazards
from metaccord.keys import seeded
from metaccord.names import groups_of
from metaccord.normalise import BatchStatistics
from metaccord.types import Batch, Params, Stacked, Tree

log = logging.getLogger("metaccord")


@dataclass(frozen=True, eq=False)
class Objective:
    """A model and a criterion, called functionally: the module's own tensors are never changed.

    BatchNorm with running statistics is replaced, in a structural copy that shares all
    parameters, by BatchNorm with the statistics of one task's batch, with a notice.
    Parameters with ``requires_grad=False`` stay constants of the forward pass.

    Args:
        model: Any module. Inputs that are a tuple call ``model(*x)``, a dict ``model(**x)``.
        criterion: ``criterion(outputs, targets) -> []`` with mean reduction.
        plan: How to execute; see :class:`metaccord.Plan`.
        unused: Names of trainable parameters that are known to receive no gradient.
        device: Where the model's tensors go; None leaves them where they are.
        features: Dotted name of the module whose output a co-learner reads; None: what the
            model's string attribute ``features`` says, else its part ``features`` or ``body``.

    Attributes:
        groups: Names of the parameters of ``"batchnorm"``, ``"lora"`` and other groups, for the
            selectors of inner rules.
        draws: Whether the model may ask for dropout masks.
        hazards: Modules that are computed in another way than torch's own, which would be wrong
            or fail at second order; said once.

    Raises:
        UsageError: if no parameter is trainable, or if a fused module has dropout inside.

    Example:
        >>> objective = Objective(nn.Linear(1, 1), nn.functional.mse_loss)
        >>> sorted(objective.trainable())
        ['bias', 'weight']
    """

    model: nn.Module
    criterion: Callable[[Any, Any], Tensor]
    plan: Plan = Plan()
    unused: tuple[str, ...] = ()
    device: torch.device | str | None = None
    features: str | None = None
    groups: dict[str, frozenset[str]] = field(init=False, repr=False)
    draws: bool = field(init=False, repr=False)
    hazards: Hazards = field(init=False, repr=False)
    _looped: list[str] = field(init=False, repr=False, default_factory=list)
    _tied: bool = field(init=False, repr=False)
    _place: str | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        keys.refuse_hidden_dropout(self.model)
        model = hazards.by_plain_attention(hazards.by_batch_statistics(self.model))
        if self.device is not None and any(
            leaf.device != torch.device(self.device)
            for leaf in (*model.parameters(), *model.buffers())
        ):
            model = copy.deepcopy(model).to(self.device)
        object.__setattr__(self, "model", model)
        if not any(p.requires_grad for p in model.parameters()):
            raise UsageError("model has no trainable parameter: set requires_grad=True on some")
        object.__setattr__(self, "groups", groups_of(model))
        object.__setattr__(self, "draws", keys.draws(model))
        object.__setattr__(self, "hazards", hazards.hazards_of(model))
        every: list[tuple[str, Tensor]] = list(model.named_parameters(remove_duplicate=False))
        every += list(model.named_buffers(remove_duplicate=False))
        object.__setattr__(self, "_tied", len({id(leaf) for _, leaf in every}) < len(every))
        object.__setattr__(self, "_place", tapped.place_of(model, self.features))

    def trainable(self) -> Params:
        """Return the trainable parameters by name; a shared parameter has one name."""
        return {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    def place(self) -> torch.device:
        """Return the device of the model."""
        return next(self.model.parameters()).device

    def planned(self, plan: Plan) -> Objective:
        """Return the same objective, executed by another plan."""
        found = replace(self, plan=plan)
        object.__setattr__(found, "_looped", self._looped)
        if "opened" in vars(self):
            vars(found)["opened"] = self.opened
        return found

    @property
    def loops(self) -> bool:
        """Whether tasks must run one after the other, as far as is known by now."""
        return bool(self.hazards.recurrent or self._looped)

    def over_tasks(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``fn`` of one task as a function of stacked trees; for forward passes only.

        Uneven batches are sliced: ``fn`` gets a task without padding. What ``vmap`` refuses
        (``.item()``, data-dependent control flow, buffers changed in place) runs in a plain loop
        from then on, with a notice.
        """
        mapped = uneven.over_tasks(self.plan, fn)
        if self.plan.compile or self.plan.chunk == 1:
            return mapped
        loop = uneven.over_tasks(replace(self.plan, chunk=1), fn)
        return loop if self.loops else hazards.or_loop(mapped, loop, self._looped)

    @cached_property
    def opened(self) -> nn.Module:
        """The model, in a copy sharing its tensors, that shows its features.

        Raises:
            UsageError: if the model has no place for features.
        """
        if self._place is None:
            raise UsageError(
                "the model has no part called features or body: name the module whose output is "
                "meant, Objective(..., features='encoder')"
            )
        return tapped.tapped(self.model, self._place)

    def predict(self, params: Params, inputs: Tree, key: Tensor | None = None) -> Any:
        """Return the model's outputs for one task.

        Args:
            params: Trainable parameters of this task, without the prefix ``model.``.
            inputs: Tree of ``[n, ...]``.
            key: Scalar int64 seed of the dropout masks; None makes dropout the identity.
        """
        return self._call(self.model, params, inputs, key)

    def predict_with_features(
        self, params: Params, inputs: Tree, key: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """Return the model's outputs for one task, and its features from the same forward.

        Args:
            params, inputs, key: As for :meth:`predict`.

        Raises:
            UsageError: if the model has no place for features, or does not pass it.
        """
        seen = tapped.Features()
        with seen:
            outputs = self._call(self.opened, params, inputs, key)
        if seen.kept is None:
            raise UsageError("the forward pass does not call the module that gives the features")
        return outputs, seen.kept.float() if self.plan.autocast else seen.kept

    def _call(self, model: nn.Module, params: Params, inputs: Tree, key: Tensor | None) -> Any:
        args, kwargs = (), {}
        if isinstance(inputs, dict):
            kwargs = inputs
        else:
            args = inputs if isinstance(inputs, tuple) else (inputs,)
        device = next(iter(params.values())).device
        with ExitStack() as stack:
            self.hazards.enter(stack, device)
            if self.draws:
                stack.enter_context(keys.KeyedDropout(key))
            if self.plan.autocast:
                stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
            buffers = {name: leaf.clone() for name, leaf in model.named_buffers()}
            outputs = functional_call(
                model, {**buffers, **params}, args, kwargs, tie_weights=self._tied
            )
        return tree.mapped(Tensor.float, outputs) if self.plan.autocast else outputs

    def predict_frozen(self, params: Params, support: Tree, inputs: Tree) -> Any:
        """Return outputs normalised by the statistics of the support set alone (one task)."""
        statistics = BatchStatistics()
        with statistics.recording():
            self.predict(params, support)
        with statistics.replaying():
            return self.predict(params, inputs)

    def judge(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the criterion of one task's outputs, cut to its ways: ``[]``."""
        return self.criterion(uneven.cut(outputs, batch.ways), batch.targets)

    def loss(self, params: Params, batch: Batch, key: Tensor | None = None) -> Tensor:
        """Return the criterion of one task: ``[]``."""
        batch = uneven.alone(batch)
        return self.judge(self.predict(params, batch.inputs, key), batch)

    def losses(self, params: Stacked, batch: Batch, key: Tensor | None = None) -> Tensor:
        """Return the criterion of each task: ``[T]``."""
        if key is None:
            return self.over_tasks(self.loss)(params, batch)
        return self.over_tasks(self.loss)(params, batch, key)

    def losses_with_features(
        self, params: Stacked, batch: Batch, key: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the criterion ``[T]`` and the features ``[T, n, ...]`` of each task, padded."""
        count = None if isinstance(batch.sizes, tuple) else uneven.width(batch)

        def both(params: Params, batch: Batch, *key: Tensor) -> tuple[Tensor, Tensor]:
            outputs, features = self.predict_with_features(params, batch.inputs, *key)
            return self.judge(outputs, batch), uneven.padded(features, count)

        keys = () if key is None else (key,)
        return self.over_tasks(both)(params, batch, *keys)

    def batch_dependent(self) -> bool:
        """Say whether an example's output depends on the other examples of its batch."""
        return any(isinstance(m, _BatchNorm) for m in self.model.modules())


def reinitialised(objective: Objective, seed: int) -> Params:
    """Return trainable parameters drawn anew by each module's ``reset_parameters``.

    Modules that have none keep the weights that they were built with, with a notice. The draws are
    made on the CPU: the same weights on every device.
    """
    twin = copy.deepcopy(objective.model).cpu()
    kept = []
    with seeded(seed):
        for name, module in reversed(list(twin.named_modules())):
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif any(p.requires_grad for p in module.parameters(recurse=False)):
                kept.append(name or type(module).__name__)
    if kept:
        log.warning("%s has no reset_parameters: its weights stay as built", ", ".join(kept))
    place = objective.place()
    return {n: p.to(place) for n, p in twin.named_parameters() if p.requires_grad}
