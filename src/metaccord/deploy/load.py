"""Reading an adapted model back."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from metaccord.deploy import folder
from metaccord.deploy.card import Card
from metaccord.deploy.predictor import Predictor
from metaccord.errors import CheckpointError, UsageError
from metaccord.keys import seeded
from metaccord.serial import build_model

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def load(
    path: str | Path, *, model: nn.Module | None = None, device: str | torch.device = "cpu"
) -> Predictor:
    """Return the adapted model of a folder, after checking every byte of it.

    Args:
        path: A folder that :meth:`Predictor.save` or ``metaccord adapt`` wrote.
        model: Needed if the module is not the library's own; its weights are replaced in a copy.
        device: Where the module goes.

    Raises:
        UsageError: if there is no model, or a module is needed and not given.
        CheckpointError: if the folder is damaged, or belongs to another module.
    """
    tensors, found = folder.read(Path(path))
    card = Card.from_tree(found)
    if card.model is None and model is None:
        raise UsageError(f"{str(path)!r} holds weights of your own model: give load(..., model=)")
    try:
        with seeded(0):
            module = build_model(card.model) if model is None else copy.deepcopy(model)
    except UsageError as error:
        raise CheckpointError(f"{str(path)!r} has a model that this version refuses ({error}): use "
                              "the version of metaccord that wrote it") from error  # fmt: skip
    _fit(module, tensors)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{str(path)!r} belongs to another module, names or shapes differ: give the one that "
            "was adapted"
        ) from error
    return Predictor(module.to(device).eval(), card)


def _fit(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Give norms the statistics that are stored, and none else, and all tensors their types."""
    for name, norm in module.named_modules():
        if not isinstance(norm, _NormBase):
            continue
        kept = {part: tensors.get(f"{name}.{part}".lstrip(".")) for part in _STATISTICS}
        norm.track_running_stats = kept["running_mean"] is not None
        for part, tensor in kept.items():
            norm.register_buffer(part, None if tensor is None else torch.zeros_like(tensor))
    for name, leaf in (*module.named_parameters(), *module.named_buffers()):
        if name in tensors:
            leaf.data = leaf.data.to(tensors[name].dtype)
