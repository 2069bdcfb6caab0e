"""The pages of the methods say what the docstrings say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from metaccord.methods import BASES, WRAPPERS

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("method_pages", ROOT / "docs" / "method_pages.py")
assert SPEC is not None and SPEC.loader is not None
PAGES = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PAGES)


def test_the_pages_are_those_of_the_docstrings() -> None:
    folder, pages = ROOT / "docs" / "methods", PAGES.pages()
    assert set(pages) == {*BASES, *WRAPPERS, "README"}
    assert {path.stem for path in folder.glob("*.md")} == set(pages)
    stale = [name for name, text in pages.items() if (folder / f"{name}.md").read_text() != text]
    assert not stale, f"python docs/method_pages.py would change {stale}"


def test_each_page_tells_idea_reference_and_citation() -> None:
    for name in {*BASES, *WRAPPERS}:
        text = PAGES.pages()[name]
        assert "**Reference.**" in text and "```bibtex" in text, name
        assert ":math:" not in text and ":class:" not in text, name


def test_formulas_and_roles_become_markdown() -> None:
    text = """Idea with :math:`a_b` and :class:`metaccord.rules.SGD`.

.. math:: x
          + y

After."""
    assert PAGES.markdown(text) == "Idea with $a_b$ and `mc.rules.SGD`.\n\n$$\nx + y\n$$\n\nAfter."
