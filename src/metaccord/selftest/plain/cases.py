"""The methods by hand, beside those of the library."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from metaccord import methods as lib
from metaccord.estimators import MAML
from metaccord.interactions import GradientSharing
from metaccord.method import Method
from metaccord.rules import SGD
from metaccord.rules import Adam as LibraryAdam
from metaccord.rules import Momentum as LibraryMomentum
from metaccord.selftest.arrays import Array, Rows
from metaccord.selftest.closed_together import agreements, projected, weighed
from metaccord.selftest.plain import meta as by_hand
from metaccord.selftest.plain.inner import Adam, Momentum, Rates, Rule
from metaccord.selftest.plain.meta import Meta, Path, Plain
from metaccord.selftest.plain.network import Net
from metaccord.selftest.plain.path import Bend

K, LR = 3, 0.15


@dataclass(frozen=True)
class Pair:
    """A method of the library and the same by hand.

    Args:
        method: The library's.
        plain: By hand.
        outer: ``"adam"`` or ``"sgd"``.
        warped: The network has warp layers.
        keyed: Episodes carry keys.
    """

    method: Method
    plain: Plain
    outer: str = "adam"
    warped: bool = False
    keyed: bool = False


def _fixed(only: str = "", never: str = "-") -> Any:
    """Return the rule of SGD for what starts with ``only`` and not with ``never``."""

    def rule(meta: Meta) -> Rule:
        mask = meta.net.where(only) * (1 - meta.net.where(never))
        return Rates(np.tile(LR * mask, (K, 1)))

    return rule


def _learned_rates(meta: Meta) -> Rule:
    """Read rates of one number each, or of one tensor and step each."""
    found: Rows = {}
    for name, shape in meta.net.shapes.items():
        rate = meta.learned[f"rule.rate.{name}"]
        per_step = rate.shape == (K,) and rate.shape != shape
        lead = rate.reshape(K, *[1] * len(shape)) if per_step else rate[None]
        found[name] = np.broadcast_to(lead, (K, *shape))
    return Rates(meta.net.packed(found, lead=1))


def _entries(net: Net, found: Array) -> Rows:
    """Rates of one number each, shared by all steps: ``[T, K, P] -> rows``."""
    return {f"rule.rate.{n}": v for n, v in net.unpacked(found.sum(1)).items()}


def _tensors(net: Net, found: Array) -> Rows:
    """Rates of one tensor and step each: ``[T, K, P] -> rows``."""
    parts = net.unpacked(found)
    return {f"rule.rate.{n}": v.reshape(*v.shape[:2], -1).sum(2) for n, v in parts.items()}


def _agreed(rows: Rows, moved: Array) -> Rows:
    return weighed(rows, agreements(moved))


def _projected(rows: Rows, moved: Array) -> Rows:
    net = Net()
    flat = net.packed({n: rows[f"model.{n}"] for n in net.shapes}, lead=1)
    return {f"model.{n}": v for n, v in net.unpacked(projected(flat)).items()}


def unit_mean(matrix: Tensor) -> Tensor:
    """Return the mean of the rows' directions: ``[N, P] -> [P]``."""
    return (matrix / matrix.norm(dim=1, keepdim=True)).mean(0)


def _unit_mean(rows: Rows, moved: Array) -> Rows:
    squares = sum((v.reshape(len(v), -1) ** 2).sum(1) for v in rows.values())
    return weighed(rows, 1 / np.sqrt(squares) / len(moved))


def _reptile(rule: Any) -> Plain:
    return Plain(partial(by_hand.reptile, steps=K, rule=rule))


def _slots(meta: Meta) -> Rule:
    second = meta.running.get("second", (np.zeros(meta.net.size), 0))
    return Adam(LR / 10, 0.0, 0.999, 1e-8, second)


