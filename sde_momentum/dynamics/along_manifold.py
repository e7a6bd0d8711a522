"""Moving along Gamma: a displacement, then the shift along Gamma's normals that brings the point back onto it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..problems.base import Array, Problem

_MAX_PROJECTIONS = 30


def _residual(problem: Problem, w: Array) -> Array:
    # one run a matrix: the rounding of a product must not depend on the neighbours
    return problem.outputs(w[:, None])[:, 0] - problem.targets


class Frame(NamedTuple):
    """Gamma's normals at points w (n, N): the Jacobian (n, P, N) and J J^T (n, P, P)."""

    jacobian: Array
    gram: Array

    @classmethod
    def at(cls, problem: Problem, w: Array) -> Frame:
        """The frame at w (n, N)."""
        jacobian = problem.jacobian(w)
        return cls(jacobian, jacobian @ np.swapaxes(jacobian, -1, -2))

    def damped(self) -> Array:
        """J J^T plus 1e-9 of its trace: it stays invertible where J loses rank."""
        damping = 1e-9 * np.trace(self.gram, axis1=-2, axis2=-1) + np.finfo(float).tiny
        return self.gram + damping[:, None, None] * np.eye(self.gram.shape[-1])

    def tangent(self, x: Array) -> Array:
        """P_T x: (n, N) -> (n, N)."""
        inner = np.linalg.solve(self.damped(), self.jacobian @ x[..., None])
        return np.asarray(x - (np.swapaxes(self.jacobian, -1, -2) @ inner)[..., 0])


def move(
    problem: Problem, start: Array, displacement: Array, goal: float, frame: Frame | None = None
) -> tuple[Array, NDArray[np.bool_]]:
    """w = start + displacement + J(start)^T mu with |f(w) - y| <= goal: (n, N), and which runs found none.

    mu by Gauss-Newton with the matrix J J^T of the start, whose `frame` may be there already. A run that finds none, or whose
    displacement is not finite, stays.
    """
    frame = frame or Frame.at(problem, start)
    jacobian, gram = frame.jacobian, frame.damped()
    w = start + displacement
    todo = np.arange(len(w))
    for _ in range(_MAX_PROJECTIONS):
        residual = _residual(problem, w[todo])
        size = np.sqrt(np.square(residual).sum(axis=-1))
        left = ~(size <= goal) & (size < 1e50)
        todo, residual = todo[left], residual[left]
        if not len(todo):
            break
        shift = np.linalg.solve(gram[todo], residual[..., None])
        w[todo] -= (np.swapaxes(jacobian[todo], -1, -2) @ shift)[..., 0]
    off = ~(np.sqrt(np.square(_residual(problem, w)).sum(axis=-1)) <= goal)
    w[off] = start[off]
    return w, off
