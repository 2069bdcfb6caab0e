"""Learners on disk: saving one, and loading one from a folder or a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from metaccord import checkpoint
from metaccord.checkpoint import Checkpoint
from metaccord.errors import CheckpointError, UsageError
from metaccord.learner import Learner, Origin
from metaccord.method import Method, initialise
from metaccord.objective import Objective
from metaccord.rundir import RunDirectory
from metaccord.serial import from_tree, to_tree
from metaccord.stored import (
    fingerprint,
    fresh,
    load_state,
    packed,
    refuse_other,
    unpacked,
    versions,
)
from metaccord.types import MetaState


def save(path: str | Path, method: Method, objective: Objective, state: MetaState) -> None:
    """Save what was meta-trained into a new folder, for :func:`load`.

    What served training alone, such as a co-learner, is left out.

    Args:
        path: A new or empty folder.
        method, objective, state: As meta-trained. Of the model only the trainable tensors are
            saved; the module is given again at load.

    Raises:
        UsageError: if the folder is not empty.
        NumericalError: if a tensor is not finite; then there is no folder.
    """
    try:
        stored = to_tree(method)
    except UsageError:
        stored = None
    config = {"method": stored, "model": fingerprint(objective), "versions": versions()}
    with fresh(Path(path), config) as folder:
        state = _for_use(method, state)
        checkpoint.write(
            folder.checkpoints, Checkpoint(state.step, packed(state), {"run": folder.identity})
        )


def _for_use(method: Method, state: MetaState) -> MetaState:
    """Return the state without the tensors of interactions that serve training alone."""
    drop = tuple(f"interaction.{p.name}." for p in method.interactions if p.discarded)
    return state._replace(params={k: v for k, v in state.params.items() if not k.startswith(drop)})


def load(
    path: str | Path,
    *,
    model: nn.Module | None = None,
    criterion: Callable[[Any, Any], Tensor] | None = None,
    method: Method | None = None,
    device: str | None = None,
) -> Learner:
    """Return the learner of a run folder, or of a folder that :func:`save` wrote.

    Args:
        path: The folder.
        model, criterion: Needed for models that are not the library's own.
        method: Needed if it has parts that are not the library's own.
        device: Of a run: where to, ``"cpu"`` or ``"cuda"``; None: as trained if there is one.

    Raises:
        UsageError: if a module or method is needed and not given.
        CheckpointError: if the tensors are damaged or belong to another model.
    """
    folder = RunDirectory.read(Path(path))
    config = folder.config
    if "experiment" in config:
        experiment, state, _ = load_state(Path(path), device=device)
        origin = Origin(experiment, folder.identity)
        return Learner(experiment.method, experiment.objective(), state, origin)
    if "model" not in config or "method" not in config:
        raise CheckpointError(
            f"{str(path)!r} holds no learner, its run.json belongs to something else: restore it "
            "from a backup"
        )
    if model is None or criterion is None:
        raise UsageError(f"{path} holds weights of your own model: give model= and criterion=")
    if method is None and config["method"] is None:
        raise UsageError(f"{path} was trained with a method of your own: give load(..., method=)")
    objective = Objective(model, criterion)
    if config["model"] != fingerprint(objective):
        raise CheckpointError(f"{path} was trained with another model: names or shapes differ")
    found = checkpoint.read(folder.checkpoints)
    refuse_other(folder, found)
    state, _ = unpacked(found, objective.place())
    method = method or from_tree(config["method"])
    _refuse_other_method(path, method, objective, state)
    return Learner(method, objective, state)


def _refuse_other_method(
    path: str | Path, method: Method, objective: Objective, state: MetaState
) -> None:
    """Raise CheckpointError if the tensors are not those that the method keeps."""
    expected = _for_use(method, initialise(method, objective))
    for kept, needed in (
        (state.params, expected.params),
        (state.running, expected.running),
    ):
        for name in sorted(kept.keys() | needed.keys()):
            found = list(kept[name].shape) if name in kept else "nothing"
            wanted = list(needed[name].shape) if name in needed else "nothing"
            if found != wanted:
                raise CheckpointError(
                    f"{path} holds {found} for {name!r}, but {method.label} with "
                    f"{method.rule.steps} inner steps keeps {wanted}: load it with the method it "
                    "was trained with"
                )
