"""How curved the losses of many tasks are: the spectral norm, and both ends of the spectrum.

Legend: T tasks, P numbers that move per task, k Lanczos steps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metaccord import keys
from metaccord.diagnostics.hessians import Hessians
from metaccord.errors import UsageError

_START = 0x5EED  # the key of the starting vector


class SpectralNorm(NamedTuple):
    """Largest absolute eigenvalues, by power iteration.

    Attributes:
        norm: Estimate of the largest absolute eigenvalue, never above it but for rounding, ``[T]``.
        residual: Some eigenvalue's absolute value is within this distance of ``norm``, ``[T]``.
        products: Hessian-vector products taken, ``[T]``.
    """

    norm: Tensor
    residual: Tensor
    products: Tensor


def spectral_norm(
    hessians: Hessians, *, iterations: int = 100, tolerance: float = 1e-3
) -> SpectralNorm:
    r"""Return the spectral norm of each task's Hessian, by power iteration on all at once.

    With unit vectors :math:`s_t = \|H v_t\|, v_{t+1} = H v_t / s_t`. The residual is that of
    :math:`(v_t, s_t^2)` as an eigenpair of :math:`H^2`, relative to :math:`s_t^2`:

    .. math:: \rho_t = \| H v_{t+1} / s_t - v_t \|, \quad
              \text{so that } \bigl| |\lambda| - s_t \bigr| \le \rho_t s_t

    for some eigenvalue: eigenvalues of equal size and opposite sign do no harm. Tasks whose
    residual is within the tolerance are frozen, and dropped once they are half of all. Every
    task starts from the same fixed vector, so its result does not depend on its company.

    Args:
        hessians: Of T tasks.
        iterations: At most so many Hessian-vector products, at least 2.
        tolerance: On the relative residual.

    Raises:
        UsageError: for fewer than 2 iterations or a tolerance that is not positive.
    """
    if iterations < 2 or not tolerance > 0:
        raise UsageError(
            f"iterations={iterations} and tolerance={tolerance}: use at least 2 and above 0"
        )
    vector = _start(hessians.gradients)
    norm = torch.full_like(vector[:, 0], float("nan"))
    residual, products = norm.clone(), torch.zeros_like(norm, dtype=torch.int64)
    left = torch.arange(len(norm), device=norm.device)  # tasks in the current rows
    active = torch.ones_like(left, dtype=torch.bool)
    image = hessians.product(vector)
    for count in range(2, iterations + 1):
        size = torch.linalg.vector_norm(image, dim=1)
        unit = image / torch.where(size == 0, 1.0, size)[:, None]
        beyond = hessians.product(unit)
        ratio = torch.linalg.vector_norm(beyond / size[:, None] - vector, dim=1)
        ratio = torch.where(size == 0, 0.0, ratio)  # H v = 0: an exact eigenvalue
        seen = left[active]
        norm[seen], residual[seen], products[seen] = size[active], (ratio * size)[active], count
        active = active & (ratio > tolerance)  # NaN is not greater: a lost task ends, too
        vector, image = unit, beyond
        remain = active.nonzero()[:, 0]
        if not len(remain):
            break
        if 2 * len(remain) <= len(left):
            hessians, vector, image = hessians.only(remain), vector[remain], image[remain]
            left, active = left[remain], active[remain]
    return SpectralNorm(norm, residual, products)


class Extremes(NamedTuple):
    """Both ends of the spectra, with their signs, by Lanczos.

    Attributes:
        smallest, largest: Extreme Ritz values, inside the spectrum but for rounding, ``[T]``.
        smallest_residual, largest_residual: Some eigenvalue is within this distance, ``[T]``.
        orthogonality: Largest inner product of two basis vectors; rounding if all is well, ``[T]``.
    """

    smallest: Tensor
    largest: Tensor
    smallest_residual: Tensor
    largest_residual: Tensor
    orthogonality: Tensor

    @property
    def norm(self) -> Tensor:
        """Largest absolute eigenvalue, ``[T]``."""
        return torch.maximum(self.smallest.abs(), self.largest.abs())

    @property
    def residual(self) -> Tensor:
        """Some eigenvalue's absolute value is within this distance of ``norm``, ``[T]``."""
        above = self.largest.abs() >= self.smallest.abs()
        return torch.where(above, self.largest_residual, self.smallest_residual)


def extremes(hessians: Hessians, *, steps: int = 30) -> Extremes:
    """Return the smallest and the largest eigenvalue of each task's Hessian.

    Lanczos with full reorthogonalisation, all tasks at once, from the same fixed vector. After
    equally many products it is never less exact than power iteration (where two eigenvalues are
    close, far more exact), but it keeps all vectors: k T P numbers. A task whose Krylov space is
    exhausted stops; its result is exact.

    Args:
        hessians: Of T tasks.
        steps: Hessian-vector products k, at least 1; P is enough.

    Raises:
        UsageError: for less than one step.
    """
    if steps < 1:
        raise UsageError(f"steps={steps}: Lanczos needs at least 1")
    vector = _start(hessians.gradients)
    steps = min(steps, vector.shape[1])
    basis = vector.new_zeros(len(vector), steps, vector.shape[1])  # [T, k, P]
    alphas = torch.zeros(basis.shape[:2], dtype=torch.float64, device=basis.device)
    betas = torch.zeros_like(alphas)
    alive = torch.ones_like(vector[:, 0], dtype=torch.bool)
    for step in range(steps):
        basis[:, step] = vector
        image = hessians.product(vector)
        # An exhausted task is filled up with a number inside its spectrum, on the diagonal.
        alphas[:, step] = torch.where(alive, (image * vector).sum(1), alphas[:, 0])
        known = basis[:, : step + 1]
        for _ in range(2):  # twice is enough (Parlett)
            image = image - ((known @ image[:, :, None]).mT @ known)[:, 0]
        beta = torch.linalg.vector_norm(image, dim=1)
        scale = torch.maximum(alphas.abs().amax(1), betas.amax(1))
        alive = alive & ~(beta <= 64 * torch.finfo(beta.dtype).eps * scale)
        betas[:, step] = torch.where(alive, beta, 0.0)
        vector = torch.where(alive[:, None], image / beta[:, None], 0.0)
    return _ritz(basis, alphas, betas)


def _ritz(basis: Tensor, alphas: Tensor, betas: Tensor) -> Extremes:
    """Return the ends of the spectra of the tridiagonal matrices: ``[T, k, P], [T, k], [T, k]``."""
    between = betas[:, :-1]
    small = torch.diag_embed(alphas) + torch.diag_embed(between, 1) + torch.diag_embed(between, -1)
    lost = ~small.flatten(1).isfinite().all(1)  # eigh refuses NaN
    values, vectors = torch.linalg.eigh(torch.where(lost[:, None, None], 0.0, small))
    values = torch.where(lost[:, None], float("nan"), values)
    bound = (betas[:, -1:] * vectors[:, -1]).abs()  # |beta_k s_k| of each Ritz pair
    gram = basis @ basis.mT
    loss = (gram - torch.diag_embed(gram.diagonal(dim1=1, dim2=2).round())).abs().amax((1, 2))
    columns = values[:, 0], values[:, -1], bound[:, 0], bound[:, -1], loss
    return Extremes(*(column.to(basis.dtype) for column in columns))


def _start(like: Tensor) -> Tensor:
    """Return the same unit vector for every task: ``[T, P]``."""
    key = torch.tensor(_START, dtype=torch.int64, device=like.device)
    vector = 2 * keys.uniform(key, (like.shape[1],)) - 1
    return (vector / torch.linalg.vector_norm(vector)).to(like.dtype).expand_as(like)
