"""Second heads as functions of weights: what ordinary modules compute, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.func import functional_call

from metaccord.errors import UsageError
from metaccord.models.heads import read, second_head
from metaccord.types import Params
from tests.interactions.support import colearner, noise
from tests.reference.compare import relative_error
from tests.tolerances import TWIN_F64

SHAPES = [(4,), (1,), (2, 6, 6), (3, 5, 7), (2, 1, 4), (1, 2, 2), (2, 1, 1)]


def drawn(seed: int, *args: Any) -> Params:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return second_head(*args)


@pytest.mark.parametrize("hidden", [None, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_computes_what_the_module_computes(shape: tuple[int, ...], hidden: int | None) -> None:
    """Names and shapes of the weights, outputs and gradients; odd sides and sides of one."""
    module, weights = colearner(shape, 3, hidden), drawn(0, shape, 3, hidden)
    named = dict(module.named_parameters())
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in named.items()}
    assert not any(v.requires_grad for v in weights.values())
    found = {k: v.requires_grad_() for k, v in noise(named, 1).items()}
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(6, *shape, generator=generator, dtype=torch.float64)
    outputs, expected = read(found, features), functional_call(module, found, (features,))
    assert outputs.shape == (6, 3)
    assert relative_error(outputs, expected) <= TWIN_F64
    towards = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    grads, slow = (
        dict(
            zip(found, torch.autograd.grad((o * towards).sum(), list(found.values())), strict=True)
        )
        for o in (outputs, expected)
    )
    biases = ("first.bias", "second.bias")  # before batch statistics they have only rounding
    if len(shape) == 3:
        grads, slow = ({k: v for k, v in g.items() if k not in biases} for g in (grads, slow))
    assert relative_error(grads, slow) <= TWIN_F64


@pytest.mark.parametrize("shape", [(4,), (2, 6, 6)], ids=str)
def test_weights_are_drawn_as_modules_draw_them(shape: tuple[int, ...]) -> None:
    """Bounds of PyTorch's uniform draws; scales one, shifts zero; a seed decides."""
    weights = drawn(0, shape, 3, 8)
    assert all(torch.equal(v, drawn(0, shape, 3, 8)[k]) for k, v in weights.items())
    assert not torch.equal(weights["first.weight"], drawn(1, shape, 3, 8)["first.weight"])
    for name, tensor in weights.items():
        if "norm" in name:
            assert torch.equal(tensor, torch.full_like(tensor, float(name.endswith("weight"))))
            continue
        bound = weights[f"{name.split('.')[0]}.weight"][0].numel() ** -0.5
        assert bound / 3 < tensor.abs().max() <= bound * (1 + 1e-6)


@pytest.mark.parametrize(
    ("shape", "outputs", "hidden"),
    [((2, 3), 1, None), ((), 1, 4), ((1, 2, 3, 4), 1, None), ((0,), 1, None), ((2, 0, 4), 1, None),
     ((-4,), 1, None), ((4,), 0, None), ((4,), -1, None), ((4,), 1, -2)],
)  # fmt: skip
def test_other_shapes_are_refused(shape: tuple[int, ...], outputs: int, hidden: int | None) -> None:
    with pytest.raises(UsageError, match="a co-learner reads features") as caught:
        second_head(shape, outputs, hidden)
    assert f"found shape {shape}, outputs {outputs}, hidden {hidden}" in str(caught.value)
    assert "\n" not in str(caught.value)
