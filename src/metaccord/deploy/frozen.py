"""Exporting an adapted model, for a service without this library."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from metaccord.deploy import formats
from metaccord.deploy.describe import examples
from metaccord.deploy.predictor import Predictor, called

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_TRACED = 3  # examples of the batch that is traced; 0 and 1 would be taken for constants


def export(made: Predictor, path: str | Path, *, to: formats.Format = "torch") -> None:
    """Write an adapted model as a program that needs torch or an ONNX runtime alone.

    It takes inputs as the model sees them, any number of examples at a time, and gives logits
    divided by the temperature ``[m, ways]`` (their softmax are the probabilities), or values in
    the user's units. Batch normalisation is frozen to the statistics of the support set. The card
    goes into the file.

    Args:
        made: The adapted model; on whatever device, the program is for the CPU.
        path: A new file, ``.pt2`` or ``.onnx``.
        to: ``"torch"`` (:func:`torch.export.save`) or ``"onnx"``.

    Raises:
        UsageError: if the file exists, or for a model that cannot be exported.

    Note:
        A ``.pt2`` file may hold code: load only those that you made or trust.
    """
    formats.refuse_place(Path(path), to)
    facts = {"kind": "adapted model", "card": made.card.tree()}
    leaves = pytree.tree_leaves(examples(made.card.inputs, _TRACED + 2))
    inputs = dict(zip(names(made.card.inputs), leaves, strict=True))
    formats.write(program(made), Path(path), to, facts, inputs)


def program(made: Predictor) -> ExportedProgram:
    """Return the adapted model as a program with any batch size; inputs go in one by one."""
    module = copy.deepcopy(made.answering).cpu().eval()
    leaves, spec = pytree.tree_flatten(examples(made.card.inputs, _TRACED))
    batch = torch.export.Dim("batch", min=1)
    dims = tuple({0: batch} for _ in leaves)
    with formats.quiet(), torch.no_grad():
        return torch.export.export(
            _Flat(module, spec), tuple(leaves), dynamic_shapes=(dims,), strict=False
        )


class _Flat(nn.Module):
    """A module whose inputs come one by one, whatever the tree that it is called with."""

    def __init__(self, module: nn.Module, spec: pytree.TreeSpec) -> None:
        super().__init__()
        self.module, self.spec = module, spec

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the answers."""
        answers: Tensor = called(self.module, pytree.tree_unflatten(list(inputs), self.spec))
        return answers


def names(description: Any) -> list[str]:
    """Return names for the inputs of a program."""
    if isinstance(description, list):
        return [f"input_{i}" for i in range(len(description))]
    return list(description["named"]) if "named" in description else ["inputs"]
