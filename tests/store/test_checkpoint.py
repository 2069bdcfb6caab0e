"""Saving, loading, rotating, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from metaccord import checkpoint, checkpoint_files, fs, jsontree
from metaccord.checkpoint import Checkpoint
from metaccord.errors import CheckpointError, NumericalError, ResourceError, UsageError

from .support import assert_same, example


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_keeps_bits_and_order(tmp_path: Path) -> None:
    saved = checkpoint.write(tmp_path / "new" / "folder", example(7))
    assert saved.name == "step-000007"
    assert _names(saved) == ["manifest.json", "state.json", "tensors.safetensors"]
    checkpoint.verify(saved)
    assert_same(checkpoint.read(saved.parent), example(7))
    assert_same(checkpoint.read(saved.parent, step=7), example(7))


def test_views_shared_and_unusual_tensors(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "transposed": base.t(),
        "row": base[1],
        "again": base[1],
        "minus zero": torch.tensor(-0.0),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "eighth": torch.ones(3).to(torch.float8_e4m3fn),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    checkpoint.write(tmp_path, Checkpoint(0, tensors, {}))
    found = checkpoint.read(tmp_path).tensors
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].float(), tensor.detach().float())
    assert torch.signbit(found["minus zero"])


def test_empty_checkpoint(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, Checkpoint(0, {}, {}))
    assert checkpoint.read(tmp_path) == Checkpoint(0, {}, {})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
def test_non_finite_tensors_are_refused_before_anything_is_written(
    tmp_path: Path, bad: float, dtype: torch.dtype
) -> None:
    tensors = {"good": torch.ones(2), "bad": torch.tensor([1.0, bad]).to(dtype)}
    with pytest.raises(NumericalError, match="'bad' of step-000003"):
        checkpoint.write(tmp_path / "folder", Checkpoint(3, tensors, {}))
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        Checkpoint(-1, {}, {}),
        Checkpoint(True, {}, {}),
        Checkpoint(1, {}, {1: 2}),  # type: ignore[dict-item]
        Checkpoint(1, {}, {"a": torch.ones(1)}),
        Checkpoint(1, {}, {"a": {"$float": 1}}),
        Checkpoint(1, {"a": torch.ones(3).to_sparse()}, {}),
        Checkpoint(1, {"a": torch.empty(2, device="meta")}, {}),
        Checkpoint(1, {"a": torch.ones(2, dtype=torch.complex128)}, {}),
        Checkpoint(1, {"__metadata__": torch.ones(2)}, {}),
    ],
)
def test_what_cannot_be_stored_is_refused(tmp_path: Path, wrong: Checkpoint) -> None:
    with pytest.raises(UsageError):
        checkpoint.write(tmp_path / "folder", wrong)
    assert not (tmp_path / "folder").exists()


def test_keep_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keep"):
        checkpoint.write(tmp_path, example(1), keep=0)


@pytest.mark.parametrize(
    ("keep", "best", "expected"),
    [(1, None, [6]), (2, None, [5, 6]), (2, 2, [2, 5, 6]), (3, 5, [4, 5, 6])],
)
def test_rotation(tmp_path: Path, keep: int, best: int | None, expected: list[int]) -> None:
    for step in range(1, 7):
        checkpoint.write(tmp_path, example(step), keep=keep, best=best)
    assert _names(tmp_path) == [f"step-{step:06d}" for step in expected]
    for step in expected:
        assert_same(checkpoint.read(tmp_path, step), example(step))


def test_rotation_counts_intact_checkpoints_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2, 3):
        checkpoint.write(tmp_path, example(step), keep=3)
    (tmp_path / "step-000003" / "state.json").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        checkpoint.write(tmp_path, example(4), keep=2)
    assert _names(tmp_path) == ["step-000002", "step-000003.corrupt", "step-000004"]
    assert "step-000003" in caplog.text


def test_left_over_folders_are_swept(tmp_path: Path) -> None:
    for name in (".staging-step-000001-17", ".trash-step-000000"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "file").write_bytes(b"x")
    (tmp_path / ".staging-step-000002-17").symlink_to(tmp_path.parent)
    checkpoint.write(tmp_path, example(1))
    assert _names(tmp_path) == ["step-000001"]
    assert tmp_path.parent.exists()


def test_a_name_is_never_used_twice(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, example(5))
    assert checkpoint.write(tmp_path, example(5)) == tmp_path / "step-000005"
    other = example(5)._replace(state={"step": 0})
    with pytest.raises(CheckpointError, match="never used twice"):
        checkpoint.write(tmp_path, other)
    with pytest.raises(CheckpointError, match="rewind"):
        checkpoint.write(tmp_path, example(4))
    assert_same(checkpoint.read(tmp_path), example(5))


def test_a_damaged_one_of_the_same_step_makes_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for count in range(2):
        checkpoint.write(tmp_path, example(5))
        (tmp_path / "step-000005" / "state.json").write_bytes(bytes(count))
    checkpoint.write(tmp_path, example(5))
    assert_same(checkpoint.read(tmp_path), example(5))
    assert _names(tmp_path) == ["step-000005", "step-000005.2.corrupt", "step-000005.corrupt"]


def test_rewind_puts_the_other_future_aside(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint.write(tmp_path, example(step), keep=3)
    checkpoint.rewind(tmp_path, 1)
    assert_same(checkpoint.read(tmp_path), example(1))
    checkpoint.write(tmp_path, example(2)._replace(state={"new": 1}))
    assert checkpoint.read(tmp_path).state == {"new": 1}
    assert {"step-000002.superseded", "step-000003.superseded"} <= set(_names(tmp_path))


def test_nothing_to_read(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CheckpointError, match="no checkpoint"):
            checkpoint.read(folder)
    checkpoint.write(tmp_path, example(3))
    with pytest.raises(CheckpointError, match=r"step 4.*choose from \[3\]"):
        checkpoint.read(tmp_path, step=4)


@pytest.mark.parametrize("below", [".", "below"])
def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ResourceError, match=r"cannot save .*file.*; check the folder"):
        checkpoint.write(tmp_path / "file" / below, example(1))
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("other", [0, 2])
def test_another_format_is_named_and_left_alone(tmp_path: Path, other: int) -> None:
    """Format 1 is what is read, whatever is written one day."""
    checkpoint.write(tmp_path, example(1))
    manifest = tmp_path / "step-000001" / "manifest.json"
    content = jsontree.unseal(manifest.read_bytes())
    manifest.write_bytes(jsontree.seal({**content, "format": other}))
    with pytest.raises(CheckpointError, match=f"format {other}, this version reads 1"):
        checkpoint.read(tmp_path)
    assert _names(tmp_path) == ["step-000001"]


def test_full_disk_is_seen_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "free", lambda folder: 100)
    with pytest.raises(ResourceError, match=r"needs .* bytes, the file system has 100"):
        checkpoint.write(tmp_path, example(1))
    assert _names(tmp_path) == []


def test_a_disk_that_lies_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path, example(1))
    honest = fs.write

    def lying(path: Path, content: bytes) -> None:
        honest(path, content[:-1] + b"?" if path.name == "state.json" else content)

    monkeypatch.setattr(fs, "write", lying)
    with pytest.raises(CheckpointError, match="other bytes than were saved"):
        checkpoint.write(tmp_path, example(2), keep=1)
    assert _names(tmp_path) == ["step-000001", "step-000002.corrupt"]
    assert_same(checkpoint.read(tmp_path), example(1))


def test_hostile_but_sealed_contents_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashes prove nothing about who wrote the files: the content is judged as well."""
    monkeypatch.setattr(checkpoint_files, "_is_finite", lambda tensor: True)
    files = checkpoint_files.pack(Checkpoint(1, {"a": torch.tensor([float("nan")])}, {}))
    monkeypatch.undo()
    folder = tmp_path / "step-000001"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="non-finite value in 'a'"):
        checkpoint.verify(folder)


