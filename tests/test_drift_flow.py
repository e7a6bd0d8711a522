"""The drift flow stays on Gamma, follows -(1/4) grad_Gamma tr H, and ends at a flattest point [theory: Drift]."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sde_momentum as sm

CASES = [sm.MatrixSensing(6, 1, 20), sm.MatrixSensing(5, 2, 12)]
every_case = pytest.mark.parametrize("problem", CASES, ids=lambda p: f"d={p.d} rank={p.rank}")


@every_case
def test_the_flow_is_that_of_an_independent_integrator(problem):
    start = problem.interpolating_start()
    flow = sm.drift_flow(problem, start, tolerance=1e-5)

    def velocity(_, w):
        return -sm.ManifoldPoint(problem, sm.problems.project_to_manifold(problem, w, 1e-9)).gradient / 4

    end = 0.2
    other = solve_ivp(velocity, (0, end), start, rtol=1e-8, atol=1e-10).y[:, -1]
    ours = np.array([np.interp(end, flow.time, row) for row in flow.points.T])
    assert np.linalg.norm(ours - other) < 1e-3 * np.linalg.norm(other - start)


@every_case
def test_the_flow_stays_on_gamma_and_only_falls(problem):
    flow = sm.drift_flow(problem, problem.interpolating_start())
    assert np.abs(problem.residual(flow.points)).max() < 1e-9
    assert np.all(np.diff(problem.trace_hessian(flow.points)) < 0)


@every_case
def test_the_flattest_point_has_no_downhill_direction_left(problem):
    flattest = sm.drift_flow(problem, problem.interpolating_start()).flattest
    assert np.linalg.norm(flattest.gradient) < 1e-3 * flattest.trace_hessian
    assert flattest.curvatures[0] > -1e-3 * flattest.curvatures[-1]


def test_the_curvature_of_a_displacement_is_its_quotient_in_the_full_hessian():
    problem = CASES[0]
    start = problem.interpolating_start()
    point = sm.drift_flow(problem, start).flattest
    x = point.tangent.T @ (start - point.w)
    assert point.curvature(start - point.w) == pytest.approx(x @ point.hessian @ x / (x @ x), rel=1e-6)


def test_bad_input_is_refused():
    problem = CASES[0]
    with pytest.raises(sm.InputError, match=r"w: given \|f\(w\) - y\|"):
        sm.drift_flow(problem, problem.random_start(0.5))
    with pytest.raises(sm.InputError, match="start: given tr H still falls after 3 steps"):
        sm.drift_flow(problem, problem.interpolating_start(), max_steps=3)
    with pytest.raises(sm.InputError, match=r"displacement: given shape \(3,\)"):
        sm.ManifoldPoint(problem, problem.interpolating_start()).curvature(np.zeros(3))


def test_the_flow_ends_where_j_loses_rank():
    """The gradient along Gamma, smoothed at small eigenvalues, stays above its bound there: tr H has stopped falling."""
    problem = sm.MatrixSensing(4, 1, 10)
    flow = sm.drift_flow(problem, problem.interpolating_start())
    assert flow.at_rest
    assert len(flow.time) < 1000
    assert problem.test_error(flow.points[-1]) < 1e-12 * problem.test_error(flow.points[0])
