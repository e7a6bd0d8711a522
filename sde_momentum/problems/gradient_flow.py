"""Gradient flow from any parameter vector to Gamma, by linearly implicit steps: few Jacobians, where a call takes long."""

from __future__ import annotations

import numpy as np

from ..core.errors import InputError
from ..core.threads import one_blas_thread
from .interpolation import Residuals, project_to_manifold
from .problem import Array

_MOST_STEPS = 2_000
_NEAR, _LEAST = 1e-8, 1e-13
"""Shares of |f - y| at the start, and of 1 + |y|, at the larger of which Gauss-Newton steps end the flow."""
_CLOSE, _FAR = 0.1, 0.5
"""|f - y - its linear prediction| over |f - y|: below the first steps grow, above the second they are undone."""


@one_blas_thread()
def flow_to_manifold(problem: Residuals, start: object) -> Array:
    """The end on Gamma, (N,), of the flow dw/ds = -J^T (f - y) from `start` (N,), followed coarsely.

        w <- w - J^T (1 / h + J J^T)^-1 (f - y)

    is its linearly implicit Euler step of size h, Gauss-Newton's for large h. Raises InputError where it does not reach Gamma.
    """
    w = problem.check_point(start)
    r, j = problem.residual(w), problem.jacobian(w)
    h = 1 / max(float(np.square(j).sum()), np.finfo(float).tiny)
    goal = max(_NEAR * float(np.linalg.norm(r)), _LEAST * (1 + float(np.linalg.norm(problem.targets))))
    for _ in range(_MOST_STEPS):
        size = float(np.linalg.norm(r))
        if size <= goal:
            return project_to_manifold(problem, w)
        kernel = j @ j.T
        part = np.linalg.solve(np.eye(len(r)) + h * kernel, r)  # f - y after the step, to first order
        new = w - h * (j.T @ part)
        with np.errstate(all="ignore"):
            after = problem.residual(new)
        missed = float(np.linalg.norm(after - part)) / size
        if not missed < _FAR:  # NaN, too
            h /= 4
        else:
            w, r, j = new, after, problem.jacobian(new)
            h *= 2 if missed < _CLOSE else 1
        if h * float(np.abs(kernel).max()) < np.finfo(float).eps:
            break
    given = f"one from which gradient flow ends at loss {float(np.square(r).mean()) / 2:.3g}"
    raise InputError("start", given, "a start from which gradient flow reaches Gamma, f(w) = y")
