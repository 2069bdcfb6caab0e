"""The commands of docs/cluster.md run as they stand; its scripts are well formed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from metaccord.launched import TIMEOUT
from tests.docs.documents import ROOT, Block, blocks, commands
from tests.docs.test_documents import checked

PAGE = ROOT / "docs" / "cluster.md"
BLOCKS = blocks(PAGE.read_text())
LAUNCHED = [
    words
    for block in BLOCKS
    if block.language == "sh"
    for words in commands(block)
    if words[0] == "torchrun"
]


@pytest.mark.long
def test_the_commands_for_one_machine_run_in_order(tmp_path: Path) -> None:
    """As on the page, for two meta-steps; what goes on goes on to the third."""
    assert any("--resume" in words for words in LAUNCHED)
    assert any("--max-restarts" in words for words in LAUNCHED)
    program = [sys.executable, "-m", "torch.distributed.run"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _, *rest in LAUNCHED:
        steps = "3" if "--resume" in rest else "2"
        found = subprocess.run(
            [*program, *rest, "--steps", steps],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        assert f"at step {steps}" in found.stderr


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line {block.line}")
def test_every_training_on_the_page_has_options_that_exist(block: Block) -> None:
    joined = re.sub(r"\\\n\s*", " ", block.text)
    found = re.findall(r"metaccord (train [^\n]*)", joined)
    assert found or "torchrun" not in joined
    for line in found:
        assert checked(line.split()) == "train"


@pytest.mark.parametrize("kind", ["bash", "yaml"])
def test_scripts_are_well_formed(kind: str) -> None:
    """``bash -n`` reads them without running anything; in the manifest, what the pod runs."""
    texts = [block.text for block in BLOCKS if block.language == kind]
    if kind == "yaml":
        assert not any("\t" in text for text in texts)
        found = (re.search(r"- \|\n((?: {14}.*\n)+)", text) for text in texts)
        texts = [textwrap.dedent(script[1]) for script in found if script]
    assert texts
    for text in texts:
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_timeout_on_the_page_is_the_real_one() -> None:
    assert f"`--timeout` ({TIMEOUT:g} s)" in PAGE.read_text()
