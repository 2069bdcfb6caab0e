"""higher's way of working: ``innerloop_ctx(model, opt)``, ``diffopt.step(loss)``.

Written anew after the documentation of facebookresearch/higher 0.2.1, for SGD, Adam and AdamW. The
module is not patched: the fast weights live beside it, and every version of them is kept.

Example:
    >>> import torch
    >>> from metaccord.compat import higher
    >>> model = torch.nn.Linear(1, 1)
    >>> opt = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with higher.innerloop_ctx(model, opt, copy_initial_weights=False) as (fmodel, diffopt):
    ...     _ = diffopt.step(fmodel(torch.ones(2, 1)).square().mean())
    ...     fmodel(torch.ones(2, 1)).square().mean().backward()
    >>> model.weight.grad.shape
    torch.Size([1, 1])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from metaccord.compat.absent import absent
from metaccord.compat.higher import optim, patch
from metaccord.compat.higher.optim import DifferentiableOptimizer, get_diff_optim
from metaccord.compat.higher.patch import FunctionalModule, monkeypatch

__all__ = ["get_diff_optim", "innerloop_ctx", "monkeypatch", "optim", "patch"]


@contextmanager
def innerloop_ctx(
    model: nn.Module,
    opt: torch.optim.Optimizer,
    device: torch.device | str | None = None,
    copy_initial_weights: bool = True,
    override: Mapping[str, Sequence[Any]] | None = None,
    track_higher_grads: bool = True,
) -> Iterator[tuple[FunctionalModule, DifferentiableOptimizer]]:
    """Give a functional twin of a model and a differentiable twin of its optimiser.

    Args:
        model: Any module; it is not changed.
        opt: SGD, Adam or AdamW of ``torch.optim`` over parameters of the model; its settings and
            moments are where the twin starts.
        device: Where the twin computes; None: where the model is.
        copy_initial_weights: Start from a copy without graph. False, as for MAML, starts from the
            model's own parameters, which then get gradients.
        override: Other settings, such as ``{"lr": [rate]}``: one value, or one for each parameter
            group; tensors may be learned.
        track_higher_grads: Keep the graph through the steps. False for testing.

    Yields:
        ``fmodel`` and ``diffopt``.

    Raises:
        UsageError: for an optimiser that has no twin here, or of other parameters.
    """
    fmodel = monkeypatch(
        model,
        device,
        copy_initial_weights=copy_initial_weights,
        track_higher_grads=track_higher_grads,
    )
    yield (
        fmodel,
        get_diff_optim(
            opt,
            model.parameters(),
            fmodel=fmodel,
            device=device,
            override=override,
            track_higher_grads=track_higher_grads,
        ),
    )


__getattr__ = absent(
    "higher",
    {
        "register_optim": "take SGD, Adam or AdamW, or write a metaccord InnerRule",
        "create_diff_optim": "make the optimiser and give it to get_diff_optim",
        "get_trainable_opt_params": "give tensors that require gradients as override=",
        "apply_trainable_opt_params": "give tensors that require gradients as override=",
    },
)
