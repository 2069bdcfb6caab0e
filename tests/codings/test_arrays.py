"""Arrays as tasks: shapes, units and labels; what is not one task is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from metaccord.codings import ArrayCoding
from metaccord.errors import DataError

NUMBERS = ArrayCoding(
    (2,), centre=(1.0, 2.0), scale=(2.0, 4.0), target_centre=(5.0,), target_scale=(10.0,)
)
FIXED = ArrayCoding((2,), "classes", 2, ("no", "yes"))
NEW = ArrayCoding((2, 3), "new_classes", 3)


def saved(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def test_numbers_are_scaled_and_come_back(tmp_path: Path) -> None:
    X, y = np.array([[1, 2], [3, 6]]), np.array([5.0, -5.0])
    found = NUMBERS.support(saved(tmp_path / "s.npz", X=X, y=y))
    assert torch.equal(found.batch.inputs, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert torch.equal(found.batch.targets, torch.tensor([[0.0], [-1.0]]))
    assert torch.equal(NUMBERS.values(found.batch.targets)[:, 0], torch.tensor([5.0, -5.0]))
    assert (found.classes, found.names) == ((), ("row 0", "row 1"))


def test_inputs_come_from_npz_and_npy(tmp_path: Path) -> None:
    X = np.asfortranarray(np.arange(6.0).reshape(3, 2)).astype(">f8")
    np.save(tmp_path / "x.npy", X)
    for path in (tmp_path / "x.npy", saved(tmp_path / "x.npz", X=X, y=["?"] * 3)):
        found = NUMBERS.inputs(path)
        assert torch.equal(found.inputs, torch.tensor((X - [1, 2]) / [2, 4]).float())
        assert found.names == ("row 0", "row 1", "row 2")


def test_labels_are_those_of_the_training_or_of_the_task(tmp_path: Path) -> None:
    found = FIXED.labelled(np.zeros((3, 2)), ["yes", "no", "yes"])
    assert (found.batch.targets.tolist(), found.classes) == ([1, 0, 1], ("no", "yes"))
    new = NEW.labelled(torch.zeros(3, 2, 3), [10, 9.0, 10])
    assert (new.batch.targets.tolist(), new.classes) == ([1, 0, 1], ("9", "10"))
    outputs = torch.randn(2, 3)
    assert NEW.values(outputs) is outputs


BAD = {
    "another shape": (np.zeros((3, 4)), [1.0] * 3, r"X has shape \[3, 4\].*trained for \[n, 2\]"),
    "no rows": (np.zeros((0, 2)), [], r"X has shape \[0, 2\]"),
    "text": ([["a", "b"]], [1.0], r"X holds text: give numbers"),
    "objects": (np.array([[{}, 1]], object), [1.0], r"X holds object"),
    "ragged": ([[1.0], [1.0, 2.0]], [1.0, 2.0], r"X is ragged"),
    "complex": (np.zeros((1, 2), complex), [1.0], r"X holds complex128"),
    "nan": ([[1.0, 2.0], [np.nan, 0.0]], [1.0, 2.0], r"X, row 1 is missing, not finite"),
    "inf target": ([[1.0, 2.0]], [np.inf], r"y, row 0 is missing, not finite"),
    "text target": ([[1.0, 2.0]], ["a"], r"y holds text: the model predicts numbers"),
    "wide target": ([[1.0, 2.0]], [[1.0, 2.0]], r"y has shape \[1, 2\].*trained for \[n, 1\]"),
    "single": ([[1.0, 2.0]], 1.0, r"y is a single value"),
    "lengths": ([[1.0, 2.0]], [1.0, 2.0], r"1 inputs in X and 2 targets in y"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_no_task_is_refused(fault: str) -> None:
    X, y, message = BAD[fault]
    with pytest.raises(DataError, match=message):
        NUMBERS.labelled(X, y)


@pytest.mark.parametrize(
    ("coding", "labels", "message"),
    [
        (FIXED, ["yes", "yse"], r"row 1: unknown class 'yse': did you mean 'yes'"),
        (ArrayCoding((2,), "new_classes", 2), [1, 2, 3], r"3 classes, the model tells 2 apart"),
        (FIXED, [0.5, 1.0], r"row 0 is 0\.5: labels are whole"),
        (FIXED, [["no"], ["yes"]], r"y has shape \[2, 1\]: give one label per row"),
    ],
)
def test_labels_that_fit_nothing_are_refused(coding, labels, message) -> None:
    with pytest.raises(DataError, match=message):
        coding.labelled(np.zeros((len(labels), 2)), labels)


FILES = {
    "empty": (b"", r"is empty"),
    "no zip": (b"X,y\n1,2\n", r"is no npz file"),
    "damaged": (b"PK\x03\x04damaged", r"is damaged"),
}


@pytest.mark.parametrize("fault", FILES)
def test_files_that_are_no_arrays_are_named(tmp_path: Path, fault: str) -> None:
    content, message = FILES[fault]
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        NUMBERS.support(tmp_path / "a.npz")


def test_a_missing_array_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", x=np.zeros((1, 2)), y=[1.0])
    with pytest.raises(DataError, match=r"no array 'X' \(did you mean 'x'\?\)"):
        NUMBERS.support(path)
    path = saved(tmp_path / "b.npz", X=np.array([None, {}], object), y=[1.0])
    with pytest.raises(DataError, match=r"array 'X' cannot be used \(it holds Python objects"):
        NUMBERS.support(path)
    np.save(tmp_path / "cut.npy", np.zeros((4, 2)))
    whole = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"header says 64 bytes, 63 follow"):
        NUMBERS.inputs(tmp_path / "cut.npy")


def test_tensors_and_floats_of_half_a_word_are_read() -> None:
    from metaccord.codings.arrays import as_array, refuse_infinite

    found = as_array(torch.tensor([1.5, 2.0], dtype=torch.bfloat16), "X")
    assert (found.dtype, found.tolist()) == (np.float32, [1.5, 2.0])
    refuse_infinite(np.array([[1.0], [60000.0]], np.float16), "X")
    with pytest.raises(DataError, match="row 1 is missing, not finite"):
        refuse_infinite(np.array([[1.0], [np.inf]], np.float16), "X")
    with pytest.raises(DataError, match="X has masked values"):
        as_array(np.ma.masked_greater(np.arange(3), 1), "X")


def test_labels_keep_their_order_and_their_digits() -> None:
    from metaccord.codings.arrays import label_texts, sorted_labels

    assert sorted_labels(["01", "1", "001", "0"]) == ["0", "001", "01", "1"]
    assert label_texts(np.array([2**60, 2**60 + 1]), "y") == [str(2**60), str(2**60 + 1)]
    with pytest.raises(DataError, match=r"row 1 is 1e\+25, where floats mix up neighbours"):
        label_texts(np.array([1.0, 1e25]), "y")
