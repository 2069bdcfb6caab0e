"""A model adapted to one task: it answers in the user's words and units."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metaccord import tree
from metaccord.codings import Coding, Labelled, Unlabelled
from metaccord.deploy import folder
from metaccord.deploy.answers import Answers
from metaccord.deploy.card import Card
from metaccord.deploy.describe import digest, refuse_other_inputs
from metaccord.errors import DataError, NumericalError, UsageError
from metaccord.serial import to_tree
from metaccord.tasks.splits import named
from metaccord.types import Tree

log = logging.getLogger("metaccord")
BATCH = 256  # examples of one forward pass


class Answering(nn.Module):
    """The module with what belongs behind it: the task's own classes, temperature, units.

    Args:
        module: Gives outputs ``[m, ...]``.
        ways: Number of classes, which are the first outputs; 0 for regression.
        temperature: Logits are divided by it, so that their softmax is calibrated.
        values: Turns outputs into the user's units.
    """

    def __init__(
        self,
        module: nn.Module,
        ways: int,
        temperature: float,
        values: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.module = module
        self.ways, self.temperature, self.values = ways, temperature, values

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        """Return logits ``[m, ways]``, or values ``[m, ...]``."""
        outputs = self.module(*args, **kwargs)
        if self.ways:
            return outputs[..., : self.ways] / self.temperature
        return outputs if self.values is None else self.values(outputs)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model adapted to one task, from :meth:`metaccord.Learner.predictor` or :func:`load`.

    Each example is answered by itself: batch normalisation is frozen to the statistics of the
    support set, so that the batch size plays no part.

    Args:
        module: The adapted module, in evaluation mode.
        card: What is known about it.

    Attributes:
        coding: Turns files into inputs; None if the run has none.
        answering: The module that gives logits of the task's classes, or values.
    """

    module: nn.Module
    card: Card
    coding: Coding | None = field(init=False, repr=False)
    answering: Answering = field(init=False, repr=False)

    def __post_init__(self) -> None:
        coding = self.card.decoded()
        object.__setattr__(self, "coding", coding)
        values = None if coding is None else coding.values
        answering = Answering(self.module, len(self.classes), self.card.temperature, values)
        object.__setattr__(self, "answering", answering.eval())

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by label; () for regression."""
        return self.card.classes

    def predict(self, inputs: Tree | str | Path) -> tuple[str, ...] | Tensor:
        """Return the class of each example, or its value in the user's units ``[m, ...]``.

        Args:
            inputs: Tree of ``[m, ...]`` as the model was trained on, or a file or folder.

        Raises:
            DataError: for inputs of another shape or type, or files that are none.
            NumericalError: if an answer is not finite.
        """
        found = self.answers(inputs)
        return found.labels if found.values is None else found.values

    def predict_proba(self, inputs: Tree | str | Path) -> Tensor:
        """Return the probability of each class: ``[m, ways]`` float32, rows summing to 1.

        Args:
            inputs: As for :meth:`predict`.

        Raises:
            UsageError: for a regression.
        """
        found = self.answers(inputs).probabilities
        if found is None:
            raise UsageError("a regression has no probabilities: use predict")
        return found

    def answers(self, inputs: Tree | str | Path) -> Answers:
        """Return the answers with the names of the examples.

        Args:
            inputs: As for :meth:`predict`, or an :class:`~metaccord.codings.Unlabelled`.
        """
        given = self.coded(inputs)
        outputs = self._outputs(given)
        if self.classes:
            odds = outputs.double().softmax(-1).to(outputs.dtype)
            return Answers(given.names, self.classes, odds, None)
        return Answers(given.names, (), None, outputs)

    def coded(self, inputs: Tree | str | Path) -> Unlabelled:
        """Return inputs with names, from a file through the run's coding, or as they are.

        Raises:
            UsageError: for a file if the run has no coding.
        """
        if isinstance(inputs, Unlabelled):
            return inputs
        if isinstance(inputs, str | Path):
            found = needed(self.coding).inputs(Path(inputs))
            self._note_groups(found)
            return found
        lengths = tree.common_length((inputs,))
        if len(lengths) != 1 or lengths & {0, -1}:
            raise DataError(f"inputs hold {sorted(lengths)} examples in their tensors: give one or "
                            "more, the same number in each")  # fmt: skip
        return Unlabelled(inputs, tuple(f"row {i}" for i in range(min(lengths))))

    def _note_groups(self, given: Unlabelled) -> None:
        """Warn of rows of another group than the one that the model was adapted to."""
        own = self.card.support.get("group")
        others = [group for group in given.groups if group not in (own, "")]
        if own and others:
            log.warning(
                "the model was adapted to the group %r, and the inputs have rows of %s: it knows "
                "nothing of them, adapt a model for each group", own, named(others),
            )  # fmt: skip

    def support(self, path: str | Path) -> Labelled:
        """Return the support set of a file, if it is the one that the model was adapted to.

        Raises:
            DataError: if it is another one.
        """
        found = needed(self.coding).support(Path(path))
        if digest(found.batch) != self.card.support["sha256"]:
            raise DataError(
                f"{str(path)!r} is not the support set that the model was adapted to: give that "
                "one, or leave it out"
            )
        return found

    def accepting(self, unseen: str) -> Predictor:
        """Return the same, for tables with unseen categories; see :meth:`Learner.accepting`."""
        return self.with_card(coding=to_tree(needed(self.coding).accepting(unseen)))

    def _outputs(self, given: Unlabelled) -> Tensor:
        refuse_other_inputs(given.inputs, self.card.inputs)
        place = next(iter(self.module.parameters())).device
        pieces = []
        with torch.no_grad():
            for piece in tree.split(given.inputs, BATCH):
                outputs = called(self.answering, tree.to(piece, place))
                if not isinstance(outputs, Tensor):
                    raise UsageError("the model's output is no tensor: call Predictor.module")
                pieces.append(outputs.cpu())
        outputs = torch.cat(pieces)
        finite = outputs.flatten(1).isfinite().all(1) if outputs.dim() > 1 else outputs.isfinite()
        if not bool(finite.all()):
            first = given.names[int((~finite).int().argmax())]
            raise NumericalError(
                f"the answer to {first!r} is not finite ({int((~finite).sum())} in all): look for "
                "missing or extreme values in the inputs"
            )
        return outputs

    def save(self, path: str | Path) -> None:
        """Write the model into a new folder: weights, statistics, card; see :func:`load`.

        Raises:
            UsageError: if the folder holds something.
            NumericalError: if a tensor is not finite; nothing is written.
        """
        folder.write(Path(path), self.module.state_dict(), self.card.tree())

    def with_card(self, **changes: Any) -> Predictor:
        """Return the same model with some facts of its card replaced."""
        return replace(self, card=replace(self.card, **changes))


def needed(coding: Coding | None) -> Coding:
    """Return the coding; raise UsageError if there is none."""
    if coding is None:
        raise UsageError(
            "these tasks have no coding, so files cannot be read: give tensors in Python, "
            "learner.predictor(Batch(inputs, targets)).predict(inputs)"
        )
    return coding


def called(module: nn.Module, inputs: Tree) -> Any:
    """Return what a module gives: a tuple of inputs calls ``module(*x)``, a dict ``module(**x)``.

    Raises:
        UsageError, DataError: as the module says.
    """
    if isinstance(inputs, dict):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, tuple) else module(inputs)
