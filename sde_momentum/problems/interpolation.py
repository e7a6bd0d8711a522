"""From any parameter vector to a point of Gamma = {f(w) = y}: noise-free gradient descent, and Gauss-Newton projection."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.threads import one_blas_thread

Array = NDArray[np.float64]


class Residuals(Protocol):
    """The part of a `Problem` that is used here."""

    targets: Array

    def residual(self, w: Array) -> Array:
        """f(w) - y: (N,) -> (P,)."""

    def jacobian(self, w: Array) -> Array:
        """J = df/dw: (N,) -> (P, N)."""

    def check_point(self, w: object, argument: str = "start") -> Array:
        """w as an array (N,), or an InputError."""


@one_blas_thread()
def descend_to_manifold(problem: Residuals | Any, start: object, max_steps: int = 100_000) -> Array:
    """A point of Gamma, (N,): noise-free gradient descent from `start` (N,), ended by Gauss-Newton to rounding error.

    The step size is 1 / tr H, below every stability limit. `problem`: a Problem, or a SymbolicModel. Raises InputError if no
    interpolating point is reached.
    """
    problem = _compiled(problem)
    w = problem.check_point(start).copy()
    scale = max(float(np.square(problem.targets).mean()), np.finfo(float).tiny)
    for _ in range(max_steps):
        j, r = problem.jacobian(w), problem.residual(w)
        if np.square(r).mean() < 1e-6 * scale:
            return project_to_manifold(problem, w)
        w -= j.T @ r / max(np.square(j).sum(), np.finfo(float).tiny)
        if not np.all(np.isfinite(w)):
            break
    loss = float(np.square(problem.residual(w)).mean() / 2)
    given = f"loss {loss:.3g} after {max_steps} steps (P = {len(problem.targets)})"
    raise InputError("start", given, "a start from which gradient descent reaches Gamma, f(w) = y")


def project_to_manifold(problem: Residuals | Any, w: Array, tolerance: float = 1e-13, max_steps: int = 100) -> Array:
    """The point of Gamma near w (N,), by Gauss-Newton: w <- w - J^+ (f - y), until |f - y| <= tolerance (1 + |y|).

    `problem`: a Problem, or a SymbolicModel. Raises InputError if it does not converge.
    """
    problem = _compiled(problem)
    goal = tolerance * (1 + float(np.linalg.norm(problem.targets)))
    for _ in range(max_steps):
        r = problem.residual(w)
        if np.linalg.norm(r) <= goal:
            return w
        w = w - np.linalg.lstsq(problem.jacobian(w), r, rcond=1e-10)[0]
    size = float(np.linalg.norm(problem.residual(w)))
    raise InputError("w", f"|f - y| = {size:.3g} after {max_steps} Gauss-Newton steps", f"a point near Gamma ({goal:.1g})")


def _compiled(problem: Any) -> Residuals:
    """The problem itself, or that of a SymbolicModel."""
    return problem if hasattr(problem, "residual") else problem.compile()
