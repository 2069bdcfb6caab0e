"""Presets: the base methods. Wrappers that put interactions over them are offered here, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from metaccord.estimators import MAML, Implicit, MGAug, MultiStep, Pretrain, Reptile, Warp
from metaccord.method import Method
from metaccord.rules import SGD, Adam, InnerRule, MetaSGD, PerStep, Proximal
from metaccord.wrappers import (
    AGGREGATORS,
    WRAPPERS,
    aggregated,
    coherent,
    cooperative,
    gradient_agreement,
    gradient_sharing,
    pcgrad,
)

__all__ = [
    "AGGREGATORS",
    "BASES",
    "WRAPPERS",
    "aggregated",
    "anil",
    "boil",
    "coherent",
    "cooperative",
    "finetune",
    "fomaml",
    "gradient_agreement",
    "gradient_sharing",
    "imaml",
    "maml",
    "maml_pp",
    "meta_sgd",
    "mgaug",
    "pcgrad",
    "reptile",
    "warp",
]

NORMS = ("batchnorm",)
HEAD = ("head",)


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


def anil(steps: int = 5, lr: float = 0.01, *, head: tuple[str, ...] = HEAD) -> Method:
    """Almost No Inner Loop: the inner loop moves the head alone, the outer loop everything.

    Args:
        steps: Inner steps K on the whole support set.
        lr: Inner step size, for mean-reduced losses.
        head: What moves: names or leading parts of names.

    Reference:
        Raghu, Raghu, Bengio, Vinyals, Rapid Learning or Feature Reuse?, ICLR 2020,
        arXiv 1909.09157.
    """
    return Method(name="anil", rule=SGD(steps=steps, lr=lr, only=head), estimator=MAML())


def boil(steps: int = 5, lr: float = 0.01, *, head: tuple[str, ...] = HEAD) -> Method:
    """Body Only update in Inner Loop: everything but the head moves, BatchNorm included.

    Args:
        steps: Inner steps K on the whole support set.
        lr: Inner step size, for mean-reduced losses.
        head: What stays: names or leading parts of names.

    Reference:
        Oh, Yoo, Kim, Yun, BOIL: Towards Representation Change for Few-shot Learning, ICLR 2021,
        arXiv 2008.08882. Official code: jhoon-oh/BOIL, 437e9a0.
    """
    return Method(name="boil", rule=SGD(steps=steps, lr=lr, never=head), estimator=MAML())


def meta_sgd(steps: int = 1, lr: float = 0.01, *, never: tuple[str, ...] = NORMS) -> Method:
    """Meta-SGD: MAML with one learned rate for every number that moves.

    Args:
        steps: Inner steps K; the paper takes one.
        lr: What every rate starts from.
        never: What the inner loop leaves alone.

    Reference:
        Li, Zhou, Chen, Li, 2017, arXiv 1707.09835.
    """
    rule = MetaSGD(steps=steps, lr=lr, never=never)
    return Method(name="meta_sgd", rule=rule, estimator=MAML())


def maml_pp(
    steps: int = 5,
    lr: float = 0.1,
    *,
    horizon: int = 5000,
    epoch: int = 500,
    first_order_for: int = 0,
    norms: bool = False,
    never: tuple[str, ...] = NORMS,
) -> Method:
    """MAML++: learned rates per tensor and step, and the multi-step loss with its schedule.

    Its cosine outer rate is ``Outer(schedule="cosine", final=1e-5)``. Not part of it: the ensemble
    of five checkpoints at test.

    Args:
        steps: Inner steps K.
        lr: What every rate starts from, for mean-reduced losses.
        horizon: Meta-steps after which the loss after the last step alone counts.
        epoch: Meta-steps after which the weights of the steps change.
        first_order_for: Meta-steps of first order at the beginning (derivative-order annealing);
            the published configurations have none.
        norms: Scale and shift of BatchNorm of their own for each step, as published; the model
            needs BatchNorm.
        never: What the inner loop leaves alone.

    Reference:
        Antoniou, Edwards, Storkey, How to Train Your MAML, ICLR 2019, arXiv 1810.09502. Official
        code: AntreasAntoniou/HowToTrainYourMAMLPytorch, 8696470.
    """
    estimator = MultiStep(
        horizon=horizon,
        epoch=min(epoch, horizon),
        first_order=first_order_for > 0,
        second_order_from=first_order_for or None,
    )
    rule = PerStep(steps=steps, lr=lr, never=never, norms=norms)
    return Method(name="maml_pp", rule=rule, estimator=estimator)


def imaml(
    steps: int = 16,
    lr: float = 0.1,
    *,
    strength: float = 2.0,
    iterations: int = 5,
    system: Literal["textbook", "damped"] = "textbook",
) -> Method:
    """Implicit MAML: the meta-gradient at the solution of a proximal inner problem.

    Args:
        steps: Inner steps towards the solution.
        lr: Inner step size.
        strength: Pull towards the initialisation.
        iterations: Steps of conjugate gradients.
        system: ``"textbook"``, or ``"damped"`` as in the official code: plain inner steps with
            the pull at the end, damping 1, and 10 added to the strength in the linear system.

    Reference:
        Rajeswaran, Finn, Kakade, Levine, Meta-Learning with Implicit Gradients, NeurIPS 2019,
        arXiv 1909.04630. Official code: aravindr93/imaml_dev, 6a2a669.
    """
    damped = system == "damped"
    rule = Proximal(steps=steps, lr=lr, strength=strength, pull="end" if damped else "every")
    estimator = Implicit(iterations=iterations)
    if damped:
        estimator = Implicit(iterations=iterations, damping=1.0, shift=10.0)
    return Method(name="imaml", rule=rule, estimator=estimator)


def warp(
    steps: int = 5,
    lr: float = 0.1,
    *,
    layers: tuple[str, ...] = ("warp",),
    first_order: bool = False,
) -> Method:
    """WarpGrad (Warp-MAML): linear layers that only the outer loop moves precondition the rest.

    Args:
        steps: Inner steps K of the task layers.
        lr: Inner step size.
        layers: The warp layers: names or leading parts of names; ``Conv4(warp=True)`` and
            ``MLP(warp=True)`` have some called ``warp``.
        first_order: Constant inner gradients, for both objectives.

    Reference:
        Flennerhag et al., Meta-Learning with Warped Gradient Descent, ICLR 2020, arXiv 1909.00025.
        Official code: flennerhag/warpgrad, d9ef72a.
    """
    estimator = Warp(first_order=first_order, lookahead_first_order=first_order)
    return Method(name="warp", rule=SGD(steps=steps, lr=lr, never=layers), estimator=estimator)


def mgaug(
    steps: int = 5,
    lr: float = 0.01,
    copies: int = 1,
    ratio: float = 0.2,
    *,
    kind: Literal["parameter", "width", "catfish"] = "parameter",
    maxup: bool = False,
    never: tuple[str, ...] = NORMS,
) -> Method:
    """Meta-Gradient Augmentation: pruned copies of the network add their meta-gradients.

    Args:
        steps: Inner steps K on the whole support set, also of the copies.
        lr: Inner step size, for mean-reduced losses.
        copies: Pruned copies of each task.
        ratio: Fraction pruned of each hidden weight.
        kind: ``"parameter"``: random entries; ``"width"``: random channels; ``"catfish"``: the
            entries that the loss depends on most.
        maxup: Add only the copy with the largest query loss (MGAug-MaxUp).
        never: What the inner loop leaves alone.

    Reference:
        Wang et al., Improving Generalization in Meta-Learning via Meta-Gradient Augmentation,
        2023, arXiv 2306.08460 (abstract).
    """
    estimator = MGAug(copies=copies, ratio=ratio, kind=kind, maxup=maxup)
    return Method(name="mgaug", rule=SGD(steps=steps, lr=lr, never=never), estimator=estimator)


def finetune(steps: int = 5, lr: float = 0.01, *, classes: int = 0) -> Method:
    """Ordinary pre-training on all tasks at once; the inner loop fine-tunes at test.

    Args:
        steps: Steps of fine-tuning on the support set.
        lr: Their step size.
        classes: Number of classes of the family; 0: regression.

    Reference:
        The baseline of Guiroy, Verma, Pal, 2019, arXiv 1907.07287.
    """
    rule = SGD(steps=steps, lr=lr)
    return Method(name="finetune", rule=rule, estimator=Pretrain(classes=classes))


BASES: dict[str, Callable[..., Method]] = {
    "maml": maml,
    "fomaml": fomaml,
    "reptile": reptile,
    "anil": anil,
    "boil": boil,
    "meta_sgd": meta_sgd,
    "maml_pp": maml_pp,
    "imaml": imaml,
    "warp": warp,
    "mgaug": mgaug,
    "finetune": finetune,
}
