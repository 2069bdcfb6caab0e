"""Data sets of Hugging Face in memory: pictures, arrays and columns."""

from __future__ import annotations

import numpy as np
import pytest

import metaccord as mc
from metaccord.errors import DataError, UsageError
from metaccord.tasks import Arrays, Table
from tests.tasks.own.made import lines

datasets = pytest.importorskip("datasets")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def pictures(sizes: tuple[int, ...] = (12,), mode: str = "L"):
    from PIL import Image

    rng = np.random.default_rng(0)
    shape = (max(sizes), max(sizes), 3)
    found = [
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8))
        .convert(mode)
        .resize((sizes[i % len(sizes)],) * 2)
        for i in range(24)
    ]
    features = datasets.Features(
        {"scan": datasets.Image(), "organ": datasets.ClassLabel(names=["a", "b", "c", "d"])}
    )
    data = {"scan": found, "organ": [i % 4 for i in range(24)]}
    return datasets.Dataset.from_dict(data, features=features)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("1", 1)])
def test_pictures_are_classes(mode: str, channels: int) -> None:
    tasks = mc.tasks.from_hub(pictures(mode=mode), label="organ", ways=2, shots=2, queries=2)
    assert isinstance(tasks, Arrays)
    assert tasks.names("train") == ("a", "b", "c", "d")
    assert tasks.episodes("train", 0, range(2)).support.inputs.shape == (2, 4, channels, 12, 12)


def test_pictures_of_different_sizes_need_one() -> None:
    with pytest.raises(DataError, match=r"2 sizes, such as \(9, 9\) and \(12, 12\): give size"):
        mc.tasks.from_hub(pictures((12, 9)), label="organ")
    tasks = mc.tasks.from_hub(pictures((12, 9)), label="organ", size=10, ways=2)
    assert tasks.coding.shape == (1, 10, 10)


def test_arrays_and_lists_are_inputs() -> None:
    X, y, groups = lines()
    data = datasets.Dataset.from_dict({"x": X.tolist(), "y": y, "who": groups})
    tasks = mc.tasks.from_hub(data, label="y", group="who", shots=4)
    plain = mc.tasks.from_arrays(X, y, groups=groups, shots=4)
    assert tasks.settled().fingerprint == plain.settled().fingerprint


def test_columns_are_a_table() -> None:
    X, y, groups = lines()
    columns = {"a": X[:, 0], "b": X[:, 1], "y": y, "who": groups.astype(str)}
    data = datasets.Dataset.from_dict(columns)
    tasks = mc.tasks.from_hub(data, label="y", group="who", shots=4)
    assert isinstance(tasks, Table)
    assert [column.name for column in tasks.coding.columns] == ["a", "b"]
    one = mc.tasks.from_hub(data, label="y", group="who", inputs="b", shots=4)
    assert [column.name for column in one.coding.columns] == ["b"]


def test_what_does_not_fit_is_refused() -> None:
    X, y, groups = lines()
    data = datasets.Dataset.from_dict({"x": X.tolist(), "z": X.tolist(), "y": y, "who": groups})
    scalars = data.select_columns(["y", "who"]).add_column("a", X[:, 0])
    unlabelled = pictures().map(lambda row: {"organ": -1})
    for bad, options, kind, message in (
        ([1], {"label": "y"}, UsageError, r"not list"),
        (datasets.DatasetDict({"train": data}), {"label": "y"}, UsageError, r"dataset\['train'\]"),
        (data.to_iterable_dataset(), {"label": "y"}, UsageError, r"not IterableDataset"),
        (data, {"label": "Y"}, DataError, r"no column 'Y': did you mean 'y'"),
        (data, {"label": "y", "group": "who"}, UsageError, r"x, z could be inputs"),
        (data, {"label": "y", "inputs": ["x", "who"]}, UsageError, r"neither one column"),
        (scalars, {"label": "y"}, UsageError, r"name the column of the groups"),
        (unlabelled, {"label": "organ"}, DataError, r"row 0 of 'organ' has no class"),
    ):
        with pytest.raises(kind, match=message):
            mc.tasks.from_hub(bad, **options)


def test_a_column_names_the_splits() -> None:
    """Of columns, of arrays with groups, of pictures by class; it is no input."""
    X, y, groups = lines(6)
    phase = [("train", "train", "train", "train", "val", "test")[group] for group in groups]
    who = [f"p{group}" for group in groups]
    table = datasets.Dataset.from_dict({"a": X[:, 0], "y": y, "who": who, "phase": phase})
    arrays = datasets.Dataset.from_dict({"x": X.tolist(), "y": y, "who": who, "phase": phase})
    for data in (table, arrays):
        for inputs in (None, data.column_names[0]):
            tasks = mc.tasks.from_hub(data, label="y", group="who", inputs=inputs, split="phase")
            assert tasks.members("validation") == ("p4",)
            assert tasks.members("test") == ("p5",)
    scans = pictures().add_column("phase", ["train", "train", "test", "test"] * 6)
    found = mc.tasks.from_hub(scans, label="organ", split="phase", shots=2)
    assert (found.members("train"), found.members("test")) == (("a", "b"), ("c", "d"))
    assert found.coding.outputs == 2
    with pytest.raises(DataError, match="no column 'fase': did you mean 'phase'"):
        mc.tasks.from_hub(scans, label="organ", split="fase")
    half = mc.tasks.from_hub(pictures(), label="organ", split=(0.5, 0, 0.5), shots=2)
    assert (len(half.members("train")), len(half.members("validation"))) == (2, 0)


def test_pictures_are_made_plain_as_files_are() -> None:
    """16 bits become 8, what is transparent lies on white; a format set before is left aside."""
    from PIL import Image

    deep = np.arange(24 * 64, dtype=np.uint16).reshape(24, 8, 8) * 40
    clear = np.zeros((24, 8, 8, 4), np.uint8)
    clear[:, 0, 0, 3] = clear[:, 0, 0, 0] = np.arange(24) * 5 + 1
    features = datasets.Features({"scan": datasets.Image(), "y": datasets.Value("int64")})
    for raw, expected in ((deep, np.rint(deep / 257)[:, None]), (clear, None)):
        data = {"scan": [Image.fromarray(one) for one in raw], "y": [i % 4 for i in range(24)]}
        data = datasets.Dataset.from_dict(data, features=features)
        for given in (data, data.with_format("numpy")):
            tasks = mc.tasks.from_hub(given, label="y", ways=2, shots=2)
            inputs = tasks.held().inputs
            if expected is None:
                assert (inputs[:, :, 1:] == 255).all()
            else:
                assert np.array_equal(inputs, expected)
    packed = data.cast_column("scan", datasets.Image(decode=False))
    with pytest.raises(UsageError, match=r"'scan' are not decoded: give dataset\.cast_column"):
        mc.tasks.from_hub(packed, label="y")
