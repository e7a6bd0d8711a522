"""Moving along Gamma: onto it from wherever a displacement leads, also where Gamma bends within the displacement."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import sde_momentum as sm
from derivations import SymbolicModel
from sde_momentum.geometry.along_manifold import Normals, move

RADIUS = 0.01
x, y, z = sp.symbols("x y z", real=True)
#: Gamma is a circle of RADIUS, times a line.
CIRCLE = SymbolicModel([x**2 + y**2], [x, y, z], [RADIUS**2], point=[RADIUS, 0, 0]).compile()
START = np.array([RADIUS, 0.0, 1.0])
TOLERANCE = 1e-12


def test_a_short_move_goes_along_the_start_s_normal():
    displacement = np.array([[0.0, 0.6 * RADIUS, 0.1]])
    end, off = move(CIRCLE, START[None], displacement, TOLERANCE)
    assert not off.any()
    np.testing.assert_allclose(end, [[0.8 * RADIUS, 0.6 * RADIUS, 1.1]], atol=1e-10)


@pytest.mark.parametrize("length", [1.5, 5.0, 0.9 / RADIUS])
def test_where_gamma_bends_within_the_displacement_it_ends_at_the_nearest_point(length):
    """No point of the circle lies on the start's normal through (r, length r): the nearest one is on the ray from the centre."""
    end, off = move(CIRCLE, START[None], np.array([[0.0, length * RADIUS, 0.0]]), TOLERANCE)
    assert not off.any()
    np.testing.assert_allclose(end, [[*(np.array([1.0, length]) * RADIUS / np.hypot(1, length)), 1.0]], atol=1e-9)


def test_company_does_not_matter_and_what_is_lost_stays():
    displacement = np.array([[0.0, 0.5 * RADIUS, 0.0], [0.0, 3 * RADIUS, 0.0], [0.0, np.nan, 0.0], [0.0, np.inf, 0.0]])
    start = np.repeat(START[None], 4, axis=0)
    with np.errstate(invalid="ignore"):
        end, off = move(CIRCLE, start, displacement, TOLERANCE)
        assert off.tolist() == [False, False, True, True]
        np.testing.assert_array_equal(end[2:], start[2:])
        for i in range(2):
            np.testing.assert_array_equal(move(CIRCLE, start[i : i + 1], displacement[i : i + 1], TOLERANCE)[0], end[i : i + 1])


def test_a_run_that_finds_no_way_back_is_lost():
    """On cosh x Gauss-Newton comes back by 1 a step: not from 120 away."""
    flat = SymbolicModel([sp.cosh(x) + y**2], [x, y], [2.0], point=[sp.acosh(2), 0]).compile()
    start = np.array([[float(sp.acosh(2)), 0.0]])
    end, off = move(flat, start, np.array([[120.0, 0.0]]), TOLERANCE)
    assert off.tolist() == [True]
    np.testing.assert_array_equal(end, start)


def test_normals_are_those_of_the_geometry():
    problem = sm.MatrixSensing(5, 1, 12)
    point = sm.ManifoldPoint(problem, problem.interpolating_start())
    normals = Normals.at(problem, point.w[None])
    direction = np.random.default_rng(0).normal(size=problem.n_parameters)
    np.testing.assert_allclose(normals.tangent(direction[None])[0], point.tangent @ (point.tangent.T @ direction), atol=1e-6)
