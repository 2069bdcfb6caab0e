"""A cut of reliability/processes.py, the launcher itself, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import metaccord as mc
from metaccord import checkpoint
from metaccord.cli.main import main
from metaccord.errors import PeerError, UsageError
from metaccord.launched import joined
from metaccord.rundir import RunDirectory
from metaccord.runs import run
from metaccord.selftest.company import deaths, same_bits
from metaccord.selftest.trial import differences, trial
from metaccord.testing.ranks import ThreadRanks, on_ranks

LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
WORDS = ("train", "sinusoid", "--with", "agreement", "--set", "num_tasks=4", "checkpoint_every=1")


@pytest.mark.slow
def test_the_same_bits(tmp_path: Path) -> None:
    found = same_bits(tmp_path, (2, 4), steps=6)
    assert found.ok, found


@pytest.mark.slow
def test_a_lost_process(tmp_path: Path) -> None:
    found = deaths(tmp_path, 3)
    print(found.detail)
    assert found.ok, found


@pytest.mark.long
def test_the_launcher_starts_again_after_a_death(tmp_path: Path) -> None:
    """A process kills itself once; torchrun starts all again, and the run resumes by itself."""
    program = tmp_path / "once.py"
    program.write_text(
        "import os, signal, sys\n"
        "from metaccord import book\n"
        "from metaccord.cli.main import main\n"
        "note = book.Book.note\n"
        "def dies(self, record):\n"
        "    if record.step == 3 and os.environ['RANK'] == '1':\n"
        "        if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "    note(self, record)\n"
        "book.Book.note = dies\n"
        "sys.exit(main())\n"
    )
    more = ("deterministic=true", "--steps", "5", "--out", str(tmp_path / "run"))
    words = [sys.executable, *LAUNCHER, "--max-restarts", "1", str(program), *WORDS, *more]
    found = subprocess.run(words, capture_output=True, text=True, env=_env(), timeout=120)
    assert found.returncode == 0, found.stderr
    assert "died" in found.stderr
    alone = [sys.executable, "-m", "metaccord", *WORDS, *more[:-1], str(tmp_path / "alone")]
    subprocess.run(alone, check=True, capture_output=True, env=_env(), timeout=120)
    assert differences(tmp_path / "run", tmp_path / "alone") == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children on Linux")
def test_no_orphan_outlives_the_launcher(tmp_path: Path) -> None:
    """Killed itself, it can end nobody: its processes save, and end by themselves."""
    out = tmp_path / "run"
    words = [sys.executable, *LAUNCHER, "-m", "metaccord", *WORDS, "--steps", "100000"]
    with subprocess.Popen([*words, "--out", str(out)], env=_env(), stderr=subprocess.PIPE) as found:
        try:
            _until(lambda: (out / "checkpoints").is_dir() and any((out / "checkpoints").iterdir()))
        finally:
            found.kill()
    _until(lambda: not _processes(str(out)))
    with RunDirectory.open(out) as run:  # nobody holds the lock
        assert checkpoint.read(run.checkpoints).step == run.records()[-1]["step"]


def _processes(word: str) -> list[str]:
    """Return the processes with a word on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [path.parent.name] if word.encode() in path.read_bytes().split(b"\0") else []
    return found


def _until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)


def _env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"not RANK, MASTER_ADDR, MASTER_PORT.*torchrun"), joined():
        pass


def test_only_train_runs_in_several_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert main(["compare", "sinusoid"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "error: [rank 1] only train runs in several processes, not compare: start it without "
        "torchrun\n"
    )


def test_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(PeerError, match=r"rank 1 did not meet .* 127.0.0.1:1 within 1 s"),
        joined(1),
    ):
        pass


@pytest.mark.parametrize("what", ["settings", "data", "model"])
def test_ranks_that_differ_are_named(tmp_path: Path, what: str) -> None:
    """The third rank was started with something else."""
    other = {"settings": "outer.lr=0.5", "data": "tasks.shots=6", "model": "model.hidden=[9]"}[what]

    def work(ranks: ThreadRanks) -> str:
        experiment = trial("steps=2", "num_tasks=3", *([other] if ranks.rank == 2 else []))
        with pytest.raises(PeerError) as caught:
            list(run(experiment, tmp_path / "run", ranks=ranks))
        return str(caught.value)

    for message in on_ranks(3, work):
        assert message.startswith("rank 2 has other ")
        assert what in message.split(" than ")[0]


@pytest.mark.parametrize("method", ["maml", "reptile", "imaml", "maml_pp"])
@pytest.mark.parametrize("extra", [(), ("agreement",), ("pcgrad",)], ids=str)
def test_every_meta_gradient_of_fast_mode(method: str, extra: tuple[str, ...]) -> None:
    """Sums of local sums: each meta-gradient within 1e-6, float32."""
    experiment = trial("steps=3", "num_tasks=12", base=method, extra=extra)
    whole = [r.numbers["grad_norm"] for r in mc.train(*_arguments(experiment), **_numbers())]

    def work(ranks: ThreadRanks) -> list[float]:
        torch.set_num_threads(1)
        records = mc.train(*_arguments(experiment), **_numbers(), ranks=ranks)
        return [r.numbers["grad_norm"] for r in records]  # type: ignore[misc]

    for world in (2, 3):
        for found in on_ranks(world, work):
            assert found == pytest.approx(whole, rel=1e-6)


def _arguments(experiment: mc.Experiment) -> tuple[object, ...]:
    return experiment.method, experiment.objective(), experiment.tasks


def _numbers() -> dict[str, int]:
    return {"steps": 3, "num_tasks": 12, "seed": 0}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("plan.compile=true", "plan.compile cannot go with several processes"),
        ("plan.memory=1GiB", "plan.memory is measured"),
        ("num_tasks=3", "3 tasks cannot be spread evenly over 2 processes: use 2 or 4 tasks"),
    ],
)
def test_what_several_processes_cannot_do(tmp_path: Path, setting: str, words: str) -> None:
    def work(ranks: ThreadRanks) -> str:
        with pytest.raises(UsageError) as caught:
            list(run(trial("steps=2", setting), tmp_path / "run", ranks=ranks))
        return str(caught.value)

    for message in on_ranks(2, work):
        assert words in message


def test_deterministic_mode_needs_a_chunk_that_divides() -> None:
    experiment = trial("steps=2", "deterministic=true")
    with pytest.raises(UsageError, match="it must divide the 12 tasks"):
        next(iter(mc.train(*_arguments(experiment), **_numbers(), exact=True)))
