"""A command line in an empty folder, without data, and what its tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metaccord.tasks import omniglot
from tests.cli.support import Result, call, snapshot, train

_NAMED = os.environ.get("METACCORD_DATA")
_ROOT = Path(_NAMED) if _NAMED else Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, an empty cache, no data folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("METACCORD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METACCORD_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    for cached in (omniglot._data, omniglot._pictures, omniglot._partition, omniglot._classes):
        cached.cache_clear()
    return tmp_path / "work"


@pytest.fixture
def metaccord(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The command line in this process."""
    return lambda *words: call(capsys, *words)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of four steps with checkpoints at 2 and 4; copy it before changing it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(folder, "checkpoint_every=2", "steps=4")
    before = snapshot(folder)
    yield folder
    assert snapshot(folder) == before, "a test changed what all share"


@pytest.fixture
def data_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """METACCORD_DATA with omniglot/omniglot28.npz."""
    if not (_ROOT / "omniglot" / "omniglot28.npz").is_file():
        pytest.skip("needs METACCORD_DATA: a folder with omniglot/omniglot28.npz")
    monkeypatch.setenv("METACCORD_DATA", str(_ROOT))
    return _ROOT
