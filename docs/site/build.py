"""Build the site: ``python docs/site/build.py`` writes ``build/site/index.html``.

Sphinx reads a copy that looks like the repository, so that links between pages are those
that a reader of the repository follows. Every warning is an error, and nothing is fetched.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from sphinx.cmd.build import main as sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE, OUT, MEMORY = (ROOT / "build" / name for name in ("site-source", "site", "site-memory"))
PAGES = ("docs", "results", "examples", "benchmarks", "CHANGELOG.md", "README.md")
_NOT = shutil.ignore_patterns("__pycache__", "site")


def staged() -> None:
    """Lay out what Sphinx reads; the gallery of examples is written beside it."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    for name in PAGES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, SOURCE / name, ignore=_NOT)
        else:
            shutil.copy(ROOT / name, SOURCE / name)
    shutil.copy(HERE / "index.rst", SOURCE / "index.rst")


def main() -> int:
    """Build; return 0 if there was no warning."""
    start = time.monotonic()
    staged()
    shutil.rmtree(OUT, ignore_errors=True)
    words = ["-b", "html", "-c", str(HERE), "-d", str(MEMORY), "-W", "--keep-going", "-q", "-E"]
    code = sphinx([*words, str(SOURCE), str(OUT)])
    if code == 0:
        pages = sum(1 for _ in OUT.rglob("*.html"))
        print(f"{pages} pages in {time.monotonic() - start:.0f} s: {OUT / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
