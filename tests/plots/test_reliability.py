"""The reliability curve shows the bins that hold enough answers, and the ECE."""

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.errors import UsageError
from metaccord.plots import reliability
from metaccord.plots.style import encode
from tests.plots.conftest import texts


def measured(sharper: float) -> mc.Calibration:
    draw = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 5, generator=draw)
    targets = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]
    return mc.Calibration.of_logits(sharper * logits, targets)


def test_points_are_the_bins_with_enough_answers() -> None:
    found = {"honest": measured(1.0), "too sure": measured(2.5)}
    figure = reliability(found, note="how")
    drawn = [a for a in figure.axes[0].lines if len(a.get_xdata()) > 2 and a.get_linestyle() == "-"]
    for one, line in zip(found.values(), drawn, strict=True):
        bins = [b for b in one.reliability if b.examples >= 20]
        np.testing.assert_allclose(line.get_xdata(), [100 * b.confidence for b in bins])
        np.testing.assert_allclose(line.get_ydata(), [100 * b.accuracy for b in bins])
    written = texts(figure)
    assert f"ECE {100 * found['too sure'].ece:.1f} %" in written
    assert "how" in written
    assert len(encode(figure, "png")) > 10_000


@pytest.mark.parametrize("found", [{}, {"a": mc.Calibration((0,), (0.0,), (0,), 0.0, 0.0)}])
def test_nothing_to_draw_is_refused(found: dict[str, mc.Calibration]) -> None:
    with pytest.raises(UsageError, match="no calibration to draw"):
        reliability(found)
