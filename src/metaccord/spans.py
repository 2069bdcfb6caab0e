"""Which numbers are drawn in the logarithm, in plots and reports alike."""

from __future__ import annotations

import numpy as np

LOG_FROM = 20.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


def span(values: np.ndarray) -> tuple[float, float, bool]:
    """Return ends of a scale of losses, and whether it is logarithmic.

    Args:
        values: Of any shape; those that are not finite are left out. A minimum of exactly 0 hides
            no heavy tail: the scale then begins at the least loss above it.
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if not high > low:
        high = low + max(abs(low), 1.0) * 1e-3
    least = float(finite[finite > 0].min(initial=high)) if low == 0 else low
    if least > 0 and high / least >= LOG_FROM:
        return least, high, True
    return low, high, False
