"""tr H, its gradient, its second derivative along Gamma, and its steepest descent on Gamma, by random probes
[theory: Drift, eq. 3.7; Drift, eq. 3.10]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .krylov import Accuracy, NormalSpace
from .output_map import OutputMap


class Probes:
    """Random vectors u_1 .. u_M in output space with E u u^T = identity, for traces (Hutchinson 1989).

    Each is a vector of random signs; once M reaches P they are the P unit vectors times sqrt(P), and means are exact.
    """

    def __init__(self, z: OutputMap, n_probes: int, seed: tuple[int, ...]) -> None:
        self.exact = n_probes >= z.n_outputs
        self.n = z.n_outputs if self.exact else n_probes
        self._z, self._seed = z, seed

    def __getitem__(self, m: int) -> Tensor:
        size = self._z.n_outputs
        if self.exact:
            u = size**0.5 * (np.arange(size) == m)
        else:
            u = 2.0 * np.random.default_rng([*self._seed, m]).integers(0, 2, size) - 1
        return torch.tensor(u, dtype=self._z.dtype, device=self._z.device)

    def error(self, values: Tensor) -> float:
        """Standard error of the mean of `values`, one for each probe; 0 when exact."""
        return 0.0 if self.exact else float(values.std()) / self.n**0.5


@dataclass(frozen=True)
class Trace:
    """tr H and its gradient in parameter space (N,), with standard errors; of the gradient: of the whole vector."""

    value: float
    value_se: float
    gradient: Tensor
    gradient_se: float


def trace(z: OutputMap, probes: Probes) -> Trace:
    """tr H = E |J^T u|^2, grad tr H = 2 E sum_i u_i (hess z_i) J^T u."""
    total = torch.zeros(z.n_parameters, dtype=z.dtype, device=z.device)
    values, squares = torch.zeros(probes.n, dtype=torch.float64), 0.0
    for m in range(probes.n):
        u = probes[m]
        pulled = z.pull(u)
        values[m] = pulled @ pulled
        bent = z.contract_hessians(u, pulled)
        squares += 4 * float(bent @ bent)
        total += bent
    total *= 2 / probes.n
    scatter = squares / probes.n - float(total @ total)
    spread = 0.0 if probes.exact else (max(scatter, 0.0) / max(probes.n - 1, 1)) ** 0.5
    return Trace(float(values.mean()), probes.error(values), total, spread)


def curvature(z: OutputMap, x: Tensor, probes: Probes, normal: NormalSpace) -> tuple[float, float]:
    """mu along a unit tangent vector x (N,), and its standard error.

        mu = x^T (hess tr H - sum_i nu_i hess f_i) x,   J^T nu = the normal part of grad tr H

    [theory: Drift, eq. 3.9; Drift, eq. 3.10]. This is the second derivative of tr H along the geodesic of Gamma, to order t^2
    w(t) = w + t x - t^2 s / 2 with s = J^+ D^2 z[x, x]. A probe u gives that of |J(w(t))^T u|^2: nu is not needed, and the
    values of the probes are independent.
    """
    s = normal.inverse(z.second(x, x))
    values = torch.zeros(probes.n, dtype=torch.float64)
    for m in range(probes.n):
        u = probes[m]
        q = z.pull(u)
        slope = z.contract_hessians(u, x)
        values[m] = 2 * (slope @ slope) + 2 * (u @ (z.third(x, x, q) - z.second(s, q)))
    return float(values.mean()), probes.error(values)


def coupling(z: OutputMap, x: Tensor, eigenvectors: Tensor) -> float:
    """g = sum_j (lambda_j')^2 / lambda_j along x (N,), over the given eigenvectors (P, k) of J J^T.

    The coupling is the sum over all normal modes, so this is a lower bound [theory: Price of speed, eq. 9.1].
    """
    total = 0.0
    for u in eigenvectors.mT:
        q = z.pull(u)
        value, slope = float(q @ q), 2 * float(u @ z.second(x, q))
        total += slope**2 / value if value > 0 else 0.0
    return total


def follow_drift(z: OutputMap, probes: Probes, n_steps: int, accuracy: Accuracy) -> Tensor:
    """Descend tr H along Gamma by at most `n_steps` steps from the point of z; returns the displacement back to the start (N,).

    Steps have the length of Barzilai and Borwein (1988), at most a twentieth of |w|. Each is projected back to Gamma by
    Gauss-Newton, and shortened where that fails or tr H rises. z is left at the flatter point. All steps use the same probes,
    so that they descend one function.
    """
    start = z.point()
    reach = float(start.norm())
    outputs = z.outputs()
    near = torch.finfo(z.dtype).eps ** 0.5 * float(z.whiten(outputs - outputs.mean(0)).norm())
    now = trace(z, probes)
    before: tuple[Tensor, Tensor] | None = None
    length = 0.0
    for _ in range(n_steps):
        normal = NormalSpace(z, accuracy)
        g = normal.tangent(now.gradient)
        size = float(g.norm())
        if size * reach <= 1e-4 * now.value:  # tr H would change by less than 1e-4 over the distance |w|
            break
        w = z.point()
        if before is None:
            length = 0.02 * reach / size
        else:
            dw, dg = w - before[0], g - before[1]
            along = float(dw @ dg)
            length = float(dw @ dw) / along if along > 0 else 2 * length
        before = (w, g)
        length = min(length, 0.05 * reach / size)
        found, length = _descend(z, probes, normal, g, length, now.value, near)
        if found is None:
            break
        now = found
    return start - z.point()


def _descend(
    z: OutputMap, probes: Probes, normal: NormalSpace, g: Tensor, length: float, above: float, near: float
) -> tuple[Trace | None, float]:
    """One step of -length g on Gamma to a tr H below `above`, its length quartered until that succeeds; (None, length): never."""
    w = z.point()
    for _ in range(10):
        z.move(-length * g)
        if _back_to_gamma(z, normal, near):
            found = trace(z, probes)
            if found.value < above:
                return found, length
        z.move(w - z.point())
        length /= 4
    return None, length


def _back_to_gamma(z: OutputMap, normal: NormalSpace, near: float) -> bool:
    """Whether |rho| <= near is reached, by chord steps, which keep the J J^T of before the move."""
    size = float("inf")
    for _ in range(8):
        rho = z.residual()
        last, size = size, float(rho.norm())
        if size <= near:
            return True
        if not size < 0.9 * last:
            return False
        z.move(-normal.inverse(rho))
    return float(z.residual().norm()) <= near
