"""Random quadratic cases on which the twins of the interactions meet their closed forms."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests import tolerances
from tests.reference import colearner, loops, quadratics, sharing
from tests.reference.compare import relative_error
from tests.reference.modules import QuadraticModel, flat, quadratic_data, quadratic_task, split

LR, SIZES, DIM, WIDTH = 0.5, (2, 3), 5, 4


class FeatureModel(QuadraticModel):
    """The quadratic, with w itself ``[1, d]`` as the features of its submodule ``body``."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.body = nn.Identity()

    def forward(self, matrix: Tensor, vector: Tensor) -> Tensor:
        self.body(torch.cat(list(self.parts)).unsqueeze(0))
        return super().forward(matrix, vector)


def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
    """Values ``[n]`` are losses already; guesses ``[1, m]`` cost half their squared error."""
    return outputs.mean() if outputs.ndim == 1 else (outputs - targets).square().sum() / 2


MODEL = FeatureModel(*SIZES)
COLEARNER = nn.Linear(DIM, WIDTH, bias=False, dtype=torch.float64)


class Case:
    """Random tasks, theta, coefficients of three steps, history and co-learner."""

    def __init__(self, seed: int, steps: int, num_tasks: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.steps = steps
        self.quadratics = [quadratics.random_quadratic(rng, DIM, 50.0) for _ in range(num_tasks)]
        self.theta = rng.standard_normal(DIM)
        self.share, self.past = rng.standard_normal((2, 3))
        self.history: list[Any] = list(rng.standard_normal((3, DIM)))
        self.phi = rng.standard_normal((WIDTH, DIM))
        self.targets = rng.standard_normal((num_tasks, WIDTH))
        self.params = split(MODEL, self.theta)
        self.tasks = [
            loops.Task(
                quadratic_task(task, steps).batches,
                (quadratic_data(task.a_q, task.b_q)[0], torch.from_numpy(y)[None]),
            )
            for task, y in zip(self.quadratics, self.targets, strict=True)
        ]
        self.coefficients = {
            "share": torch.from_numpy(self.share),
            "past": torch.from_numpy(self.past),
        }
        self.memory: sharing.Past = [split(MODEL, m) for m in self.history]
        self.weights = {"weight": torch.from_numpy(self.phi)}

    def forget(self) -> None:
        """No history yet."""
        self.history, self.memory = [None] * 3, [None] * 3

    def twin(self, step: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a twin on these tasks."""
        return step(MODEL, criterion, self.params, self.tasks, LR, *args, **options)

    def shared(self, **options: Any) -> sharing.SharingStep:
        """One step of Gradient Sharing."""
        found: sharing.SharingStep = self.twin(
            sharing.sharing_step, self.coefficients, self.memory, **options
        )
        return found

    def cooperative(self, gamma: float, **options: Any) -> colearner.CooperativeRows:
        """One step of cooperative meta-learning."""
        parts = (self.params, COLEARNER, self.weights, self.tasks)
        return colearner.cml_step(MODEL, criterion, *parts, LR, gamma, **options)

    def solutions(self) -> list[loops.Params]:
        """Where plain MAML arrives."""
        return [
            loops.adapt(MODEL, criterion, self.params, t.batches, LR, create_graph=False).path[-1]
            for t in self.tasks
        ]


def rows(found: list[loops.Params]) -> Tensor:
    """Rows ``[N, d]``."""
    return torch.stack([flat(row) for row in found])


def agrees(found: Tensor, closed: quadratics.Array) -> bool:
    """Whether a twin gives a closed form."""
    return relative_error(found, torch.from_numpy(closed)) <= tolerances.CLOSED_FORM_F64
