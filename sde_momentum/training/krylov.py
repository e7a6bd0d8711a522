"""Projections onto the tangent space of Gamma and the leading eigenvalues of H, from products with J J^T (P x P)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InputError
from .output_map import OutputMap

#: Up to this many outputs J J^T is formed, column by column, and solved with directly.
DENSE = 256


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of solutions of (J J^T + damping) y = b by conjugate gradients; up to DENSE outputs they are direct.

    Attributes:
        tolerance: relative residual at which conjugate gradients stop
        max_iterations: of conjugate gradients
        damping: directions v in which |J v|^2 is below it count as tangent: J may lose rank at the flattest point, and modes of
            so small an eigenvalue do not relax during training
    """

    tolerance: float
    max_iterations: int
    damping: float


class NormalSpace:
    """The normal space of Gamma at the present point of z: solutions of (J J^T + damping) y = b, and projections.

    `leftover` is the largest relative residual |residual| / |b| of the solutions so far.
    """

    def __init__(self, z: OutputMap, accuracy: Accuracy) -> None:
        self._z, self._accuracy = z, accuracy
        self.leftover = 0.0
        self._factor: Tensor | None = None
        if z.n_outputs <= min(DENSE, 2 * accuracy.max_iterations):
            unit = torch.eye(z.n_outputs, dtype=z.dtype, device=z.device)
            kernel = torch.stack([z.push(z.pull(column)) for column in unit]).double()
            kernel = (kernel + kernel.mT) / 2 + accuracy.damping * unit.double()
            # rounding may leave an eigenvalue below zero when there is next to no damping
            values, vectors = torch.linalg.eigh(kernel)
            keep = values > 16 * torch.finfo(z.dtype).eps * values[-1]
            self._factor = vectors[:, keep] / values[keep].sqrt()

    def solve(self, b: Tensor) -> Tensor:
        """Solution y of (J J^T + damping) y = b: (P,) -> (P,)."""
        if self._factor is not None:
            return (self._factor @ (self._factor.mT @ b.double())).to(b.dtype)
        return self._conjugate_gradients(b)

    def inverse(self, b: Tensor) -> Tensor:
        """J^+ b = J^T y: (P,) -> (N,)."""
        return self._z.pull(self.solve(b))

    def tangent(self, g: Tensor) -> Tensor:
        """P_T g = g - J^+ J g: (N,) -> (N,)."""
        return g - self.inverse(self._z.push(g))

    def _conjugate_gradients(self, b: Tensor) -> Tensor:
        y, r = torch.zeros_like(b), b.clone()
        p, size = r, r @ r
        start = float(size)
        iterations = 0
        while float(size) > self._accuracy.tolerance**2 * start and iterations < self._accuracy.max_iterations:
            image = self._z.push(self._z.pull(p)) + self._accuracy.damping * p
            step = size / (p @ image)
            y, r = y + step * p, r - step * image
            size, before = r @ r, size
            p = r + (size / before) * p
            iterations += 1
        if start > 0:
            self.leftover = max(self.leftover, (float(size) / start) ** 0.5)
        return y


def top_eigenvalues(z: OutputMap, k: int, generator: torch.Generator, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest eigenvalues of J J^T, those of H on Gamma, by Lanczos with full reorthogonalisation.

    Returns (k,) eigenvalues, decreasing; (k,) bounds |J J^T u - lambda u| on their errors; (P, k) unit eigenvectors.
    """
    steps = min(n_steps, z.n_outputs)

    def drawn() -> Tensor:
        return torch.randn(z.n_outputs, generator=generator, dtype=torch.float64).to(device=z.device, dtype=z.dtype)

    v = drawn()
    basis, diagonal, off_diagonal = [v / v.norm()], [], []
    for step in range(steps):
        image = z.push(z.pull(basis[-1]))
        if not bool(torch.isfinite(image).all()):
            raise InputError("model", "a derivative of its outputs that is NaN or infinite", "a point where outputs are smooth")
        diagonal.append(float(image @ basis[-1]))
        q = torch.stack(basis)
        for _ in range(2):  # twice is enough (Giraud, Langou, Rozloznik 2005)
            image = image - q.mT @ (q @ image)
        off_diagonal.append(float(image.norm()))
        if off_diagonal[-1] <= 1e-6 * max(
            diagonal
        ):  # an invariant subspace: restart in its complement, which may have the same eigenvalues
            off_diagonal[-1] = 0.0
            image = drawn()
            for _ in range(2):
                image = image - q.mT @ (q @ image)
        if step < steps - 1:
            basis.append(image / image.norm())
    m = len(diagonal)
    offset = torch.tensor(off_diagonal[: m - 1], dtype=torch.float64)
    t = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(offset, 1) + torch.diag(offset, -1)
    values, vectors = torch.linalg.eigh(t)
    order = torch.arange(m - 1, max(m - 1 - k, -1), -1)
    bounds = off_diagonal[-1] * vectors[-1, order].abs()
    ritz = torch.stack(basis[:m]).mT @ vectors[:, order].to(device=z.device, dtype=z.dtype)
    return values[order], bounds, ritz
