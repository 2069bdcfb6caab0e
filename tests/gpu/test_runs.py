"""Whole runs on a CUDA device: the command line, going on, several processes that share it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed as dist

from metaccord.ranks import ProcessRanks, spread
from metaccord.selftest.company import free_port
from metaccord.selftest.trial import differences
from tests.deploy.support import wave_files

pytestmark = pytest.mark.gpu
ALL = "agreement,sharing,cooperative,coherent"
SMALL = ("checkpoint_every=2", "num_tasks=4", "deterministic=true")
TRAIN = ("train", "sinusoid", "--device", "cuda", "--with", ALL, "--steps", "6")
LAUNCHER = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


def command(*words: object, module: tuple[str, ...] = (), code: int = 0) -> str:
    """Run the command line in a process of its own and return what it printed."""
    said = subprocess.run(
        [sys.executable, "-m", *module, "metaccord", *map(str, words)],
        capture_output=True, text=True, timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
    )  # fmt: skip
    assert said.returncode == code, said.stdout + said.stderr
    return said.stdout


def test_all_four_systems_from_training_to_prediction(tmp_path: Path) -> None:
    """What was trained on the device is evaluated there, and adapts on the processor."""
    run = tmp_path / "run"
    command(*TRAIN, "--out", run, "--set", *SMALL)
    command("evaluate", run, "--tasks", 20)
    wave_files(tmp_path)
    found = {}
    for device in ("cuda", "cpu"):
        model = tmp_path / device
        command("adapt", run, tmp_path / "support.npz", "--out", model, "--device", device)
        out = tmp_path / f"{device}.csv"
        command("predict", model, tmp_path / "inputs.npz", "--out", out, "--device", device)
        found[device] = out.read_text()
    assert found["cuda"].count("\n") == found["cpu"].count("\n") > 1
    command("analyse", run)
    command("report", run, "--out", tmp_path / "report.html", "--tasks", 20)


def test_a_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command(*TRAIN, "--out", whole, "--set", *SMALL)
    program = (
        "import os, signal, sys\n"
        "from metaccord import book\n"
        "from metaccord.cli.main import main\n"
        "note = book.Book.note\n"
        "def stops(self, record):\n"
        "    note(self, record)\n"
        f"    if record.step == 3: os.kill(os.getpid(), {int(signal.SIGTERM)})\n"
        "book.Book.note = stops\n"
        "sys.exit(main())\n"
    )
    (tmp_path / "stops.py").write_text(program)
    words = [sys.executable, tmp_path / "stops.py", *TRAIN, "--out", parts, "--set", *SMALL]
    env = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    stopped = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=env)
    assert stopped.returncode != 0
    assert "--resume" in stopped.stderr + stopped.stdout
    command(*TRAIN, "--out", parts, "--set", *SMALL, "--resume")
    assert differences(parts, whole) == []


def test_two_processes_share_the_device(tmp_path: Path) -> None:
    """Exchanges go through gloo, and deterministic mode gives the bits of one process."""
    alone, both = tmp_path / "alone", tmp_path / "both"
    command(*TRAIN, "--out", alone, "--set", *SMALL, "plan.chunk=1")
    command(*TRAIN, "--out", both, "--set", *SMALL, "plan.chunk=1", module=LAUNCHER)
    assert differences(both, alone) == []


def test_bfloat16_trains(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command(*TRAIN, "--out", run, "--set", "plan.autocast=true", "num_tasks=4")
    norms = [
        json.loads(line)["grad_norm"] for line in (run / "records.jsonl").read_text().splitlines()
    ]
    assert len(norms) == 6 and all(norm < 1e3 for norm in norms)


def test_nccl_exchanges() -> None:
    """One process: sums, rows and bytes come back as they went."""
    dist.init_process_group(
        "cpu:gloo,cuda:nccl", init_method=f"tcp://127.0.0.1:{free_port()}", rank=0, world_size=1
    )
    try:
        ranks = ProcessRanks()
        x = torch.arange(6.0, device="cuda").reshape(2, 3)
        assert torch.equal(ranks.sum(x), x)
        assert torch.equal(ranks.gather(x), x)
        assert spread(b"metaccord", ranks) == b"metaccord"
    finally:
        dist.destroy_process_group()
