"""Values of tables as users have them: decimal signs, long ids, and what is no value."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from metaccord.data.tables import read_table
from metaccord.errors import DataError

LONG = [1234567890123456789, 1234567890123456790, 12]


def read(path: Path, rows: str, decimal: str = "."):
    path.write_text("a;b\n" + rows)
    return read_table(path, ";", decimal)


def test_dates_and_points_are_no_numbers_with_decimal_commas(tmp_path: Path) -> None:
    """31.01.2026 is a date there, not 31,012,026."""
    path = tmp_path / "t.csv"
    table = read(path, "1,5;31.01.2026\n1.234,5;01.02.2026\n-12.345;3.4.2026\n", ",")
    assert table.columns["b"].kind == "date"
    assert table.columns["a"].numbers.tolist() == [1.5, 1234.5, -12345.0]
    for rows in ("1.5;1\n2.5;1\n", "0.125;1\n0.250;1\n", "1,234.5;1\n3;1\n"):
        with pytest.raises(DataError, match=r"with points such as .*: tasks\.decimal is ','"):
            read(path, rows, ",").column("a")


@pytest.mark.parametrize(
    ("rows", "hint"),
    [
        ("1,5;1\n2;1\n3;1\n", r"set tasks\.decimal=','$"),
        ("1,250;1\n0,125;1\n", r"set tasks\.decimal=','$"),
        ("1,250;1\n2,000;1\n", r"if they are decimals, or write thousands without commas"),
        ("1,250.5;1\n999.5;1\n", r"'1,250\.5': write thousands without commas"),
        ("1,250,000;1\n999;1\n", r": write thousands without commas"),
    ],
)
def test_commas_in_numbers_are_noticed(tmp_path: Path, rows: str, hint: str) -> None:
    with pytest.raises(DataError, match=r"holds numbers with commas such as .*" + hint):
        read(tmp_path / "t.csv", rows).column("a")


def test_long_ids_stay_apart(tmp_path: Path) -> None:
    """Float64 has one number for the first two."""
    words = [str(number) for number in LONG]
    sources = [{"a": LONG}, {"a": np.array(LONG)}, {"a": [2**70, 2**70 + 1, 5]}]
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{word},1\n" for word in words))
    sources.append(tmp_path / "t.csv")
    for source in sources:
        found = read_table(source).columns["a"]
        assert len(set(found.words())) == 3, source
    assert found.words() == words
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    arrow = pa.table({"a": [*LONG, None]})
    pq.write_table(arrow, tmp_path / "t.parquet")
    for source in (arrow, tmp_path / "t.parquet"):
        assert read_table(source).columns["a"].words() == [*words, ""]


def test_decimals_and_masks_are_numbers() -> None:
    masked = np.ma.masked_greater(np.array([1.0, 2.0, 9.0]), 5)
    table = read_table({"a": [Decimal("1.5"), Decimal("NaN"), None], "b": masked})
    assert (table.columns["a"].kind, table.columns["a"].words()) == ("number", ["1.5", "", ""])
    assert table.columns["b"].words() == ["1", "2", ""]


def test_columns_of_what_is_no_value_can_only_not_be_used(tmp_path: Path) -> None:
    columns = {
        "good": [1, 2], "list": [[1], [2]], "ragged": [[1], [2, 3]], "dict": [{}, {}],
        "bytes": [b"a", b"b"], "complex": np.zeros(2, complex),
        "time": np.array([1, 2], "m8[s]"),
    }  # fmt: skip
    table = read_table(columns)
    assert table.column("good").words() == ["1", "2"]
    for name in [*columns][1:]:
        with pytest.raises(DataError, match=rf"column '{name}' (has|holds) .*give numbers, text"):
            table.column(name)
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"x": [1, 2], "e": [[0.5, 1], [2.5]]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="column 'e' holds ndarray"):
        read_table(tmp_path / "t.parquet").column("e")
