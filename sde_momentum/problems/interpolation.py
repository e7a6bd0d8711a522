"""From any parameter vector to a point of Gamma = {f(w) = y}: noise-free gradient descent, and Gauss-Newton projection."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numba import types
from numpy.typing import NDArray

from ..core.arguments import by_annotations
from ..core.compile import njit
from ..core.errors import InputError, check_integer
from ..core.threads import one_blas_thread
from .measures import MODEL, TRACE, measure, model
from .metrics import METRICS

Array = NDArray[np.float64]
_MATRIX = types.Array(types.float64, 2, "C")
_LINEAR = 0.03
"""Largest error of the linearised residual in a step of the gradient flow, as a share of the residual."""
_TINY = float(np.finfo(float).tiny)


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
@by_annotations
def descend_to_manifold(problem: Residuals | Any, start: object, max_steps: int = 100_000) -> Array:
    """A point of Gamma, (N,): noise-free gradient descent from `start` (N,), ended by Gauss-Newton to rounding error.

    The step size is 1 / tr H, below every stability limit. A problem without kernels, whose calls take longer, follows the
    gradient flow instead, in few steps. `problem`: a Problem, or a SymbolicModel. Raises InputError if no interpolating point is
    reached.

    >>> from sde_momentum import MatrixSensing
    >>> problem = MatrixSensing(4, 1, 12)
    >>> w = descend_to_manifold(problem, problem.random_start(0.5, seed=1))
    >>> bool(problem.loss(w) < 1e-24)
    True
    """
    problem, max_steps = _compiled(problem), check_integer(max_steps, "max_steps", 0, 10**12)
    w = problem.check_point(start).copy()
    goal = 1e-6 * (float(np.square(problem.targets).mean()) or float(np.square(problem.residual(w)).mean()) or 1.0)
    kernels = getattr(problem, "kernels", None)
    if kernels is None:
        arrived = _descend(problem, w, goal, max_steps)
    else:
        trace = problem.compiled_metric(METRICS["trace_hessian"]) or TRACE
        compiled = model(kernels, problem.targets, [trace])
        point = w[:, None].copy()
        arrived = _descend_compiled(compiled, point, np.empty((kernels.scratch_rows, 1)), goal, max_steps)
        w = point[:, 0].copy()
    if arrived:
        return project_to_manifold(problem, w)
    loss = float(np.square(problem.residual(w)).mean() / 2)
    given = f"loss {loss:.3g} after {max_steps} steps (P = {len(problem.targets)})"
    raise InputError("start", given, "a start from which gradient descent reaches Gamma, f(w) = y")


def _descend(problem: Residuals, w: Array, goal: float, max_steps: int) -> bool:
    """Gradient flow of w (N,), in place, each step exact for the outputs linearised there; whether the mean square of f - y
    fell below `goal`.

    Gradient descent itself would take thousands of calls of a slow function. A step is halved where the linearised residual is
    off by more than _LINEAR.
    """
    step, r = np.inf, problem.residual(w)
    for _ in range(max_steps):
        if np.square(r).mean() < goal:
            return True
        j = problem.jacobian(w)
        values, basis = np.linalg.eigh(j @ j.T)
        values = np.maximum(values, 1e-12 * max(values[-1], _TINY))
        step = step if np.isfinite(step) else 1 / values[-1]
        inner = basis.T @ r
        while True:
            decay = np.exp(-np.minimum(values * step, 700))
            trial = w - j.T @ (basis @ (inner * (1 - decay) / values))
            found = problem.residual(trial)
            size = float(np.linalg.norm(found - basis @ (inner * decay)) / np.linalg.norm(r))
            if size < _LINEAR or step * values[-1] < 1e-6:
                break
            step /= 2
        if not np.all(np.isfinite(trial)):
            return False
        w[:], r = trial, found
        step *= 2 if size < _LINEAR / 4 else 1
    return False


@njit(types.boolean(MODEL, _MATRIX, _MATRIX, types.float64, types.int64), cache=True, nogil=True)
def _descend_compiled(model: Any, w: Any, scratch: Any, goal: float, max_steps: int) -> bool:
    """The same of w (N, 1), by the kernels; the model's one metric is tr H."""
    p, n_rows = model.targets.shape[0], w.shape[0]
    r, g, trace = np.empty((p, 1)), np.empty((n_rows, 1)), np.empty(1)
    for _ in range(max_steps):
        model.outputs(model.data, w, r, scratch)
        square = 0.0
        for i in range(p):
            r[i, 0] -= model.targets[i]
            square += r[i, 0] * r[i, 0]
        if square < goal * p:
            return True
        measure(model, model.kinds[0], w, trace, scratch)
        model.pullback(model.data, w, r, g, scratch)
        step = 1.0 / max(p * trace[0], _TINY)
        for i in range(n_rows):
            w[i, 0] -= step * g[i, 0]
        if not np.isfinite(square):
            break
    return False


@by_annotations
def project_to_manifold(problem: Residuals | Any, w: Array, tolerance: float = 1e-13, max_steps: int = 100) -> Array:
    """The point of Gamma near w (N,), by Gauss-Newton: w <- w - J^+ (f - y), until |f - y| <= tolerance (1 + |y|).

    `problem`: a Problem, or a SymbolicModel. Raises InputError if it does not converge.

    >>> from sde_momentum import MatrixSensing
    >>> problem = MatrixSensing(4, 1, 12)
    >>> near = problem.interpolating_start() + 1e-3
    >>> bool(problem.loss(near) > 1e-6), bool(problem.loss(project_to_manifold(problem, near)) < 1e-24)
    (True, True)
    """
    problem = _compiled(problem)
    goal = tolerance * (1 + float(np.linalg.norm(problem.targets)))
    for _ in range(max_steps):
        r = problem.residual(w)
        if np.linalg.norm(r) <= goal:
            return w
        w = w - np.linalg.lstsq(problem.jacobian(w), r, rcond=1e-10)[0]
    size = float(np.linalg.norm(problem.residual(w)))
    raise InputError(
        "w",
        f"|f - y| = {size:.3g} after {max_steps} Gauss-Newton steps",
        f"a start nearer to the manifold of minimizers, |f - y| <= {goal:.1g}",
    )


def _compiled(problem: Any) -> Any:
    """The problem itself, or that of a SymbolicModel."""
    if hasattr(problem, "residual") and hasattr(problem, "check_point"):
        return problem
    if hasattr(problem, "compile") and hasattr(problem, "outputs"):
        return problem.compile()
    raise InputError("problem", problem, "a Problem, or a SymbolicModel")
