"""Colours that can be read in both themes, numbers and axes that people can read."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from metaccord.report.markup import data, table, tag
from metaccord.report.scales import duration, interval, number, scale, size, tick
from metaccord.statistics import Interval

CSS = (files("metaccord.report") / "static" / "report.css").read_text()
SERIES = [f"s{i}" for i in range(8)]
TEXT = [(ink, ground) for ink in ("ink", "soft", "link", "right", "wrong") for ground in
        ("page", "card")]  # fmt: skip


def themes() -> dict[str, dict[str, str]]:
    """Return the colours of each block that sets them all."""
    blocks = re.findall(r"color-scheme: (\w+);([^}]*?--picture: #\w+;)", CSS)
    found = {}
    for number_, (kind, block) in enumerate(blocks):
        found[f"{kind} {number_}"] = dict(re.findall(r"--([\w]+): (#[0-9a-f]+)", block))
    return found


def light(colour: str) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", themes())
def test_text_and_lines_stand_out(theme: str) -> None:
    """4.5 for text, 3 for lines: WCAG 2.2, levels AA, 1.4.3 and 1.4.11."""
    colours = themes()[theme]
    for ink, ground in TEXT:
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for name in [*SERIES, "focus"]:
        assert contrast(colours[name], colours["card"]) >= 3.0, name


def test_all_themes_set_all_colours() -> None:
    found = themes()
    assert [name.split()[0] for name in found] == ["light", "dark", "dark", "light"]
    named = [colours for name, colours in found.items() if name.startswith("dark")]
    assert named[0] == named[1], "chosen and system dark differ"
    used = set(re.findall(r"var\(--(\w+)\)", CSS)) - {"c"}
    assert all(used <= set(colours) for colours in found.values())


NUMBERS = {
    0.0: "0", 1.0: "1.00", 1234.5: "1,234", -0.5: "−0.500", 12.345: "12.3", 1e-5: "1.00 · 10⁻⁵",
    2.5e7: "2.50 · 10⁷", float("nan"): "–", float("inf"): "∞", float("-inf"): "−∞",
}  # fmt: skip


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers(value: float) -> None:
    assert number(value) == NUMBERS[value]


def test_intervals_have_the_decimals_that_they_deserve() -> None:
    assert interval(Interval(0.9731, 0.0042), share=True) == "97.31\u00a0±\u00a00.42\u00a0%"
    assert interval(Interval(12.3456, 1.9)) == "12.3\u00a0±\u00a01.9"
    assert interval(Interval(1234.5, 45.0)) == "1,234\u00a0±\u00a045"
    assert interval(Interval(float("nan"), 1.0)) == "not finite"
    assert interval(Interval(2.0, float("nan"))) == "2.00"


def test_times_and_sizes() -> None:
    assert [duration(s) for s in (0.005, 3.2, 600.0, 7200.0)] == [
        "5.00 ms", "3.20 s", "10 min", "2 h 0 min"
    ]  # fmt: skip
    assert [size(n) for n in (12, 2048, 3 * 2**20, 5 * 2**40)] == [
        "12.0 B", "2.00 KiB", "3.00 MiB", "5,120 GiB"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [[0.0, 1.0], [-3.0, 5.0], [2.0, 2.0], [0.0, 0.0], [1e-9, 1e9], [float("nan")], [],
     [1e-300, 1.0], [-1e12, 1e12], [99.0, 100.0]],
)  # fmt: skip
@pytest.mark.parametrize("log", [None, False])
def test_axes_hold_their_values_and_have_ticks_inside(
    values: list[float], log: bool | None
) -> None:
    found = scale(values, log=log)
    known = [v for v in values if v == v]
    assert found.low < found.high
    assert all(-1e-9 <= found.at(v) <= 1 + 1e-9 for v in known)
    assert 1 <= len(found.ticks) <= 12
    assert all(-1e-9 <= found.at(t) <= 1 + 1e-9 for t in found.ticks)
    assert list(found.ticks) == sorted(set(found.ticks))
    step = found.ticks[1] - found.ticks[0] if len(found.ticks) > 1 else 1.0
    assert len({tick(t, step) for t in found.ticks}) == len(found.ticks) or found.log


HOSTILE = ["<script>x</script>", "</script><b>", '" onload="x', "a&b", "'", "\x00\x1b[31m",
           "\ud800", "\u202eevil", "<!--", "]]>"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_it_is_called_it_stays_text(name: str, parsed) -> None:
    inner = [tag("p", name, title=name), table([name], [[name]], caption=name), data([name], "x")]
    content = tag("div", *inner)
    content.encode()
    page = parsed(content)
    assert page.problems == []
    assert page.handlers == []
    assert set(page.tags) == {
        "div", "p", "table", "caption", "thead", "tbody", "tr", "th", "button", "script"
    }  # fmt: skip
    assert not re.search("[\x00-\x08\x1b\u202e]", content)
    assert "<" not in content[content.index('id="x">') + 7 : content.rindex("</script>")]
