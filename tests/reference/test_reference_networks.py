"""The twins on a small tanh network with batch statistics, and the measure of disagreement."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from tests import tolerances
from tests.reference import loops
from tests.reference.compare import relative_error
from tests.reference.modules import QuadraticModel, flat, mean_value, smooth_net
from tests.reference.rules import Slots, mean_slots

LR = 0.1
NET = smooth_net(0)
THETA = {name: tensor.detach() for name, tensor in NET.named_parameters()}


def waves(num_tasks: int, steps: int, dtype: torch.dtype = torch.float64) -> list[loops.Task]:
    """Sines of random combinations of 3 inputs: 8 support and 7 query points."""
    generator = torch.Generator().manual_seed(1)
    tasks = []
    for _ in range(num_tasks):
        x = torch.randn(15, 3, generator=generator, dtype=torch.float64)
        direction = torch.randn(3, 1, generator=generator, dtype=torch.float64)
        x, y = x.to(dtype), torch.sin(x @ direction).to(dtype)
        tasks.append(loops.Task([(x[:8], y[:8])] * steps, (x[8:], y[8:])))
    return tasks


def query_loss(theta: loops.Params, tasks: list[loops.Task], rule: str) -> float:
    """Sum over tasks of the query loss after adaptation: a plain function of theta."""
    total = 0.0
    for task in tasks:
        adapted = loops.adapt(NET, mse_loss, theta, task.batches, LR, create_graph=False, rule=rule)
        assert task.query is not None
        total += loops.loss_at(NET, mse_loss, adapted.path[-1], task.query).item()
    return total


def moved(name: str, index: int, by: float) -> loops.Params:
    """Theta with one entry displaced."""
    tensor = THETA[name].clone()
    tensor.view(-1)[index] += by
    return {**THETA, name: tensor}


def central_difference(tasks: list[loops.Task], rule: str, h: float) -> loops.Params:
    """Gradient of ``query_loss`` by entries, error O(h^4) after one Richardson step."""
    result = {}
    for name, tensor in THETA.items():
        entries = []
        for index in range(tensor.numel()):
            coarse, fine = (
                (
                    query_loss(moved(name, index, s), tasks, rule)
                    - query_loss(moved(name, index, -s), tasks, rule)
                )
                / (2 * s)
                for s in (h, h / 2)
            )
            entries.append((4 * fine - coarse) / 3)
        result[name] = torch.tensor(entries, dtype=torch.float64).view_as(tensor)
    return result


def total(rows: list[loops.Params]) -> loops.Params:
    """Sum of rows by name."""
    return {name: torch.stack([row[name] for row in rows]).sum(0) for name in rows[0]}


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
def test_maml_equals_central_differences(rule: str) -> None:
    """Every entry, through three steps and the batch statistics; first order must fail."""
    tasks = waves(2, 3)
    expected = central_difference(tasks, rule, 1e-4)
    maml = total(loops.maml_rows(NET, mse_loss, THETA, tasks, LR, rule=rule))
    fomaml = total(loops.fomaml_rows(NET, mse_loss, THETA, tasks, LR, rule=rule))
    assert relative_error(maml, expected) <= tolerances.CENTRAL_DIFFERENCE
    assert relative_error(fomaml, expected) > tolerances.CLEARLY_DIFFERENT


def test_taylor_remainder_has_slope_two() -> None:
    """|f(theta + h v) - f(theta) - h g.v| shrinks like h^2 only for the right gradient."""
    tasks = waves(2, 3)
    gradient = total(loops.maml_rows(NET, mse_loss, THETA, tasks, LR))
    generator = torch.Generator().manual_seed(2)
    v = {n: torch.randn(t.shape, generator=generator, dtype=t.dtype) for n, t in THETA.items()}
    slope = float(flat(gradient) @ flat(v))
    start, remainders = query_loss(THETA, tasks, "sgd"), []
    for h in (1e-3, 1e-4):
        there = {name: THETA[name] + h * v[name] for name in THETA}
        remainders.append(abs(query_loss(there, tasks, "sgd") - start - h * slope))
    assert abs(math.log10(remainders[0] / remainders[1]) - 2) <= tolerances.TAYLOR_SLOPE


def test_single_precision_follows_double() -> None:
    """The twins run in any dtype."""
    net = smooth_net(0).to(torch.float32)
    theta = {name: tensor.detach() for name, tensor in net.named_parameters()}
    narrow = loops.maml_rows(net, mse_loss, theta, waves(2, 3, torch.float32), LR)
    wide = loops.maml_rows(NET, mse_loss, THETA, waves(2, 3), LR)
    assert {tensor.dtype for tensor in narrow[0].values()} == {torch.float32}
    assert relative_error(total(narrow), total(wide)) <= tolerances.CHUNK_F32


def test_inputs_may_be_a_dictionary() -> None:
    """A tuple calls model(*x), a dictionary model(**x), with the same bits."""
    model = QuadraticModel(2)
    inputs = (torch.eye(2).double().unsqueeze(0), torch.ones(1, 2).double())
    named = dict(zip(("matrix", "vector"), inputs, strict=True))
    params = {"parts.0": torch.tensor([0.5, -2.0], dtype=torch.float64)}
    rows = [
        loops.maml_rows(model, mean_value, params, [loops.Task([(x, None)], (x, None))], LR)[0]
        for x in (inputs, named)
    ]
    assert torch.equal(flat(rows[0]), flat(rows[1]))


def test_nothing_is_touched() -> None:
    """Parameters and the module stay as they were; a second run has the same bits."""
    tasks, before = waves(1, 2), {name: tensor.clone() for name, tensor in THETA.items()}
    runs = [loops.maml_rows(NET, mse_loss, THETA, tasks, LR)[0] for _ in range(2)]
    assert torch.equal(flat(runs[0]), flat(runs[1]))
    assert torch.equal(flat(THETA), flat(before))
    assert all(parameter.grad is None for parameter in NET.parameters())


def test_an_unused_parameter_has_a_zero_row() -> None:
    """Neither support nor query loss uses it: zero, not an error."""

    class Spare(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 1, dtype=torch.float64)
            self.spare = nn.Parameter(torch.ones(2, dtype=torch.float64))

    model = Spare()
    params = {name: tensor.detach() for name, tensor in model.named_parameters()}
    for twin in (loops.maml_rows, loops.fomaml_rows, loops.reptile_rows):
        (row,) = twin(model, mse_loss, params, waves(1, 2), LR)
        assert not row["spare"].any()
        assert row["weight"].any()


def test_slots_are_averaged_over_tasks() -> None:
    """Every task starts from the same slots; afterwards their mean goes on."""

    def slots(value: float) -> Slots:
        return Slots({"w": torch.tensor([value])}, {"w": torch.tensor([value**2])}, 5)

    mean = mean_slots([slots(1.0), slots(3.0)])
    assert (mean.first["w"].item(), mean.second["w"].item(), mean.steps) == (2.0, 5.0, 5)


def test_relative_error_is_over_the_whole_gradient() -> None:
    """Small tensors do not dominate; nothing is broadcast; a NaN never passes."""
    b = {"x": torch.tensor([3.0, 0.0]), "y": torch.tensor([4.0])}
    a = {"x": torch.tensor([3.0, 0.0]), "y": torch.tensor([4.5])}
    assert relative_error(a, b) == 0.1
    zero: Tensor = torch.zeros(2)
    assert relative_error(zero, zero) == 0.0
    assert relative_error(zero + 1, zero) == math.inf
    assert not relative_error(zero * math.nan, zero) <= 1.0
    with pytest.raises(ValueError, match="same names"):
        relative_error({"x": zero}, {"y": zero})
    with pytest.raises(ValueError, match="same shapes"):
        relative_error(torch.zeros(1), zero)
