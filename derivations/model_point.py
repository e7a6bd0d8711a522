"""A point of the manifold of minimizers where J has full rank: eigenvalues, their derivatives along Gamma, and mu
[theory: Setting, eq. 1.3; Drift, eq. 3.9]."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import qr

from sde_momentum.core.errors import InputError
from sde_momentum.geometry.manifold_point import ManifoldPoint
from sde_momentum.problems.problem import Array

FLAT = 1e-6
"""Curvatures of tr H below this share of the largest count as zero: directions that no force acts along."""


@dataclass(frozen=True)
class ModelPoint(ManifoldPoint):
    """A point w of Gamma where the P outputs' gradients are independent.

    To `sde_momentum.ManifoldPoint` it adds the normal eigenvalues' derivatives along Gamma and mu. InputError where
    J loses rank, or f(w) is not y.

    >>> from derivations.models import two_factor
    >>> point = two_factor(4).at([1, 0, 0, 0, 2, 0, 0, 0])  # u.v / sqrt(4) = 1
    >>> float(point.trace_hessian), point.eigenvalue_gradients.round(3)[0].tolist()
    (1.25, [-0.3, 0.0, 0.0, 0.0, 0.6, 0.0, 0.0, 0.0])
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < self.problem.n_outputs:
            # the outputs in the order of what their gradient adds to the ones before
            order = qr(self.problem.jacobian(self.w).T, mode="r", pivoting=True)[1]
            raise InputError(
                "w",
                f"Jacobian of rank {self.rank} < P = {self.problem.n_outputs}: the gradient of outputs[{order[self.rank]}] "
                "is a combination of the others'",
                "points of full rank (ManifoldPoint takes others)",
            )

    @cached_property
    def eigenvalue_gradients(self) -> Array:
        """Riemannian gradient of each normal eigenvalue, (P, N), in the order of `eigenvalues`
        [theory: Critical limit, eq. 7.8].

        P_T grad_w |J(w)^T u_j|^2 / P with u_j frozen. Equal eigenvalues have no gradients of their own, only
        their sum has: see `eigenvalue_derivatives`.
        """
        return self.ambient_eigenvalue_gradients @ self.tangent @ self.tangent.T

    def eigenvalue_derivatives(self, direction: Array, tolerance: float = 1e-8) -> Array:
        """d lambda_j / dt along P_T `direction` (N,), shape (P,), decreasing within eigenvalues that are equal.

        Eigenvalues within `tolerance` of each other, relative to the largest, split by first-order perturbation
        theory: the derivatives are the eigenvalues of U^T (d/dt J J^T / P) U on their eigenspace.
        """
        t = self.tangent @ (self.tangent.T @ np.asarray(direction, dtype=np.float64))
        j = self.problem.jacobian(self.w)
        slope = (self.problem.hessians(self.w) @ t) @ j.T / self.problem.n_outputs
        u = self._svd[0]
        change = u.T @ (slope + slope.T) @ u
        gaps = np.diff(self.eigenvalues) < -tolerance * self.eigenvalues[0]
        groups = np.split(np.arange(len(u)), np.flatnonzero(gaps) + 1)
        return np.concatenate([np.linalg.eigvalsh(change[np.ix_(group, group)])[::-1] for group in groups])

    @cached_property
    def mu(self) -> float:
        """The least curvature of tr H along Gamma that is not zero: the slowest motion along Gamma
        [theory: Drift, eq. 3.10].

        Directions with less than FLAT of the largest curvature (symmetries of the model) do not count. Another
        mu, felt by a certain displacement: `curvature(displacement)`. InputError if there is none.
        """
        largest = float(np.abs(self.curvatures).max(initial=0.0))
        felt = self.curvatures[np.abs(self.curvatures) > FLAT * largest]
        if not len(felt) or felt[0] < 0:
            given = f"a point where tr H has curvature {felt[0]:.3g}" if len(felt) else "a point where tr H is constant on Gamma"
            raise InputError("w", given, "a minimum of tr H on Gamma (SymbolicModel.flattest_point finds one)")
        return float(felt[0])
