"""The twins of the interactions on a tanh network with batch statistics: finite differences."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from tests import tolerances
from tests.reference import coherence, colearner, loops, sharing
from tests.reference.compare import relative_error
from tests.reference.modules import smooth_net

LR, STEPS, NUM_TASKS = 0.1, 3, 2
NET = smooth_net(0)
FEATURES = "2"  # the activations after tanh
THETA = {name: tensor.detach() for name, tensor in NET.named_parameters()}
Tree = dict[str, Tensor]


def noise(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def head(name: str) -> bool:
    """Names of the last layer."""
    return name.startswith("3.")


def tasks() -> list[loops.Task]:
    """Sines of random combinations of 3 inputs: 8 support and 7 query points."""
    found = []
    for i in range(NUM_TASKS):
        x = noise(15, 3, seed=i)
        y = torch.sin(x @ noise(3, 1, seed=10 + i))
        found.append(loops.Task([(x[:8], y[:8])] * STEPS, (x[8:], y[8:])))
    return found


TASKS = tasks()
COEFFICIENTS = {"share": noise(STEPS, seed=20), "past": noise(STEPS, seed=21)}
BY_TENSOR = {
    f"{kind}.{name}": noise(STEPS, seed=30 + i)
    for i, name in enumerate(THETA)
    for kind in ("share", "past")
}
PAST: sharing.Past = [
    None,
    *({n: 0.3 * noise(*t.shape, seed=40 + k) for n, t in THETA.items()} for k in range(STEPS - 1)),
]


def central_difference(function: Callable[[Tree], float], at: Tree, h: float = 2e-4) -> Tree:
    """Gradient by entries, error O(h^4) after one Richardson step."""

    def slope(name: str, index: int, by: float) -> float:
        values = []
        for sign in (by, -by):
            tensor = at[name].clone()
            tensor.view(-1)[index] += sign
            values.append(function({**at, name: tensor}))
        return (values[0] - values[1]) / (2 * by)

    return {
        name: torch.tensor(
            [(4 * slope(name, j, h / 2) - slope(name, j, h)) / 3 for j in range(tensor.numel())],
            dtype=torch.float64,
        ).view_as(tensor)
        for name, tensor in at.items()
    }


def replayed(theta: Tree, coefficients: Tree, means: list[Tree] | None, mode: Any) -> float:
    """Mean query loss of the lockstep; with ``means`` given, c_k stays what it was."""
    found = []
    now = [dict(theta) for _ in TASKS]
    for step in range(STEPS):
        own = [
            loops.gradient(
                loops.loss_at(NET, mse_loss, leaf, task.batches[step]), leaf, create_graph=False
            )
            for leaf, task in zip(map(loops.leaves, now), TASKS, strict=True)
        ]
        c = {n: torch.stack([g[n] for g in own]).mean(0) for n in theta}
        c = c if means is None else means[step]
        for i, g in enumerate(own):
            h = sharing.blend(mode, coefficients, step, g, c, PAST[step])
            now[i] = {n: now[i][n] - LR * h[n] for n in theta}
    for point, task in zip(now, TASKS, strict=True):
        assert task.query is not None
        found.append(loops.loss_at(NET, mse_loss, point, task.query).item())
    return sum(found) / NUM_TASKS


@pytest.mark.parametrize("coefficients", [COEFFICIENTS, BY_TENSOR], ids=["steps", "tensors"])
@pytest.mark.parametrize("differentiate", [True, False])
@pytest.mark.parametrize("mode", ["convex", "additive"])
def test_sharing(
    mode: Literal["convex", "additive"], differentiate: bool, coefficients: Tree
) -> None:
    """Gradients by coefficients and theta: of the whole loss, or of the one with c_k frozen."""
    found = sharing.sharing_step(
        NET,
        mse_loss,
        THETA,
        TASKS,
        LR,
        coefficients,
        PAST,
        mode=mode,
        differentiate=differentiate,
    )
    means = None if differentiate else found.means
    by_coefficient = central_difference(lambda at: replayed(THETA, at, means, mode), coefficients)
    error = relative_error(found.coefficient_grads, by_coefficient)
    assert error <= tolerances.CENTRAL_DIFFERENCE
    by_theta = central_difference(lambda at: replayed(at, coefficients, means, mode), THETA)
    assert relative_error(found.grads, by_theta) <= tolerances.CENTRAL_DIFFERENCE
    assert found.coefficient_grads[next(iter(coefficients))].all()


def test_colearner() -> None:
    """Gradients by phi and theta; the co-learner sees adapted features and no inner step."""
    other = nn.Linear(4, 1, dtype=torch.float64)
    phi, gamma = {"weight": noise(1, 4, seed=50), "bias": noise(1, seed=51)}, 0.6

    def step(theta: Tree, at: Tree, weight: float = gamma) -> colearner.CooperativeRows:
        return colearner.cml_step(
            NET, mse_loss, theta, other, at, TASKS, LR, weight, features=FEATURES
        )

    def total(theta: Tree, at: Tree) -> float:
        found = step(theta, at)
        pairs = zip(found.losses, found.colearner_losses, strict=True)
        return sum((main + gamma * extra).item() for main, extra in pairs) / NUM_TASKS

    found = step(THETA, phi)
    by_phi = central_difference(lambda at: total(THETA, at), phi)
    by_theta = central_difference(lambda at: total(at, phi), THETA)
    assert relative_error(mean(found.colearner_rows), by_phi) <= tolerances.CENTRAL_DIFFERENCE
    assert relative_error(mean(found.rows), by_theta) <= tolerances.CENTRAL_DIFFERENCE
    assert all(row["weight"].any() for row in found.colearner_rows)


def test_colearner_reaches_the_head_at_second_order_alone() -> None:
    """L^c = cooperative row minus MAML row: zero on the head if J_i = I, and not otherwise."""
    other = nn.Linear(4, 1, dtype=torch.float64)
    phi = {name: tensor.detach() for name, tensor in other.named_parameters()}
    for first_order, base in ((True, loops.fomaml_rows), (False, loops.maml_rows)):
        found = colearner.cml_step(
            NET,
            mse_loss,
            THETA,
            other,
            phi,
            TASKS,
            LR,
            1.0,
            features=FEATURES,
            first_order=first_order,
        )
        plain = base(NET, mse_loss, THETA, TASKS, LR)
        for row, without in zip(found.rows, plain, strict=True):
            extra = {n: (row[n] - without[n]).abs().max().item() for n in row}
            reached = max(value for n, value in extra.items() if head(n))
            assert (reached == 0) == first_order
            assert max(extra.values()) > 1e-3


@pytest.mark.parametrize("reading", ["rotate", "shift"])
@pytest.mark.parametrize("whole", [True, False])
def test_coherence(reading: Literal["rotate", "shift"], whole: bool) -> None:
    """The whole gradient against the whole loss; otherwise with the correction frozen."""
    rate = 0.5
    start = solutions(THETA)
    hats = coherence.corrected_solutions(THETA, start, rate, reading)

    def total(theta: Tree) -> float:
        ends = solutions(theta)
        if whole:
            bent = coherence.corrected_solutions(theta, ends, rate, reading)
        else:
            bent = [
                {n: end[n] + hat[n] - first[n] for n in end}
                for end, hat, first in zip(ends, hats, start, strict=True)
            ]
        pairs = zip(bent, TASKS, strict=True)
        return sum(query_loss(point, task) for point, task in pairs) / NUM_TASKS

    through: coherence.Through = "everything" if whole else "nothing"
    found = coherence.coherence_rows(
        NET, mse_loss, THETA, TASKS, LR, rate, reading=reading, through=through
    )
    by_theta = central_difference(total, THETA)
    assert relative_error(mean(found), by_theta) <= tolerances.CENTRAL_DIFFERENCE


def test_only_what_moves_is_shared_and_bent() -> None:
    """The head alone moves: the body keeps its bits, is no part of c_k, and still has rows."""
    options: dict[str, Any] = {"moves": head}
    past: sharing.Past = [None] * STEPS
    found = sharing.sharing_step(NET, mse_loss, THETA, TASKS, LR, COEFFICIENTS, past, **options)
    assert all(not head(name) or name in c for c in found.means for name in THETA)
    assert all(head(name) for c in found.means for name in c)
    ends = [
        loops.adapt(NET, mse_loss, THETA, t.batches, LR, create_graph=False, **options).path[-1]
        for t in TASKS
    ]
    bent = coherence.corrected_solutions(THETA, ends, 0.5, "shift", **options)
    rows = coherence.coherence_rows(NET, mse_loss, THETA, TASKS, LR, 0.5, **options)
    for name in THETA:
        for end in (*found.solutions, *bent):
            assert torch.equal(end[name], THETA[name]) == (not head(name))
        assert all(row[name].any() for row in (*found.rows, *rows)) or name == "0.bias"


def solutions(theta: Tree) -> list[Tree]:
    """theta_i of MAML."""
    return [
        loops.adapt(NET, mse_loss, theta, task.batches, LR, create_graph=False).path[-1]
        for task in TASKS
    ]


def query_loss(point: Tree, task: loops.Task) -> float:
    """L_Q at a point."""
    assert task.query is not None
    return loops.loss_at(NET, mse_loss, point, task.query).item()


def mean(rows: list[Tree]) -> Tree:
    """(1/N) sum of rows."""
    return {name: torch.stack([row[name] for row in rows]).mean(0) for name in rows[0]}
