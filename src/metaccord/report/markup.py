"""HTML made of escaped parts: whatever a class or a file is called, it stays text."""

from __future__ import annotations

import html
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

_VOID = frozenset({"meta", "br", "img", "input", "hr", "col"})
_HIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: object) -> Html:
    """Return a value as text inside markup; what cannot be shown becomes a question mark."""
    if isinstance(value, Html):
        return value
    shown = str(value).encode("utf-8", "replace").decode()
    return Html(html.escape(_HIDDEN.sub("\ufffd", shown)))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element.

    Args:
        name: Of the element.
        children: Markup, or values that are escaped; None is left out.
        attributes: ``class_`` is class, ``aria_label`` is aria-label; None and False are left out,
            True stands alone.
    """
    shown = []
    for key, value in attributes.items():
        word = key.rstrip("_").replace("_", "-")
        if value is True:
            shown.append(f" {word}")
        elif value is not None and value is not False:
            shown.append(f' {word}="{text(value)}"')
    begin = f"<{name}{''.join(shown)}>"
    if name in _VOID:
        return Html(begin)
    return Html(f"{begin}{joined(children)}</{name}>")


def joined(parts: Iterable[object], between: str = "") -> Html:
    """Return parts one after the other; None is left out."""
    return Html(between.join(text(part) for part in parts if part is not None))


def data(tree: Any, identity: str) -> Html:
    """Return an element with a JSON tree for the script; numbers that are not finite are null."""
    dumped = json.dumps(_finite(tree), separators=(",", ":"), ensure_ascii=True)
    safe = dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Html(f'<script type="application/json" id="{text(identity)}">{safe}</script>')


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(key): _finite(item) for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(item) for item in tree]
    if isinstance(tree, float):
        return float(f"{tree:.6g}") if math.isfinite(tree) else None
    return tree


class Ids:
    """Identities that occur once in a page, the same ones in every page from the same records."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def __call__(self, stem: str) -> str:
        """Return a new identity that begins with ``stem``."""
        self._seen[stem] += 1
        return f"{stem}-{self._seen[stem]}"


def table(
    heads: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    caption: object,
    sortable: bool = True,
    keys: Sequence[Sequence[float | str | None]] | None = None,
) -> Html:
    """Return a table; its columns can be sorted by the buttons in its heads.

    Args:
        heads: One per column.
        rows: Cells; the first of a row is its name.
        caption: What is in it.
        sortable: Whether there are buttons.
        keys: What each cell is sorted by; None: its text.
    """
    columns = [
        tag("th", tag("button", head, type="button") if sortable else head, scope="col")
        for head in heads
    ]
    body = []
    for number, row in enumerate(rows):
        cells = []
        for place, cell in enumerate(row):
            key = None if keys is None else keys[number][place]
            options = {"data_key": _key(key)} if key is not None else {}
            if place == 0:
                cells.append(tag("th", cell, scope="row", **options))
            else:
                cells.append(tag("td", cell, **options))
        body.append(tag("tr", *cells))
    inner = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *columns)),
        tag("tbody", *body),
        class_="sortable" if sortable else None,
    )
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _key(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.10g}" if math.isfinite(value) else ""
