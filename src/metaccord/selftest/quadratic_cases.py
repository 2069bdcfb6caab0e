"""The methods with a closed form on quadratics, one line each."""

from __future__ import annotations

from functools import partial

from metaccord import methods
from metaccord.estimators import MAML
from metaccord.interactions import GradientSharing
from metaccord.method import Method
from metaccord.rules import Adam, Momentum
from metaccord.selftest import closed
from metaccord.selftest import closed_together as together
from metaccord.selftest.problem import Problem
from metaccord.selftest.quadratics import Case

STRENGTH = 1.5
DECAY = 0.6
EPOCH, HORIZON = 2, 100  # 50 epochs: in the last one the smallest weights are at their floor
BETAS = (0.7, 0.9, 1e-3)


def _maml(p: Problem) -> Method:
    return methods.maml(p.steps, p.lr)


def _reptile(p: Problem) -> Method:
    return methods.reptile(p.steps, p.lr, batch=None)


def _momentum(p: Problem) -> Method:
    rule = Momentum(steps=p.steps, lr=p.lr, momentum=DECAY)
    return Method(name="momentum", rule=rule, estimator=MAML())


def _adam(p: Problem) -> Method:
    beta1, beta2, eps = BETAS
    rule = Adam(steps=p.steps, lr=p.lr, beta1=beta1, beta2=beta2, eps=eps)
    return Method(name="adam", rule=rule, estimator=MAML())


def _imaml(p: Problem, system: str = "textbook") -> Method:
    return methods.imaml(
        p.steps,
        p.lr,
        strength=STRENGTH,
        iterations=40,
        system=system,  # type: ignore[arg-type]
    )


def _sharing(p: Problem, *, mode: str = "convex", through: bool = False) -> Method:
    part = GradientSharing(mode=mode, differentiate=through)  # type: ignore[arg-type]
    return _maml(p).with_interaction(part)


def _cooperative(p: Problem) -> Method:
    return methods.cooperative(_maml(p), weight=0.7, shape=(p.dim,), outputs=1, hidden=5)


def _coherent(p: Problem, reading: str, through: bool) -> Method:
    return methods.coherent(_maml(p), rate=0.3, reading=reading, differentiate=through)  # type: ignore[arg-type]


def _bases() -> list[Case]:
    return [
        Case("maml", _maml, closed.maml),
        Case("fomaml", lambda p: methods.fomaml(p.steps, p.lr), closed.fomaml),
        Case("reptile", _reptile, closed.reptile),
        Case("anil", lambda p: methods.anil(p.steps, p.lr), closed.anil, broad=True),
        Case("boil", lambda p: methods.boil(p.steps, p.lr), closed.boil, broad=True),
        Case("meta_sgd", lambda p: methods.meta_sgd(p.steps, p.lr), closed.meta_sgd),
        Case(
            "maml_pp",
            lambda p: methods.maml_pp(p.steps, p.lr, epoch=EPOCH, horizon=HORIZON),
            partial(closed.maml_pp, epoch=EPOCH, horizon=HORIZON),
            fewest=1,
        ),
        Case("imaml", _imaml, partial(closed.imaml, strength=STRENGTH)),
        Case(
            "imaml damped",
            partial(_imaml, system="damped"),
            partial(closed.imaml_damped, strength=STRENGTH),
        ),
        Case("momentum", _momentum, partial(closed.momentum, decay=DECAY)),
        Case(
            "adam",
            _adam,
            partial(closed.adam, beta1=BETAS[0], beta2=BETAS[1], eps=BETAS[2]),
            exactly=2,
            line=True,
        ),
        Case("warp", lambda p: methods.warp(p.steps, p.lr), closed.warp, fewest=1, warped=True),
        Case(
            "mgaug catfish",
            lambda p: methods.mgaug(p.steps, p.lr, ratio=0.4, kind="catfish"),
            partial(closed.catfish, ratio=0.4),
            broad=True,
            keys=True,
        ),
    ]


def _interactions() -> list[Case]:
    found = [
        Case(
            "agreement (maml)",
            lambda p: methods.gradient_agreement(_maml(p)),
            lambda p: together.agreement(p, closed.maml(p)),
            joint=True,
        ),
        Case(
            "agreement (reptile)",
            lambda p: methods.gradient_agreement(_reptile(p)),
            lambda p: together.agreement(p, closed.reptile(p)),
            joint=True,
        ),
        Case("sharing", _sharing, together.sharing, joint=True, fewest=1, history=True),
        Case(
            "sharing, differentiated",
            partial(_sharing, through=True),
            partial(together.sharing, through=True),
            joint=True,
            fewest=1,
            history=True,
        ),
        Case(
            "sharing, additive",
            partial(_sharing, mode="additive"),
            together.additive,
            joint=True,
            fewest=1,
            history=True,
        ),
        Case("cooperative", _cooperative, partial(together.cooperative, weight=0.7)),
        Case(
            "pcgrad",
            lambda p: methods.pcgrad(_maml(p)),
            together.pcgrad,
            joint=True,
            unit=closed.maml,
        ),
    ]
    found += [
        _turning(r, through) for r in ("rotate", "shift", "loss") for through in (False, True)
    ]
    return found


def _turning(reading: str, through: bool) -> Case:
    return Case(
        f"coherent, {reading}" + (", differentiated" if through else ""),
        partial(_coherent, reading=reading, through=through),
        partial(together.coherent, rate=0.3, reading=reading, through=through),
        joint=True,
        broad=through or reading == "loss",  # in a line nothing turns: 0 beside rounding
    )


CASES: dict[str, Case] = {case.name: case for case in (*_bases(), *_interactions())}
