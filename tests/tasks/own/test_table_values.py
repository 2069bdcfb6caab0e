"""What becomes of columns as users have them: an index, embeddings, infinite values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import metaccord as mc
from metaccord.errors import DataError, UsageError
from tests.tasks.own.made import lines

X, Y, GROUPS = lines(6, 15)
BASE = {"who": GROUPS, "x": X[:, 0], "y": Y}


def made(target: str = "y", **columns):
    settings = {name: columns.pop(name) for name in [*columns] if name in ("split", "features")}
    return mc.tasks.from_table({**BASE, **columns}, target=target, group="who", **settings)


@pytest.mark.parametrize("name", ["unnamed", "Unnamed: 0", "__index_level_0__"])
def test_an_index_of_pandas_is_left_out(name: str) -> None:
    """Also one with gaps, of a frame that was filtered; unless it is asked for."""
    index = {name: np.arange(90) * 3 // 2}
    assert dict(made(**index).coding.left_out)[name] == "an index that pandas wrote"
    assert made(**index, features=name).coding.columns[0].name == name


def test_columns_that_cannot_be_used_are_left_out() -> None:
    tasks = made(e=[[1, 2]] * 90)
    assert dict(tasks.coding.left_out)["e"] == "has shape [90, 2], no numbers, text or dates" or (
        dict(tasks.coding.left_out)["e"] == "holds list, no numbers, text or dates"
    )
    for settings in ({"features": ["e"]}, {"target": "e"}):
        with pytest.raises(DataError, match="column 'e' holds list: give numbers"):
            made(e=[[1, 2]] * 90, **settings)


@pytest.mark.parametrize("name", ["who", "y", "x"])
def test_infinite_values_are_named(name: str) -> None:
    for values in (np.arange(90) % 3, BASE[name]):
        bad = np.where(np.arange(90) == 70, np.inf, values)
        with pytest.raises(DataError, match=rf"row 70, column '{name}' is inf"):
            made(**{name: bad})


def test_a_target_that_says_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"'y' is '1' in all training rows: there is nothing"):
        made(y=np.ones(90))
    with pytest.raises(DataError, match=r"'y' holds numbers as text, such as '.*': make them"):
        made(y=[f"{value:.2f}" for value in Y])


def test_a_split_has_three_parts() -> None:
    for split in ((0.5, 0.5), (1, 2, 3, 4)):
        with pytest.raises(UsageError, match=r"tasks\.split is .*: use three fractions"):
            made(split=split)


def test_one_name_is_not_its_letters() -> None:
    found = mc.tasks.from_table(
        {**BASE, "site": X[:, 1]}, target="y", group="who", features="site", test="5"
    )
    assert (found.features, found.members("test")) == (("site",), ("5",))


def test_groups_are_told_apart_by_their_text(tmp_path: Path) -> None:
    """007 is not 7, and 7.0 is; a name among numbers is no mistake."""
    path = tmp_path / "t.csv"
    settings = {"target": "y", "group": "who", "shots": 2, "accept_leaks": True}
    for odd in ("7.0", "A1"):
        names = ["007", "7", "8", "9", "010", odd]
        rows = [f"{name},{i},{i * i % 7}.5" for i in range(10) for name in names]
        path.write_text("who,x,y\n" + "\n".join(rows) + "\n")
        tasks = mc.tasks.from_table(path, **settings)
        assert {*tasks.names("train")} == {*names} - {"7.0"}


def test_a_column_that_is_left_out_cannot_be_wrong(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{i % 5},{i},{i * i % 7}.5,{i % 3}" for i in range(60)]
    for bad in ("1o", "inf"):
        path.write_text("who,x,y,note\n" + "\n".join([*rows, f"0,1,2.5,{bad}"]) + "\n")
        with pytest.raises(DataError, match=rf"column 'note' is '{bad}'"):
            mc.tasks.from_table(path, target="y", group="who")
        found = mc.tasks.from_table(path, target="y", group="who", leave_out="note")
        assert [column.name for column in found.coding.columns] == ["x"]
        assert len(found.coding.inputs(path).names) == 61


def test_truth_values_to_predict_are_named_alike(tmp_path: Path) -> None:
    truth = np.median(Y) < Y
    tasks = made(y=truth)
    assert tasks.coding.classes == ("False", "True")
    own = [f"{g},{x[0]},{t}" for g, x, t in zip(GROUPS, X, truth, strict=True) if g == 0]
    (tmp_path / "t.csv").write_text("who,x,y\n" + "\n".join(own) + "\n")
    found = tasks.coding.support(tmp_path / "t.csv").batch.targets
    assert found.tolist() == truth[GROUPS == 0].astype(int).tolist()
