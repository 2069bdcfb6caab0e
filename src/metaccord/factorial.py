"""Factorial designs, in numbers: what each interaction does, and what two do together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from metaccord.errors import UsageError, unknown
from metaccord.statistics import Interval, holm, over_seeds, p_value

Cell = tuple[str, frozenset[str]]
TINY = 1e-12  # of the largest value: smaller effects are rounding errors


@dataclass(frozen=True)
class Design:
    r"""Bases crossed with factors that are there or not.

    Effects are contrasts :math:`\sum_c w_c y_c` of the mean responses of all cells, fitted by least
    squares to main effects and pairs, each seed for itself. With :math:`\bar y` a mean over all
    other factors and bases:

    - ``agreement``: :math:`\bar y_{A} - \bar y_{\neg A}`, with minus without;
    - ``agreement | maml``: the same over one base;
    - ``agreement x sharing``: half the difference of A's effect with and without B,
      :math:`\tfrac12 [(\bar y_{AB} - \bar y_{\neg A B}) - (\bar y_{A \neg B} - \bar y_{\neg A
      \neg B})]`;
    - ``anil vs maml``: mean over one base minus mean over the first;
    - ``agreement x (anil vs maml)``: half the difference of A's effect over both bases.

    In a complete design these are the plain differences of means. A half takes the cells with an
    even number of factors over the first base and with an odd number over the second: the
    defining relation I = :math:`\pm` (product of all columns), with the first base alone among
    the cells. Every effect is then mixed with one of many factors, taken to be absent; effects
    that this cannot tell apart are shown as one (see :attr:`aliases`).

    Args:
        bases: Base methods; the others are compared with the first.
        factors: Interactions, in the order in which they are applied.
        fraction: None for all cells, or ``"half"``.

    Raises:
        UsageError: if nothing can be crossed, or a half of it has no meaning.
    """

    bases: tuple[str, ...]
    factors: tuple[str, ...]
    fraction: str | None = None

    def __post_init__(self) -> None:
        for what, names in (("bases", self.bases), ("factors", self.factors)):
            if not names or len(set(names)) < len(names):
                found = ",".join(names) or "empty"
                raise UsageError(f"the {what} of a grid are {found}: name at least one, each once")
        if self.fraction is None:
            return
        if self.fraction != "half":
            raise unknown("fraction", self.fraction, ("half",))
        if len(self.bases) > 2:
            raise UsageError(
                f"half a grid over {len(self.bases)} bases is not balanced: take at most two, or "
                "leave --fraction out"
            )
        if len(self.bases) - 1 + len(self.factors) < 3:
            raise UsageError(
                "half of so small a grid confuses main effects with one another: take three or "
                "more interactions (two over two bases), or leave --fraction out"
            )

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells that are run: base by base, from no factor to all of them."""
        return [cell for cell, kept in zip(self._all, self._kept, strict=True) if kept]

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Per effect the weight of each cell's response, ``[cells]``."""
        return self._solved[0]

    @property
    def aliases(self) -> dict[str, dict[str, int]]:
        """Effects that stay together, by the rank of the design: name, then parts and signs."""
        return self._solved[1]

    @property
    def left_out(self) -> list[str]:
        """Effects over one base that the design cannot estimate at all."""
        return [name for name in self._contrasts if " | " in name and name not in self.weights]

    @cached_property
    def _all(self) -> list[Cell]:
        sizes = range(len(self.factors) + 1)
        chosen = [c for size in sizes for c in itertools.combinations(self.factors, size)]
        return [(base, frozenset(some)) for base in self.bases for some in chosen]

    @cached_property
    def _kept(self) -> np.ndarray:
        if self.fraction is None:
            return np.ones(len(self._all), bool)
        odd = [(len(some) + self.bases.index(base)) % 2 for base, some in self._all]
        return ~np.array(odd, bool)

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        """Sum-coded columns of the model over all cells: bases, factors, and their pairs."""
        first, *others = self.bases
        at = np.array([base for base, _ in self._all])
        signs = {f: np.array([1.0 if f in s else -1.0 for _, s in self._all]) for f in self.factors}
        versus = {f"{b} vs {first}": (at == b) * 1.0 - (at == first) for b in others}
        pairs = itertools.combinations(self.factors, 2)
        crossed = itertools.product(self.factors, versus)
        return {
            **versus,
            **signs,
            **{f"{a} x {b}": signs[a] * signs[b] for a, b in pairs},
            **{f"{a} x ({v})": signs[a] * versus[v] for a, v in crossed},
        }

    @cached_property
    def _contrasts(self) -> dict[str, np.ndarray]:
        """Each effect as weights of all cells of the complete design."""
        count, bases = len(self._all), len(self.bases)
        found: dict[str, np.ndarray] = {}
        for name, column in self._columns.items():
            found[name] = column * (bases if " vs " in name else 2) / count
            if name in self.factors and bases > 1:
                for base in self.bases:
                    here = np.array([b == base for b, _ in self._all])
                    found[f"{name} | {base}"] = column * here * 2 * bases / count
        return found

    @cached_property
    def _solved(self) -> tuple[dict[str, np.ndarray], dict[str, dict[str, int]]]:
        """Return weights of the cells that are run, and the groups that stay together."""
        complete = np.column_stack([np.ones(len(self._all)), *self._columns.values()])
        inverse = np.linalg.pinv(complete[self._kept])  # [columns, cells]
        blind = np.eye(len(inverse)) - inverse @ complete[self._kept]  # onto what leaves no trace
        wanted = {name: complete.T @ contrast for name, contrast in self._contrasts.items()}
        place = {name: i for i, name in enumerate(self._columns, start=1)}
        weights: dict[str, np.ndarray] = {}
        groups: dict[str, dict[str, int]] = {}
        for name, row in wanted.items():
            if np.abs(row @ blind).max() < 1e-9:
                weights[name] = row @ inverse
            elif name in place and not any(name in group for group in groups.values()):
                # Alike columns leave e_a - s e_b without a trace; a + s b is what they show.
                seen = {o: blind[place[name], i] for o, i in place.items()}
                group = {o: 1 if x < 0 or o == name else -1 for o, x in seen.items() if x**2 > 1e-9}
                title = " ".join(f"{'+' if s > 0 else '-'} {o}" for o, s in group.items())
                total = np.sum([s * wanted[o] for o, s in group.items()], axis=0)
                weights[title.removeprefix("+ ")] = total @ inverse
                groups[title.removeprefix("+ ")] = group
        return weights, groups


