"""Formulas as MathML, which browsers draw themselves: no script, no network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

log = logging.getLogger(__name__)


def mathml(node: Any, *, block: bool) -> str:
    """Return a formula; one that cannot be read is a warning, and shown as it is written."""
    text = node.astext().strip()
    if block and ("\\\\" in text or "&" in text) and "\\begin" not in text:
        text = f"\\begin{{aligned}}{text}\\end{{aligned}}"
    try:
        return tex2mathml(text, as_block=block)
    except MathError as error:
        log.warning("formula %r: %s", text, error, location=node)
        return f"<code>{text}</code>"


def inline(writer: Any, node: Any) -> None:
    """Write a formula within a sentence."""
    writer.body.append(mathml(node, block=False))
    raise nodes.SkipNode


def display(writer: Any, node: Any) -> None:
    """Write a formula of its own."""
    writer.body.append(f'<div class="math">{mathml(node, block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
