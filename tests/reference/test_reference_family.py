"""The twins of WarpGrad, MGAug and PCGrad against algebra, limits, finite differences."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from tests import tolerances
from tests.reference import family, loops, pruned, warp
from tests.reference.checks import (
    DIM,
    LR,
    MODEL,
    NET,
    STEPS,
    THETA,
    along,
    close,
    draw,
    far,
    waves,
)
from tests.reference.compare import relative_error
from tests.reference.modules import flat, mean_value, split
from tests.reference.pcgrad import pcgrad

ORDERS = pytest.mark.parametrize("first_order", [False, True])


class Warped(nn.Module):
    """``QuadraticModel`` in y = W theta: task tensor ``theta`` [e], warp tensor ``warp`` [d, e]."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(4, dtype=torch.float64))
        self.warp = nn.Parameter(torch.zeros(DIM, 4, dtype=torch.float64))

    def forward(self, matrix: Tensor, vector: Tensor) -> Tensor:
        y = self.warp @ self.theta
        return (y * (matrix @ y)).sum(-1) / 2 - (vector * y).sum(-1)


@ORDERS
@pytest.mark.parametrize("first_order_start", [False, True])
def test_warp(first_order: bool, first_order_start: bool) -> None:
    """Linear warp: row of W through the lookahead, row of theta through the path."""
    tasks, data, _ = draw(20)
    rng = np.random.default_rng(21)
    theta, matrix = rng.standard_normal(4), rng.standard_normal((DIM, 4)) / 2
    params = {"theta": torch.from_numpy(theta), "warp": torch.from_numpy(matrix)}
    rows = warp.warp_rows(
        Warped(), mean_value, params, data, LR, warps=lambda name: name == "warp",
        first_order=first_order, first_order_start=first_order_start,
    )  # fmt: skip
    for row, task in zip(rows, tasks, strict=True):
        closed = family.warp_objective(task, theta, matrix, LR, STEPS, first_order=first_order)
        close(row["warp"], closed)
        start = family.warp_start(task, theta, matrix, LR, STEPS, first_order=first_order_start)
        close(row["theta"], start)


def test_warp_equals_central_differences() -> None:
    """On the network, its first layer the warp; and without warp tensors it is MAML."""
    tasks = waves()

    def warps(name: str) -> bool:
        return name.startswith("0.")

    def inside(name: str) -> bool:
        return not warps(name)

    options: dict[str, Any] = {"create_graph": False, "moves": inside}
    states = loops.adapt(NET, mse_loss, THETA, tasks[0].batches, LR, **options).path[:-1]

    def value(v: loops.Params, h: float) -> float:
        phi = {name: THETA[name] + h * v[name] for name in v}
        return warp.warp_loss(NET, mse_loss, states, phi, tasks[0], LR, inside).item()

    row = warp.warp_rows(NET, mse_loss, THETA, tasks[:1], LR, warps=warps)[0]
    first = warp.warp_rows(NET, mse_loss, THETA, tasks[:1], LR, warps=warps, first_order=True)[0]
    along({"0.weight": row["0.weight"]}, value)
    far({"0.weight": first["0.weight"]}, {"0.weight": row["0.weight"]})
    base = loops.maml_rows(NET, mse_loss, THETA, tasks, LR, moves=inside)
    for name in filter(inside, THETA):
        assert torch.equal(row[name], base[0][name])


@ORDERS
@pytest.mark.parametrize("maxup", [False, True])
def test_mgaug(maxup: bool, first_order: bool) -> None:
    """Base plus masked copies; with maxup the worst copy only."""
    tasks, data, theta = draw(22)
    params, base = split(MODEL, theta), loops.fomaml_rows if first_order else loops.maml_rows
    rng = np.random.default_rng(23)
    drawn = rng.integers(0, 2, (len(tasks), 3, DIM)).astype(np.float64)
    masks = [[split(MODEL, mask) for mask in copies] for copies in drawn]
    rows = pruned.mgaug_rows(
        MODEL, mean_value, params, data, masks, LR, first_order=first_order, maxup=maxup
    )
    plain = base(MODEL, mean_value, params, data, LR)
    for row, own, task, copies in zip(rows, plain, tasks, drawn, strict=True):
        found = [
            family.mgaug_copy(task, theta, LR, STEPS, mask, first_order=first_order)
            for mask in copies
        ]
        chosen = [max(found, key=lambda pair: pair[0])] if maxup else found
        close(row, flat(own).numpy() + np.sum([extra for _, extra in chosen], axis=0))


@ORDERS
def test_mgaug_at_its_limits(first_order: bool) -> None:
    """No copy: the base to the bit; S whole copies: 1 + S times it; a pruned entry gets none."""
    _, data, theta = draw(24)
    params, base = split(MODEL, theta), loops.fomaml_rows if first_order else loops.maml_rows
    for moves in (loops.always, lambda name: name != "parts.1"):
        options: dict[str, Any] = {"first_order": first_order, "moves": moves}
        rows = base(MODEL, mean_value, params, data, LR, moves=moves)
        for copies, factor in [(0, 1), (2, 3)]:
            whole: list[list[loops.Params]] = [[{} for _ in range(copies)] for _ in data]
            found = pruned.mgaug_rows(MODEL, mean_value, params, data, whole, LR, **options)
            for row, own in zip(found, rows, strict=True):
                close(row, factor * flat(own), 0.0 if copies == 0 else tolerances.TWIN_F64)
        mask = split(MODEL, np.array([1.0, 0.0, 1.0, 1.0, 0.0]))
        _, extra = pruned.pruned_row(MODEL, mean_value, params, data[0], mask, LR, **options)
        assert flat(extra)[[1, 4]].tolist() == [0.0, 0.0]
        assert flat(extra)[[0, 2, 3]].all()


def test_pcgrad() -> None:
    """Two tasks against projectors, four in given orders, and gradients that do not conflict."""
    generator = torch.Generator().manual_seed(25)
    g = list(torch.randn(4, DIM, generator=generator, dtype=torch.float64))
    a, b = g[0], g[1] - 2 * (g[0] @ g[1] + 1) / (g[0] @ g[0]) * g[0]  # a.b < 0
    assert a @ b < 0
    eye = torch.eye(DIM, dtype=torch.float64)
    pair = pcgrad([a, b], [[0, 1], [1, 0]])
    close(pair[0], ((eye - b.outer(b) / (b @ b)) @ a).numpy())
    close(pair[1], ((eye - a.outer(a) / (a @ a)) @ b).numpy())
    for kind in (pcgrad([a, a, 0 * a], [[1, 2], [0, 2], [1, 0]]), pcgrad([a], [[0]])):
        assert torch.equal(kind[0], a)
    x, y, z = (torch.tensor(v).double() for v in ([1.0, 0, 0], [-1.0, 1, 0], [-1.0, -3, 1]))
    # by hand: against y x becomes (1/2, 1/2, 0), then against z loses -2/11 of it; and reversed
    first = pcgrad([x, y, z], [[1, 2], [2, 0], [0, 1]])[0]
    close(first, np.array([0.5, 0.5, 0]) + 2 / 11 * z.numpy())
    other = pcgrad([x, y, z], [[2, 1], [2, 0], [0, 1]])[0]
    turned = x + z / 11  # (10, -3, 1) / 11 conflicts with y by -13/11
    close(other, (turned + 13 / 22 * y).numpy())
    assert relative_error(first, other) > tolerances.CLEARLY_DIFFERENT
