"""Moving along Gamma: a displacement, then the shift along Gamma's normals that brings the point back onto it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..problems.base import Array, Problem

_MAX_PROJECTIONS = 30


def _residual(problem: Problem, w: Array) -> Array:
    # one run a matrix: the rounding of a product must not depend on the neighbours
    return problem.outputs(w[:, None])[:, 0] - problem.targets


def _gram(jacobian: Array) -> Array:
    """J J^T, damped by 1e-9 of its trace: it stays invertible where J loses rank."""
    gram = jacobian @ np.swapaxes(jacobian, -1, -2)
    damping = 1e-9 * np.trace(gram, axis1=-2, axis2=-1) + np.finfo(float).tiny
    return gram + damping[:, None, None] * np.eye(gram.shape[-1])


def tangent(jacobian: Array, x: Array) -> Array:
    """P_T x, at points of Jacobian (n, P, N): (n, N) -> (n, N)."""
    inner = np.linalg.solve(_gram(jacobian), jacobian @ x[..., None])
    return x - (np.swapaxes(jacobian, -1, -2) @ inner)[..., 0]


def move(problem: Problem, start: Array, displacement: Array, goal: float) -> tuple[Array, NDArray[np.bool_]]:
    """w = start + displacement + J(start)^T mu with |f(w) - y| <= goal: (n, N), and which runs found none.

    mu by Gauss-Newton with the matrix J J^T of the start. A run that finds none, or whose displacement is not finite, stays.
    """
    jacobian = problem.jacobian(start)
    gram = _gram(jacobian)
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
