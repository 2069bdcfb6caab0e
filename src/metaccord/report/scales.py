"""Numbers as people read them, and axes with round numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from metaccord.spans import LOG_FROM
from metaccord.statistics import Interval

MINUS = "−"
PLUS, PERCENT = "\u00a0±\u00a0", "\u00a0%"  # no line ends inside a number


class Scale(NamedTuple):
    """An axis.

    Attributes:
        low, high: Its ends.
        log: Whether it is logarithmic.
        ticks: Numbers that are written, ascending.
    """

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Return the place of a value as a share of the axis."""
        low, high = self.low, self.high
        if self.log:
            if value <= 0:
                return 0.0
            return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
        return (value - low) / (high - low)


def scale(
    values: Iterable[float], *, log: bool | None = False, zero: bool = False, most: int = 5
) -> Scale:
    """Return an axis that holds all finite values.

    Args:
        values: What is drawn.
        log: Logarithmic or not; None: if values are positive and span a factor of 20.
        zero: Begin at 0.
        most: About so many ticks.
    """
    found = [v for v in values if math.isfinite(v)]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if log is None:
        log = low > 0 and high / low >= LOG_FROM
    if log and low > 0:
        return _log(low, high)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        pad = abs(high) * 0.05 or 1.0
        low, high = low - pad, high + pad
    step = _step((high - low) / most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(i * step, 12) for i in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], False, ticks)


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)


def _log(low: float, high: float) -> Scale:
    if high <= low:
        low, high = low / 2, high * 2
    pad = (high / low) ** 0.04
    low, high = low / pad, high * pad
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    spans = last - first
    wanted = (1, 2, 5) if spans <= 2 else (1,)
    ticks = [m * 10.0**p for p in range(first, last + 1) for m in wanted]
    inside = [t for t in ticks if low <= t <= high]
    thin = max(1, -(-len(inside) // 7))
    return Scale(low, high, True, tuple(inside[::thin]))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits, without exponent where that is readable."""
    if value is None or not math.isfinite(value):
        return "–" if value is None or value != value else ("∞" if value > 0 else f"{MINUS}∞")
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-4:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa} · 10{raised}".replace("-", MINUS)
    places = max(0, digits - 1 - math.floor(math.log10(size)))
    shown = f"{value:,.{places}f}"
    return shown.replace("-", MINUS)


def tick(value: float, step: float) -> str:
    """Return a tick's number: as many decimals as the step between ticks asks for."""
    if value and (abs(value) >= 1e6 or abs(value) < 1e-4):
        return number(value, 2)
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 2
    if step > 0 and places < 4 and abs(step * 10**places - round(step * 10**places)) > 1e-6:
        places += 1
    return f"{value:,.{places}f}".replace("-", MINUS)


def interval(found: Interval | tuple[float, float], *, share: bool = False) -> str:
    """Return ``97.3 ± 0.4`` with decimals that the half-width deserves; shares become percent."""
    mean, half = (100 * x if share else x for x in found)
    if not math.isfinite(mean):
        return "not finite"
    if not math.isfinite(half) or half <= 0:
        return f"{number(mean)}{PERCENT if share else ''}"
    places = min(6, max(0, 1 - math.floor(math.log10(half))))
    if abs(mean) >= 1e6 or places > 5:
        return f"{number(mean)}{PLUS}{number(half, 2)}{PERCENT if share else ''}"
    shown = f"{mean:,.{places}f}{PLUS}{half:,.{places}f}".replace("-", MINUS)
    return f"{shown}{PERCENT}" if share else shown


def whole(value: float) -> str:
    """Return a count with separators: 12,000."""
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return a time in the largest fitting units: 1 h 12 min, 34 s, 5.2 ms."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 1:
        return f"{number(1000 * seconds)} ms"
    if seconds < 90:
        return f"{number(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Return bytes in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{number(count)} {unit}"
        count /= 1024
    raise AssertionError


def percent(value: float | None) -> str:
    """Return a share as percent."""
    return "–" if value is None or value != value else f"{number(100 * value)}{PERCENT}"
