"""A meta-trained state, ready to learn a new task."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from metaccord import checkpoint, tree
from metaccord.checkpoint import Checkpoint
from metaccord.errors import CheckpointError, DataError, UsageError
from metaccord.evaluate import isolated, predict
from metaccord.method import Method, initialise
from metaccord.normalise import BatchStatistics
from metaccord.objective import Objective
from metaccord.protocol import Statistics
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
from metaccord.tuning import settled
from metaccord.types import Adaptation, Batch, Episode, MetaState, Params


def adapt(method: Method, objective: Objective, state: MetaState, episodes: Episode) -> Adaptation:
    """Adapt tasks, each alone, and keep no graph.

    Args:
        method, objective, state: As meta-trained; none is changed.
        episodes: Data of T tasks, ``[T, n, ...]``; query sets are not looked at.

    Returns:
        The run: ``adapted`` [T, ...] and the whole ``path``.
    """
    return isolated(method, settled(objective), state, episodes)


@dataclass(frozen=True, eq=False)
class Learner:
    """What meta-training is for: learn a new task from a few examples.

    Attributes:
        method, objective, state: As meta-trained.
    """

    method: Method
    objective: Objective
    state: MetaState

    def adapted(self, support: Batch, steps: int | None = None) -> Params:
        """Return the parameters adapted to one task.

        Args:
            support: Examples ``[n, ...]``.
            steps: Inner steps; None: as trained.

        Raises:
            DataError: if inputs and targets differ in length or are empty.
        """
        lengths = tree.common_length(support)
        if len(lengths) != 1 or lengths & {0, -1}:
            raise DataError(
                f"support holds {sorted(lengths)} examples in its tensors: inputs and targets "
                "need one common length above 0"
            )
        place = self.objective.place()
        one = tree.to(tree.mapped(lambda leaf: leaf.unsqueeze(0), support), place)
        run = adapt(self.method.with_steps(steps), self.objective, self.state, Episode(one, one))
        return tree.first(run.solution)

    def adapt(self, support: Batch, steps: int | None = None) -> nn.Module:
        """Return a plain module for one task, in evaluation mode.

        Batch normalisation is frozen to the statistics of the support set, so that each example
        is predicted by itself.

        Args:
            support: Examples ``[n, ...]``.
            steps: Inner steps; None: as trained.
        """
        params = self.adapted(support, steps)
        module = copy.deepcopy(self.objective.model)
        with torch.no_grad():
            statistics = BatchStatistics()
            with statistics.recording():
                self.objective.predict(params, tree.to(support.inputs, self.objective.place()))
            for name, tensor in module.named_parameters():
                if name in params:
                    tensor.copy_(params[name])
        _freeze(module, statistics)
        return module.eval()

    def predict(self, support: Batch, inputs: Any, *, statistics: Statistics = "frozen") -> Any:
        """Return outputs for ``inputs`` of a task known by its support set.

        Args:
            support: Examples ``[n, ...]``.
            inputs: Tree of ``[m, ...]``.
            statistics: What batch normalisation sees; see :class:`metaccord.Protocol`.
        """
        params = self.adapted(support)
        place = self.objective.place()
        with torch.no_grad():
            return predict(
                settled(self.objective),
                statistics,
                params,
                tree.to(support, place),
                tree.to(inputs, place),
            )


def _freeze(module: nn.Module, statistics: BatchStatistics) -> None:
    """Give each BatchNorm the statistics that its call recorded."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    if len(norms) != len(statistics.means):
        raise UsageError(
            f"the model has {len(norms)} BatchNorm modules but called {len(statistics.means)}: "
            "use Learner.predict, which does not need each to be called once"
        )
    for norm, mean, variance in zip(norms, statistics.means, statistics.variances, strict=True):
        norm.track_running_stats = True
        norm.register_buffer("running_mean", mean.detach().clone())
        norm.register_buffer("running_var", variance.detach().clone())
        norm.register_buffer("num_batches_tracked", torch.tensor(1))


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
) -> Learner:
    """Return the learner of a run folder, or of a folder that :func:`save` wrote.

    Args:
        path: The folder.
        model, criterion: Needed for models that are not the library's own.
        method: Needed if it has parts that are not the library's own.

    Raises:
        UsageError: if a module or method is needed and not given.
        CheckpointError: if the tensors are damaged or belong to another model.
    """
    folder = RunDirectory.read(Path(path))
    config = folder.config
    if "experiment" in config:
        experiment, state, _ = load_state(Path(path))
        return Learner(experiment.method, experiment.objective(), state)
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
