"""Tables in memory: pandas DataFrames, tables of pyarrow, dicts of columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaccord.data.csv_files import MISSING
from metaccord.data.csv_numbers import EXACT
from metaccord.data.raw import RawColumn, RawTable, kind_of
from metaccord.errors import DataError

_CONTAINERS = (list, tuple, dict, set, bytes, np.ndarray)  # which are no values


def of_frame(frame: Any) -> RawTable:
    """Return a table in memory: a pandas DataFrame, a table of pyarrow, or a dict of columns.

    Columns of what is no value (lists, bytes, durations) can be there, but not be used.

    Raises:
        DataError: if it is neither, or columns differ in length or share a name.
    """
    where = "the table"
    if hasattr(frame, "column_names") and hasattr(frame, "schema"):
        frame = of_arrow(frame, where)
    if not isinstance(frame, Mapping) and not hasattr(frame, "columns"):
        raise DataError(f"{where} is {type(frame).__name__}: give a path, a DataFrame or a dict")
    names = [*frame] if isinstance(frame, Mapping) else [*frame.columns]
    if not names:
        raise DataError(f"{where} has no column: give it data")
    refuse_twice([str(name) for name in names], where)
    columns = {}
    for name in names:
        values = frame[name]
        columns[str(name)] = values.to_numpy() if hasattr(values, "to_numpy") else _listed(values)
    digest = hashlib.sha256()
    for name, raw in columns.items():
        digest.update(f"{name}{raw.dtype}{raw.shape}".encode())
        plain = raw.dtype.kind not in "OM"
        digest.update(raw.tobytes() if plain else "\0".join(map(str, raw.tolist())).encode())
    return of_columns(columns, where, digest.hexdigest())


def _listed(values: Any) -> NDArray[Any]:
    """Return values, which may mix numbers and None, as an array; masked ones are missing."""
    if isinstance(values, np.ma.MaskedArray) and values.mask.any():
        return np.array(values.tolist(), dtype=object)
    if isinstance(values, Sequence) and not isinstance(values, str):
        kinds = {type(value) for value in values}
        if type(None) in kinds or any(issubclass(kind, _CONTAINERS) for kind in kinds):
            found = np.empty(len(values), dtype=object)
            found[:] = values
            return found
    return np.array(values)


def of_columns(columns: Mapping[str, NDArray[Any]], where: str, digest: str) -> RawTable:
    """Return a table of arrays.

    Args:
        columns: Arrays ``[n]``, by name.
        where: What messages call the table.
        digest: Its hash.

    Raises:
        DataError: for columns of different lengths.
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
    if not raw.ndim:
        raise DataError(f"{where}, column {name!r} is a single value: give one for each row")
    if raw.ndim > 1:
        return RawColumn(name, "text", nothing, fault=f"has shape {list(raw.shape)}")
    if raw.dtype.kind == "M":
        texts = ["" if str(value) == "NaT" else str(value) for value in raw]
        return RawColumn(name, "date", nothing, tuple(texts))
    if raw.dtype.kind == "b":
        return RawColumn(name, "truth", raw.astype(np.float64))
    if raw.dtype.kind in "iu":
        if len(raw) and max(-int(raw.min()), int(raw.max())) >= EXACT:
            return RawColumn(name, "text", nothing, tuple(map(str, raw.tolist())))
        return RawColumn(name, "whole", raw.astype(np.float64))
    if raw.dtype.kind == "f":
        return RawColumn(name, kind_of(raw), raw.astype(np.float64))
    if raw.dtype.kind not in "OU":
        return RawColumn(name, "text", nothing, fault=f"holds {raw.dtype}")
    values = [None if _is_missing(value) else value for value in raw.tolist()]
    kinds = {type(value) for value in values if value is not None}
    long = any(isinstance(v, int | np.integer) and abs(int(v)) >= EXACT for v in values)
    numeric = all(issubclass(kind, bool | int | float | np.number | Decimal) for kind in kinds)
    if kinds and numeric and not long:
        numbers = np.array([np.nan if v is None else float(v) for v in values])
        return RawColumn(name, "truth" if kinds == {bool} else kind_of(numbers), numbers)
    if bad := sorted(kind.__name__ for kind in kinds if issubclass(kind, _CONTAINERS)):
        return RawColumn(name, "text", nothing, fault=f"holds {bad[0]}")
    date = bool(kinds) and all(hasattr(kind, "isoformat") for kind in kinds)
    texts = ["" if value is None else str(value).strip() for value in values]
    return RawColumn(name, "date" if date else "text", nothing, tuple(texts))


def _is_missing(value: Any) -> bool:
    if value is None or isinstance(value, str):
        return value is None or value.strip() in MISSING
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating | Decimal) and value != value


def of_arrow(table: Any, where: str) -> dict[str, NDArray[Any]]:
    """Return the columns of a table of pyarrow."""
    import pyarrow as pa

    refuse_twice(table.column_names, where)
    columns = {}
    for name in table.column_names:
        column, kind = table.column(name), table.schema.field(name).type
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        if pa.types.is_decimal(kind):
            column = column.cast(pa.float64())
        whole = pa.types.is_integer(kind) and column.null_count  # NumPy would make them float
        columns[name] = np.array(column.to_pylist(), dtype=object) if whole else column.to_numpy()
    return columns


def refuse_twice(names: Sequence[str], where: str) -> None:
    """Raise DataError if a name is there more than once."""
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"{where} has the column {twice[0]!r} twice: rename one")
