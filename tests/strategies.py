"""Random values of every class that is stored by name, field by field."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import metaccord as mc
from metaccord.codings import ArrayCoding, Column, PictureCoding, TableCoding
from metaccord.engine import Plan
from metaccord.errors import UsageError
from metaccord.estimators import MAML, Implicit, MGAug, MultiStep, Pretrain, Reptile, Warp
from metaccord.interactions import (
    Coherence,
    CoLearner,
    GradientAgreement,
    GradientSharing,
    PCGrad,
)
from metaccord.method import Method
from metaccord.rules import SGD, Adam, MetaSGD, Momentum, PerStep, Proximal
from metaccord.tasks import CUB, Arrays, Drawn, Folders, Quadratics, SignDigits, Sinusoid, Table
from metaccord.tasks.published import PUBLISHED

Fields = dict[str, st.SearchStrategy[Any]]
RATES = st.floats(1e-6, 1e6)
PARTS = st.floats(0, 0.99)
INSIDE = st.none() | st.floats(0.01, 0.99)
LIMITS = st.none() | RATES
COUNTS = st.integers(0, 50)
SIZES = st.integers(1, 50)
MAYBE = st.none() | SIZES
SCALES = st.lists(RATES, min_size=1, max_size=3).map(tuple)
NUMBERS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=3).map(tuple)
SEEDS = st.integers(0, 2**63 - 1)
WORDS = st.lists(st.sampled_from(["head", "body.0", "batchnorm"]), unique=True).map(tuple)

_RULE: Fields = {
    "steps": COUNTS, "lr": RATES, "only": WORDS, "never": WORDS, "batch": MAYBE,
    "clip_norm": LIMITS, "clip_value": LIMITS,
}  # fmt: skip
_RULES: dict[type, Fields] = {
    SGD: _RULE,
    Momentum: {**_RULE, "momentum": PARTS},
    Adam: {
        **_RULE, "beta1": PARTS, "beta2": st.floats(0.01, 0.99), "eps": RATES,
        "persist": st.booleans(),
    },
    MetaSGD: _RULE,
    PerStep: {**_RULE, "norms": st.booleans()},
    Proximal: {**_RULE, "strength": RATES, "pull": st.sampled_from(["every", "end"])},
}  # fmt: skip
_ORDER: Fields = {"first_order": st.booleans(), "second_order_from": MAYBE}
_ESTIMATORS: dict[type, Fields] = {
    MAML: _ORDER,
    MultiStep: {**_ORDER, "horizon": st.integers(50, 9999), "epoch": SIZES},
    Warp: {**_ORDER, "lookahead_first_order": st.booleans()},
    MGAug: {
        **_ORDER, "copies": st.integers(1, 3), "ratio": PARTS, "head": st.text(),
        "kind": st.sampled_from(["parameter", "width", "catfish"]), "maxup": st.booleans(),
    },
    Implicit: {"iterations": SIZES, "damping": st.floats(0, 9), "shift": st.floats(0, 99)},
    Pretrain: {"classes": COUNTS, "head": st.text()},
    Reptile: {},
}  # fmt: skip
_INTERACTIONS: dict[type, Fields] = {
    GradientAgreement: {},
    GradientSharing: {
        "mode": st.sampled_from(["convex", "additive"]),
        "per": st.sampled_from(["step", "tensor"]),
        "share_start": INSIDE, "past_start": INSIDE, "momentum": PARTS,
        "differentiate": st.booleans(), "at_test": st.booleans(),
    },
    CoLearner: {
        "weight": st.floats(0, 9), "shape": st.none() | st.lists(SIZES, min_size=1).map(tuple),
        "outputs": MAYBE, "hidden": MAYBE,
    },
    Coherence: {
        "rate": st.floats(0, 2), "reading": st.sampled_from(["rotate", "shift", "loss"]),
        "differentiate": st.booleans(),
    },
    PCGrad: {},
}  # fmt: skip
_TASKS: dict[type, Fields] = {
    Sinusoid: {
        "shots": SIZES, "queries": SIZES, "train_shots": MAYBE, "seed": SEEDS,
        "inputs": st.sampled_from(["grid", "uniform"]),
        "amplitude": st.tuples(st.floats(0, 1), st.floats(1, 9)), "phase": RATES,
    },
    Quadratics: {
        "shots": st.just(1), "queries": st.just(1), "train_shots": st.none() | st.just(1),
        "seed": SEEDS, "dim": st.integers(1, 99), "condition": st.floats(1, 1e6), "spread": RATES,
    },
    SignDigits: {
        "shots": st.integers(1, 9), "queries": st.integers(1, 20),
        "train_shots": st.none() | st.integers(1, 9), "seed": SEEDS, "ways": st.integers(2, 5),
        "split_seed": SEEDS, "root": st.none() | st.text(),
    },
}  # fmt: skip
FEW = st.lists(st.text(), max_size=3).map(tuple)
_COLUMN: Fields = {
    "name": st.text(), "kind": st.sampled_from(["number", "category"]),
    "centre": st.floats(-1e9, 1e9), "scale": RATES, "categories": FEW, "indicator": st.booleans(),
    "rare": FEW,
}  # fmt: skip
_CODINGS: dict[type, Fields] = {
    Column: _COLUMN,
    TableCoding: {
        "columns": st.lists(st.builds(Column, **_COLUMN), max_size=2).map(tuple),
        "target": st.text(), "group": st.text(), "classes": FEW,
        "aim": st.sampled_from(["numbers", "classes"]), "target_centre": st.floats(-1e9, 1e9),
        "target_scale": RATES, "separator": st.none() | st.just(";"), "decimal": st.just(","),
        "left_out": st.lists(st.tuples(st.text(), st.text()), max_size=2).map(tuple),
        "unseen": st.sampled_from(["refuse", "other"]),
    },
    ArrayCoding: {
        "shape": st.lists(SIZES, max_size=3).map(tuple),
        "aim": st.sampled_from(["numbers", "classes", "new_classes"]), "outputs": SIZES,
        "classes": st.lists(st.text()).map(tuple), "centre": NUMBERS, "scale": SCALES,
        "target_centre": NUMBERS, "target_scale": SCALES,
    },
}  # fmt: skip
_OWN: Fields = {
    "shots": SIZES, "queries": SIZES, "train_shots": MAYBE, "seed": SEEDS, "path": st.text(),
    "split": st.none() | st.tuples(PARTS, PARTS, PARTS), "split_seed": SEEDS, "train": FEW,
    "validation": FEW, "test": FEW, "minimum": st.none() | st.integers(2, 99),
    "accept_leaks": st.booleans(), "fingerprint": st.text(), "folder": st.text(),
    "aim": st.sampled_from(["auto", "numbers", "classes"]),
}  # fmt: skip
_SOURCES: dict[type, Fields] = {
    Arrays: {
        **_OWN, "ways": st.none() | st.integers(2, 9), "standardise": st.booleans(),
        "fitted": st.none() | st.builds(ArrayCoding, **_CODINGS[ArrayCoding]),
    },
    Drawn: {
        "shots": SIZES, "queries": SIZES, "train_shots": MAYBE, "seed": SEEDS, "name": st.text(),
        "classes": COUNTS, "fingerprint": st.text(),
    },
    Table: {
        **_OWN, "split": _OWN["split"] | st.just("phase"), "target": st.text(),
        "group": st.text(), "features": FEW, "leave_out": FEW,
        "unseen": st.sampled_from(["refuse", "other"]),
        "categories": FEW, "separator": st.none() | st.just(";"), "decimal": st.just(","),
        "fitted": st.none() | st.builds(TableCoding, **_CODINGS[TableCoding]),
    },
}  # fmt: skip
_THREE = st.tuples(*[st.floats(1, 255)] * 3)
_PICTURES: Fields = {
    "shots": SIZES, "queries": SIZES, "train_shots": MAYBE, "seed": SEEDS,
    "ways": st.integers(2, 20), "size": st.integers(1, 200),
    "mean": st.none() | _THREE, "deviation": st.none() | _THREE, "fingerprint": st.text(),
}  # fmt: skip
_PUBLISHED: Fields = {**_PICTURES, "root": st.none() | st.text()}
_SOME = st.lists(st.text(), max_size=3).map(tuple)
_TASKS |= {
    Folders: {
        **_PICTURES, "path": st.text(), "mode": st.just("colour"),
        "fit": st.sampled_from(["stretch", "crop"]), "split_seed": SEEDS,
        "split": st.none() | st.tuples(*[st.floats(0, 9)] * 3), "train": _SOME,
        "validation": _SOME, "test": _SOME, "accept_leaks": st.booleans(),
        "too_few": st.sampled_from(["refuse", "leave_out"]),
    },
    **dict.fromkeys(PUBLISHED.values(), _PUBLISHED),
    CUB: {**_PUBLISHED, "split": st.sampled_from(["100-50-50", "140-30-30"])},
}  # fmt: skip
_CODINGS |= {
    PictureCoding: {
        "size": SIZES, "mode": st.just("colour"), "fit": st.sampled_from(["stretch", "crop"]),
        "mean": _THREE, "deviation": _THREE,
    },
}  # fmt: skip
_OTHERS: dict[type, Fields] = {
    Plan: {
        "chunk": st.sampled_from(["auto", "all", 1, 7]), "checkpoint": st.booleans(),
        "compile": st.booleans(), "autocast": st.booleans(),
        "memory": st.sampled_from([None, "4GiB", "0.5 MiB"]),
    },
    mc.Outer: {
        "optimizer": st.sampled_from(["adam", "sgd"]), "lr": RATES,
        "schedule": st.sampled_from(["constant", "linear", "cosine"]),
        "final": st.floats(0, 1e-6), "horizon": st.none() | st.integers(1, 10**9),
        "momentum": PARTS, "clip_norm": LIMITS, "clip_value": LIMITS,
    },
    mc.Protocol: {
        "statistics": st.sampled_from(["transductive", "inductive", "frozen"]),
        "tasks": st.integers(2, 10**6), "steps": st.none() | COUNTS,
        "split": st.sampled_from(["validation", "test"]), "seed": SEEDS,
        "branch": st.sampled_from(["model", "colearner"]), "permutations": st.integers(1, 9),
    },
}  # fmt: skip


def built(cls: type, fields: Fields) -> st.SearchStrategy[Any]:
    """Return values of a class; what it refuses is drawn again."""

    def attempt(given: dict[str, Any]) -> Any:
        try:
            return cls(**given)
        except UsageError:
            return None

    return st.fixed_dictionaries(fields).map(attempt).filter(lambda value: value is not None)


def _several(table: dict[type, Fields]) -> st.SearchStrategy[Any]:
    return st.one_of([built(cls, fields) for cls, fields in table.items()])


_METHOD: Fields = {
    "name": st.text(),
    "rule": _several(_RULES),
    "estimator": _several(_ESTIMATORS),
    "interactions": st.lists(_several(_INTERACTIONS), max_size=3, unique_by=type).map(tuple),
}
FIELDS: dict[type, Fields] = {
    Method: _METHOD, **_RULES, **_ESTIMATORS, **_INTERACTIONS, **_TASKS, **_CODINGS, **_SOURCES,
    **_OTHERS
}  # fmt: skip