def test_a_list_that_leaves_a_tensor_out_is_refused(tmp_path: Path) -> None:
    """Also if every file is intact and sealed: nothing is left behind in silence."""
    files = checkpoint_files.pack(example(1))
    fewer = checkpoint_files.pack(example(1)._replace(tensors={}))
    mixed = {**files, "state.json": fewer["state.json"]}
    facts = [jsontree.unseal(f["manifest.json"]) for f in (files, fewer)]
    facts[0]["files"]["state.json"] = facts[1]["files"]["state.json"]
    folder = tmp_path / "step-000001"
    folder.mkdir()
    for name, content in {**mixed, "manifest.json": jsontree.seal(facts[0])}.items():
        (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.json.*does not list the tensors"):
        checkpoint.verify(folder)


def test_a_folder_has_the_name_of_its_step(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, example(1)).rename(tmp_path / "step-000007")
    with pytest.raises(CheckpointError, match=r"manifest\.json.*belongs to step-000001"):
        checkpoint.verify(tmp_path / "step-000007")


def test_a_folder_that_vanishes_meanwhile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint.write(tmp_path, example(1))

    def gone(path: Path) -> list[str]:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(fs, "names", gone)
    with pytest.raises(CheckpointError, match=r"step-000001.*cannot be listed \(No such file"):
        checkpoint.verify(folder)


def test_saving_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2, 2):
        checkpoint.write(tmp_path, example(step))
    assert not caplog.records
