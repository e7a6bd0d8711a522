"""Compiled Jacobians and contracted second derivatives, against the problems' own in NumPy, and against differences of f."""

from __future__ import annotations

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.core.simd.matrix import WIDTH

PROBLEMS = {
    "matrix sensing": sm.MatrixSensing(5, 2, 12),
    "matrix sensing, smaller than a tile": sm.MatrixSensing(3, 1, 5, width=1),
    "matrix sensing, thin": sm.MatrixSensing(9, 2, 10, width=3),
    "matrix sensing, symmetric": sm.MatrixSensing(5, 2, 12, symmetric=True),
    "valley": sm.Valley.balanced(6, curvature=1.5, coupling=1.0),
    "valley, slopes that do not level off": sm.Valley([1.0, 2.0], [0.1, -0.1], curvature=0.5),
}


@pytest.fixture(params=PROBLEMS, ids=str)
def problem(request):
    return PROBLEMS[request.param]


def points(problem, lanes, seed=0):
    """w (lanes, N) and c (lanes, P, N), random."""
    rng = np.random.default_rng(seed)
    w = 0.5 * rng.standard_normal((lanes, problem.n_parameters))
    return w, rng.standard_normal((lanes, problem.n_outputs, problem.n_parameters))


def derivatives(problem, w, c):
    """(J, sum_i hess f_i c_i) by the kernels, a run in each lane."""
    kernels, lanes = problem.kernels, len(w)
    scratch = np.full((kernels.scratch_rows, max(WIDTH, lanes)), np.nan)
    w, c = np.ascontiguousarray(w.T), np.ascontiguousarray(np.moveaxis(c, 0, -1))
    j, g = np.full(c.shape, np.nan), np.full(w.shape, np.nan)
    kernels.jacobian(kernels.data, w, j, scratch)
    kernels.contract_hessians(kernels.data, w, c, g, scratch)
    return np.moveaxis(j, -1, 0), g.T


@pytest.mark.parametrize("lanes", [1, 3, 8, 13, 32, 40])
def test_kernels_are_the_problems_own_derivatives(problem, lanes):
    w, c = points(problem, lanes)
    j, g = derivatives(problem, w, c)
    exact_j, exact_g = problem.jacobian(w), problem.contract_hessians(w, c)
    np.testing.assert_allclose(j, exact_j, rtol=0, atol=1e-13 * np.abs(exact_j).max())
    np.testing.assert_allclose(g, exact_g, rtol=0, atol=1e-13 * np.abs(exact_g).max())


def test_kernels_are_derivatives_of_the_outputs(problem):
    """Central differences of f and of J: an error of h^2 = 1e-10, relative to third derivatives of order 1, and of rounding."""
    (w,), (c,) = points(problem, 1)
    n, h = problem.n_parameters, 1e-5
    shifts = h * np.eye(n)
    j, g = (x[0] for x in derivatives(problem, w[None], c[None]))
    by_w = (problem.outputs(w + shifts) - problem.outputs(w - shifts)) / (2 * h)
    np.testing.assert_allclose(j, by_w.T, rtol=0, atol=1e-8 * np.abs(j).max())
    ahead, behind = (derivatives(problem, w + sign * shifts, np.repeat(c[None], n, 0))[0] for sign in (1, -1))
    by_w = ((ahead - behind) * c).sum(axis=(1, 2)) / (2 * h)
    np.testing.assert_allclose(g, by_w, rtol=0, atol=1e-7 * np.abs(g).max())


def test_a_lane_does_not_know_its_neighbours(problem):
    w, c = points(problem, 40)
    together = derivatives(problem, w, c)
    for some in (slice(0, 1), slice(3, 6), slice(7, 40), slice(0, 8)):
        for part, whole in zip(derivatives(problem, w[some], c[some]), together, strict=True):
            np.testing.assert_array_equal(part, whole[some])
