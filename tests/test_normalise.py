"""Batch statistics kept from one set of examples and applied to another, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metaccord.normalise import BatchStatistics


@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_statistics_of_one_batch_serve_another(pictures: bool, affine: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    shape = (3, 4, 5) if pictures else (3,)
    norm = (nn.BatchNorm2d if pictures else nn.BatchNorm1d)(
        3, affine=affine, track_running_stats=False, eps=0.25
    ).double()
    if affine:
        norm.weight.data, norm.bias.data = torch.tensor([[1.0, 2, 3], [4, 5, 6]]).double()
    support = torch.randn(6, *shape, generator=draw, dtype=torch.float64) * 3 + 1
    query = torch.randn(2, *shape, generator=draw, dtype=torch.float64)
    kept = BatchStatistics()
    with kept.recording():
        torch.testing.assert_close(norm(support), norm(support), rtol=0, atol=0)
    assert len(kept.means) == len(kept.variances) == 2
    with kept.replaying():
        found = norm(query)
    axes = (0, 2, 3) if pictures else (0,)
    mean = support.mean(axes, keepdim=True)
    variance = ((support - mean) ** 2).mean(axes, keepdim=True)
    expected = (query - mean) / (variance + 0.25).sqrt()
    if affine:
        view = (1, 3, 1, 1) if pictures else (1, 3)
        expected = expected * norm.weight.view(view) + norm.bias.view(view)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(kept.means[1], mean.flatten(), rtol=1e-12, atol=1e-12)


def test_recording_is_what_training_does() -> None:
    norm = nn.BatchNorm1d(3, track_running_stats=False).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    expected = norm(x)
    with BatchStatistics().recording():
        torch.testing.assert_close(norm(x), expected, rtol=1e-12, atol=1e-12)


def test_statistics_go_by_the_order_of_calls() -> None:
    first, second = (nn.BatchNorm1d(1, affine=False, eps=0.0) for _ in range(2))
    net, kept = nn.Sequential(first, second), BatchStatistics()
    with kept.recording():
        net(torch.tensor([[1.0], [3.0]]))
    assert [float(mean) for mean in kept.means] == [2.0, 0.0]
    with kept.replaying():
        assert net(torch.tensor([[4.0]])).item() == 2.0
