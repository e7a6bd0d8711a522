"""From any parameter vector to an interpolating one: noise-free gradient descent, and Gauss-Newton projection onto Gamma."""

from __future__ import annotations

import numpy as np

from ..core.errors import InputError
from ..core.threads import one_blas_thread
from .problem import Array, Problem


@one_blas_thread()
def descend_to_manifold(problem: Problem, start: Array, max_steps: int = 100_000) -> Array:
    """Noise-free gradient descent from `start` (N,) to Gamma, polished by Gauss-Newton to rounding error.

    The step is 1 / tr H, below every stability limit. Raises InputError if no interpolating point is reached.
    """
    w = problem.check_point(start).copy()
    p = problem.n_outputs
    scale = max(float(np.square(problem.targets).mean()), np.finfo(float).tiny)
    for _ in range(max_steps):
        j, r = problem.jacobian(w), problem.residual(w)
        if np.square(r).mean() < 1e-6 * scale:
            return project_to_manifold(problem, w)
        w -= j.T @ r / max(np.square(j).sum(), np.finfo(float).tiny)
        if not np.all(np.isfinite(w)):
            break
    loss = float(np.square(problem.residual(w)).mean() / 2)
    raise InputError("start", f"loss {loss:.3g} after {max_steps} steps (P = {p})", "a start that interpolates")


def project_to_manifold(problem: Problem, w: Array, tolerance: float = 1e-13, max_steps: int = 100) -> Array:
    """Nearest point of Gamma by Gauss-Newton: w <- w - J^+ (f - y), until |f - y| <= tolerance * (1 + |y|)."""
    goal = tolerance * (1 + float(np.linalg.norm(problem.targets)))
    for _ in range(max_steps):
        r = problem.residual(w)
        if np.linalg.norm(r) <= goal:
            return w
        w = w - np.linalg.lstsq(problem.jacobian(w), r, rcond=1e-10)[0]
    size = float(np.linalg.norm(problem.residual(w)))
    raise InputError("w", f"|f - y| = {size:.3g} after {max_steps} Gauss-Newton steps", f"a point near Gamma ({goal:.1g})")
