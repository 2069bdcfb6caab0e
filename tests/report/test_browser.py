"""The page in a real browser: nothing is asked for, nothing goes wrong, keys and themes work."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.report.chromium import Browser, installed

pytestmark = pytest.mark.skipif(
    installed() is None, reason="needs Chromium: apt-get install chromium"
)
SIZES = ((390, 844), (1280, 900))
FOCUS = "document.activeElement"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture
def clean(browser: Browser) -> Iterator[Browser]:
    """The browser, which must have asked for nothing but the file, and be free of errors."""
    browser.requests.clear()
    browser.errors.clear()
    yield browser
    browser.js("1")  # events that are on their way
    assert browser.errors == []
    outside = [r for r in browser.requests if not r.startswith(("file:", "data:"))]
    assert outside == []
    assert len({r for r in browser.requests if r.startswith("file:")}) == 1


def shade(picture: bytes) -> float:
    """Return how light the middle of a picture is, 0 to 255."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), dtype=float)
    return float(np.median(pixels))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("run", ["waves", "nodes"])
def test_both_themes_and_sizes(clean: Browser, run: str, size: tuple[int, int], request) -> None:
    page = request.getfixturevalue(run) / "report.html"
    clean.open(page, *size, "light")
    assert shade(clean.picture()) > 200
    clean.theme("dark")
    assert shade(clean.picture()) < 60
    width, room = clean.js("document.documentElement.scrollWidth"), clean.js("innerWidth")
    assert width <= room, "the page is wider than the window"
    assert clean.js("document.querySelectorAll('.plot .line').length") > 5


def test_the_theme_is_kept(clean: Browser, waves: Path) -> None:
    clean.open(waves / "report.html", 1280, 900, "light")
    for expected in ("light", "dark"):
        clean.js("document.getElementById('theme').click()")
        assert clean.js("document.documentElement.dataset.theme") == expected
    assert shade(clean.picture()) < 60
    clean.open(waves / "report.html", 1280, 900, "light")
    assert clean.js("document.documentElement.dataset.theme") == "dark"
    clean.js("document.getElementById('theme').click()")
    assert clean.js("document.documentElement.dataset.theme") is None


def test_keys_reach_everything(clean: Browser, waves: Path) -> None:
    """By Tab: the skip link, the theme, the menu; in a chart the arrow keys read values aloud."""
    clean.open(waves / "report.html", 1280, 900, "light")
    clean.key("Tab")
    assert clean.js(f"{FOCUS}.className") == "skip"
    clean.key("Tab")
    assert clean.js(f"{FOCUS}.id") == "theme"
    clean.key("Tab")
    assert clean.js(f"{FOCUS}.closest('nav') !== null")
    seen: set[str] = set()
    for _ in range(150):
        clean.key("Tab")
        kind = f"{FOCUS}.dataset?.chart ? 'chart' : {FOCUS}.dataset?.map ? 'map' : {FOCUS}.tagName"
        seen.add(clean.js(kind))
    assert {"chart", "map", "INPUT", "BUTTON", "SUMMARY"} <= seen
    clean.js("document.querySelector('[data-chart]').focus()")
    clean.key("ArrowRight")
    clean.key("End")
    voice = "document.querySelector('[data-chart]').closest('figure')"
    said = clean.js(f"{voice}.querySelector('.spoken[aria-live]').textContent")
    assert said.startswith("inner steps")
    assert "MAML" in said
    clean.js("document.querySelector('[data-map]').focus()")
    clean.key("ArrowDown")
    assert "cosine" in clean.js("document.querySelector('.said').textContent")


def test_series_examples_and_tables(clean: Browser, waves: Path) -> None:
    clean.open(waves / "report.html", 1280, 900, "light")
    shown = "[...document.querySelectorAll('.plot .off')].length"
    assert clean.js(shown) == 0
    clean.js("document.querySelector('.legend button').focus()")
    clean.key(" ")
    assert clean.js(f"{FOCUS}.getAttribute('aria-pressed')") == "false"
    assert clean.js(shown) >= 1
    clean.js("document.querySelector('.slider input').focus()")
    before = clean.js("document.querySelector('.slider output').textContent")
    clean.key("End")
    assert clean.js("document.querySelector('.slider output').textContent") != before
    visible = "[...document.querySelectorAll('figure [data-step][visibility=visible]')]"
    assert set(clean.js(f"{visible}.map(e => e.dataset.step)")) == {"5"}
    table = (
        "[...document.querySelectorAll('table.sortable')].find(t => t.tBodies[0].rows.length > 5)"
    )
    column = f"[...({table}).tBodies[0].rows].map(r => Number(r.cells[1].dataset.key))"
    clean.js(f"({table}).querySelectorAll('thead button')[1].click()")
    values = clean.js(column)
    assert values == sorted(values)
    clean.js(f"({table}).querySelectorAll('thead button')[1].click()")
    assert clean.js(column) == sorted(values, reverse=True)
    assert clean.js(f"({table}).querySelectorAll('th')[1].getAttribute('aria-sort')") == (
        "descending"
    )


def test_it_prints(clean: Browser, waves: Path) -> None:
    clean.open(waves / "report.html", 1280, 900, "dark")
    document = clean.pdf()
    assert document.startswith(b"%PDF-")
    assert 2 <= document.count(b"/Type /Page\n") + document.count(b"/Type /Page ") <= 30
    clean.call("Emulation.setEmulatedMedia", media="print")
    assert shade(clean.picture()) > 200, "dark pages are not printed dark"
    assert clean.js("getComputedStyle(document.querySelector('.menu')).display") == "none"
    clean.call("Emulation.setEmulatedMedia", media="screen")


def test_the_browser_would_notice(browser: Browser, tmp_path: Path) -> None:
    """A page that asks for something and fails is caught by the same means."""
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://192.0.2.1/x.png"><script>throw Error("planted")</script>')
    browser.requests.clear()
    browser.errors.clear()
    browser.open(page, 400, 400, "light")
    browser.js("1")
    assert any("192.0.2.1" in request for request in browser.requests)
    assert any("planted" in error for error in browser.errors)
