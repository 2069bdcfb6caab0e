"""What both estimators share: parameters, meta-training, adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from metaccord import tree
from metaccord.errors import DataError, UsageError
from metaccord.hazards import say
from metaccord.learner import Learner
from metaccord.method import Method, initialise
from metaccord.methods import maml
from metaccord.scikit import settings
from metaccord.scikit.data import Family
from metaccord.scikit.episodes import Task, padded
from metaccord.scikit.learned import Floats, Learned, Scaling
from metaccord.scikit.pairs import columns_of, other_columns
from metaccord.train import copied, train
from metaccord.types import MetaState


class MetaEstimator(BaseEstimator):
    """Parameters and work of :class:`MetaClassifier` and :class:`MetaRegressor`."""

    _classifies = False

    def __init__(
        self,
        method: str = "maml",
        interactions: Sequence[str] = (),
        *,
        inner_steps: int = 5,
        inner_lr: float = 0.1,
        hidden: Sequence[int] | Any = (64, 64),
        activation: str = "relu",
        shots: int = 5,
        queries: int = 10,
        steps: int = 1000,
        tasks_per_step: int = 16,
        outer_lr: float | None = None,
        standardise: bool = True,
        fresh_steps: int = 200,
        random_state: Any = 0,
        device: str = "cpu",
        learned: Learned | None = None,
    ) -> None:
        self.method = method
        self.interactions = interactions
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.hidden = hidden
        self.activation = activation
        self.shots = shots
        self.queries = queries
        self.steps = steps
        self.tasks_per_step = tasks_per_step
        self.outer_lr = outer_lr
        self.standardise = standardise
        self.fresh_steps = fresh_steps
        self.random_state = random_state
        self.device = device
        self.learned = learned

    def _family(self, tasks: Any, seed: int) -> Family:
        raise NotImplementedError

    def meta_fit(self, tasks: Any) -> Self:
        """Learn from many tasks how to learn; the result is the parameter ``learned``.

        It always starts anew. Nothing else of the estimator changes.

        Args:
            tasks: Pairs (X, y), one for each task, with the same columns; or a source of
                :mod:`metaccord.tasks`. Tasks may differ in their number of examples and classes.

        Raises:
            UsageError: for a parameter out of range, or tasks of another kind.
            DataError: naming the task that cannot be used.
        """
        settings.checked(self)
        seed = settings.seed_of(self.random_state)
        family = self._family(tasks, seed)
        if self.method == "finetune" and self._classifies and family.classes is None:
            raise UsageError(
                "method 'finetune' trains one network on all tasks at once, but their classes are "
                "their own: use another method, or labels='shared'"
            )
        model = settings.model_of(self, family.features, family.outputs)
        objective = settings.objective_of(
            model, classifies=self._classifies, seed=seed, device=self.device
        )
        method, losses = settings.method_of(self), []
        state: MetaState | None = None
        for record in train(
            method,
            objective,
            family.source,
            steps=int(self.steps),
            num_tasks=int(self.tasks_per_step),
            outer=settings.outer_of(self),
            seed=seed,
        ):
            losses.append(record.loss)
            state = record.state
        assert state is not None
        self.learned = Learned(
            method=method,
            state=_moved(copied(state), torch.device("cpu")),
            model=model,
            inputs=family.inputs,
            targets=family.targets,
            classes=family.classes,
            losses=np.array(losses),
            tasks=family.tasks,
            names=family.names,
        )
        return self

    def _validated(self, X: Any, y: Any) -> tuple[Floats, NDArray[Any]]:
        """Return features ``[n, F]`` and targets ``[n]`` of the new task."""
        settings.checked(self)
        if self.learned is not None and not isinstance(self.learned, Learned):
            raise UsageError(
                f"learned is {type(self.learned).__name__}: it is what meta_fit leaves, or None"
            )
        x, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=not self._classifies)
        if self.learned is not None and x.shape[1] != self.learned.model["inputs"]:
            raise DataError(
                f"X has {x.shape[1]} features, but the tasks of meta_fit have "
                f"{self.learned.model['inputs']}: give the same columns"
            )
        own, names = columns_of(X), () if self.learned is None else self.learned.names
        if own and names and own != names:
            raise DataError(f"X: {other_columns(own, names)}")
        return x, targets

    def _adapt(
        self, x: Floats, values: NDArray[Any], sample_weight: Any, allowed: NDArray[np.int64]
    ) -> None:
        """Adapt to one task and keep what predicts.

        Args:
            x: Features ``[n, F]``.
            values: Targets, or numbers of outputs, ``[n]``.
            sample_weight: ``[n]`` or None.
            allowed: The outputs that the task uses; empty for regression.
        """
        weight = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        if not weight.any():
            raise DataError("sample_weight is zero for all examples: one must be above 0")
        if self.learned is None:
            say(
                f"{type(self).__name__}.fit without meta_fit: an ordinary network is trained from "
                "a random start, for fresh_steps steps of gradient descent"
            )
        outputs = int(allowed.max()) + 1 if self._classifies else 1
        inputs, targets, learner = self._start(x, values, weight, outputs)
        if not self._classifies:
            values = targets.apply(values[:, None])[:, 0]
        ways = outputs if self.learned is None else self.learned.model["outputs"]
        ways = ways if self._classifies else 0
        task = Task(inputs.apply(x), values, allowed)
        support = tree.mapped(lambda leaf: leaf[0], padded([task], ways, [weight]))
        self.network_ = learner.adapt(support).cpu()
        self.meta_learned_ = self.learned is not None
        self.inputs_, self.targets_ = inputs, targets

    def _start(
        self, x: Floats, values: NDArray[Any], weight: Floats, outputs: int
    ) -> tuple[Scaling, Scaling, Learner]:
        """Return how to scale, and where adaptation starts."""
        seed, learned = settings.seed_of(self.random_state), self.learned
        if learned is not None:
            method = self._compatible(learned)
            model, inputs, targets = learned.model, learned.inputs, learned.targets
        else:
            model = settings.model_of(self, x.shape[1], outputs)
            method = maml(int(self.fresh_steps), float(self.inner_lr), never=())
            inputs, targets = Scaling.none(x.shape[1]), Scaling.none(1)
            if self.standardise:
                inputs = Scaling.of(x, weight)
                targets = targets if self._classifies else Scaling.of(values[:, None], weight)
        objective = settings.objective_of(
            model, classifies=self._classifies, seed=seed, device=self.device
        )
        state = initialise(method, objective, seed=seed)
        if learned is not None:
            state = _moved(learned.state, objective.place())
        return inputs, targets, Learner(method, objective, state)

    def _compatible(self, learned: Learned) -> Method:
        """Return the method of adaptation: the inner loop may change, what was learned may not."""
        method = settings.method_of(self)
        model = settings.model_of(self, learned.model["inputs"], learned.model["outputs"])
        for name in ("hidden", "activation"):
            if model[name] != learned.model[name]:
                raise UsageError(
                    f"{name} is {model[name]!r}, but what was meta-learned has "
                    f"{learned.model[name]!r}: call meta_fit again, or set it back"
                )
        if method.label != learned.method.label:
            raise UsageError(
                f"the method is {method.label}, but {learned.method.label} was meta-learned: call "
                "meta_fit again, or set method and interactions back"
            )
        rule = learned.method.rule
        if rule.learns and method.rule.lr != rule.lr:
            raise UsageError(
                f"inner_lr is {method.rule.lr}, but {learned.method.name} has learned its rates "
                f"from {rule.lr}: set it back, or call meta_fit again"
            )
        return method

    def _outputs(self, X: Any) -> Floats:
        """Return the network's outputs ``[n, m]`` for features."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        with torch.no_grad():
            found = self.network_(torch.from_numpy(self.inputs_.apply(x)))
        return found.numpy()


def _moved(state: MetaState, place: torch.device) -> MetaState:
    return state._replace(
        params=tree.to(state.params, place), running=tree.to(state.running, place)
    )
