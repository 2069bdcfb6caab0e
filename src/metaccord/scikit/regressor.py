"""Regression with scikit-learn's manners."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from metaccord.scikit import data
from metaccord.scikit.base import MetaEstimator
from metaccord.scikit.learned import Floats


class MetaRegressor(RegressorMixin, MetaEstimator):
    """Learn from many regression tasks how to learn a new one from a few examples.

    ``meta_fit(tasks)`` learns the start, ``fit(X, y)`` adapts it to the few examples of a new
    task, ``predict(X)`` predicts for that task. Without ``meta_fit``, ``fit`` trains an ordinary
    network from a random start, and says so.

    Args:
        method: A base method, a word of :data:`metaccord.methods.BASES`.
        interactions: Names such as ``"agreement"``, in this order.
        inner_steps, inner_lr: Gradient steps of ``fit`` and their size; both may be changed after
            ``meta_fit``, unless the method learns its rates.
        hidden, activation: Of the network, a multi-layer perceptron in float64.
        shots, queries: Examples of an episode's support and query set in ``meta_fit``.
        steps, tasks_per_step, outer_lr: Of ``meta_fit``; None: 1e-3 with Adam, for Reptile 1 with
            plain steps that decay to 0.
        standardise: Whether features and targets are scaled by mean and standard deviation over
            all tasks of ``meta_fit`` together.
        fresh_steps: Gradient steps of ``fit`` without ``meta_fit``.
        random_state: A whole number; a numpy RandomState or None draw one.
        device: Where to compute.
        learned: What ``meta_fit`` left; it survives ``clone``, so that pipelines and grid search
            keep it. Another estimator's may be given.

    Attributes:
        n_features_in_: Columns of X.
        meta_learned_: Whether ``fit`` started from what was meta-learned.
        network_: The adapted network, a plain module for scaled features.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> tasks = [(x, a * x[:, 0]) for a in (-2, -1, 1, 2)]
        >>> model = MetaRegressor(steps=20, hidden=(16,)).meta_fit(tasks)
        >>> model.fit(x[:5], 1.5 * x[:5, 0]).predict(x).shape
        (20,)
    """

    def _family(self, tasks: Any, seed: int) -> data.Family:
        return data.regression(
            tasks,
            scaled=self.standardise,
            shots=int(self.shots),
            queries=int(self.queries),
            seed=seed,
        )

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Adapt to the examples of one task.

        Args:
            X: ``[n, features]``.
            y: ``[n]``.
            sample_weight: ``[n]``; None: all examples count alike.
        """
        x, targets = self._validated(X, y)
        self._adapt(x, np.asarray(targets, np.float64), sample_weight, np.zeros(0, np.int64))
        return self

    def predict(self, X: Any) -> Floats:
        """Return predictions ``[n]``."""
        outputs = self._outputs(X)
        return self.targets_.undo(outputs)[:, 0]
