"""The site: pages in Markdown, the reference from docstrings, examples run while it is built."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import metaccord  # noqa: E402

project = "metaccord"
author = "the metaccord authors"
version = release = metaccord.__version__
copyright = "the metaccord authors, MIT licence"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "offline_math",
]
exclude_patterns = ["docs/site", "**/*.ipynb", "examples", "gallery/**/*.py", "docs/pictures"]
suppress_warnings = [
    "config.cache",
    "myst.header",  # a page may start below its first level
    "ref.python",  # a field that two values have under one name
]
nitpicky = False

# Markdown
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
math_number_all = False
html_math_renderer = "mathml"
highlight_language = "python"

# the reference
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True}
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Shape", "Meets", "State", "Reference", "Differs"]

# the gallery
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/(?!omniglot)\w+\.py$" if not os.environ.get("METACCORD_DATA") else ".py",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "show_memory": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("matplotlib",),
    "plot_gallery": "True",
    "log_level": {"backreference_missing": "info"},
}

# what it looks like
html_theme = "furo"
html_title = "metaccord"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5fa5",
        "color-brand-content": "#0b5fa5",
        "font-stack": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7fbdf0",
        "color-brand-content": "#7fbdf0",
    },
}

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def local_links(app: Any, docname: str, source: list[str]) -> None:
    """Turn links to folders and source files, which are no pages, into links to pages or text."""
    place = Path(app.srcdir, docname).parent

    def mended(found: re.Match[str]) -> str:
        picture, text, target = found.groups()
        file = target.partition("#")[0]
        path = place / file
        if picture or not file or re.match(r"[a-z]+:", target):
            return found[0]
        if path.is_dir() and (path / "README.md").exists():
            return f"[{text}]({file.rstrip('/')}/README.md)"
        if path.suffix == ".md" and path.exists():
            return found[0]
        if path.suffix in (".json", ".jsonl", ".png", ".svg") and path.exists():
            return found[0]
        return text

    source[0] = _LINK.sub(mended, source[0])


def setup(app: Any) -> None:
    """Hear of each page that is read."""
    app.connect("source-read", local_links)
