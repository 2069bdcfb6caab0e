"""Read CSV files strictly: each fault is named with its line, and nothing is guessed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.data.csv_numbers import are_long, infinite, number, numbers, typos
from metaccord.errors import DataError, UsageError

MISSING = frozenset(
    ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "none")
)
"""Words that stand for a missing value."""
_SEPARATORS = {",": "','", ";": "';'", "\t": "'\\t' (a tab)", "|": "'|'"}
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([T ]\d\d?:\d\d.*)?|\d\d?[./]\d\d?[./]\d{4}( \d\d?:\d\d.*)?")


class ReadCsv(NamedTuple):
    """A CSV file by columns.

    Attributes:
        names: Of the columns.
        columns: Float64 with nan where a value is missing, ``[n]``; or ``n`` texts.
        lines: Line of each row.
        dates: Columns of texts that are dates.
        written: The texts of some columns of numbers, as they were written, ``[n]``.
        doubts: What looks like a mistake in a column where numbers are wanted.
    """

    names: list[str]
    columns: list[NDArray[np.float64] | list[str]]
    lines: list[int]
    dates: frozenset[str]
    written: dict[str, list[str]]
    doubts: dict[str, str]


def read_csv(
    content: bytes,
    path: Path,
    separator: str | None,
    decimal: str = ".",
    written: Container[str] = (),
) -> ReadCsv:
    """Return the columns of a CSV file with a header, UTF-8, with or without byte order mark.

    Args:
        content: The file.
        path: What messages call it.
        separator: Between values; None: a tab in ``.tsv`` files, else a comma.
        decimal: Of numbers: ``"."`` or ``","``.
        written: Columns whose texts are kept if they are numbers.

    Raises:
        UsageError: for a separator or decimal sign that cannot be.
        DataError: naming the line at fault.
    """
    sign = separator or ("\t" if path.suffix.lower() == ".tsv" else ",")
    sign = "\t" if sign == "\\t" else sign
    if len(sign) != 1 or sign in '"\r\n' or decimal not in (".", ",") or sign == decimal:
        raise UsageError(
            f"tasks.separator is {sign!r} and tasks.decimal {decimal!r}: use one letter such as ; "
            "and '.' or ',', not the same for both"
        )
    text = _text(content, path)
    names, rows, lines = _rows(text, path, sign)
    columns: list[NDArray[np.float64] | list[str]] = []
    dates = set()
    kept, doubts = {}, {}
    for name, raw in zip(names, zip(*rows, strict=True), strict=True):
        values = ["" if (word := cell.strip()) in MISSING else word for cell in raw]
        found = numbers(values, decimal)
        doubt = ""
        if isinstance(found, np.ndarray):
            doubt = infinite(found, values, lines, name, path)
            columns.append(values if are_long(found, values) else found)
            if name in written:
                kept[name] = values
        else:
            if all(_DATE.fullmatch(value) for value in values if value):
                dates.add(name)
            else:
                doubt = typos(values, found, lines, name, path, decimal)
            columns.append(values)
        if doubt:
            doubts[name] = doubt
    return ReadCsv(names, columns, lines, frozenset(dates), kept, doubts)


def _text(content: bytes, path: Path) -> str:
    if not content.strip():
        raise DataError(f"file {path} is empty: it needs a header and rows")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"file {path} is UTF-16: save it as CSV UTF-8")
    if content.startswith(b"PK\x03\x04"):
        raise DataError(f"file {path} is a zip archive or a spreadsheet: save it as CSV UTF-8")
    if (at := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, at) + 1
        raise DataError(f"file {path}, line {line} holds a NUL byte: it is no text, or damaged")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"file {path}, line {line} is not UTF-8 (byte 0x{content[error.start]:02x}): save it "
            "as CSV UTF-8"
        ) from error


def _rows(text: str, path: Path, sign: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Return header, rows and their lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    names: list[str] = []
    start = 1
    try:
        for row in reader:
            if row and not names:
                names = _header(row, text, path, sign)
            elif row and len(row) != len(names):
                raise DataError(
                    f"file {path}, line {start} has {len(row)} values, the header names "
                    f"{len(names)} columns: quote values that hold {_SEPARATORS.get(sign, sign)}, "
                    "or mend the line"
                )
            elif row:
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"file {path}, line {start} is no CSV ({error}): mend it") from error
    if not rows:
        raise DataError(f"file {path} has a header but no row: give it data")
    return names, rows, lines


def _header(row: list[str], text: str, path: Path, sign: str) -> list[str]:
    names = [name.strip() for name in row]
    if len(names) == 1:
        first = text.lstrip().split("\n", 1)[0]
        counts = {other: first.count(other) + 1 for other in _SEPARATORS if other != sign}
        best = max(counts, key=lambda other: counts[other])
        if counts[best] > 1:
            word = "\\t" if best == "\t" else best
            raise DataError(
                f"file {path} has one column, {names[0]!r}, with the separator "
                f"{_SEPARATORS.get(sign, repr(sign))}, but {counts[best]} with "
                f"{_SEPARATORS[best]}: set tasks.separator={word!r}"
            )
        raise DataError(
            f"file {path} has one column, {names[0]!r}: it needs a target, a group and at least "
            "one column to predict from"
        )
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice and twice[0]:
        raise DataError(f"file {path} has the column {twice[0]!r} twice: rename one")
    if "" in names:
        if names.count("") > 1 or names[0]:
            raise DataError(
                f"file {path}, column {names.index('') + 1} has no name: the first line must name "
                "each column"
            )
        names[0] = "unnamed"  # what pandas writes for its index
    if all(number(name, ".") is not None for name in names):
        raise DataError(
            f"file {path} begins with numbers, not with the names of its columns: add a first line "
            "with names"
        )
    return names
