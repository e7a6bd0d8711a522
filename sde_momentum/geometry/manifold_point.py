"""A point of Gamma = {w : f(w) = y}: tangent and normal space, tr H and its derivatives along Gamma [theory: Setting; Drift]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_shape
from ..core.threads import one_blas_thread
from ..problems.problem import Array, Problem, as_problem


@by_annotations
@dataclass(frozen=True)
class ManifoldPoint:
    """A point of Gamma: its normal and tangent space, eigenvalues of H, and tr H with its derivatives along Gamma
    [theory: Setting; Drift].

    Args:
        problem: a Problem, or a SymbolicModel
        w: shape (N,), f(w) = y within 1e-6 (1 + |y|)
        rank_tolerance: directions whose singular value of J is at most this share of the largest count as tangent

    Raises:
        InputError: for a point of another shape, or off Gamma.
    """

    problem: Problem
    w: Array
    rank_tolerance: float = 1e-6

    def __post_init__(self) -> None:
        object.__setattr__(self, "problem", as_problem(self.problem))
        w = self.problem.check_point(self.w, "w")
        gap = float(np.linalg.norm(self.problem.residual(w)))
        if gap > 1e-6 * (1 + float(np.linalg.norm(self.problem.targets))):
            raise InputError("w", f"|f(w) - y| = {gap:.3g}", "a point of Gamma (project_to_manifold finds one)")
        object.__setattr__(self, "w", w)

    @cached_property
    def _svd(self) -> tuple[Array, Array, Array]:
        """(u, s, vt) of J with all P output directions; of the N parameter directions only the first min(P, N)."""
        jacobian = self.problem.jacobian(self.w)
        with one_blas_thread():  # of such small matrices the threads mostly wait for each other
            return np.linalg.svd(jacobian, full_matrices=jacobian.shape[0] > jacobian.shape[1])

    @cached_property
    def rank(self) -> int:
        """Dimension of the normal space."""
        s = self._svd[1]
        return int((s > self.rank_tolerance * s[0]).sum())

    @cached_property
    def eigenvalues(self) -> Array:
        """lambda_j > 0 of H in the normal space, decreasing, (rank,) [theory: Setting, eq. 1.3]."""
        return self._svd[1][: self.rank] ** 2 / self.problem.n_outputs

    @cached_property
    def normal(self) -> Array:
        """Orthonormal basis of the normal space, (N, rank), in the order of `eigenvalues`."""
        return self._svd[2][: self.rank].T

    @cached_property
    def tangent(self) -> Array:
        """Orthonormal basis of the tangent space, (N, N - rank)."""
        return np.linalg.qr(self.normal, mode="complete")[0][:, self.rank :]

    @cached_property
    def ambient_eigenvalue_gradients(self) -> Array:
        """Gradient in parameter space of each eigenvalue, u_j held, (rank, N) [theory: Critical limit, eq. 7.8].

        grad lambda_j = grad |J(w)^T u_j|^2 / P = (2 / P) s_j sum_i u_ij hess f_i n_j,   J^T u_j = s_j n_j
        """
        return self.slopes_of(np.arange(self.rank))

    def slopes_of(self, modes: NDArray[np.intp]) -> Array:
        """`ambient_eigenvalue_gradients` of some modes, counted from the largest eigenvalue, (n_modes, N)."""
        u, s, vt = self._svd
        modes = np.asarray(modes)
        if modes.ndim != 1 or modes.dtype.kind not in "iu" or (modes.size and not -len(s) <= modes.min() <= modes.max() < len(s)):
            raise InputError("modes", modes, f"whole numbers below {len(s)}, of shape (n_modes,)")
        weighted = np.einsum("pj,jn->jpn", u[:, modes] * s[modes], vt[modes]) * (2 / self.problem.n_outputs)
        return self.problem.contract_hessians(np.broadcast_to(self.w, (len(modes), len(self.w))), weighted)

    @by_annotations
    def along(self, vector: Array) -> Array:
        """P_T of a vector (N,), without a basis of the tangent space."""
        vector = check_shape("vector", vector, len(self.w))
        return vector - self.normal @ (self.normal.T @ vector)

    @cached_property
    def trace_hessian(self) -> float:
        """tr H."""
        return float(self.problem.trace_hessian(self.w))

    @cached_property
    def gradient(self) -> Array:
        """Riemannian gradient of tr H, P_T grad tr H, shape (N,)."""
        return self.along(self.problem.trace_hessian_gradient(self.w))

    @cached_property
    def multipliers(self) -> Array:
        """nu of least norm with J^T nu = the normal part of grad tr H, (P,) [theory: Drift, eq. 3.9]."""
        return self._multipliers_of(self.problem.trace_hessian_gradient(self.w))

    def _multipliers_of(self, vector: Array) -> Array:
        """nu of least norm with J^T nu = the normal part of a vector (N,)."""
        u, s, vt = self._svd
        k = self.rank
        return u[:, :k] @ ((vt[:k] @ vector) / s[:k])

    @by_annotations
    def ambient_hessian(self, step: float = 1e-5) -> Array:
        """hess tr H in ambient coordinates, (N, N): central differences of the exact gradient (exact if f is quadratic)."""
        n = self.problem.n_parameters
        h = step * (1 + float(np.abs(self.w).max()))
        shift = h * np.eye(n)
        rows = self.problem.trace_hessian_gradient(self.w + shift) - self.problem.trace_hessian_gradient(self.w - shift)
        rows /= 2 * h
        return (rows + rows.T) / 2

    @cached_property
    def hessian(self) -> Array:
        """Riemannian Hessian of tr H in the basis `tangent`: T^T (hess tr H - sum_i nu_i hess f_i) T
        [theory: Drift, eq. 3.9]."""
        n = self.problem.n_parameters
        c = np.broadcast_to(self.multipliers[:, None, None] * np.eye(n)[None], (self.problem.n_outputs, n, n))
        weighted = self.problem.contract_hessians(np.broadcast_to(self.w, (n, n)), np.swapaxes(c, 0, 1))
        m = self.tangent.T @ (self.ambient_hessian() - weighted) @ self.tangent
        return (m + m.T) / 2

    @cached_property
    def curvatures(self) -> Array:
        """Eigenvalues of `hessian`, increasing."""
        return np.asarray(np.linalg.eigvalsh(self.hessian), dtype=np.float64)

    @by_annotations
    def curvature(self, displacement: Array) -> float:
        """mu felt by a displacement (N,) from this point: the Rayleigh quotient of `hessian`
        [theory: Drift, eq. 3.10].

        Only products with the displacement are formed, so it is cheap where `hessian` is not.
        """
        return self.stiffness(self.problem.trace_hessian_gradient, displacement)

    @by_annotations
    def stiffness(self, field: Callable[[Array], Array], displacement: Array) -> float:
        """The derivative, along a displacement (N,) in Gamma, of the part of a field G(w) along Gamma
        [theory: Forces, eq. 6.4].

            x . (grad_x G - sum_i nu_i (x . hess f_i)),   J^T nu = the normal part of G,   x the unit displacement along Gamma

        For a gradient it is the Riemannian Hessian's Rayleigh quotient. `field`: (n, N) -> (n, N); its derivative is taken
        by central differences. Raises InputError for a displacement of the wrong shape or without a part along Gamma.
        """
        x, h = self._direction(displacement)
        here, ahead, behind = field(self.w + h * np.outer([0.0, 1.0, -1.0], x))
        bend = self.problem.contract_hessians(self.w, np.outer(self._multipliers_of(here), x))
        return float(x @ ((ahead - behind) / (2 * h) - bend))

    @by_annotations
    def coupling(self, displacement: Array) -> float:
        """g of a displacement (N,) from this point, in units of the curvature [theory: Price of speed, eq. 9.1].

            g = sum_j (lambda_j')^2 / lambda_j,  ' along the displacement's part x in Gamma

        A mode that vanishes here (J loses rank) grows as lambda_j = lambda_j'' theta^2 / 2 and counts with its limit
        2 lambda_j'', as the decay rates [theory: Price of speed, eq. 9.2] hold for it too once it is underdamped, with
        e_j / theta in place of e_j. The sum of these limits is 4 |U^T J' T|^2 / P, with their u_j as the columns of U, T a
        basis of the tangent space, and J' the derivative of J along x.
        """
        x, h = self._direction(displacement)
        change = (self.problem.jacobian(self.w + h * x) - self.problem.jacobian(self.w - h * x)) / (2 * h)
        u, s, vt = self._svd
        k, p = self.rank, self.problem.n_outputs
        # lambda_j = |J^T u_j|^2 / P with u_j held, and J^T u_j = s_j v_j
        slopes = 2 * s[:k] * np.einsum("pj,pn,jn->j", u[:, :k], change, vt[:k]) / p
        vanishing = u[:, k:].T @ change
        limits = 4 * np.square(vanishing - vanishing @ self.normal @ self.normal.T).sum() / p
        return float((slopes**2 / self.eigenvalues).sum() + limits)

    def _direction(self, displacement: Array) -> tuple[Array, float]:
        """The unit vector along Gamma of a displacement (N,), and a step for differences along it."""
        given = np.asarray(displacement, dtype=np.float64)
        if given.shape != self.w.shape:
            raise InputError("displacement", f"shape {given.shape}", f"shape {self.w.shape}")
        x = self.along(given)
        length = float(np.linalg.norm(x))
        if not length > 1e-12 * float(np.linalg.norm(given)):
            raise InputError("displacement", "no part along Gamma", "a vector that is not normal to Gamma")
        return x / length, 1e-5 * (1 + float(np.abs(self.w).max()))