class Effect(NamedTuple):
    """An effect with its interval over seeds.

    Attributes:
        interval: Estimate and half-width (NaN for one seed), in the unit of the responses.
        p: Two-sided p value of Student's t; NaN for one seed.
        holm: Whether it survives Holm's adjustment over all effects shown, at 5 %.
    """

    interval: Interval
    p: float
    holm: bool

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0; never for one seed."""
        return abs(self.interval.mean) > self.interval.half


def effects(design: Design, values: np.ndarray | Sequence[Sequence[float]]) -> dict[str, Effect]:
    """Return all effects that a design can estimate, bases first, pairs last.

    Args:
        design: What was run.
        values: Mean response of each cell and seed, ``[cells, seeds]``.

    Returns:
        Per effect its mean over seeds with Student's t interval; without one for a single seed.
    """
    table = np.asarray(values, dtype=float)
    if table.ndim != 2 or len(table) != len(design.cells) or table.shape[1] < 1:
        raise UsageError(
            f"values has shape {table.shape}: it must be [{len(design.cells)} cells, seeds]"
        )
    tiny = TINY * np.abs(table).max()
    with np.errstate(invalid="ignore"):  # what is not finite stays so
        found = {name: weights @ table for name, weights in design.weights.items()}  # [seeds]
    found = {name: np.where(np.abs(row) < tiny, 0.0, row) for name, row in found.items()}
    p = {name: p_value(row) for name, row in found.items()}
    stand = holm(p)
    return {name: Effect(_interval(row), p[name], name in stand) for name, row in found.items()}


def _interval(row: np.ndarray) -> Interval:
    if not np.isfinite(row).all():
        return Interval(math.nan, math.nan)
    return over_seeds(row.tolist()) if len(row) > 1 else Interval(float(row[0]), math.nan)


def percent(change: float) -> float:
    """Return a change of a logarithm as a change of the number itself, in per cent."""
    return 100 * math.expm1(min(change, 500.0))
