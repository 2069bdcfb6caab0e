"""``metaccord cite`` and ``metaccord data``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from metaccord.data import OMNIGLOT
from metaccord.methods import BASES, WRAPPERS
from tests.cli.support import Result, copied, snapshot, train

Run = Callable[..., Result]


@pytest.mark.parametrize("base", BASES)
def test_every_method_has_a_reference(base: str, metaccord: Run, place: Path) -> None:
    alone = metaccord(f"cite {base}")
    assert (alone.code, alone.err) == (0, "")
    assert alone.out.count("@") == 1
    assert alone.out.count("{") == alone.out.count("}")
    fitting = [name for name in WRAPPERS if metaccord(f"cite {base}+{name}").code == 0]
    together = metaccord(f"cite {'+'.join([base, *fitting])}")
    assert together.out.startswith(alone.out.strip())
    assert together.out.count("@") == 1 + len(fitting)
    assert fitting or base == "finetune"
    assert snapshot(place) == {}


def test_a_run_cites_what_it_used(metaccord: Run, finished: Path, place: Path) -> None:
    copied(finished, place / "plain")
    assert metaccord("cite plain").out == metaccord("cite maml").out
    train(place / "together", "steps=1", base="reptile", extra=("agreement",))
    assert metaccord("cite together").out == metaccord("cite reptile+agreement").out


def test_the_list_of_data_sets(metaccord: Run) -> None:
    result = metaccord("data list")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("omniglot: 1623 handwritten characters")
    assert OMNIGLOT.licence in result.out


def test_intact_data_are_found_and_not_fetched_again(
    metaccord: Run, place: Path, data_root: Path
) -> None:
    source = data_root / "omniglot" / "omniglot28.npz"
    result = metaccord("data verify omniglot")
    assert result.out == f"omniglot: intact, npz at {source}\n"
    (place / "here").mkdir()
    shutil.copy(source, place / "here")
    result = metaccord("data fetch omniglot --path here")
    assert result.out == "omniglot: verified, in here/omniglot28.npz\n"
    assert metaccord("data verify omniglot --path here").code == 0
