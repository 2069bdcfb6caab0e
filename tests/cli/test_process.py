"""A real process: signals, an empty environment, closed pipes, quick messages."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import metaccord as mc
from metaccord.cli.interrupt import Interrupt, listening
from metaccord.cli.main import main
from tests.cli.support import TINY, copied, equal_runs, last, records, tiny

METACCORD = (sys.executable, "-m", "metaccord")
BARE = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
STEPS = 400
SETTINGS = (*TINY, "checkpoint_every=100000", "validate_every=150", "validation_tasks=2")


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run one command in an environment that holds almost nothing."""
    command = (*METACCORD, *words)
    settings = {"env": BARE, "capture_output": True, "text": True, "timeout": 60, **options}
    return subprocess.run(command, check=False, **settings)  # type: ignore[call-overload]


def cpu(*command: str) -> float:
    """Return the processor seconds that a command takes."""

    def used() -> float:
        found = resource.getrusage(resource.RUSAGE_CHILDREN)
        return found.ru_utime + found.ru_stime

    before = used()
    subprocess.run(command, env=BARE, capture_output=True, check=False, timeout=60)
    return used() - before


def test_messages_without_home_within_two_seconds_after_torch() -> None:
    words = ("train", "sinusoid", "--method", "mamml")
    result = run(*words)
    assert result.returncode == 2
    assert result.stderr == "error: unknown method 'mamml': did you mean 'maml'?\n"
    assert result.stdout == ""
    assert cpu(*METACCORD, *words) < cpu(sys.executable, "-c", "import torch") + 2.0


def test_without_data_the_process_says_how_to_get_them(place: Path) -> None:
    result = run("train", "omniglot", env={**BARE, "METACCORD_CACHE": str(place / "cache")})
    assert result.returncode == 3
    assert result.stderr.startswith("error: data set omniglot was not found")
    assert "metaccord data fetch omniglot" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(place.iterdir()) == []


def test_a_reader_that_has_seen_enough_ends_it_quietly(place: Path) -> None:
    command = " ".join((*METACCORD, "train sinusoid --json --out run --steps 300 --set", *TINY))
    result = subprocess.run(
        f"{command} | head -n 2; echo ${{PIPESTATUS[0]}}",
        env=BARE,
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stderr == ""
    assert result.stdout.splitlines()[-1] == "0"
    assert result.stdout.count('{"step"') == 2


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    for _ in mc.run(tiny(*SETTINGS, f"steps={STEPS}", extra=("agreement",)), folder):
        pass
    return folder


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_going_on_gives_the_same_bits(
    number: signal.Signals, code: int, place: Path, uninterrupted: Path
) -> None:
    """As its own last line says how."""
    words = ("train", "sinusoid", "--with", "agreement", "--steps", str(STEPS), "--out", "run")
    log = place / "run" / "records.jsonl"
    child = subprocess.Popen(
        (*METACCORD, *words, "--set", *SETTINGS),
        env=BARE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (log.exists() and log.read_bytes().count(b"\n") >= 5):
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == code, err
    step = last(place / "run").step
    assert 5 <= step < STEPS, "the signal came in the middle"
    assert [record["step"] for record in records(place / "run")] == [*range(1, step + 1)]
    assert f"interrupted at step {step}: saved" in err
    assert (out, "Traceback" in err) == ("", False)
    said = err.splitlines()[-1].split("go on with: metaccord ")[1].split()
    assert main(said) == 0
    assert equal_runs(place / "run", uninterrupted)


def test_a_killed_process_goes_on_from_its_checkpoint(place: Path, uninterrupted: Path) -> None:
    """Before the first checkpoint it begins again, without doubled records."""
    folder = copied(uninterrupted, place / "run")
    for found in (folder / "checkpoints").iterdir():
        for file in found.iterdir():
            file.unlink()
        found.rmdir()
    lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "records.jsonl").write_bytes(b"".join(lines[:40]))
    for _ in mc.run(tiny(*SETTINGS, f"steps={STEPS}", extra=("agreement",)), folder, resume=True):
        pass
    assert equal_runs(folder, uninterrupted)


def test_handlers_are_put_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    for number, code in zip(numbers, (130, 143, 143), strict=True):
        with listening() as interrupt:
            assert not interrupt()
            signal.raise_signal(number)
            assert (interrupt(), interrupt.code) == (True, code)
        assert [signal.getsignal(n) for n in numbers] == before
    with pytest.raises(ZeroDivisionError), listening():
        raise ZeroDivisionError
    assert [signal.getsignal(n) for n in numbers] == before


def test_a_second_ctrl_c_leaves_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), listening():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_a_library_loop_installs_no_handler(place: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    loop = mc.run(tiny("steps=3"), place / "run")
    next(loop)
    assert [signal.getsignal(number) for number in numbers] == before
    loop.close()
    for _ in mc.run(tiny("steps=3"), place / "run", resume=True):
        pass
    assert [signal.getsignal(number) for number in numbers] == before
    assert last(place / "run").step == 3
    assert Interrupt().code == 0
