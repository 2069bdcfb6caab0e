"""Rows as inputs: statistics of the training, open categories, missing values, one task only."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metaccord.codings import Column, TableCoding
from metaccord.codings.columns import fitted
from metaccord.data.tables import read_table
from metaccord.errors import DataError, UsageError

CODING = TableCoding(
    (
        Column("size", centre=10.0, scale=2.0, indicator=True),
        Column("site", "category", categories=("", "a", "b"), rare=("r",)),
        Column("plain", scale=4.0),
    ),
    "sold",
    "shop",
    target_centre=100.0,
    target_scale=50.0,
    unseen="other",
)
FIXED = TableCoding(CODING.columns, "kind", "shop", "classes", ("no", "yes"), unseen="other")
TABLE = {
    "plain": [4, 8, None], "site": ["b", None, "c"], "size": [12.0, None, 8.0], "extra": [0, 0, 0],
    "sold": [150, 100, 50], "kind": ["yes", "no", "no"],
}  # fmt: skip


def test_rows_become_inputs_and_targets_come_back(caplog: pytest.LogCaptureFixture) -> None:
    found = CODING.support(TABLE)
    assert found.batch.inputs.tolist() == [
        [1, 0, 0, 0, 1, 0, 1],
        [0, 1, 1, 0, 0, 0, 2],
        [-1, 0, 0, 0, 0, 1, 0],
    ]
    assert CODING.features == 7
    assert found.batch.targets.tolist() == [[1.0], [0.0], [-1.0]]
    assert CODING.values(found.batch.targets)[:, 0].tolist() == [150.0, 100.0, 50.0]
    assert found.names == ("row 0", "row 1", "row 2")
    messages = [record.message for record in caplog.records]
    assert any("row 2, column 'site' is 'c', which training has not seen (1 in all); the training "
               "groups have missing, 'a', 'b', 'r': it becomes 'other', as the rare" in m
               for m in messages)  # fmt: skip
    assert any("'plain': 1 missing values, of which there were none" in m for m in messages)


def test_classes_are_those_of_the_training() -> None:
    found = FIXED.support({**TABLE, "plain": [1, 2, 3]})
    assert (found.batch.targets.tolist(), found.classes) == ([1, 0, 0], ("no", "yes"))
    outputs = torch.randn(2, 2)
    assert FIXED.values(outputs) is outputs


def test_inputs_need_no_target(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("site,size,plain\na,10,4\nb,,0\n")
    found = CODING.inputs(path)
    assert found.inputs.tolist() == [[0, 0, 0, 1, 0, 0, 1], [0, 1, 0, 0, 1, 0, 0]]
    assert found.names == ("line 2", "line 3")


def test_rare_categories_and_accepted_ones(caplog: pytest.LogCaptureFixture) -> None:
    """The rare ones share a place, without a word; where none was rare, others have no place."""
    assert CODING.inputs({**TABLE, "site": ["r", "r", "a"]}).inputs[:, 2:6].tolist() == [
        [0, 0, 0, 1],
        [0, 0, 0, 1],
        [0, 1, 0, 0],
    ]
    assert not [record for record in caplog.records if "site" in record.message]
    columns = (Column("site", "category", categories=("a", "b")), CODING.columns[2])
    bare = replace(CODING, columns=columns)
    assert bare.inputs(TABLE).inputs.tolist() == [[0, 1, 1], [0, 0, 2], [0, 0, 0]]
    assert "'site' is missing, which training has not seen (2 in all)" in caplog.text
    assert "has no place: none was rare" in caplog.text
    with pytest.raises(UsageError, match="unknown unseen 'others'"):
        replace(CODING, unseen="others")


@pytest.mark.parametrize("verb", ["support", "inputs"])
def test_an_unseen_category_is_refused(verb: str) -> None:
    """It names row, column, value, count, the known ones and what to do; the ways in are alike."""
    coding = replace(CODING, unseen="refuse")
    table = {**TABLE, "site": ["b", "c", "d"]}
    with pytest.raises(DataError) as caught:
        getattr(coding, verb)(table)
    assert str(caught.value) == (
        "the table, row 1, column 'site' is 'c', which training has not seen (2 in all); the "
        "training groups have missing, 'a', 'b', 'r': mend the value, leave such rows out, "
        "accept it knowingly (in training tasks.unseen=other, in use --unseen other), or train "
        'without the column, tasks.leave_out=["site"]'
    )


def test_rare_is_what_one_training_group_has() -> None:
    table = read_table({"x": ["a", "a", "b", "c", "c", "c", "d"]})
    training = np.array([True] * 6 + [False])

    def fit(*groups: str) -> Column:
        found = fitted(
            table.column("x"), table, training, categorical=False, wanted=False, groups=groups
        )
        assert isinstance(found, Column)
        return found

    assert fit() == Column("x", "category", categories=("a", "b", "c"))
    assert fit(*"1212211") == Column("x", "category", categories=("a", "c"), rare=("b",))
    assert fit(*"1123333") == Column("x", "category", categories=("a", "b", "c"))  # all are
    assert "one for rare ones such as 'b'" in fit(*"1212211").describe()


BAD = {
    "another table": ({"x": [1], "sold": [1]}, r"'size' is missing \(3 in all\)"),
    "nearly": ({**TABLE, "sizes": TABLE["size"], "size": None}, r"did you mean 'sizes'"),
    "no target": ({k: v for k, v in TABLE.items() if k != "sold"}, r"no column 'sold'"),
    "missing target": ({**TABLE, "sold": [1, None, None]}, r"row 1: the target 'sold' is missing"),
    "infinite": (
        {**TABLE, "sold": [1, np.inf, 2]},
        r"row 1, column 'sold' is inf: numbers must be finite",
    ),
    "words": ({**TABLE, "sold": ["a", "b", "c"]}, r"'sold' holds 'a': numbers are to be"),
    "words in numbers": ({**TABLE, "size": ["a", "b", "c"]}, r"'size' is 'a': it held numbers"),
    "infinite input": ({**TABLE, "plain": [np.inf, 1, 2]}, r"row 0, column 'plain' is inf"),
    "two groups": ({**TABLE, "shop": ["A", "B", "A"]}, r"2 groups in 'shop', 'A' and 'B'"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_no_support_set_is_refused(fault: str) -> None:
    table, message = BAD[fault]
    with pytest.raises(DataError, match=message):
        CODING.support({k: v for k, v in table.items() if v is not None})


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"row 2: the class 'yess' of 'kind' .* mean 'yes'"):
        FIXED.support({**TABLE, "plain": [1, 2, 3], "kind": ["yes", "no", "yess"]})


ROWS = 30
LEFT = {
    "a date": (["2026-01-01"] * ROWS, r"a date"),
    "an index": (range(5, 5 + ROWS), r"without gaps: an id"),
    "names": ([f"n{i}" for i in range(ROWS)], r"a different word in each row"),
    "the same": ([7.0] * ROWS, r"the same in all training groups: 7"),
    "one word": (["x"] * ROWS, r"the same in all training groups: 'x'"),
    "nothing": ([None] * ROWS, r"the same|missing in all training groups"),
    "only in test": ([1.0] * (ROWS - 1) + [2.0], r"the same in all training groups"),
    "notes": ([f"n{i % 60}" for i in range(120)], r"60 different words"),
}


@pytest.mark.parametrize("what", LEFT)
def test_columns_that_say_nothing_are_left_out(what: str) -> None:
    values, message = LEFT[what]
    values = list(values)
    if what == "a date":
        values = np.array(values, "datetime64[D]")
    table = read_table({"x": values})
    training = np.arange(len(values)) < len(values) - 1
    found = fitted(table.column("x"), table, training, categorical=False, wanted=False)
    assert isinstance(found, str)
    assert re.search(message, found)


def test_columns_follow_the_training_rows() -> None:
    table = read_table({"x": [1.0, 3.0, None, 500.0], "k": [7, 7, 9, 8]})
    training = np.array([True, True, True, False])

    def fit(name: str, **options: bool) -> Column:
        found = fitted(
            table.column(name),
            table,
            training,
            **{"categorical": False, "wanted": False, **options},
        )
        assert isinstance(found, Column)
        return found

    assert fit("x") == Column("x", centre=2.0, scale=1.0, indicator=True)
    assert fit("k", categorical=True) == Column("k", "category", categories=("7", "9"))
    assert fit("k").width == 1
    assert fit("k", categorical=True).width == 2
    assert "and a mark where it is missing" in fit("x").describe()
    assert fit("k", categorical=True).describe() == "category, one place each for '7', '9'"


def test_truth_values_of_a_frame_are_words_in_a_csv_file(tmp_path: Path) -> None:
    """A model trained on a Parquet file is used on CSV files."""
    column = Column("on", centre=0.5, scale=0.5, indicator=True)
    (tmp_path / "t.csv").write_text("on,x\nTrue,1\nfalse,1\n,1\n")
    for source in (tmp_path / "t.csv", {"on": [True, False, None]}):
        assert column.coded(read_table(source)).tolist() == [[1, 0], [-1, 0], [0, 1]]


def test_categories_that_are_all_digits_keep_their_zeros(tmp_path: Path) -> None:
    """In training the column held words; here a file has only those that look like numbers."""
    codes = Column("code", "category", categories=("01234", "1.10", "AB1"), rare=("12E5",))
    coding = TableCoding((codes,), "kind", "shop", "classes", ("00", "1"))
    path = tmp_path / "t.csv"
    path.write_text("code,kind,shop\n01234,00,7\n1.10,1,7\n12E5,1,7\n")
    found = coding.support(path)
    assert found.batch.inputs.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert found.batch.targets.tolist() == [0, 1, 1]
    path.write_text("code,kind,shop\n1234,00,7\n")
    with pytest.raises(DataError, match="column 'code' is '1234', which training has not seen"):
        coding.inputs(path)
    path.write_text("code,kind,shop\n" + "01234,00,7\n" * 20 + "AB1,1,7\n")
    assert coding.support(path).batch.inputs[-1].tolist() == [0, 0, 1, 0]


def test_truth_values_are_classes_and_categories_in_each_format(tmp_path: Path) -> None:
    """Parquet and frames have truth values, CSV files have words, in capitals or not."""
    (tmp_path / "t.csv").write_text("on,y,g\nTRUE,true,1\nFALSE,false,1\n")
    for names in (("False", "True"), ("false", "true"), ("FALSE", "TRUE")):
        column = Column("on", "category", categories=names)
        coding = TableCoding((column,), "y", "g", "classes", names)
        for source in (tmp_path / "t.csv", {"on": [True, False], "y": [True, False]}):
            found = coding.support(source)
            assert found.batch.targets.tolist() == [1, 0]
            assert found.batch.inputs.tolist() == [[0, 1], [1, 0]]
