"""Entry point: verbs, errors and exit codes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from tyro.extras import SubcommandApp

from metaccord.cli.adapt import adapt
from metaccord.cli.analyse import analyse
from metaccord.cli.cite import cite
from metaccord.cli.compare import compare
from metaccord.cli.data import data
from metaccord.cli.demo import demo
from metaccord.cli.doctor import doctor
from metaccord.cli.evaluate import evaluate
from metaccord.cli.export import export
from metaccord.cli.plot import plot
from metaccord.cli.predict import predict
from metaccord.cli.replay import replay
from metaccord.cli.report import report
from metaccord.cli.selftest import selftest
from metaccord.cli.train import train
from metaccord.errors import MetaccordError, ResourceError
from metaccord.launched import refuse_company
from metaccord.memory import ran_out

VERBS = (
    train, evaluate, compare, adapt, predict, export, analyse, plot, report, data, doctor, selftest,
    replay, cite, demo,
)  # fmt: skip
OUT_OF_MEMORY = "error: out of memory: lower num_tasks, or --set plan.memory=2GiB"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code of the process.

    Args:
        argv: Words after the program's name; None: those of the process.
    """
    app = SubcommandApp()
    for verb in VERBS:
        app.command(verb)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    log = logging.getLogger("metaccord")
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    words = sys.argv[1:] if argv is None else argv
    try:
        refuse_company(words[0] if words else "train")
        return int(app.cli(prog="metaccord", args=argv) or 0)
    except MetaccordError as error:
        print(f"error: {_speaker()}{error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader, for example `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted: nothing was saved since the last checkpoint", file=sys.stderr)
        return 130
    except BaseException as error:  # what Rust raises is no Exception
        if not ran_out(error):
            raise
        print(OUT_OF_MEMORY, file=sys.stderr)
        return ResourceError.exit_code
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before


def _speaker() -> str:
    """Return which process of several speaks, unless it is the first."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f"[rank {rank}] "
