"""Classification with scikit-learn's manners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from metaccord.codings.arrays import label_texts
from metaccord.errors import DataError, unknown
from metaccord.scikit import data
from metaccord.scikit.base import MetaEstimator
from metaccord.scikit.learned import Floats, Learned

LABELS = ("auto", "shared", "own")


class MetaClassifier(ClassifierMixin, MetaEstimator):
    """Learn from many classification tasks how to learn a new one from a few examples.

    ``meta_fit(tasks)`` learns the start, ``fit(X, y)`` adapts it to the few examples of a new
    task, ``predict(X)`` and ``predict_proba(X)`` predict for that task. Without ``meta_fit``,
    ``fit`` trains an ordinary network from a random start, and says so.

    Args:
        method, interactions, inner_steps, inner_lr, hidden, activation, steps, tasks_per_step,
            outer_lr, standardise, fresh_steps, random_state, device, learned: See
            :class:`MetaRegressor`.
        shots, queries: Examples of each class in an episode's support and query set in
            ``meta_fit``.
        labels: ``"shared"``: the same name means the same class in all tasks (healthy and ill, for
            each patient), and ``fit`` refuses names that no task had. ``"own"``: each task has
            classes of its own (people, products), so names mean nothing from task to task.
            ``"auto"``: shared if one task has all the names, else own.

    Attributes:
        classes_: The classes of the task of ``fit``, sorted.
        n_features_in_, meta_learned_, network_: See :class:`MetaRegressor`.

    Example:
        >>> import numpy as np
        >>> x, y = np.arange(12.0)[:, None], np.repeat(["low", "high"], 6)
        >>> tasks = [(x + shift, y) for shift in range(4)]
        >>> model = MetaClassifier(steps=20, hidden=(16,)).meta_fit(tasks)
        >>> model.fit(x[::3], y[::3]).predict_proba(x).shape
        (12, 2)
    """

    _classifies = True

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
        labels: str = "auto",
        fresh_steps: int = 200,
        random_state: Any = 0,
        device: str = "cpu",
        learned: Learned | None = None,
    ) -> None:
        super().__init__(
            method,
            interactions,
            inner_steps=inner_steps,
            inner_lr=inner_lr,
            hidden=hidden,
            activation=activation,
            shots=shots,
            queries=queries,
            steps=steps,
            tasks_per_step=tasks_per_step,
            outer_lr=outer_lr,
            standardise=standardise,
            fresh_steps=fresh_steps,
            random_state=random_state,
            device=device,
            learned=learned,
        )
        self.labels = labels

    def _family(self, tasks: Any, seed: int) -> data.Family:
        if self.labels not in LABELS:
            raise unknown("labels", str(self.labels), LABELS)
        return data.classification(
            tasks,
            self.labels,
            scaled=self.standardise,
            shots=int(self.shots),
            queries=int(self.queries),
            seed=seed,
        )

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Adapt to the examples of one task.

        Args:
            X: ``[n, features]``.
            y: Classes of any type that can be sorted, ``[n]``.
            sample_weight: ``[n]``; None: all examples count alike.

        Raises:
            DataError: for more classes than a task of ``meta_fit`` had, or for an unknown one if
                classes are shared.
        """
        x, targets = self._validated(X, y)
        check_classification_targets(targets)
        classes, places = np.unique(targets, return_inverse=True)
        allowed = self._allowed(classes)
        self._adapt(x, allowed[places], sample_weight, allowed)
        self.classes_, self.allowed_ = classes, allowed
        return self

    def _allowed(self, classes: NDArray[Any]) -> NDArray[np.int64]:
        """Return the outputs of the task's classes."""
        learned = self.learned
        if learned is None:
            return np.arange(len(classes))
        if learned.classes is None:
            if len(classes) > learned.model["outputs"]:
                raise DataError(
                    f"y has {len(classes)} classes, but a task of meta_fit had at most "
                    f"{learned.model['outputs']}: give fewer, or meta_fit tasks with as many"
                )
            return np.arange(len(classes))
        names = learned.classes.tolist()
        own = classes.tolist()
        if names and isinstance(names[0], str):  # a source of tasks knows classes as text
            own = label_texts(classes, "y")
        strange = [name for name in own if name not in names]
        if strange:
            raise DataError(
                f"y has the class {strange[0]!r}, which no task of meta_fit had (they share "
                f"{', '.join(map(repr, names[:8]))}): meta_fit with tasks that have it, or with "
                "labels='own' if names mean nothing from task to task"
            )
        return np.array([names.index(name) for name in own])

    def predict_proba(self, X: Any) -> Floats:
        """Return the probability of each of ``classes_``: ``[n, classes]``."""
        outputs = self._outputs(X)
        logits = outputs[:, self.allowed_]
        grown = np.exp(logits - logits.max(1, keepdims=True))
        return grown / grown.sum(1, keepdims=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable of ``classes_``: ``[n]``."""
        probable = self.predict_proba(X).argmax(1)
        return self.classes_[probable]
