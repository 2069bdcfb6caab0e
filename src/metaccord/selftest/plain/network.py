"""A two-layer tanh network with squared error: gradient and Hessian-vector product by hand.

Legend: T tasks, n examples, P parameters of a task in one row, in the order of ``shapes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from metaccord.selftest.arrays import Array, Rows


@dataclass(frozen=True)
class Net:
    """Linear, tanh, perhaps a linear warp layer, linear: the names are those of the library's MLP.

    Args:
        inputs, hidden, outputs: Widths.
        warped: With a linear layer between tanh and head.
    """

    inputs: int = 2
    hidden: int = 4
    outputs: int = 2
    warped: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters, in the order of a row."""
        h, o = self.hidden, self.outputs
        found = {"body.0.weight": (h, self.inputs), "body.0.bias": (h,)}
        if self.warped:
            found |= {"warp.0.weight": (h, h), "warp.0.bias": (h,)}
        return found | {"head.weight": (o, h), "head.bias": (o,)}

    @property
    def size(self) -> int:
        """Number of parameters P."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def packed(self, tensors: Mapping[str, Array], lead: int = 0) -> Array:
        """Return one row from tensors ``[..., *shape]`` with ``lead`` leading axes."""
        parts = [tensors[n] for n in self.shapes]
        return np.concatenate([part.reshape(*part.shape[:lead], -1) for part in parts], axis=-1)

    def unpacked(self, rows: Array) -> Rows:
        """Return tensors ``[..., *shape]`` by name: ``[..., P]``."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + int(np.prod(shape))
            found[name] = rows[..., start:stop].reshape(*rows.shape[:-1], *shape)
            start = stop
        return found

    def where(self, prefix: str) -> Array:
        """Return 1 for parameters whose name starts so, else 0: ``[P]``."""
        marks = {n: np.full(s, float(n.startswith(prefix))) for n, s in self.shapes.items()}
        return self.packed(marks)


@dataclass(frozen=True)
class Loss:
    """The mean squared error of T tasks as a function of rows ``[T, P]``.

    Args:
        net: The network.
        x, y: Examples ``[T, n, inputs]`` and ``[T, n, outputs]``.
    """

    net: Net
    x: Array
    y: Array

    def grad(self, rows: Array) -> Array:
        """Return the gradients: ``[T, P] -> [T, P]``."""
        w = self.net.unpacked(rows)
        h, z, error = self._forward(w)
        out = 2 * error / (error.shape[1] * error.shape[2])  # [T, n, outputs]
        found = {"head.weight": _sum(out, z), "head.bias": out.sum(1)}
        middle = out @ w["head.weight"]
        if self.net.warped:
            found |= {"warp.0.weight": _sum(middle, h), "warp.0.bias": middle.sum(1)}
            middle = middle @ w["warp.0.weight"]
        return self.net.packed(found | self._body(h, middle), lead=1)

    def product(self, rows: Array, vectors: Array) -> Array:
        """Return the Hessians times ``vectors``: each line of ``grad``, differentiated."""
        w, v = self.net.unpacked(rows), self.net.unpacked(vectors)
        h, z, error = self._forward(w)
        scale = 2 / (error.shape[1] * error.shape[2])
        dh = (1 - h**2) * (self.x @ _t(v["body.0.weight"]) + v["body.0.bias"][:, None])
        dz = dh
        if self.net.warped:
            dz = (
                dh @ _t(w["warp.0.weight"]) + h @ _t(v["warp.0.weight"]) + v["warp.0.bias"][:, None]
            )
        out = scale * error
        dout = scale * (
            dz @ _t(w["head.weight"]) + z @ _t(v["head.weight"]) + v["head.bias"][:, None]
        )
        found = {"head.weight": _sum(dout, z) + _sum(out, dz), "head.bias": dout.sum(1)}
        middle = out @ w["head.weight"]
        dmiddle = dout @ w["head.weight"] + out @ v["head.weight"]
        if self.net.warped:
            found["warp.0.weight"] = _sum(dmiddle, h) + _sum(middle, dh)
            found["warp.0.bias"] = dmiddle.sum(1)
            dmiddle = dmiddle @ w["warp.0.weight"] + middle @ v["warp.0.weight"]
            middle = middle @ w["warp.0.weight"]
        below = dmiddle * (1 - h**2) - 2 * middle * h * dh
        found |= {"body.0.weight": _sum(below, self.x), "body.0.bias": below.sum(1)}
        return self.net.packed(found, lead=1)

    def errors(self, rows: Array) -> Array:
        """Return outputs minus targets: ``[T, n, outputs]``."""
        return self._forward(self.net.unpacked(rows))[2]

    def features(self, rows: Array) -> Array:
        """Return the outputs of the body: ``[T, n, hidden]``."""
        return self._forward(self.net.unpacked(rows))[0]

    def from_features(self, rows: Array, slopes: Array) -> Array:
        """Return the gradients of what has these slopes by the features: ``[T, P]``."""
        zeros = self.net.unpacked(np.zeros_like(rows))
        return self.net.packed(zeros | self._body(self.features(rows), slopes), lead=1)

    def dense(self, rows: Array) -> Array:
        """Return the Hessians, column by column: ``[T, P, P]``."""
        units = np.eye(self.net.size)
        columns = [self.product(rows, np.broadcast_to(u, rows.shape)) for u in units]
        return np.stack(columns, axis=2)

    def _forward(self, w: Rows) -> tuple[Array, Array, Array]:
        h = np.tanh(self.x @ _t(w["body.0.weight"]) + w["body.0.bias"][:, None])
        z = h
        if self.net.warped:
            z = h @ _t(w["warp.0.weight"]) + w["warp.0.bias"][:, None]
        return h, z, z @ _t(w["head.weight"]) + w["head.bias"][:, None] - self.y

    def _body(self, h: Array, slopes: Array) -> Rows:
        below = slopes * (1 - h**2)
        return {"body.0.weight": _sum(below, self.x), "body.0.bias": below.sum(1)}


def _t(matrices: Array) -> Array:
    return matrices.transpose(0, 2, 1)


def _sum(left: Array, right: Array) -> Array:
    """Return the sums of outer products over examples: ``[T, n, a], [T, n, b] -> [T, a, b]``."""
    return np.einsum("tna,tnb->tab", left, right)
