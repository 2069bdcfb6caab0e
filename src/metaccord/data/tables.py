"""Tables of users, column by column: CSV and Parquet files, and frames in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaccord.data.archives import read_whole
from metaccord.data.csv_files import ReadCsv, read_csv
from metaccord.data.frames import of_arrow, of_columns, of_frame
from metaccord.data.raw import Kind, RawColumn, RawTable, kind_of
from metaccord.errors import DataError, UsageError

LARGEST = 4 << 30  # bytes of a file


def read_table(
    source: Any,
    separator: str | None = None,
    decimal: str = ".",
    written: Container[str] = (),
) -> RawTable:
    """Return a table.

    Args:
        source: Path of a CSV file, or of a Parquet file (``.parquet``, ``.pq``); a pandas
            DataFrame; or a dict of columns.
        separator: Between values of a CSV file; None: a tab in ``.tsv`` files, else a comma.
        decimal: Of numbers in a CSV file.
        written: Columns of a CSV file whose numbers may be names: they are kept as written, too.

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
    found = read_csv(content, path, separator, decimal, written)
    return _of_csv(found, f"file {path}", _sha(content))


def _of_csv(found: ReadCsv, where: str, digest: str) -> RawTable:
    columns = {}
    for name, values in zip(found.names, found.columns, strict=True):
        doubt = found.doubts.get(name, "")
        if isinstance(values, np.ndarray):
            texts = tuple(found.written.get(name, ()))
            columns[name] = RawColumn(name, kind_of(values), values, texts, doubt=doubt)
        else:
            kind: Kind = "date" if name in found.dates else "text"
            columns[name] = RawColumn(name, kind, np.zeros(0), tuple(values), doubt=doubt)
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
        columns = of_arrow(pq.read_table(pa.BufferReader(content)), f"file {path}")
    except (pa.ArrowException, OSError, NotImplementedError) as error:
        raise DataError(
            f"file {path} is no Parquet file that can be read ({' '.join(str(error).split())[:200]}"
            "): write it again"
        ) from error
    if not columns:
        raise DataError(f"file {path} has no column: write it again")
    return columns


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
