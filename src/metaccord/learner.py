"""A meta-trained state, ready to learn a new task."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from metaccord import deploy, tree
from metaccord.codings import Coding, Labelled
from metaccord.deploy.adapted import labelled, predictor
from metaccord.deploy.fit import refuse_unfit
from metaccord.errors import DataError, UsageError
from metaccord.evaluate import isolated, predict
from metaccord.experiment import Experiment
from metaccord.method import Method
from metaccord.normalise import BatchStatistics
from metaccord.objective import Objective
from metaccord.protocol import Statistics
from metaccord.tuning import settled
from metaccord.types import Adaptation, Batch, Episode, MetaState, Params
from metaccord.uneven import alone, cut


def adapt(method: Method, objective: Objective, state: MetaState, episodes: Episode) -> Adaptation:
    """Adapt tasks, each alone, and keep no graph.

    Args:
        method, objective, state: As meta-trained; none is changed.
        episodes: Data of T tasks, ``[T, n, ...]``; query sets are not looked at.

    Returns:
        The run: ``adapted`` [T, ...] and the whole ``path``.
    """
    return isolated(method, settled(objective), state, episodes)


@dataclass(frozen=True)
class Origin:
    """Where a learner comes from.

    Attributes:
        experiment: What was trained; None for a learner that was made or saved by hand.
        run: Hash of the run's configuration.
    """

    experiment: Experiment | None = None
    run: str | None = None


@dataclass(frozen=True, eq=False)
class Learner:
    """What meta-training is for: learn a new task from a few examples.

    Attributes:
        method, objective, state: As meta-trained.
        origin: The run that it comes from, if it comes from one.
        unseen: See :meth:`accepting`; None: as trained.
    """

    method: Method
    objective: Objective
    state: MetaState
    origin: Origin = Origin()
    unseen: str | None = None

    @property
    def coding(self) -> Coding | None:
        """How files become examples, as in training; None if the tasks have no coding."""
        experiment = self.origin.experiment
        found = None if experiment is None else experiment.tasks.coding
        return (
            found if self.unseen is None else deploy.predictor.needed(found).accepting(self.unseen)
        )

    def accepting(self, unseen: str) -> Learner:
        """Return the same, for tables with categories that training has not seen.

        Args:
            unseen: ``"refuse"``, or ``"other"``: they share the place of the rare ones, or have
                none, and a warning says so.

        Raises:
            UsageError: for another word, or if the tasks have no categories.
        """
        found = replace(self, unseen=unseen)
        _ = found.coding
        return found

    def values(self, outputs: Tensor) -> Tensor:
        """Return outputs, or targets, in the user's units."""
        return outputs if self.coding is None else self.coding.values(outputs)

    def adapted(self, support: Batch, steps: int | None = None) -> Params:
        """Return the parameters adapted to one task.

        Args:
            support: Examples ``[n, ...]``.
            steps: Inner steps; None: as trained.

        Raises:
            DataError: if inputs and targets differ in length or are empty, or if the model or
                the criterion cannot take them.
        """
        support = alone(support)
        lengths = tree.common_length((support.inputs, support.targets))
        if len(lengths) != 1 or lengths & {0, -1}:
            raise DataError(
                f"support holds {sorted(lengths)} examples in its tensors: inputs and targets "
                "need one common length above 0"
            )
        place = self.objective.place()
        support = tree.to(support, place)
        refuse_unfit(self.objective, tree.scope(self.state.params, "model"), support)
        if not isinstance(support.ways, tuple):
            support = support._replace(ways=torch.tensor(support.ways))
        one = tree.mapped(lambda leaf: leaf.unsqueeze(0), support)
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
        support = alone(support)
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

    def predictor(
        self,
        support: Batch | Labelled | str | Path,
        *,
        classes: Sequence[str] | None = None,
        steps: int | None = None,
        measured: deploy.Measured | None = None,
    ) -> deploy.Predictor:
        """Return what :meth:`adapt` returns with all that is needed to use it elsewhere.

        It knows the names of the classes and the user's units, reads files, can be saved and
        exported.

        Args:
            support: Examples ``[n, ...]``, or a file or folder for the run's coding.
            classes: Names by label; None: those of the files, or ``"0"``, ``"1"``, ...
            steps: Inner steps; None: as trained.
            measured: From :func:`metaccord.deploy.measure`: goes into the card, its temperature
                into the probabilities.

        Raises:
            UsageError: for a file if the tasks have no coding.
            DataError: for a support set that is not one task of the kind that was trained.
        """
        return predictor(self, support, classes=classes, steps=steps, measured=measured)

    def labelled(self, support: Batch | Labelled | str | Path) -> Labelled:
        """Return a support set with the names of its classes; see :meth:`predictor`."""
        return labelled(self, support)

    def predict_proba(
        self, support: Batch, inputs: Any, *, statistics: Statistics = "frozen"
    ) -> Tensor:
        """Return the probability of each class for ``inputs`` of a task: ``[m, ways]``.

        Args:
            support, inputs, statistics: As for :meth:`predict`; targets are labels.

        Raises:
            UsageError: if the targets are no labels.
        """
        if not isinstance(support.targets, Tensor) or support.targets.is_floating_point():
            raise UsageError("a regression has no probabilities: use Learner.predict")
        outputs: Tensor = self.predict(support, inputs, statistics=statistics)
        return outputs.softmax(-1)

    def predict(self, support: Batch, inputs: Any, *, statistics: Statistics = "frozen") -> Any:
        """Return outputs for ``inputs`` of a task known by its support set.

        Args:
            support: Examples ``[n, ...]``; its ways, if it says any, cut the outputs.
            inputs: Tree of ``[m, ...]``.
            statistics: What batch normalisation sees; see :class:`metaccord.Protocol`.
        """
        support = alone(support)
        params = self.adapted(support)
        place = self.objective.place()
        with torch.no_grad():
            outputs = predict(
                settled(self.objective),
                statistics,
                params,
                tree.to(support, place),
                tree.to(inputs, place),
            )
        return cut(outputs, support.ways)


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
