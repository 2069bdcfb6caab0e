"""What a coding is: one task's raw data in, examples out; outputs in, the user's units out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple, Self

from torch import Tensor

from metaccord.errors import UsageError
from metaccord.types import Batch, Tree


class Labelled(NamedTuple):
    """The support set of one task.

    Attributes:
        batch: The examples, ``[n, ...]``.
        classes: Names of the classes, by label; () for regression.
        names: Names of the examples, such as ``"row 3"`` or a file's; ``n`` of them.
        group: The task's own name, if the data say it.
    """

    batch: Batch
    classes: tuple[str, ...]
    names: tuple[str, ...]
    group: str = ""


class Unlabelled(NamedTuple):
    """What a task's answers are asked for.

    Attributes:
        inputs: Tree of ``[m, ...]``.
        names: Names of the examples, ``m`` of them.
        groups: Names of the tasks that they belong to, if the data say them.
    """

    inputs: Tree
    names: tuple[str, ...]
    groups: tuple[str, ...] = ()


class Coding(ABC):
    """How files become examples; a frozen value that is stored with the tasks of a run.

    It holds all that was learnt from the training data (centres, scales, categories), so that a
    run is of use without them.
    """

    @abstractmethod
    def support(self, path: Path) -> Labelled:
        """Return the labelled examples of one task.

        Args:
            path: A file or folder of the kind the run was trained on.

        Raises:
            DataError: for anything that is not one task of this kind.
        """

    @abstractmethod
    def inputs(self, path: Path) -> Unlabelled:
        """Return examples without labels; labels that are there are left alone.

        Args:
            path: A file or folder of the kind the run was trained on.

        Raises:
            DataError: for anything that is not made of examples of this kind.
        """

    def accepting(self, unseen: str) -> Self:
        """Return the same with another answer to categories that training has not seen.

        Args:
            unseen: ``"refuse"`` or ``"other"``.

        Raises:
            UsageError: for another word, or if examples of this kind have no categories.
        """
        raise UsageError(
            f"unseen is {unseen!r}, but only tables have categories that training has not seen: "
            "leave it out"
        )

    def values(self, outputs: Tensor) -> Tensor:
        """Return a model's outputs in the user's units: ``[n, ...] -> [n, ...]``.

        Logits of classes stay as they are.
        """
        return outputs
