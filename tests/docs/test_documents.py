"""What the documents say is run: blocks, commands, doctests, links, docstrings."""

from __future__ import annotations

import doctest
import importlib
import inspect
import logging
import os
import re
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import metaccord as mc
from metaccord.cli.main import VERBS, main
from tests.docs.documents import (
    LINKING,
    ROOT,
    RUNNABLE,
    anchors,
    blocks,
    commands,
    links,
    mentioned,
    paths,
)

LIMIT = 20.0  # seconds of processor time that one block may take
SOURCE = ROOT / "src" / "metaccord"
DOCTESTED = [path for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text()]
VERB = {verb.__name__: verb for verb in VERBS}
TINY = {  # added to commands that do not say themselves how much they do
    "train": {"--steps": "2"},
    "evaluate": {"--tasks": "4"},
    "compare": {"--steps": "2", "--tasks": "4", "--seeds": "2"},
    "report": {"--quick": ""},
    "demo": {"--seeds": "2", "--set": "steps=2 plan.compile=false checkpoint_every=2"},
}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """An empty working folder and cache; logging and plotting as a test needs them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METACCORD_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    log = logging.getLogger("metaccord")
    before = log.propagate, log.level
    yield tmp_path
    log.propagate, log.level = before


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow) if p.name == "README.md" else p for p in RUNNABLE],
    ids=named,
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
def test_blocks_run_in_order(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All Python blocks of a document share one module; commands run between them."""
    module = types.ModuleType(f"document_{path.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(path.read_text()):
        start = time.process_time()
        if block.language == "python":
            code = "\n" * (block.line - 1) + block.text  # so that errors name the document's line
            exec(compile(code, str(path), "exec"), vars(module))
        elif block.language in ("console", "sh"):
            for words in commands(block):
                run(words)
        spent = time.process_time() - start
        assert spent < LIMIT, f"{named(path)}:{block.line} takes {spent:.0f} s"


def run(words: list[str]) -> None:
    """Run ``metaccord`` in this process; of other programs only check what they refer to."""
    program, *rest = words
    if Path(program).name == "make":
        for target in rest:
            assert target in targets(), f"the Makefile has no target {target!r}"
    elif Path(program).name.startswith("python"):
        for word in rest:
            assert not word.endswith(".py") or (ROOT / word).exists(), f"{word} does not exist"
    elif Path(program).name == "metaccord":
        verb = checked(rest)
        if verb == "data" and rest[1] not in ("list", "check"):
            return  # needs the network, or the data
        if "omniglot" in rest and not os.environ.get("METACCORD_DATA"):
            return
        assert finished(shortened(rest)) == 0, f"failed: {' '.join(words)}"


@pytest.mark.parametrize("path", LINKING, ids=named)
def test_commands_in_sentences_exist(path: Path) -> None:
    for words in mentioned(path.read_text()):
        checked(words)


def finished(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as ended:  # of the parser
        return int(ended.code or 0)


def checked(words: list[str]) -> str:
    """Return the verb after looking up verb and options, also of commands that do not run."""
    if words[0].startswith("-"):
        return ""
    assert words[0] in VERB, f"there is no verb {words[0]!r}"
    names = inspect.signature(VERB[words[0]]).parameters
    known = {f"--{name.rstrip('_').replace('_', '-')}" for name in names}
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    assert given <= known | {"--help"}, f"{words[0]} has no {sorted(given - known)}"
    return words[0]


def shortened(words: list[str]) -> list[str]:
    """Return the words with small numbers for what they leave open."""
    found = list(words)
    finished_runs = words[0] == "compare" and any("/" in word for word in words[1:])
    for option, value in ({} if finished_runs else TINY.get(words[0], {})).items():
        if option not in words and "--help" not in words:
            found += [option, *value.split()]
    return found


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", DOCTESTED, ids=named)
def test_doctests(path: Path, folder: Path) -> None:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def public_names() -> dict[str, object]:
    """Return what the package and its public subpackages export."""
    found: dict[str, object] = {}
    for module in (mc, *(v for n in mc.__all__ if inspect.ismodule(v := getattr(mc, n)))):
        for name in getattr(module, "__all__", ()):
            found[f"{module.__name__}.{name}"] = getattr(module, name)
    return found


@pytest.mark.parametrize("name", public_names())
def test_public_names_are_documented(name: str) -> None:
    """By a sentence of their own, not by the signature that dataclasses write."""
    value = public_names()[name]
    if isinstance(value, dict | str | float | tuple):
        return
    text = inspect.getdoc(value) or ""
    assert text, f"{name} has no docstring"
    assert not text.startswith(f"{name.rpartition('.')[2]}("), f"{name} has a generated docstring"


@pytest.mark.parametrize("path", LINKING, ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    for target in links(text):
        file, _, anchor = target.partition("#")
        place = path.parent / file if file else path
        assert place.exists(), f"{named(path)} links to {target}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place.read_text()), f"{named(path)} links to {target}"
    for file in paths(text):
        assert (ROOT / file).exists(), f"{named(path)} speaks of {file}"
