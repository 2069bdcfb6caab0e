"""Numbers of a CSV file: what is one, and what looks like one with a mistake."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EXACT = 1 << 53
"""Whole numbers from which on float64 does not tell neighbours apart."""
_TYPO = 0.9  # share of numbers from which on the rest is taken for mistakes
_COMMA = re.compile(r"[+-]?\d+(\.\d{3})*,\d+")
_POINT = re.compile(r"[+-]?\d*(,\d{3})*\.\d+")
_BY_POINTS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?")  # 1.234,5
_BY_COMMAS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")  # 1,234.5


def number(word: str, decimal: str) -> float | None:
    """Return the number that a word is, if it is one."""
    if decimal == ",":
        if "." in word and not _BY_POINTS.fullmatch(word):
            return None  # a date, or another decimal sign
        word = word.replace(".", "").replace(",", ".")
    try:
        return None if "_" in word else float(word)
    except ValueError:
        return None


def numbers(values: list[str], decimal: str) -> NDArray[np.float64] | list[bool]:
    """Return numbers, nan where one is missing; or which values are numbers."""
    found = [float("nan") if not value else number(value, decimal) for value in values]
    if not any(values) or None not in found:
        return np.array(found, dtype=np.float64)
    return [number is not None for number in found]


def are_long(numbers: NDArray[np.float64], values: list[str]) -> bool:
    """Say whether some are whole numbers, such as ids, that float64 would mix up."""
    large = np.flatnonzero(np.abs(numbers) >= EXACT)
    return len(large) > 0 and all(values[i].lstrip("+-").isdigit() for i in large)


def infinite(
    numbers: NDArray[np.float64], values: list[str], lines: list[int], name: str, path: Path
) -> str:
    """Return what is wrong with the first number that is not finite; empty if all are."""
    bad = np.flatnonzero(~(np.abs(numbers) <= 1e30) & np.array([bool(v) for v in values]))
    if not len(bad):
        return ""
    return (
        f"file {path}, line {lines[bad[0]]}, column {name!r} is {values[bad[0]]!r}: numbers "
        "must be finite, at most 1e30; leave a missing value empty"
    )


def typos(
    values: list[str], is_number: list[bool], lines: list[int], name: str, path: Path, decimal: str
) -> str:
    """Return what is wrong with numbers that have a few words, or another sign, among them."""
    seen = sum(map(bool, values))
    good = sum(number for number, value in zip(is_number, values, strict=True) if value)
    odd, hint = _other_sign(values, decimal)
    if odd and good + len(odd) >= _TYPO * seen:
        signs = "commas" if decimal == "." else "points"
        return f"file {path}, column {name!r} holds numbers with {signs} such as {odd[0]!r}: {hint}"
    if good >= _TYPO * seen:
        row = is_number.index(False)
        return (
            f"file {path}, line {lines[row]}, column {name!r} is {values[row]!r}, but {good} of "
            f"{seen} values are numbers: mend it, or leave it empty if it is missing"
        )
    return ""


def _other_sign(values: list[str], decimal: str) -> tuple[list[str], str]:
    """Return values that are numbers by another decimal sign, and what to do about them."""
    if decimal == ",":
        odd = [v for v in values if _POINT.fullmatch(v)]
        return odd, "tasks.decimal is ',', use one decimal sign in the whole file"
    odd = [v for v in values if _COMMA.fullmatch(v) or _BY_COMMAS.fullmatch(v)]
    if not all(map(_BY_COMMAS.fullmatch, odd)):
        return odd, "set tasks.decimal=','"
    if any("." in v or v.count(",") > 1 for v in odd):
        return odd, "write thousands without commas"
    return odd, "set tasks.decimal=',' if they are decimals, or write thousands without commas"
