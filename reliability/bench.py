"""A scratch copy of a repository in which changed sources meet their tests, in forked children."""

from __future__ import annotations

import logging
import os
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import hypothesis  # noqa: F401 - what the children need is imported once, in their parent
import pytest
import torch
import torch._dynamo
from mutations import Mutant, mutated

from metaccord.selftest.children import Child

COPIED = ("src", "tests", "benchmarks", "reliability", "docs", "pyproject.toml", "README.md")
LIMIT = 60  # several times what the slowest tests need
MEMORY = 6 << 30
QUIET = "ignore::pytest.PytestAssertRewriteWarning"  # the parent has imported plug-ins already


class Verdict(NamedTuple):
    """What became of a mutant: ``killed``, ``broken`` (at import), ``timeout`` or ``survived``."""

    word: str
    by: str
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether the tests noticed it."""
        return self.word != "survived"


class Bench:
    """The copy, and what its tests say when nothing is changed.

    Args:
        origin: The repository.
        root: Where to copy it.
        limit: Seconds of processor time for the tests of one mutant.
    """

    def __init__(self, origin: Path, root: Path, limit: int = LIMIT) -> None:
        self.root, self.limit = root, limit
        self.red: list[str] = []
        self._green: set[str] = set()
        self._stamp = int(time.time())
        hidden = shutil.ignore_patterns("__pycache__", ".*")
        for name in COPIED:
            if (origin / name).is_dir():
                shutil.copytree(origin / name, root / name, ignore=hidden)
            elif (origin / name).exists():
                shutil.copy(origin / name, root / name)

    def judge(self, package: str, mutant: Mutant, tests: Sequence[str]) -> Verdict:
        """Run tests against one mutant.

        The test that fails is run without the change as well; if it fails there, too, it is put
        into ``red`` and judges nothing any more.

        Args:
            package: Folder of the package in the repository.
            mutant: The change.
            tests: Files, most specific first.

        Raises:
            RuntimeError: if a test cannot be run alone.
        """
        path, start = self.root / package / mutant.file, time.perf_counter()
        source = path.read_text()
        self._write(path, mutated(source, mutant))
        try:
            code, said = self._run(tests)
        finally:
            self._write(path, source)
        word = {0: "survived", 1: "killed"}.get(code, "timeout" if code < 0 else "broken")
        names = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)
        by = names[0] if names else ""
        if word == "killed" and not self._is_green(by):
            self.red.append(by)
            return self.judge(package, mutant, tests)
        return Verdict(word, by, round(time.perf_counter() - start, 2))

    def _is_green(self, test: str) -> bool:
        """Say whether a test passes without any change."""
        if test not in self._green:
            code, said = self._run([test])
            if test in self.red or code > 1:
                raise RuntimeError(f"{test} cannot be run alone:\n{said[-2000:]}")
            if code == 0:
                self._green.add(test)
        return test in self._green

    def _write(self, path: Path, source: str) -> None:
        """Write a source with a time of its own, so that no byte code of another passes for it."""
        self._stamp += 2
        path.write_text(source)
        os.utime(path, (self._stamp, self._stamp))

    def _run(self, tests: Sequence[str]) -> tuple[int, str]:
        """Run tests in a child; return its exit code, negative for a signal, and what it said."""
        said = self.root / "said.txt"
        words = [*tests, *(f"--deselect={test}" for test in self.red)]
        child = Child(lambda mark: _tested(self.root, words, self.limit, said))
        deadline = time.perf_counter() + 6 * self.limit
        while not child.ended() and time.perf_counter() < deadline:
            time.sleep(0.01)
        os.killpg(child.pid, signal.SIGKILL)  # its own children; nobody has waited for it yet
        return child.end(), said.read_text()


def _tested(root: Path, words: Sequence[str], limit: int, said: Path) -> int:
    """Be the child: forget the parent's modules and run the tests of the copy."""
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    logging.disable(logging.NOTSET)
    torch.set_num_threads(1)
    os.chdir(root)
    own = {path.stem for folder in COPIED for path in (root / folder).glob("*")} | {"tests"}
    for name in [name for name in sys.modules if name.split(".")[0] in own]:
        del sys.modules[name]
    sys.path.insert(0, str(root / "src"))
    os.environ["PYTHONPATH"] = str(root / "src")
    fixed = ("-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-W", QUIET)
    code = pytest.main([*fixed, f"--basetemp={root / 'temporary'}", *words])
    sys.stdout.flush()
    return int(code)
