"""Moving along Gamma: a displacement, then a shift along Gamma's normals back onto it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_shape
from ..problems.interpolation import project_to_manifold
from ..problems.problem import Array, Problem

_MAX_PROJECTIONS = 30
_DAMPING = 1e-9  # share of the trace that is added to the eigenvalues of J J^T
_REACH = 0.01  # accepted distance of Gamma from the end of a displacement, however short that is, as a share of |w|


def residual_at(problem: Problem, w: Array) -> Array:
    """f(w) - y, (n, N) -> (n, P)."""
    # one matrix per run: the rounding of a product must not depend on the other runs
    return problem.outputs(w[:, None])[:, 0] - problem.targets


@dataclass(frozen=True, eq=False)
class Normals:
    """Gamma's normal space at points w (n, N), as the inverse of J J^T.

    Attributes:
        jacobian: J, (n, P, N)
        inverse: (J J^T)^-1, with _DAMPING of its trace added to its eigenvalues, so that it stays finite where J loses rank
    """

    jacobian: Array
    inverse: Array

    @classmethod
    def at(cls, problem: Problem, w: Array) -> Normals:
        """The normals at w (n, N)."""
        jacobian = problem.jacobian(w)
        gram = jacobian @ np.swapaxes(jacobian, -1, -2)
        diagonal = np.einsum("nii->ni", gram)
        diagonal += _DAMPING * diagonal.sum(axis=-1, keepdims=True) + np.finfo(float).tiny
        inverse = np.linalg.inv(gram) if np.all(np.isfinite(diagonal)) else np.full_like(gram, np.nan)
        return cls(jacobian, np.asarray(inverse, dtype=np.float64))

    def normal(self, residual: Array, some: Any = slice(None)) -> Array:
        """J^T (J J^T)^-1 r, the shortest displacement that changes f by r, for `some` of the points: (n, P) -> (n, N)."""
        inner = self.inverse[some] @ residual[..., None]
        return np.asarray((np.swapaxes(self.jacobian[some], -1, -2) @ inner)[..., 0])

    def tangent(self, x: Array) -> Array:
        """P_T x: (n, N) -> (n, N)."""
        return x - self.normal((self.jacobian @ x[..., None])[..., 0])


@by_annotations
def move(
    problem: Problem, start: Array, displacement: Array, tolerance: float, normals: Normals | None = None
) -> tuple[Array, NDArray[np.bool_]]:
    """w = start + displacement + J(start)^T nu with |f(w) - y| <= tolerance (1 + |y|): (n, N), and flags of runs without one.

    nu by Gauss-Newton with the `normals` of the start (None: computed here). Close to where J loses rank Gamma
    bends within a step and the normals of the start may miss it: then the nearest point is taken, if its distance is at most the
    displacement's length, or a hundredth of |w|. A run without such a point, or whose displacement is not finite, stays where it
    is.

    >>> from sde_momentum import MatrixSensing
    >>> problem = MatrixSensing(4, 1, 12)
    >>> start = problem.interpolating_start()[None]
    >>> w, failed = move(problem, start, 0.01 * np.ones_like(start), tolerance=1e-10)
    >>> w.shape == start.shape, bool(problem.loss(w[0]) < 1e-18), failed.tolist()
    (True, True, [False])
    """
    start = check_shape("start", start, problem.n_parameters)
    displacement = check_shape("displacement", displacement, *start.shape)
    normals = normals or Normals.at(problem, start)
    goal = tolerance * (1 + float(np.linalg.norm(problem.targets)))
    w = start + displacement
    todo = np.arange(len(w))
    for _ in range(_MAX_PROJECTIONS):
        residual = residual_at(problem, w[todo])
        size = _norms(residual)
        left = ~(size <= goal) & (size < 1e50)
        todo, residual = todo[left], residual[left]
        if not len(todo):
            break
        w[todo] -= normals.normal(residual, todo)
    off = ~(_norms(residual_at(problem, w)) <= goal)
    for i in np.flatnonzero(off):
        nearest = _nearest(problem, start[i], displacement[i], tolerance)
        off[i] = nearest is None
        w[i] = start[i] if nearest is None else nearest
    return w, off


def _norms(residual: Array) -> Array:
    """Of residuals (n_run, P); inf of a run that has gone far off."""
    with np.errstate(over="ignore"):
        return np.asarray(np.linalg.norm(residual, axis=-1))


def _nearest(problem: Problem, start: Array, displacement: Array, tolerance: float) -> Array | None:
    """The point of Gamma nearest to start + displacement (N,); None if it is further away than `move` accepts."""
    there, length = start + displacement, float(np.linalg.norm(displacement))
    if not np.isfinite(length):
        return None
    reach = max(length, _REACH * float(np.linalg.norm(start)))
    try:
        nearest = project_to_manifold(problem, there, tolerance)
    except (InputError, np.linalg.LinAlgError):
        return None
    return nearest if np.linalg.norm(nearest - there) <= reach else None
