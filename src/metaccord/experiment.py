"""What a run is made of, as one value: tasks, model, method, outer loop and numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from metaccord.engine import Plan
from metaccord.errors import UsageError, unknown
from metaccord.keys import seeded
from metaccord.losses import cross_entropy, mse
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.outer import Outer
from metaccord.serial import (
    build_model,
    carried,
    coerced,
    fields_of,
    from_tree,
    to_tree,
)
from metaccord.settings import parse_setting, put
from metaccord.tasks import Quadratics, TaskSource, mean_height

_ALIASES = {"rule": ("method", "rule"), "estimator": ("method", "estimator")}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training, complete: the same value gives the same run.

    Args:
        tasks: Where episodes come from.
        model: Class and options of the model, ``{"class": "MLP", "hidden": [40, 40]}``.
        method: What is meta-trained.
        outer: The outer loop's optimiser.
        plan: How to execute.
        steps: Meta-steps.
        num_tasks: Tasks of one meta-step.
        seed: Of initial weights and of the stream of training tasks, in 0 .. 2**63 - 1.
        threads: Threads of one operation on a CPU, set by the command line; None: torch's choice.
            Small networks are fastest with 1.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        validate_every: Meta-steps between measurements on validation tasks; 0: never.
        validation_tasks: Tasks of such a measurement.
        checkpoint_every: Meta-steps between checkpoints; the newest two and the best stay.
        keep_every: Checkpoints at multiples of this step are written, too, and stay for ever; 0:
            none.
        deterministic: Sums in task order and fixed chunks, for the same bits with any number of
            processes that divides ``num_tasks``.

    Raises:
        UsageError: for numbers out of range.
    """

    tasks: TaskSource
    model: dict[str, Any]
    method: Method
    outer: Outer = field(default_factory=Outer)
    plan: Plan = field(default_factory=Plan)
    steps: int = 1000
    num_tasks: int = 25
    seed: int = 0
    threads: int | None = None
    device: str = "cpu"
    validate_every: int = 0
    validation_tasks: int = 100
    checkpoint_every: int = 500
    keep_every: int = 0
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("num_tasks", 1), ("checkpoint_every", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}: it must be at least {least}")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads is {self.threads}: use none or a number of at least 1")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed is {self.seed}: it must be between 0 and 2**63 - 1")
        if self.validate_every < 0 or self.validation_tasks < 2:
            raise UsageError(
                f"validate_every is {self.validate_every} and validation_tasks "
                f"{self.validation_tasks}: use 0 or more, and at least 2"
            )
        if self.keep_every < 0:
            raise UsageError(f"keep_every is {self.keep_every}: it must be 0 or more")
        with torch.device("meta"):
            build_model(self.model)

    def settled(self) -> Experiment:
        """Return the same with the horizon of the outer schedule, and what data say, written down.

        Raises:
            DataError: if own data cannot be used, or are others than those written down.
        """
        tasks, outer = self.tasks.settled(), self.outer
        if outer.schedule != "constant" and outer.horizon is None:
            outer = replace(outer, horizon=self.steps)
        if tasks is self.tasks and outer is self.outer:
            return self
        return replace(self, tasks=tasks, outer=outer)

    def saves_at(self, step: int) -> bool:
        """Say whether a checkpoint is due after a meta-step."""
        often = (self.checkpoint_every, self.keep_every)
        return any(every and step % every == 0 for every in often)

    def objective(self) -> Objective:
        """Return model, criterion and plan, the model on the device."""
        criterion: Callable[..., Tensor] = cross_entropy if self.tasks.classifies else mse
        with seeded(self.seed):
            model = build_model(self.model)
        if isinstance(self.tasks, Quadratics):
            criterion, model = mean_height, model.double()
        return Objective(model, criterion, self.plan, device=known_device(self.device))

    def tree(self) -> dict[str, Any]:
        """Return the experiment as a JSON tree."""
        return {name: to_tree(getattr(self, name)) for name in fields_of(Experiment)}

    @staticmethod
    def from_tree(tree: dict[str, Any]) -> Experiment:
        """Return the experiment that a tree describes.

        Raises:
            UsageError: naming the setting that is unknown or wrong.
        """
        known = fields_of(Experiment)
        found = {}
        for key, item in tree.items():
            if key not in known:
                raise unknown("setting", key, known)
            value = item if key == "model" else from_tree(item, key)
            found[key] = value if key == "model" else coerced(value, known[key], key)
        return Experiment(**found)

    def changed(self, settings: list[str]) -> Experiment:
        """Return the experiment with settings such as ``rule.lr=0.1`` applied, built once.

        Interactions are addressed by their names, the rest by ``rule.``, ``estimator.``,
        ``model.``, ``tasks.``, ``outer.``, ``plan.`` or directly (``steps``).

        Raises:
            UsageError: for an unknown name, with the nearest one, or a value of the wrong type.
        """
        tree = self.tree()
        interactions = {
            part.name: node
            for part, node in zip(
                self.method.interactions, tree["method"]["interactions"], strict=True
            )
        }
        for path, text in map(parse_setting, settings):
            _assign(tree, interactions, path, text)
        found = Experiment.from_tree(tree)
        return replace(found, tasks=carried(self.tasks, found.tasks))


def _assign(tree: dict[str, Any], interactions: dict[str, Any], path: list[str], text: str) -> None:
    """Put a value into the tree; names are checked when the tree is read."""
    *parents, leaf = path
    if path == ["method", "name"]:
        raise UsageError("method.name follows from the method: choose it with --method")
    node = tree
    if parents and parents[0] in interactions:
        node, parents = interactions[parents[0]], parents[1:]
    elif parents:
        parents = [*_ALIASES.get(parents[0], parents[:1]), *parents[1:]]
    for name in parents:
        if not isinstance(node.get(name), dict):
            groups = [k for k, v in tree.items() if isinstance(v, dict)]
            raise unknown("setting", ".".join(path), [*groups, *_ALIASES, *interactions])
        node = node[name]
    if "class" not in node and leaf not in node:
        raise unknown("setting", ".".join(path), node)
    put(node, leaf, text, Experiment if node is tree else None)


def known_device(name: str) -> str:
    """Return the name of a device that this machine has.

    Raises:
        UsageError: for an unknown word, or without CUDA.
    """
    if name == "cpu":
        return name
    if not name.startswith("cuda"):
        raise unknown("device", name, ("cpu", "cuda"))
    if not torch.cuda.is_available():
        raise UsageError(f"--device {name}: torch {torch.__version__} sees no CUDA device; use cpu")
    return name
