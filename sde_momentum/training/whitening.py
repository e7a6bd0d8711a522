"""Roots R_i of the Hessian of the loss in the outputs of a row: R_i^T R_i = Hessian / rows; in whitened outputs R f H = J^T J."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..core.errors import InputError
from .rows import Loss

#: Largest number of outputs of a row, unless the Hessian of the loss in them is a multiple of the identity or that of softmax.
MOST_OUTPUTS = 256


class Root(Protocol):
    """R of m rows with D outputs each."""

    def apply(self, f: Tensor) -> Tensor:
        """R f: (m, D) -> (m, D)."""
        ...

    def solve_transposed(self, slope: Tensor) -> Tensor:
        """rho of least norm with R^T rho = slope: (m, D) -> (m, D)."""
        ...


@dataclass(frozen=True)
class Multiple:
    """R = size times the identity: the square loss."""

    size: Tensor

    def apply(self, f: Tensor) -> Tensor:
        return f * self.size

    def solve_transposed(self, slope: Tensor) -> Tensor:
        return slope / self.size


@dataclass(frozen=True)
class Softmax:
    """R = size diag(sqrt p) (1 - 1 p^T) with p (m, D) the probabilities: R^T R = size^2 (diag p - p p^T), cross-entropy."""

    size: Tensor
    p: Tensor

    def apply(self, f: Tensor) -> Tensor:
        return self.size * self.p.sqrt() * (f - (self.p * f).sum(1, keepdim=True))

    def solve_transposed(self, slope: Tensor) -> Tensor:
        root = self.p.clamp_min(torch.finfo(self.p.dtype).tiny).sqrt()
        rho = slope / root
        return (rho - root * (root * rho).sum(1, keepdim=True)) / self.size  # the null space of R^T is sqrt p


@dataclass(frozen=True)
class Dense:
    """R = diag(sqrt a) Q^T of the eigenvalues a and eigenvectors Q of each row's Hessian: matrix (m, D, D)."""

    matrix: Tensor

    def apply(self, f: Tensor) -> Tensor:
        return torch.einsum("nij,nj->ni", self.matrix, f)

    def solve_transposed(self, slope: Tensor) -> Tensor:
        sizes = self.matrix.norm(dim=2)  # sqrt(a)
        kept = sizes > 1e-4 * sizes.max()
        weights = torch.where(kept, 1 / sizes.clamp_min(torch.finfo(sizes.dtype).tiny) ** 2, 0)
        return weights * torch.einsum("nij,nj->ni", self.matrix, slope)


def root_of(loss: Loss, outputs: Tensor, targets: Tensor, n_rows: int) -> Root:
    """R of the given rows (m, ...), of `n_rows` in all.

    Raises:
        InputError: for a loss without curvature, or with too many outputs in a row.
    """
    f = outputs.detach().requires_grad_()
    m, width = len(f), f[0].numel()
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(f.shape, generator=generator, dtype=torch.float64).to(f)
    with torch.enable_grad():
        slope = torch.autograd.grad(loss(f, targets) * m, f, create_graph=True)[0]
        allowed = "a loss with a second derivative in the outputs, such as the square loss or cross-entropy"
        if not slope.requires_grad:
            raise InputError("loss", "no curvature in the outputs", allowed)
        image = torch.autograd.grad(slope, f, probe, retain_graph=True)[0]
        if not image.norm() > 0:
            raise InputError("loss", "no curvature in the outputs", allowed)
        shapes: list[tuple[Tensor, Tensor | None]] = [(probe, None)]
        if f.ndim == 2 and width > 1:
            p = torch.softmax(f.detach(), 1)
            shapes.append((p * (probe - (p * probe).sum(1, keepdim=True)), p))
        for form, p_or_none in shapes:
            scale = (image * form).sum() / (form * form).sum()
            if scale > 0 and (image - scale * form).norm() <= 1e-5 * image.norm():
                size = (scale / n_rows).sqrt()
                return Multiple(size) if p_or_none is None else Softmax(size, p_or_none)
        if width > MOST_OUTPUTS:
            allowed = f"at most {MOST_OUTPUTS}, or the square loss or cross-entropy"
            raise InputError("model", f"{width} outputs a sample", allowed)
        rows = []
        for d in range(width):
            unit = torch.zeros_like(f).reshape(m, width)
            unit[:, d] = 1
            rows.append(torch.autograd.grad(slope, f, unit.view_as(f), retain_graph=True)[0].reshape(m, width))
    eigenvalues, basis = torch.linalg.eigh(torch.stack(rows, dim=1) / n_rows)
    return Dense(eigenvalues.clamp_min(0).sqrt()[:, :, None] * basis.mT)
