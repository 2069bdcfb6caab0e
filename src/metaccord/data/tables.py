"""Tables of users, column by column: CSV and Parquet files, and frames in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from metaccord.data.archives import read_whole
from metaccord.data.csv_files import MISSING, ReadCsv, read_csv
from metaccord.errors import DataError, UsageError, nearest

Kind = Literal["number", "whole", "truth", "text", "date"]
LARGEST = 4 << 30  # bytes of a file


@dataclass(frozen=True, eq=False)
class RawColumn:
    """One column as it was given.

    Attributes:
        name: Its name.
        kind: ``"number"``, ``"whole"``: numbers; ``"truth"``: 0 and 1; ``"text"``; ``"date"``.
        numbers: Float64 with nan where a value is missing, ``[n]``; empty for text and dates.
        texts: Values as text, ``""`` where one is missing, ``[n]``; empty for numbers.
    """

    name: str
    kind: Kind
    numbers: NDArray[np.float64]
    texts: tuple[str, ...] = ()

    def missing(self) -> NDArray[np.bool_]:
        """Return where a value is missing, ``[n]``."""
        if self.kind in ("text", "date"):
            return np.array([text == "" for text in self.texts], dtype=bool)
        return np.isnan(self.numbers)

    def words(self) -> list[str]:
        """Return the values as text, ``"3"`` for the whole number 3, ``""`` for missing ones."""
        if self.kind in ("text", "date"):
            return list(self.texts)
        return [
            "" if value != value else str(int(value)) if value == int(value) else repr(value)
            for value in self.numbers.tolist()
        ]


@dataclass(frozen=True, eq=False)
class RawTable:
    """A table as it was given.

    Attributes:
        columns: By name, in order.
        rows: Number of rows.
        where: What messages call it.
        digest: SHA-256 of its file, or of its values.
        lines: The line of each row in a text file; empty otherwise.
    """

    columns: Mapping[str, RawColumn]
    rows: int
    where: str
    digest: str
    lines: tuple[int, ...] = ()

    def row(self, index: int) -> str:
        """Return what messages call a row: its line in a text file, else its number from 0."""
        return f"line {self.lines[index]}" if self.lines else f"row {index}"

    def column(self, name: str) -> RawColumn:
        """Return a column.

        Raises:
            DataError: with the nearest name, or all.
        """
        if name not in self.columns:
            raise DataError(f"{self.where} has no column {name!r}: {nearest(name, self.columns)}")
        return self.columns[name]


def read_table(source: Any, separator: str | None = None, decimal: str = ".") -> RawTable:
    """Return a table.

    Args:
        source: Path of a CSV file, or of a Parquet file (``.parquet``, ``.pq``); a pandas
            DataFrame; or a dict of columns.
        separator: Between values of a CSV file; None: a tab in ``.tsv`` files, else a comma.
        decimal: Of numbers in a CSV file.

    Raises:
        UsageError: if a package is missing.
        DataError: if it is no table, with the line where one is at fault.
    """
    if not isinstance(source, str | Path):
        return of_frame(source)
    path = Path(source).expanduser()
    content = read_whole(path, LARGEST)
    if content.startswith(b"PAR1") or path.suffix.lower() in (".parquet", ".pq"):
        return of_columns(_parquet(content, path), f"file {path}", _sha(content))
    found = read_csv(content, path, separator, decimal)
    return _of_csv(found, f"file {path}", _sha(content))


def of_frame(frame: Any) -> RawTable:
    """Return a table in memory: a pandas DataFrame, or a dict of columns.

    Raises:
        DataError: if it is neither, or columns differ in length or share a name.
    """
    where = "the table"
    names = [*frame] if isinstance(frame, Mapping) else [*getattr(frame, "columns", ())]
    if not names:
        raise DataError(f"{where} is {type(frame).__name__}: give a path, a DataFrame or a dict")
    _refuse_twice([str(name) for name in names], where)
    columns = {}
    for name in names:
        values = frame[name]
        raw = values.to_numpy() if hasattr(values, "to_numpy") else np.array(_listed(values))
        columns[str(name)] = raw
    digest = hashlib.sha256()
    for name, raw in columns.items():
        digest.update(f"{name}{raw.dtype}{raw.shape}".encode())
        plain = raw.dtype.kind not in "OM"
        digest.update(raw.tobytes() if plain else "\0".join(map(str, raw.tolist())).encode())
    return of_columns(columns, where, digest.hexdigest())


def _listed(values: Any) -> Any:
    """Return values that may mix numbers and None so that NumPy gives them one type."""
    if isinstance(values, Sequence) and any(value is None for value in values):
        return np.array(values, dtype=object)
    return values


def of_columns(columns: Mapping[str, NDArray[Any]], where: str, digest: str) -> RawTable:
    """Return a table of arrays.

    Args:
        columns: Arrays ``[n]``, by name.
        where: What messages call the table.
        digest: Its hash.

    Raises:
        DataError: for columns of different lengths or of what is no value.
    """
    found = {name: _column(name, raw, where) for name, raw in columns.items()}
    lengths = {len(raw) for raw in columns.values()}
    if len(lengths) != 1:
        raise DataError(f"{where} has columns of {sorted(lengths)} rows: they need one length")
    (rows,) = lengths
    if not rows:
        raise DataError(f"{where} has columns but no row: give it data")
    return RawTable(found, rows, where, digest)


def _column(name: str, raw: NDArray[Any], where: str) -> RawColumn:
    """Return a column of an array."""
    nothing = np.zeros(0)
    if raw.ndim != 1:
        raise DataError(f"{where}, column {name!r} has shape {list(raw.shape)}: one value per row")
    if raw.dtype.kind == "M":
        texts = ["" if str(value) == "NaT" else str(value) for value in raw]
        return RawColumn(name, "date", nothing, tuple(texts))
    if raw.dtype.kind == "b":
        return RawColumn(name, "truth", raw.astype(np.float64))
    if raw.dtype.kind in "iu":
        return RawColumn(name, "whole", raw.astype(np.float64))
    if raw.dtype.kind == "f":
        return RawColumn(name, _whole(raw), raw.astype(np.float64))
    if raw.dtype.kind not in "OU":
        raise DataError(f"{where}, column {name!r} holds {raw.dtype}: give numbers, text or dates")
    values = [None if _is_missing(value) else value for value in raw.tolist()]
    kinds = {type(value) for value in values if value is not None}
    if kinds and all(issubclass(kind, bool | int | float | np.number) for kind in kinds):
        numbers = np.array([np.nan if v is None else float(v) for v in values])
        return RawColumn(name, "truth" if kinds == {bool} else _whole(numbers), numbers)
    if bad := [kind.__name__ for kind in kinds if issubclass(kind, list | dict | bytes | tuple)]:
        raise DataError(f"{where}, column {name!r} holds {bad[0]}: give numbers, text or dates")
    date = bool(kinds) and all(hasattr(kind, "isoformat") for kind in kinds)
    texts = ["" if value is None else str(value).strip() for value in values]
    return RawColumn(name, "date" if date else "text", nothing, tuple(texts))


def _is_missing(value: Any) -> bool:
    if value is None or isinstance(value, str):
        return value is None or value.strip() in MISSING
    return type(value).__name__ in ("NAType", "NaTType") or value != value


def _whole(numbers: NDArray[Any]) -> Kind:
    seen = numbers[np.isfinite(numbers)]
    return "whole" if len(seen) and bool((seen == np.round(seen)).all()) else "number"


def _of_csv(found: ReadCsv, where: str, digest: str) -> RawTable:
    columns = {}
    for name, values in zip(found.names, found.columns, strict=True):
        if isinstance(values, np.ndarray):
            columns[name] = RawColumn(name, _whole(values), values)
        else:
            kind: Kind = "date" if name in found.dates else "text"
            columns[name] = RawColumn(name, kind, np.zeros(0), tuple(values))
    return RawTable(columns, len(found.lines), where, digest, tuple(found.lines))


def _parquet(content: bytes, path: Path) -> dict[str, NDArray[Any]]:
    """Return the columns of a Parquet file."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError(
            f"file {path} is a Parquet file, and pyarrow is missing: pip install 'metaccord[table]'"
        ) from error
    try:
        table = pq.read_table(pa.BufferReader(content))
        _refuse_twice(table.column_names, f"file {path}")
        columns = {}
        for name in table.column_names:
            column, kind = table.column(name), table.schema.field(name).type
            if pa.types.is_dictionary(kind):
                column = column.cast(kind.value_type)
            if pa.types.is_decimal(kind):
                column = column.cast(pa.float64())
            columns[name] = column.to_numpy()
    except (pa.ArrowException, OSError, NotImplementedError) as error:
        raise DataError(
            f"file {path} is no Parquet file that can be read ({' '.join(str(error).split())[:200]}"
            "): write it again"
        ) from error
    if not columns:
        raise DataError(f"file {path} has no column: write it again")
    return columns


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"{where} has the column {twice[0]!r} twice: rename one")


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
