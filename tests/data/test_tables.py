"""Tables as they are: CSV, Parquet and frames agree; each fault is named with its line."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaccord.data.csv_files import read_csv
from metaccord.data.tables import read_table
from metaccord.errors import DataError, MetaccordError, UsageError

GOOD = "a,b,day,flag,n\n1,x,2026-01-02,true,1.5\n,y z,2026-01-03,false,-2e3\n3,NA,,true,NaN\n"


def shown(table) -> dict[str, tuple[str, list[str]]]:
    return {name: (column.kind, column.words()) for name, column in table.columns.items()}


def test_csv_is_read_with_kinds_and_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(GOOD)
    table = read_table(path)
    assert shown(table) == {
        "a": ("whole", ["1", "", "3"]),
        "b": ("text", ["x", "y z", ""]),
        "day": ("date", ["2026-01-02", "2026-01-03", ""]),
        "flag": ("text", ["true", "false", "true"]),
        "n": ("number", ["1.5", "-2000", ""]),
    }
    assert [table.row(i) for i in range(3)] == ["line 2", "line 3", "line 4"]
    assert table.columns["a"].missing().tolist() == [False, True, False]


def test_a_mark_at_the_start_quotes_and_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('﻿"a;x";b\r\n"one\r\ntwo";1,5\r\n\r\nthree;-1.000,25\r\n'.encode())
    table = read_table(path, ";", ",")
    assert shown(table)["a;x"] == ("text", ["one\r\ntwo", "three"])
    assert table.columns["b"].numbers.tolist() == [1.5, -1000.25]
    assert [table.row(i) for i in range(2)] == ["line 2", "line 5"]
    (tmp_path / "t.tsv").write_text("a\tb\n1\t2\n")
    assert [*read_table(tmp_path / "t.tsv").columns] == ["a", "b"]


def test_frames_parquet_and_dicts_agree(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    data = {
        "a": [1, 2, None], "b": ["x", None, "z"], "c": [True, False, True],
        "d": pd.to_datetime(["2026-01-02", None, "2026-01-04"]), "e": [1.5, float("nan"), 3.0],
    }  # fmt: skip
    frame = pd.DataFrame(data)
    frame["f"] = pd.Categorical(["u", "v", "u"])
    frame["g"] = pd.array([1, None, 3], dtype="Int64")
    kinds = {
        "a": "whole", "b": "text", "c": "truth", "d": "date", "e": "number", "f": "text",
        "g": "whole",
    }  # fmt: skip
    frame.to_parquet(tmp_path / "t.parquet")
    for source in (frame, tmp_path / "t.parquet", str(tmp_path / "t.parquet")):
        table = read_table(source)
        assert {name: kind for name, (kind, _) in shown(table).items()} == kinds
        assert shown(table)["a"][1] == shown(read_table({"a": [1, 2, None]}))["a"][1]
        assert shown(table)["b"][1] == ["x", "", "z"]
        assert shown(table)["f"][1] == ["u", "v", "u"]
        assert shown(table)["g"][1] == ["1", "", "3"]
        assert table.columns["d"].missing().tolist() == [False, True, False]
    assert read_table(frame).digest == read_table(frame.copy()).digest
    other = frame.copy()
    other.loc[0, "b"] = "changed"
    assert read_table(frame).digest != read_table(other).digest


BAD = {
    "empty": ("", r"is empty"),
    "blank": ("\n \n", r"is empty"),
    "header only": ("a,b\n", r"has a header but no row"),
    "ragged short": ("a,b,c\n1,2,3\n1,2\n", r"line 3 has 2 values, the header names 3"),
    "ragged long": ("a,b\n1,2\n\n1,2,3\n", r"line 4 has 3 values, the header names 2"),
    "duplicate": ("a,b,a\n1,2,3\n", r"has the column 'a' twice"),
    "no name": ("a,,c\n1,2,3\n", r"column 2 has no name"),
    "no header": ("1,2.5\n3,4\n", r"begins with numbers"),
    "semicolon": ("a;b;c\n1;2;3\n", r"one column, 'a;b;c', .* but 3 with ';': .*separator=';'"),
    "tab": ("a\tb\n1\t2\n", r"but 2 with '\\t' \(a tab\): set tasks\.separator='\\\\t'"),
    "one column": ("a\n1\n", r"has one column, 'a': it needs"),
    "nul": (b"a,b\n1,\x002\n", r"line 2 holds a NUL byte"),
    "latin": ("a,b\nä,1\n".encode("latin-1"), r"line 2 is not UTF-8 \(byte 0xe4\)"),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), r"is UTF-16"),
    "spreadsheet": (b"PK\x03\x04rest", r"zip archive or a spreadsheet"),
    "open quote": ('a,b\n1,"2\n3,4\n', r"line 2 is no CSV \(unexpected end of data\)"),
    "quote inside": ('a,b\n"1"2,3\n', r"line 2 is no CSV"),
    "infinite": ("a,b\n1,2\n1,inf\n", r"line 3, column 'b' is 'inf'"),
    "huge": ("a,b\n1,2\n1,1e300\n", r"line 3, column 'b' is '1e300'"),
    "typo": ("a,b\n" + "1,2\n" * 20 + "1,2o\n", r"line 22, column 'b' is '2o', but 20 of 21"),
    "comma": ("a;b\n1,5;2\n2,5;3\n", r"one column|decimal=','"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_no_table_is_refused_with_its_line(tmp_path: Path, fault: str) -> None:
    content, message = BAD[fault]
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message):
        read_table(path).column("b")


def test_words_among_numbers_are_no_mistake_in_names(tmp_path: Path) -> None:
    """Nor does a column that nobody asks for refuse the file."""
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n" + "1,07,1\n" * 20 + "1,A7,inf\n")
    table = read_table(path)
    assert table.column("a").kind == "whole"
    assert table.column("b", names=True).words()[-2:] == ["07", "A7"]


def test_numbers_that_are_names_keep_their_zeros(tmp_path: Path) -> None:
    """Where they are asked for; else a number is written in one way, or as it is known."""
    path = tmp_path / "t.csv"
    path.write_text("a,b\n007,1\n7,1.0\n7.0,1.50\n,2\n")
    assert read_table(path).columns["a"].words() == ["7", "7", "7", ""]
    table = read_table(path, written=("a", "b"))
    assert table.columns["a"].words() == ["007", "7", "7", ""]
    assert table.columns["b"].words() == ["1", "1", "1.5", "2"]
    assert table.columns["b"].words(("1.50", "1")) == ["1", "1", "1.50", "2"]


def test_decimal_commas_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b\n1,5;2\n2,5;3\n")
    with pytest.raises(DataError, match=r"such as '1,5': set tasks\.decimal=','"):
        read_table(path, ";").column("a")
    for separator, decimal in ((",", ","), ("ab", "."), (";", "x"), ('"', ".")):
        with pytest.raises(UsageError, match=r"tasks\.separator is"):
            read_table(path, separator, decimal)


def test_frames_that_are_no_table_are_refused() -> None:
    pd = pytest.importorskip("pandas")
    for bad, message in (
        ([1, 2], r"is list: give a path, a DataFrame"),
        ({}, r"has no column"),
        (pd.DataFrame(), r"has no column"),
        ({"a": [1, 2], "b": [1]}, r"columns of \[1, 2\] rows"),
        ({"a": []}, r"no row"),
        ({"a": 1, "b": [1]}, r"column 'a' is a single value"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), r"column 'a' twice"),
    ):
        with pytest.raises(DataError, match=message):
            read_table(bad)


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for content in (b"PAR1", b"PAR1" + b"\0" * 40 + b"PAR1", b"nothing"):
        (tmp_path / "t.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"is no Parquet file that can be read"):
            read_table(tmp_path / "t.parquet")


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    (tmp_path / "t.parquet").write_bytes(b"PAR1PAR1")
    monkeypatch.setattr(builtins, "__import__", without)
    for name in [n for n in sys.modules if n.startswith("pyarrow")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match=r"pip install 'metaccord\[table\]'"):
        read_table(tmp_path / "t.parquet")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.binary(max_size=60) | st.text(alphabet='a1,;\t"\n\r.-é', max_size=60))
def test_any_bytes_are_a_table_or_an_error(content: bytes | str) -> None:
    raw = content.encode() if isinstance(content, str) else content
    try:
        found = read_csv(raw, Path("t.csv"), None)
    except MetaccordError:
        return
    assert {len(column) for column in found.columns} == {len(found.lines)}
    assert len(set(found.names)) == len(found.names)
