"""Whether a support set suits the model and the criterion, before anything is adapted."""

from __future__ import annotations

import torch
from torch import Tensor

from metaccord import losses
from metaccord.deploy.describe import described, shown
from metaccord.errors import DataError, MetaccordError
from metaccord.objective import Objective
from metaccord.types import Batch, Params


def refuse_unfit(objective: Objective, params: Params, support: Batch) -> None:
    """Raise DataError unless the model takes the inputs, and the criterion outputs and targets.

    Args:
        objective: Model and criterion.
        params: Trainable parameters of the model.
        support: Examples ``[n, ...]`` on the model's device.
    """
    inputs = described(support.inputs)
    try:
        with torch.no_grad():
            outputs = objective.predict(params, support.inputs)
    except MetaccordError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise DataError(
            f"the model cannot take support inputs of {shown(inputs)} each ({_said(error)}): give "
            "examples of the shape and type it was trained on"
        ) from error
    targets = support.targets
    tensors = isinstance(outputs, Tensor) and isinstance(targets, Tensor)
    if tensors and objective.criterion is losses.mse and outputs.shape != targets.shape:
        raise DataError(
            f"the targets of the support set have shape {list(targets.shape)}, the model's outputs "
            f"{list(outputs.shape)}: give targets of that shape"
        )
    try:
        with torch.no_grad():
            objective.judge(outputs, support)
    except MetaccordError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        sizes = f", the outputs {list(outputs.shape)}" if tensors else ""
        raise DataError(
            f"the criterion cannot take the targets of the support set, which are "
            f"{shown(described(targets))} each{sizes} ({_said(error)}): give targets of the kind "
            "it was trained on"
        ) from error


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:160]}..."
