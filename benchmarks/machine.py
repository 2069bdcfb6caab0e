"""What a record says about the code, the libraries and the machine."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import warnings
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent


def described(options: argparse.Namespace) -> dict[str, Any]:
    """Return an empty record: date, commit, options, versions and machine."""
    chosen = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "options": chosen,
        "versions": {n: version(n) for n in ("metaccord", "torch", "higher", "torchopt", "numpy")},
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cpu": processor(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name()
            if getattr(options, "device", "cpu") == "cuda"
            else "cpu",
        },
        "cases": {},
    }


def write(record: dict[str, Any], path: Path | None) -> None:
    """Write a record as JSON, if somebody wants it.

    Args:
        record: What :func:`described` began.
        path: Where to; None: nowhere.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")


def version(name: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """Return the commit, marked if files other than records were changed."""
    try:
        found = [
            subprocess.run(
                ["git", *words],
                cwd=HERE,
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            ).stdout.strip()
            for words in (
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--", ":/src", ":/reliability", ":/benchmarks"),
            )
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return found[0] + ("-dirty" if found[1] else "")


def processor() -> str:
    """Return the model of the processor."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def compiles(device: str) -> bool:
    """Say whether ``torch.compile`` works for a device; imports and tool chain are warm then."""
    warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
    try:
        torch.compile(torch.sin, fullgraph=True)(torch.ones(2, device=device))
    except Exception as error:  # a missing compiler shows in many ways
        print(f"torch.compile does not work here, its contestants stay out: {error!r:.200}")
        return False
    return True
