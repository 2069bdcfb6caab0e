"""From a learner and a support set to a predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metaccord import tree
from metaccord.citations import CITATIONS
from metaccord.codings import Labelled
from metaccord.deploy.card import Card
from metaccord.deploy.describe import described, digest
from metaccord.deploy.predictor import Predictor, needed
from metaccord.errors import DataError, UsageError
from metaccord.serial import to_tree
from metaccord.stored import versions
from metaccord.types import Batch

if TYPE_CHECKING:
    from metaccord.deploy.measure import Measured
    from metaccord.learner import Learner
    from metaccord.method import Method


def predictor(
    learner: Learner,
    support: Batch | Labelled | str | Path,
    *,
    classes: Sequence[str] | None = None,
    steps: int | None = None,
    measured: Measured | None = None,
) -> Predictor:
    """Adapt to one task and return what answers for it; see :meth:`metaccord.Learner.predictor`."""
    given = labelled(learner, support, classes)
    if given.classes:
        learner = _cut(learner, given)
    module = learner.adapt(given.batch, steps)
    experiment = learner.origin.experiment
    coding = learner.coding
    trained: dict[str, Any] = {"steps": learner.state.step, "run": learner.origin.run}
    if experiment is not None:
        tasks = {**to_tree(experiment.tasks)}
        tasks.pop("folder", None)  # of the machine that trained
        trained |= {"tasks": tasks, "seed": experiment.seed}
    (count,) = tree.common_length((given.batch.targets,))
    group = {"group": given.group} if given.group else {}
    card = Card(
        classes=given.classes,
        inputs=described(given.batch.inputs),
        model=None if experiment is None else experiment.model,
        coding=None if coding is None else to_tree(coding),
        method=learner.method.label,
        steps=learner.method.rule.steps if steps is None else steps,
        temperature=1.0 if measured is None else measured.temperature,
        trained=trained,
        support={"sha256": digest(given.batch), "examples": count, **group},
        measured=None if measured is None else measured.json(),
        cite=tuple(references(learner.method)),
        versions=versions(),
    )
    return Predictor(module, card)


def labelled(
    learner: Learner, support: Batch | Labelled | str | Path, classes: Sequence[str] | None = None
) -> Labelled:
    """Return a support set with the names of its classes.

    Raises:
        UsageError: for a file if the run has no coding, or a wrong number of names.
        DataError: if there is one class only, or the targets are no labels.
    """
    if isinstance(support, str | Path):
        support = needed(learner.coding).support(Path(support))
    if isinstance(support, Labelled):
        found = support if classes is None else support._replace(classes=tuple(classes))
    else:
        names = tuple(classes or ()) or _numbered(support.targets)
        found = Labelled(support, names, ())
    targets = found.batch.targets
    if found.classes:
        _refuse_labels(found)
    elif isinstance(targets, Tensor) and targets.numel() and not targets.is_floating_point():
        raise DataError(
            "the targets of the support set are whole numbers without names of classes: give "
            "classes=, or float targets for regression"
        )
    return found


def references(method: Method) -> list[str]:
    """Return one BibTeX entry per part of a method that is the library's own."""
    found = [CITATIONS.get(method.name, ""), *(part.reference for part in method.interactions)]
    return [entry for entry in dict.fromkeys(found) if entry]


def _numbered(targets: Any) -> tuple[str, ...]:
    """Return ``"0"``, ``"1"``, ... for labels; () for numbers."""
    if not isinstance(targets, Tensor) or targets.is_floating_point() or not targets.numel():
        return ()
    return tuple(map(str, range(int(targets.max()) + 1)))


def _refuse_labels(found: Labelled) -> None:
    targets, ways = found.batch.targets, len(found.classes)
    if not isinstance(targets, Tensor) or targets.dim() != 1 or targets.is_floating_point():
        raise DataError("the targets of a classification are labels [n], whole numbers from 0")
    present = torch.unique(targets).tolist()
    if len(set(found.classes)) != ways:
        raise UsageError(f"classes={list(found.classes)}: two have the same name")
    if present and not 0 <= present[0] <= present[-1] < ways:
        raise UsageError(
            f"the support set has labels {present[0]} to {present[-1]} and {ways} names of "
            "classes: give one name per label, from 0"
        )
    if len(present) == 1:
        raise DataError(
            f"the support set holds one class only, {found.classes[present[0]]!r}: a model needs "
            "examples of at least 2 to tell them apart"
        )


def _cut(learner: Learner, given: Labelled) -> Learner:
    """Return the learner for as many classes as the task has: the first outputs alone."""
    ways, criterion = len(given.classes), learner.objective.criterion

    def cut(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.shape[-1] < ways:
            raise DataError(
                f"the support set has {ways} classes, but the model tells at most "
                f"{outputs.shape[-1]} apart: give fewer, or train with more ways"
            )
        return criterion(outputs[..., :ways], targets)

    return replace(learner, objective=replace(learner.objective, criterion=cut))
