"""Which tests judge a mutant: for each file of the core its tests, most specific first."""

from __future__ import annotations

_TWIN = "tests/test_methods.py"
_STORE = tuple(f"tests/store/test_{name}.py" for name in ("checkpoint", "damage", "keep_every"))
_LAWS = (_TWIN, "tests/test_contract.py")
_RATES = ("tests/test_rates.py", "tests/test_steps.py")
_TOGETHER = "tests/interactions/test_combined.py"


def _of(name: str) -> tuple[str, ...]:
    """Return the tests of one interaction, then those of several."""
    return (f"tests/interactions/test_{name}.py", _TOGETHER)


TESTS: dict[str, tuple[str, ...]] = {
    "axis.py": ("tests/test_axis.py", *_of("agreement")[:1], "tests/test_ranks.py"),
    "ranks.py": ("tests/test_axis.py", "tests/test_ranks.py"),
    "engine.py": ("tests/test_engine.py",),
    "unroll.py": (_TWIN, "tests/test_dropout.py", "tests/test_engine.py"),
    "step.py": (_TWIN, _TOGETHER),
    "tree.py": ("tests/test_tree.py", "tests/test_objective.py", *_of("agreement")),
    "records.py": ("tests/test_records.py", "tests/test_train.py", "tests/test_synchronisation.py"),
    "outer.py": ("tests/test_outer.py", "tests/test_serial.py", "tests/test_train.py"),
    "normalise.py": ("tests/test_normalise.py", "tests/test_evaluate.py"),
    "keys.py": ("tests/test_stream.py", "tests/test_dropout.py"),
    "statistics.py": ("tests/test_statistics.py", "tests/test_factorial.py"),
    "protocol.py": ("tests/test_evaluate.py",),
    "fs.py": ("tests/store/test_rundir.py", *_STORE, "tests/store/test_faults.py"),
    "checkpoint.py": (*_STORE, "tests/store/test_faults.py"),
    "checkpoint_files.py": _STORE,
    "rundir.py": ("tests/store/test_rundir.py", "tests/store/test_lock.py", "tests/test_runs.py"),
    "rundir_files.py": ("tests/store/test_rundir.py", "tests/store/test_lock.py"),
    "rules/base.py": ("tests/test_stream.py", _TWIN, "tests/test_rates.py"),
    "rules/sgd.py": (_TWIN,),
    "rules/momentum.py": _LAWS,
    "rules/proximal.py": ("tests/test_implicit.py",),
    "rules/adam.py": (_TWIN, "tests/test_engine.py"),
    "rules/rates.py": _RATES,
    "estimators/base.py": (_TWIN, "tests/test_family.py", "tests/test_engine.py"),
    "estimators/maml.py": (_TWIN, "tests/test_phases.py"),
    "estimators/reptile.py": (_TWIN, "tests/test_family.py"),
    "estimators/multistep.py": ("tests/test_values.py", "tests/test_family.py", *_RATES),
    "estimators/implicit.py": ("tests/test_implicit.py",),
    "estimators/pretrain.py": ("tests/test_pretrain.py",),
    "estimators/warp.py": ("tests/test_warp.py", "tests/test_warp_layers.py"),
    "estimators/masks.py": ("tests/test_mgaug_masks.py", "tests/test_mgaug.py"),
    "estimators/pruned.py": ("tests/test_mgaug.py", "tests/test_mgaug_use.py"),
    "interactions/base.py": _of("agreement"),
    "interactions/together.py": ("tests/test_together.py", _TOGETHER),
    "interactions/agreement.py": _of("agreement"),
    "interactions/sharing.py": _of("sharing"),
    "interactions/colearner.py": ("tests/interactions/test_colearner_use.py", *_of("colearner")),
    "interactions/coherence.py": _of("coherence"),
    "interactions/pcgrad.py": ("tests/interactions/test_pcgrad.py",),
    "interactions/aggregator.py": ("tests/interactions/test_aggregator.py",),
}  # fmt: skip
