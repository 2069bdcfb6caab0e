"""Wrappers: put an interaction over any method for which it has a meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from metaccord.interactions import (
    Aggregate,
    Coherence,
    CoLearner,
    GradientAgreement,
    GradientSharing,
    PCGrad,
)
from metaccord.method import Method


def gradient_agreement(base: Method) -> Method:
    """Weigh each task by how far its gradient agrees with all the others'.

    Args:
        base: Any method with an inner loop.

    Reference:
        Eshratifar, Eigen, Pedram, 2018, arXiv 1810.08178.
    """
    return base.with_interaction(GradientAgreement())


def gradient_sharing(
    base: Method,
    *,
    mode: Literal["convex", "additive"] = "convex",
    per: Literal["step", "tensor"] = "step",
    differentiate: bool = False,
    at_test: bool = True,
) -> Method:
    """Blend gradients of concurrent and earlier tasks into the inner loop (a reconstruction).

    Args:
        base: A method with a query loss and an inner loop of gradients.
        mode, per, differentiate, at_test: See
            :class:`metaccord.interactions.GradientSharing`.

    Reference:
        Chang, Lipson, 2023, arXiv 2312.08398.
    """
    part = GradientSharing(mode=mode, per=per, differentiate=differentiate, at_test=at_test)
    return base.with_interaction(part)


def cooperative(
    base: Method,
    *,
    weight: float = 1.0,
    shape: tuple[int, ...] | None = None,
    outputs: int | None = None,
    hidden: int | None = None,
) -> Method:
    """Augment the meta-gradient by a co-learner that is never adapted (CML).

    Args:
        base: A method with a query loss.
        weight, shape, outputs, hidden: See :class:`metaccord.interactions.CoLearner`.

    Reference:
        Shin, Han, Kim, UAI 2024, arXiv 2406.04639.
    """
    part = CoLearner(weight=weight, shape=shape, outputs=outputs, hidden=hidden)
    return base.with_interaction(part)


def coherent(
    base: Method,
    *,
    rate: float = 0.1,
    reading: Literal["rotate", "shift", "loss"] = "rotate",
    differentiate: bool = False,
) -> Method:
    """Bend adapted solutions towards the tasks' mean direction before the query loss.

    Args:
        base: A method whose meta-gradient is taken at adapted solutions.
        rate, reading, differentiate: See :class:`metaccord.interactions.Coherence`.

    Reference:
        Guiroy, Verma, Pal, 2019, arXiv 1907.07287.
    """
    return base.with_interaction(Coherence(rate=rate, reading=reading, differentiate=differentiate))


def pcgrad(base: Method) -> Method:
    """Project each task's meta-gradient off the others with which it conflicts.

    Args:
        base: Any method with an inner loop.

    Reference:
        Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020, arXiv 2001.06782.
    """
    return base.with_interaction(PCGrad())


def aggregated(
    base: Method,
    function: str | Callable[[Tensor], Tensor] = "MGDA",
    **options: bool | int | float | str,
) -> Method:
    """Combine the tasks' meta-gradients by an aggregator of TorchJD, or by a function.

    Args:
        base: Any method with an inner loop.
        function: See :class:`metaccord.interactions.Aggregate`.
        options: Of the aggregator of that name.

    Reference:
        Quinton, Rey, 2024, arXiv 2406.16232; each aggregator has a paper of its own.
    """
    pairs = tuple(sorted(options.items()))
    return base.with_interaction(Aggregate(function=function, options=pairs))


WRAPPERS: dict[str, Callable[[Method], Method]] = {
    "agreement": gradient_agreement,
    "sharing": gradient_sharing,
    "cooperative": cooperative,
    "coherent": coherent,
}
AGGREGATORS: dict[str, Callable[[Method], Method]] = {"pcgrad": pcgrad, "aggregate": aggregated}
