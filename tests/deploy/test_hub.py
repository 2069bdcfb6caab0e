"""The Hub, with the network stubbed: what goes there and what comes back."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord.deploy import hub
from metaccord.deploy.folder import CARD, WEIGHTS
from metaccord.errors import CheckpointError, DataError, UsageError
from tests.cli.support import flip
from tests.deploy.support import BLOBS, blobs, conv, sine, wave

huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs metaccord[hub]")


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the Hub; everything that would use the network fails."""
    place = tmp_path / "remote"

    def upload(*, repo_id: str, folder_path: str, commit_message: str) -> str:
        shutil.copytree(folder_path, place / repo_id)
        return f"https://example/{repo_id}"

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        if not (place / name).is_dir():
            raise huggingface_hub.errors.HFValidationError(f"no {name}")
        target = tmp_path / "cache"
        target.mkdir()
        for file in allow_patterns:
            shutil.copy(place / name / file, target)
        return str(target)

    def created(name: str, *, private: bool, exist_ok: bool) -> None:
        assert (private, exist_ok) == (True, True)

    monkeypatch.setattr(huggingface_hub, "upload_folder", upload)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "create_repo", created)
    monkeypatch.setattr("socket.socket.connect", None)
    return place


def test_there_and_back(remote: Path, tmp_path: Path) -> None:
    made, x = sine().predictor(wave()), wave(6, 2).inputs
    assert hub.push_to_hub(made, "me/wave", private=True) == "https://example/me/wave"
    assert sorted(p.name for p in (remote / "me/wave").iterdir()) == ["README.md", CARD, WEIGHTS]
    again = hub.from_pretrained("me/wave")
    assert again.card == made.card
    assert torch.equal(again.predict(x), made.predict(x))
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [CARD, WEIGHTS]


def test_damage_on_the_way_is_refused(remote: Path) -> None:
    hub.push_to_hub(sine().predictor(wave()), "me/wave", private=True)
    flip(remote / "me/wave" / WEIGHTS)
    with pytest.raises(CheckpointError, match="damaged"):
        hub.from_pretrained("me/wave")


def test_what_the_hub_refuses_is_one_line(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="'me/nothing'") as caught:
        hub.from_pretrained("me/nothing")
    assert "\n" not in str(caught.value)

    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "create_repo", offline)
    with pytest.raises(DataError, match="no network"):
        hub.push_to_hub(sine().predictor(wave()), "me/wave")


def test_a_local_folder_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = sine().predictor(wave())
    hub.save_pretrained(made, tmp_path / "model")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert hub.from_pretrained(tmp_path / "model").card == made.card
    with pytest.raises(UsageError, match=r"pip install 'metaccord\[hub\]'"):
        hub.from_pretrained("me/wave")
    with pytest.raises(UsageError, match="nothing is overwritten"):
        hub.save_pretrained(made, tmp_path / "model")


def test_the_page_says_what_was_measured() -> None:
    found = mc.deploy.measure(conv(), 3, source=BLOBS)
    text = hub.page(conv().predictor(blobs()[0], measured=found))
    assert "3 classes, adapted with maml" in text
    assert f"accuracy {100 * found.accuracy.mean:.1f}" in text
    assert "finn2017model" in text
    assert text.startswith("---\nlibrary_name: metaccord\n")
    assert "nothing was measured" in hub.page(sine().predictor(wave()))
