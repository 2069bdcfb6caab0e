"""Modules for the tests of tests: quadratic tasks and a smooth network with batch statistics."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.reference.loops import Params, Task
from tests.reference.quadratics import Quadratic


class QuadraticModel(nn.Module):
    """Value of ``1/2 w^T A w - b^T w`` for each example, w in several tensors ``parts.0``, ....

    Args:
        sizes: Number of entries of each tensor; d is their sum.

    Shape:
        matrix [n, d, d], vector [n, d] -> [n]
    """

    def __init__(self, *sizes: int) -> None:
        """Start at zero."""
        super().__init__()
        parts = [nn.Parameter(torch.zeros(size, dtype=torch.float64)) for size in sizes]
        self.parts = nn.ParameterList(parts)

    def forward(self, matrix: Tensor, vector: Tensor) -> Tensor:
        """Evaluate the quadratic of every example."""
        w = torch.cat(list(self.parts))
        curved = (w * (matrix @ w)).sum(-1)
        return curved / 2 - (vector * w).sum(-1)


def mean_value(outputs: Tensor, targets: Any) -> Tensor:
    """Criterion of ``QuadraticModel``: its outputs are losses already; targets are ignored."""
    return outputs.mean()


def quadratic_data(matrix: NDArray[Any], vector: NDArray[Any]) -> tuple[Any, Any]:
    """One example: inputs ``(A [1, d, d], b [1, d])`` and empty targets ``[1]``."""
    a, b = torch.from_numpy(matrix), torch.from_numpy(vector)
    return (a.unsqueeze(0), b.unsqueeze(0)), torch.zeros(1, dtype=a.dtype)


def quadratic_task(task: Quadratic, steps: int) -> Task:
    """Give the full support set at each of K steps, then the query set."""
    support = quadratic_data(task.a_s, task.b_s)
    return Task([support] * steps, quadratic_data(task.a_q, task.b_q))


def split(model: nn.Module, vector: NDArray[Any]) -> Params:
    """Distribute ``[d]`` over the parameters of ``model`` in their order."""
    shapes = {name: tensor.shape for name, tensor in model.named_parameters()}
    pieces = torch.split_with_sizes(
        torch.from_numpy(vector), [shape.numel() for shape in shapes.values()]
    )
    return {
        name: piece.reshape(shape).clone()
        for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
    }


def flat(params: Params) -> Tensor:
    """All entries one behind the other, ``[d]``."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in params.values()])


def smooth_net(seed: int, inputs: int = 3, width: int = 4) -> nn.Module:
    """Linear, BatchNorm by batch statistics, tanh, linear to 1 output; float64.

    Several inputs, because with one the normalisation hides the first layer but for its sign.

    Returns:
        The module; the same seed gives the same bits.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(inputs, width),
            nn.BatchNorm1d(width, track_running_stats=False),
            nn.Tanh(),
            nn.Linear(width, 1),
        ).to(torch.float64)
