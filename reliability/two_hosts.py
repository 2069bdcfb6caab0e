"""Two hosts, made of network namespaces on this machine: the same bits, and a link that is cut.

python reliability/two_hosts.py --json results/reliability/two_hosts.json

It needs the right to make network namespaces (root) and the command ``ip`` of iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from outcomes import main

from metaccord.errors import PeerError
from metaccord.selftest import Cases, Outcome
from metaccord.selftest.company import SETTINGS
from metaccord.selftest.trial import SETTINGS as SMALL
from metaccord.selftest.trial import differences

HOSTS = ("mcc-one", "mcc-two")
ADDRESSES = ("10.213.7.1", "10.213.7.2")
WIRES = ("mcc-wire-1", "mcc-wire-2")
PORT, TIMEOUT, PATIENCE = 29513, 6.0, 120.0
PROMISE = "two hosts give the bits of one process, also after the link between them was cut"


def possible() -> str | None:
    """Return why this machine cannot make hosts, or None."""
    if shutil.which("ip") is None:
        return "the command ip (iproute2) is missing"
    tried = subprocess.run(["ip", "netns", "add", "mcc-try"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", "mcc-try"], capture_output=True)
    return tried.stderr.strip() or None


@contextmanager
def hosts() -> Iterator[None]:
    """Have two hosts with a wire between them."""
    _ip("netns", "add", HOSTS[0])
    try:
        _ip("netns", "add", HOSTS[1])
        _ip("link", "add", WIRES[0], "type", "veth", "peer", "name", WIRES[1])
        for host, wire, address in zip(HOSTS, WIRES, ADDRESSES, strict=True):
            _ip("link", "set", wire, "netns", host)
            _ip("-n", host, "addr", "add", f"{address}/24", "dev", wire)
            _ip("-n", host, "link", "set", wire, "up")
            _ip("-n", host, "link", "set", "lo", "up")
        yield
    finally:
        for host in HOSTS:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", host)


def two_hosts(folder: Path, *, steps: int = 400) -> Outcome:
    """Train on two hosts, cut the link in the middle, mend it, go on, and compare with one process.

    Args:
        folder: An existing folder to work in.
        steps: Meta-steps of the training.
    """
    start = time.perf_counter()
    alone = _train(folder / "one", steps).wait(PATIENCE)
    wrong = [f"one process ended with {alone}"] if alone else []
    with hosts():
        codes, _ = _ended(_pair(folder / "two", steps))
        wrong += [f"two hosts ended with {codes}"] if any(codes) else []
        pair = _pair(folder / "cut", steps)
        _until(folder / "cut" / "checkpoints", pair)
        cut = time.perf_counter()
        _ip("-n", HOSTS[1], "link", "set", WIRES[1], "down")
        codes, said = _ended(pair)
        seconds = time.perf_counter() - cut
        lost = [PeerError.exit_code] * 2
        wrong += [f"after the cut: exit codes {codes}"] if codes != lost else []
        wrong += [f"after the cut: {line}" for line in said if "error: " not in line]
        _ip("-n", HOSTS[1], "link", "set", WIRES[1], "up")
        codes, _ = _ended(_pair(folder / "cut", steps))
        wrong += [f"after mending: exit codes {codes}"] if any(codes) else []
    for name in ("two", "cut"):
        wrong += [f"{name}: {line}" for line in differences(folder / name, folder / "one")[:1]]
    detail = f"{steps} steps; both ended {seconds:.1f} s after the cut, timeout {TIMEOUT:g} s"
    return Outcome.of_runs("two hosts", PROMISE, Cases(2, 2, wrong), start, detail)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _pair(out: Path, steps: int) -> list[subprocess.Popen[str]]:
    return [_train(out, steps, rank) for rank in range(2)]


def _train(out: Path, steps: int, rank: int | None = None) -> subprocess.Popen[str]:
    """Begin the command line, or go on, on one of the hosts; without rank here, alone."""
    words = [sys.executable, "-m", "metaccord", "train", "sinusoid", "--out", str(out)]
    resumes = (out / "run.json").exists()
    words += ["--resume"] if resumes else ["--with", "agreement", "--steps", str(steps)]
    words += [] if resumes else ["--set", *SMALL, *SETTINGS]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    if rank is not None:
        words = ["ip", "netns", "exec", HOSTS[rank], *words, "--timeout", str(TIMEOUT)]
        env |= {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
        env |= {"MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": str(PORT)}
        env |= {"GLOO_SOCKET_IFNAME": WIRES[rank]}
    return subprocess.Popen(
        words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _ended(pair: list[subprocess.Popen[str]]) -> tuple[list[int], list[str]]:
    """Return exit codes and last lines."""
    said = [process.communicate(timeout=PATIENCE)[1].strip() for process in pair]
    return [process.returncode for process in pair], [s.splitlines()[-1] for s in said if s]


def _until(folder: Path, pair: list[subprocess.Popen[str]]) -> None:
    """Wait for the third checkpoint."""
    deadline = time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline and all(p.poll() is None for p in pair):
        if folder.exists() and any(int(p.name[5:]) >= 6 for p in folder.glob("step-*")):
            return
        time.sleep(0.02)
    raise AssertionError("the pair of hosts did not get as far as its third checkpoint")


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    del seed
    if reason := possible():
        raise SystemExit(f"no hosts can be made here: {reason}")
    yield two_hosts(folder)


if __name__ == "__main__":
    main(__doc__, _checks)
