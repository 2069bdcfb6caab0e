"""Presets: base methods, and wrappers that add an interaction to any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from metaccord.estimators import MAML, Reptile
from metaccord.interactions import GradientAgreement
from metaccord.method import Method
from metaccord.rules import SGD, Adam, InnerRule

NORMS = ("batchnorm",)


def maml(steps: int = 5, lr: float = 0.01, *, never: tuple[str, ...] = NORMS) -> Method:
    """Model-Agnostic Meta-Learning, second order.

    Args:
        steps: Inner steps K on the whole support set.
        lr: Inner step size, for mean-reduced losses.
        never: What the inner loop leaves alone; as published, scale and shift of BatchNorm.

    Reference:
        Finn, Abbeel, Levine, ICML 2017, arXiv 1703.03400.
    """
    return Method(name="maml", rule=SGD(steps=steps, lr=lr, never=never), estimator=MAML())


def fomaml(steps: int = 5, lr: float = 0.01, *, never: tuple[str, ...] = NORMS) -> Method:
    """First-order MAML: inner gradients are constants.

    Args:
        steps: Inner steps K on the whole support set.
        lr: Inner step size, for mean-reduced losses.
        never: What the inner loop leaves alone; as published, scale and shift of BatchNorm.

    Reference:
        Finn, Abbeel, Levine, ICML 2017, Section 5.2.
    """
    rule = SGD(steps=steps, lr=lr, never=never)
    return Method(name="fomaml", rule=rule, estimator=MAML(first_order=True))


def reptile(
    steps: int = 5,
    lr: float = 0.02,
    *,
    batch: int | None = 10,
    inner: Literal["sgd", "adam"] = "sgd",
) -> Method:
    """Reptile; its outer step belongs to the outer optimiser: SGD decayed linearly to 0.

    Args:
        steps: Inner steps, each on one mini-batch.
        lr: Inner step size.
        batch: Examples per mini-batch; None takes the whole support set in every step.
        inner: ``"adam"`` has beta1 = 0 and moments that persist, as in the official code.

    Reference:
        Nichol, Achiam, Schulman, On First-Order Meta-Learning Algorithms, 2018, arXiv 1803.02999.
    """
    rule: InnerRule = SGD(steps=steps, lr=lr, batch=batch)
    if inner == "adam":
        rule = Adam(steps=steps, lr=lr, batch=batch, persist=True)
    return Method(name="reptile", rule=rule, estimator=Reptile())


def gradient_agreement(base: Method) -> Method:
    """Weigh each task by how far its gradient agrees with all the others'.

    Args:
        base: Any method.

    Reference:
        Eshratifar, Eigen, Pedram, 2018, arXiv 1810.08178.
    """
    return base.with_interaction(GradientAgreement())


BASES: dict[str, Callable[..., Method]] = {"maml": maml, "fomaml": fomaml, "reptile": reptile}
WRAPPERS: dict[str, Callable[[Method], Method]] = {"agreement": gradient_agreement}
CITATIONS = {
    "maml": """@inproceedings{finn2017model,
  title = {Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks},
  author = {Finn, Chelsea and Abbeel, Pieter and Levine, Sergey},
  booktitle = {International Conference on Machine Learning}, year = {2017}
}""",
    "reptile": """@article{nichol2018first,
  title = {On First-Order Meta-Learning Algorithms},
  author = {Nichol, Alex and Achiam, Joshua and Schulman, John},
  journal = {arXiv preprint arXiv:1803.02999}, year = {2018}
}""",
}
CITATIONS["fomaml"] = CITATIONS["maml"]
