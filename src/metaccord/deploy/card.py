"""What an adapted model was made of and how it answers, as one value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any

from metaccord.codings import Coding
from metaccord.deploy.describe import understood
from metaccord.errors import CheckpointError, UsageError
from metaccord.serial import from_tree


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything that is known about an adapted model, without its weights.

    Attributes:
        classes: Names of the classes by label; empty for regression.
        inputs: Shape and type of one example.
        model: Class and options of the module; None for a module that is not the library's own.
        coding: What raw data become; None if the run has no coding.
        method: What was meta-trained, as a label.
        steps: Inner steps taken.
        temperature: Logits are divided by it before the softmax.
        protocol: What batch normalisation sees: always ``"frozen"``, the support set alone.
        trained: Tasks, meta-steps and hash of the run.
        support: SHA-256 and number of examples of the support set, and its group in a table.
        measured: Scores and calibration on unseen tasks, if they were measured.
        cite: BibTeX of what was used.
        versions: Of the library, torch and Python.
    """

    classes: tuple[str, ...]
    inputs: Any
    model: dict[str, Any] | None
    coding: dict[str, Any] | None
    method: str
    steps: int
    temperature: float = 1.0
    protocol: str = "frozen"
    trained: dict[str, Any] = field(default_factory=dict)
    support: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] | None = None
    cite: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def made(self) -> str:
        """How the model came about, without the method: ``"2 steps on 10 examples"``."""
        count = self.support.get("examples", "?")
        return (
            f"{self.steps} step{'' if self.steps == 1 else 's'} on {count} "
            f"example{'' if count == 1 else 's'}"
        )

    def tree(self) -> dict[str, Any]:
        """Return the card as a JSON tree."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**found, "classes": list(self.classes), "cite": list(self.cite)}

    @staticmethod
    def from_tree(tree: Any) -> Card:
        """Return the card that a tree describes.

        Raises:
            CheckpointError: if something is missing or unknown.
        """
        try:
            found = Card(**{**tree, "classes": tuple(tree["classes"]), "cite": tuple(tree["cite"])})
        except (TypeError, KeyError) as error:
            raise _newer(error) from error
        wrong = [name for name, kinds in _KINDS.items() if type(getattr(found, name)) not in kinds]
        if not all(type(text) is str for text in (*found.classes, *found.cite)):
            wrong.append("classes or cite")
        if not wrong and not 0 < found.temperature < math.inf:
            wrong.append("temperature")
        if not understood(found.inputs):
            wrong.append("inputs")
        if wrong:
            raise _newer(f"as {wrong[0]}")
        return found

    def decoded(self) -> Coding | None:
        """Return the coding as a value, or None.

        Raises:
            CheckpointError: if this version does not know it.
        """
        if self.coding is None:
            return None
        try:
            found = from_tree(self.coding, "coding")
        except UsageError as error:
            raise _newer(error) from error
        if not isinstance(found, Coding):
            raise _newer("as coding")
        return found


_KINDS: dict[str, tuple[type, ...]] = {
    "model": (dict, NoneType),
    "coding": (dict, NoneType),
    "method": (str,),
    "steps": (int,),
    "temperature": (float, int),
    "protocol": (str,),
    "trained": (dict,),
    "support": (dict,),
    "measured": (dict, NoneType),
    "versions": (dict,),
}


def _newer(error: object) -> CheckpointError:
    return CheckpointError(
        f"card.json holds what this version refuses ({error}): use the version of metaccord that "
        "wrote it, or adapt again"
    )
