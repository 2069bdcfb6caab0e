"""Gradient sharing and the co-learner with their hand-written reverse sweeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metaccord.selftest.arrays import Array, Rows
from metaccord.selftest.plain.network import Loss, Net

SHARING, COLEARNER = "interaction.sharing.", "interaction.cooperative."


@dataclass(frozen=True)
class Sharing:
    """The blend of own, concurrent and past gradients in one meta-step.

    Args:
        net: Names and shapes.
        learned: All learned tensors, by the library's names.
        past: Running mean of earlier meta-steps, not yet corrected, ``[K, P]``, and their number.
        additive, through: The variants.
        momentum: Decay of the running mean.
    """

    net: Net
    learned: Rows
    past: tuple[Array, int]
    additive: bool = False
    through: bool = False
    momentum: float = 0.9

    def coefficients(self, k: int) -> tuple[Array, Array]:
        """Return both coefficients of a step, ``[P]`` each; without history the second is 0."""
        found = []
        for name in ("share", "past"):
            if f"{SHARING}{name}" in self.learned:
                value = np.full(self.net.size, self.learned[f"{SHARING}{name}"][k])
            else:
                each = {n: self.learned[f"{SHARING}{name}.{n}"][k] for n in self.net.shapes}
                value = self.net.packed(
                    {n: np.full(s, each[n]) for n, s in self.net.shapes.items()}
                )
            found.append(value if self.additive else 1 / (1 + np.exp(-value)))
        return found[0], found[1] * (self.past[1] > 0)

    def mean(self, k: int) -> Array:
        """Return the corrected mean of earlier meta-steps: ``[P]``."""
        total, count = self.past
        return total[k] / (1 - self.momentum**count) if count else np.zeros(self.net.size)

    def blend(self, own: Array, k: int) -> Array:
        """Return what the rule gets: ``[T, P]``."""
        share, past = self.coefficients(k)
        common, mean = own.mean(0), self.mean(k)
        if self.additive:
            return own + share * common + past * mean
        return (1 - share) * own + share * ((1 - past) * common + past * mean)

    def back(self, slopes: Array, own: Array, k: int) -> tuple[Array, Array, Array]:
        """Return slopes by the own gradients and by both learned numbers, ``[T, P]`` each."""
        share, past = self.coefficients(k)
        common, mean = own.mean(0), self.mean(k)
        if self.additive:
            direct, met = slopes, share * slopes.mean(0)
            by_share, by_past = slopes * common, slopes * mean
        else:
            direct, met = (1 - share) * slopes, share * (1 - past) * slopes.mean(0)
            away = (1 - past) * common + past * mean - own
            by_share = slopes * share * (1 - share) * away
            by_past = slopes * share * past * (1 - past) * (mean - common)
        return direct + met if self.through else direct, by_share, by_past * (self.past[1] > 0)

    def rows(self, by_share: list[Array], by_past: list[Array]) -> Rows:
        """Return the rows of the learned numbers from those of all steps, K times ``[T, P]``."""
        found: Rows = {}
        for name, steps in (("share", by_share), ("past", by_past)):
            every = np.stack(steps, axis=1)  # [T, K, P]
            if f"{SHARING}{name}" in self.learned:
                found[f"{SHARING}{name}"] = every.sum(2)
            else:
                for n, part in self.net.unpacked(every).items():
                    found[f"{SHARING}{name}.{n}"] = part.reshape(*part.shape[:2], -1).sum(2)
        return found

    def seen(self, own: list[Array]) -> tuple[Array, int]:
        """Return the running mean after this meta-step, and its number."""
        fresh = np.stack([g.mean(0) for g in own])
        return self.momentum * self.past[0] + (1 - self.momentum) * fresh, self.past[1] + 1


def colearner(loss: Loss, points: Array, learned: Rows, weight: float) -> tuple[Array, Rows]:
    """Return the slopes by the adapted points ``[T, P]``, and the rows of the second head.

    Args:
        loss: Query examples.
        points: Adapted points, ``[T, P]``.
        learned: Among them the second head: linear, ReLU, linear.
        weight: Of its loss.
    """
    names = ("first.weight", "first.bias", "last.weight", "last.bias")
    first, bias, final, shift = (learned[COLEARNER + n] for n in names)
    features = loss.features(points)
    before = features @ first.T + bias
    hidden = np.maximum(before, 0)
    error = hidden @ final.T + shift - loss.y
    out = weight * 2 * error / (error.shape[1] * error.shape[2])
    below = (out @ final) * (before > 0)
    rows = {
        "first.weight": np.einsum("tna,tnb->tab", below, features),
        "first.bias": below.sum(1),
        "last.weight": np.einsum("tna,tnb->tab", out, hidden),
        "last.bias": out.sum(1),
    }
    slopes = loss.from_features(points, below @ first)
    return slopes, {COLEARNER + k: v for k, v in rows.items()}
