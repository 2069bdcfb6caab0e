"""Which tests judge a mutant: for each file of the core its tests, most specific first."""

from __future__ import annotations

_TWIN = "tests/test_methods.py"
_STORE = tuple(f"tests/store/test_{name}.py" for name in ("checkpoint", "damage", "keep_every"))
_LAWS = (_TWIN, "tests/test_contract.py")
_RATES = ("tests/test_rates.py", "tests/test_steps.py")
_TOGETHER = "tests/interactions/test_combined.py"
_VALUES = "tests/test_values.py"


def _of(name: str) -> tuple[str, ...]:
    """Return the tests of one interaction, then those of several."""
    return (f"tests/interactions/test_{name}.py", _TOGETHER)


TESTS: dict[str, tuple[str, ...]] = {
    "axis.py": (
        "tests/test_axis.py", *_of("agreement")[:1], "tests/test_ranks.py",
    ),
    "ranks.py": ("tests/test_axis.py", "tests/test_ranks.py", "tests/test_records.py"),
    "engine.py": ("tests/test_engine.py",),
    "unroll.py": (
        _TWIN, "tests/test_dropout.py", "tests/interactions/test_colearner_use.py",
        "tests/test_engine.py", "tests/test_warp.py",
    ),
    "step.py": (_TWIN, _TOGETHER),
    "tree.py": ("tests/test_tree.py", "tests/test_objective.py", *_of("agreement")),
    "records.py": ("tests/test_records.py", "tests/test_train.py", "tests/test_synchronisation.py"),
    "outer.py": ("tests/test_outer.py", _VALUES, "tests/test_serial.py", "tests/test_train.py"),
    "normalise.py": ("tests/test_normalise.py", "tests/test_evaluate.py"),
    "keys.py": ("tests/test_stream.py", "tests/test_dropout.py"),
    "statistics.py": ("tests/test_statistics.py", "tests/test_factorial.py"),
    "protocol.py": (_VALUES, "tests/test_permutations.py", "tests/test_evaluate.py"),
    "fs.py": ("tests/store/test_rundir.py", *_STORE, "tests/store/test_faults.py"),
    "checkpoint.py": (*_STORE, "tests/store/test_faults.py"),
    "checkpoint_files.py": _STORE,
    "rundir.py": ("tests/store/test_rundir.py", "tests/store/test_lock.py", "tests/test_runs.py"),
    "rundir_files.py": ("tests/store/test_rundir.py", "tests/store/test_lock.py"),
    "rules/base.py": (
        _VALUES, "tests/test_stream.py", _TWIN, "tests/test_rates.py", "tests/test_family.py",
    ),
    "rules/sgd.py": (_VALUES, _TWIN),
    "rules/momentum.py": (_VALUES, *_LAWS),
    "rules/proximal.py": (_VALUES, "tests/test_implicit.py"),
    "rules/adam.py": (_VALUES, _TWIN, "tests/test_engine.py"),
    "rules/rates.py": (_VALUES, *_RATES, "tests/test_pretrain.py"),
    "estimators/base.py": (_VALUES, _TWIN, "tests/test_family.py", "tests/test_engine.py"),
    "estimators/maml.py": (_VALUES, _TWIN, "tests/test_phases.py"),
    "estimators/reptile.py": (_VALUES, "tests/test_records.py", _TWIN, "tests/test_family.py"),
    "estimators/multistep.py": (_VALUES, "tests/test_family.py", *_RATES),
    "estimators/implicit.py": (_VALUES, "tests/test_implicit.py", "tests/test_steps.py"),
    "estimators/pretrain.py": (_VALUES, "tests/test_pretrain.py"),
    "estimators/warp.py": (
        _VALUES, "tests/test_warp.py", "tests/test_warp_layers.py", "tests/test_steps.py",
    ),
    "estimators/masks.py": ("tests/test_mgaug_masks.py", "tests/test_mgaug.py"),
    "estimators/pruned.py": (
        _VALUES, "tests/test_mgaug_masks.py", "tests/test_mgaug.py", "tests/test_mgaug_use.py",
        "tests/test_steps.py",
    ),
    "interactions/base.py": (_VALUES, "tests/test_together.py", *_of("colearner")),
    "interactions/together.py": (_VALUES, "tests/test_together.py", _TOGETHER),
    "interactions/agreement.py": (_VALUES, *_of("agreement")),
    "interactions/sharing.py": (
        _VALUES, "tests/interactions/test_sharing_limits.py", *_of("sharing"),
    ),
    "interactions/colearner.py": (
        _VALUES, "tests/uneven/test_use.py", "tests/interactions/test_colearner_use.py",
        *_of("colearner"),
    ),
    "interactions/coherence.py": (_VALUES, *_of("coherence")),
    "interactions/pcgrad.py": (_VALUES, "tests/interactions/test_pcgrad.py",),
    "interactions/aggregator.py": (_VALUES, "tests/interactions/test_aggregator.py",),
}  # fmt: skip
