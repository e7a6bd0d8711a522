"""Moving along Gamma: a displacement, then a shift along Gamma's normals back onto it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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


def lowest(n_slow: NDArray[np.intp], rows: int) -> NDArray[np.bool_]:
    """Flags of the `n_slow` (n,) lowest of `rows` modes, (n, rows)."""
    return np.asarray(np.arange(rows) < n_slow[:, None])


@dataclass(frozen=True, eq=False)
class Frame:
    """Gamma's normal space at points w (n, N), as the eigenpairs of J J^T.

    Attributes:
        jacobian: J, (n, P, N)
        squared: eigenvalues P lambda_j of J J^T, increasing, (n, P)
        outputs: their eigenvectors u_j as columns, (n, P, P)
        n_slow: number of slow modes, those of the lowest eigenvalues: w may leave Gamma along them, (n,); None: none
    """

    jacobian: Array
    squared: Array
    outputs: Array
    n_slow: NDArray[np.intp] | None = None

    @classmethod
    def at(cls, problem: Problem, w: Array, n_slow: NDArray[np.intp] | None = None) -> Frame:
        """The frame at w (n, N)."""
        jacobian = problem.jacobian(w)
        return cls(jacobian, *np.linalg.eigh(jacobian @ np.swapaxes(jacobian, -1, -2)), n_slow)

    def chosen(self, some: NDArray[np.intp], n_slow: NDArray[np.intp] | None = None) -> Frame:
        """The frame of the points `some`, with another number of slow modes if it is given."""
        if n_slow is None and self.n_slow is not None:
            n_slow = self.n_slow[some]
        return Frame(self.jacobian[some], self.squared[some], self.outputs[some], n_slow)

    def replaced(self, some: NDArray[np.intp], frame: Frame) -> Frame:
        """This frame with `frame` in place of the points `some`."""
        parts = {}
        for name in ("jacobian", "squared", "outputs", "n_slow"):
            part, new = getattr(self, name), getattr(frame, name)
            if part is not None:
                part = part.copy()
                part[some] = new
            parts[name] = part
        return Frame(**parts)

    @cached_property
    def slow(self) -> NDArray[np.bool_]:
        """Flags of the slow modes, (n, P)."""
        n_slow = np.zeros(len(self.squared), dtype=np.intp) if self.n_slow is None else self.n_slow
        return lowest(n_slow, self.squared.shape[1])

    @cached_property
    def _inverse(self) -> Array:
        """1 / eigenvalues, with _DAMPING of their sum added so that they stay finite where J loses rank; 0 for slow modes."""
        inverse = 1 / (self.squared + _DAMPING * self.squared.sum(axis=-1, keepdims=True) + np.finfo(float).tiny)
        return inverse if self.n_slow is None else np.where(self.slow, 0.0, inverse)

    def held(self, residual: Array, some: Any = slice(None)) -> Array:
        """A residual without its components in slow modes, up to a rotation, for `some` of the points: (n, P) -> (n, P)."""
        if self.n_slow is None:
            return residual
        inner = (np.swapaxes(self.outputs[some], -1, -2) @ residual[..., None])[..., 0]
        return np.asarray(np.where(self.slow[some], 0.0, inner))

    def normal(self, residual: Array, some: Any = slice(None)) -> Array:
        """J^T (J J^T)^-1 r, the shortest displacement that changes f by r, for `some` of the points: (n, P) -> (n, N)."""
        u = self.outputs[some]
        inner = u @ (self._inverse[some][..., None] * (np.swapaxes(u, -1, -2) @ residual[..., None]))
        return np.asarray((np.swapaxes(self.jacobian[some], -1, -2) @ inner)[..., 0])

    def tangent(self, x: Array) -> Array:
        """P_T x: (n, N) -> (n, N)."""
        return x - self.normal((self.jacobian @ x[..., None])[..., 0])


@dataclass(frozen=True, eq=False)
class Normals:
    """Gamma's normal space at points w (n, N), without its modes: the inverse of J J^T, which costs less than eigenvectors.

    Attributes:
        jacobian: J, (n, P, N)
        inverse: (J J^T)^-1, damped as in `Frame`, (n, P, P)
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

    def held(self, residual: Array, some: Any = slice(None)) -> Array:
        """The residual itself: no mode is slow."""
        return residual

    def normal(self, residual: Array, some: Any = slice(None)) -> Array:
        """J^T (J J^T)^-1 r, the shortest displacement that changes f by r, for `some` of the points: (n, P) -> (n, N)."""
        inner = self.inverse[some] @ residual[..., None]
        return np.asarray((np.swapaxes(self.jacobian[some], -1, -2) @ inner)[..., 0])

    def tangent(self, x: Array) -> Array:
        """P_T x: (n, N) -> (n, N)."""
        return x - self.normal((self.jacobian @ x[..., None])[..., 0])


@by_annotations
def move(
    problem: Problem, start: Array, displacement: Array, tolerance: float, frame: Frame | Normals | None = None
) -> tuple[Array, NDArray[np.bool_]]:
    """w = start + displacement + J(start)^T nu with |f(w) - y| <= tolerance (1 + |y|): (n, N), and flags of runs without one.

    nu by Gauss-Newton with the `frame` of the start, or its normals (None: computed here). Close to where J loses rank Gamma
    bends within a step and the normals of the start may miss it: then the nearest point is taken, if its distance is at most the
    displacement's length, or a hundredth of |w|. A run without such a point, or whose displacement is not finite, stays where it
    is.
    """
    start = check_shape("start", start, problem.n_parameters)
    displacement = check_shape("displacement", displacement, *start.shape)
    frame = frame or Normals.at(problem, start)
    goal = tolerance * (1 + float(np.linalg.norm(problem.targets)))
    w = start + displacement
    todo = np.arange(len(w))
    for _ in range(_MAX_PROJECTIONS):
        residual = residual_at(problem, w[todo])
        size = np.sqrt(np.square(frame.held(residual, todo)).sum(axis=-1))
        left = ~(size <= goal) & (size < 1e50)
        todo, residual = todo[left], residual[left]
        if not len(todo):
            break
        w[todo] -= frame.normal(residual, todo)
    off = ~(np.sqrt(np.square(frame.held(residual_at(problem, w))).sum(axis=-1)) <= goal)
    for i in np.flatnonzero(off):
        nearest = _nearest(problem, start[i], displacement[i], tolerance)
        off[i] = nearest is None
        w[i] = start[i] if nearest is None else nearest
    return w, off


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