def _bases() -> dict[str, Pair]:
    sgd, adam = SGD(steps=K, lr=LR), LibraryAdam(steps=K, lr=LR, beta1=0.7, beta2=0.9, eps=0.01)
    moving = LibraryMomentum(steps=K, lr=LR, momentum=0.6)
    path, warped = Path(K, _fixed()), Path(K, _fixed(never="warp"))
    textbook = partial(by_hand.implicit, steps=K, lr=LR, strength=2.0)
    annealed = lib.maml_pp(K, LR, horizon=30, epoch=10, first_order_for=3)
    multistep = Path(K, _learned_rates, 3, (10, 30), rates=_tensors)
    maml_adam = Method(name="adam", rule=adam, estimator=MAML())
    maml_moving = Method(name="momentum", rule=moving, estimator=MAML())
    fish = partial(by_hand.catfish, path=path, lr=LR, ratio=0.3)
    adams = lib.reptile(K, LR / 10, batch=None, inner="adam")
    return {
        "maml": Pair(Method(name="maml", rule=sgd, estimator=MAML()), Plain(path)),
        "fomaml": Pair(lib.fomaml(K, LR), Plain(Path(K, _fixed(), np.inf))),
        "reptile": Pair(lib.reptile(K, LR, batch=None), _reptile(_fixed()), "sgd"),
        "reptile adam": Pair(adams, _reptile(_slots), "sgd"),
        "anil": Pair(lib.anil(K, LR), Plain(Path(K, _fixed(only="head")))),
        "boil": Pair(lib.boil(K, LR), Plain(Path(K, _fixed(never="head")))),
        "meta_sgd": Pair(lib.meta_sgd(K, LR), Plain(Path(K, _learned_rates, rates=_entries))),
        "maml_pp": Pair(annealed, Plain(multistep)),
        "imaml": Pair(lib.imaml(K, LR, iterations=40), Plain(partial(textbook, damped=False))),
        "imaml damped": Pair(
            lib.imaml(K, LR, iterations=40, system="damped"), Plain(partial(textbook, damped=True))
        ),
        "warp": Pair(
            lib.warp(K, LR), Plain(partial(by_hand.warp, path=warped, lr=LR)), warped=True
        ),
        "mgaug catfish": Pair(lib.mgaug(K, LR, ratio=0.3, kind="catfish"), Plain(fish), keyed=True),
        "finetune": Pair(lib.finetune(K, LR), Plain(by_hand.pretrain)),
        "momentum": Pair(maml_moving, Plain(Path(K, lambda _: Momentum(LR, 0.6)))),
        "adam": Pair(maml_adam, Plain(Path(K, lambda _: Adam(LR, 0.7, 0.9, 0.01)))),
    }


def _sharing(**options: Any) -> Pair:
    per_tensor = options.pop("per", "step") == "tensor"
    part = GradientSharing(
        mode="additive" if options.get("additive") else "convex",
        per="tensor" if per_tensor else "step",
        differentiate=options.get("through", False),
    )
    return Pair(lib.maml(K, LR).with_interaction(part), Plain(Path(K, _fixed(), sharing=options)))


def _coherent(reading: Any, through: bool) -> Pair:
    method = lib.coherent(lib.maml(K, LR), rate=0.3, reading=reading, differentiate=through)
    return Pair(method, Plain(Path(K, _fixed(), bent=Bend(0.3, reading, through))))


def _everything() -> Pair:
    method = lib.gradient_sharing(lib.meta_sgd(K, LR))
    method = lib.gradient_agreement(lib.coherent(lib.cooperative(method, weight=0.7), rate=0.3))
    bent = Bend(0.3, "rotate", False)
    path = Path(K, _learned_rates, sharing={}, bent=bent, colearner=0.7, rates=_entries)
    return Pair(method, Plain(path, _agreed))


def _interactions() -> dict[str, Pair]:
    maml, path = lib.maml(K, LR), Path(K, _fixed())
    reptile = Plain(_reptile(_fixed()).base, _agreed)
    found = {
        "agreement (maml)": Pair(lib.gradient_agreement(maml), Plain(path, _agreed)),
        "agreement (reptile)": Pair(
            lib.gradient_agreement(lib.reptile(K, LR, batch=None)), reptile, "sgd"
        ),
        "sharing": _sharing(),
        "sharing, per tensor": _sharing(per="tensor"),
        "sharing, differentiated": _sharing(through=True),
        "sharing, additive": _sharing(additive=True),
        "sharing, additive, differentiated": _sharing(additive=True, through=True),
        "cooperative": Pair(
            lib.cooperative(maml, weight=0.7), Plain(Path(K, _fixed(), colearner=0.7))
        ),
        "pcgrad": Pair(lib.pcgrad(maml), Plain(path, _projected)),
        "aggregate": Pair(lib.aggregated(maml, unit_mean), Plain(path, _unit_mean)),
        "all together": _everything(),
    }
    for reading in ("rotate", "shift", "loss"):
        found[f"coherent, {reading}"] = _coherent(reading, False)
        found[f"coherent, {reading}, differentiated"] = _coherent(reading, True)
    return found


CASES: dict[str, Pair] = {**_bases(), **_interactions()}
